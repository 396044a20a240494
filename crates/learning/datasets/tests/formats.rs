//! Files that are no text give the table that a CSV file with the same cells gives.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use datasets::Dataset;
use flate2::read::GzDecoder;
use plan::Data;
use registration::Registration;

fn data(text: &str) -> Data {
    toml::from_str(text).unwrap()
}

/// Of the columns that [`TYPED`] asks for, in files of Parquet.
fn registered() -> Registration {
    let columns = "age = { type = \"number\" }\ndose = { type = \"number\" }\nweight = { type = \"number\" }\n\
                   group = { type = \"category\", values = [\"x\", \"y\"] }\nborn = { type = \"date\" }\n\
                   ill = { type = \"label\", classes = 2 }\n";
    Registration::from_toml(&format!("format = 1\n[dialect]\nkind = \"parquet\"\n[columns]\n{columns}"))
        .unwrap()
}

/// A Parquet file that another program wrote.
fn parquet(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../readers/tests/data").join(format!("{name}.parquet"))
}

const TYPED: &str = "label = \"ill\"\nclasses = 2\nscaled_to = [0.0, 1.0]\nfeatures = [\n\
    { column = \"age\", minimum = 0, maximum = 100, missing = \"flag\" },\n\
    { column = \"dose\", minimum = -1, maximum = 1, missing = 0 },\n\
    { column = \"weight\", minimum = 0, maximum = 100, missing = 70 },\n\
    { column = \"group\", one_hot = [\"x\", \"y\"], missing = \"flag\" },\n\
    { column = \"born\", first_day = \"1900-01-01\", last_day = \"2030-01-01\", missing = \"flag\" },\n]\n";

#[test]
fn a_parquet_file_is_the_same_table_as_its_rows_as_csv_and_one_bad_row_costs_itself() {
    // The third has no label.
    let csv = "ill,age,dose,weight,group,born\n1,71,0.1,0.1,x,1949-02-28\n0,,1,,y,\n,64,,70.5,,2024-02-29\n\
               1,33,-0.00000025,0,x,1970-01-01\n";
    let plan = data(TYPED);
    let (expected, _) = Dataset::from_csv_leniently("a.csv", csv.as_bytes(), &plan).unwrap();
    for name in ["plain", "snappy", "gzip", "zstd", "encodings"] {
        let (read, misfits) = Dataset::load_leniently(&parquet(name), Some(&registered()), &plan).unwrap();
        assert_eq!(read.version(), expected.version(), "{name}");
        assert_eq!((read.features(), read.labels()), (expected.features(), expected.labels()), "{name}");
        assert_eq!(
            misfits.to_string(),
            format!("1 rows: no label in column ill, the first in {name}.parquet, line 3"),
        );
    }
}

#[test]
fn a_folder_of_parquet_files_is_one_table_and_other_kinds_in_it_are_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.parquet", "a.PARQUET"] {
        fs::copy(parquet("snappy"), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("c.csv"), "ill,age\n1,2\n").unwrap();
    let plan = data(TYPED);
    let (both, _) = Dataset::load_leniently(folder.path(), Some(&registered()), &plan).unwrap();
    assert_eq!(both.rows(), 8);
    let why = Dataset::load(&parquet("lz4"), Some(&registered()), &plan).unwrap_err().to_string();
    assert!(
        why.starts_with("lz4.parquet: the file (1 columns) has no column ill (nor 4 more), which"),
        "{why}"
    );
    for name in ["a.PARQUET", "b.parquet"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let why = Dataset::load(folder.path(), Some(&registered()), &plan).unwrap_err().to_string();
    assert!(why.contains("holds no file that ends in .parquet"), "{why}");
}

#[test]
fn a_null_is_missing_whatever_a_registration_has_for_it_and_a_nested_column_is_named() {
    let registration = Registration::from_toml(
        "format = 1\n[dialect]\nkind = \"parquet\"\nmissing = [\"7\"]\n[columns]\n\
         years = { from = \"age\", type = \"number\" }\n\
         sick = { from = \"ill\", type = \"flag\", yes = [\"1\"], no = [\"0\"] }\n\
         inside = { from = \"place.x\", type = \"number\" }\n",
    )
    .unwrap();
    let table = |column: &str| {
        data(&format!(
            "label = \"sick\"\nclasses = 2\nscaled_to = [0.0, 1.0]\nfeatures = [{{ column = \"{column}\", \
             minimum = 0, maximum = 100, missing = \"flag\" }}]\n"
        ))
    };
    let (read, _) =
        Dataset::load_leniently(&parquet("snappy"), Some(&registration), &table("years")).unwrap();
    let rows: Vec<_> = (0..4).map(|row| read.fits(row).then(|| read.row(row).unwrap().to_vec())).collect();
    let expected = [Some(vec![0.71, 0.0]), Some(vec![0.5, 1.0]), None, Some(vec![0.33, 0.0])];
    assert_eq!(rows, expected, "the second has no age, the third no label");
    let why = Dataset::load(&parquet("snappy"), Some(&registration), &table("inside")).unwrap_err();
    assert!(why.to_string().starts_with("snappy.parquet: column place.x is nested; flatten it"), "{why}");
}

/// Of images of 28 by 28, whatever they lie in, of the classes 0 to 9.
fn of_images(kind: &str) -> Registration {
    Registration::from_toml(&format!(
        "format = 1\n[dialect]\nkind = \"{kind}\"\nimage = {{ width = 28, height = 28 }}\n[columns]\n\
         \"pixel_{{0..783}}\" = {{ type = \"number\" }}\nlabel = {{ type = \"label\", classes = 10 }}\n",
    ))
    .unwrap()
}

/// 784 columns in four lines.
fn pixels() -> Data {
    data(
        "label = \"label\"\nclasses = 10\nscaled_to = [0.0, 1.0]\n\
         features = [{ columns = \"pixel_{0..783}\", minimum = 0, maximum = 255 }]\n",
    )
}

fn idx_file(magic: u32, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let words = [&[magic], dimensions].concat();
    [words.into_iter().flat_map(u32::to_be_bytes).collect(), values.to_vec()].concat()
}

/// A pair of IDX files in a folder.
fn write_pair(folder: &Path, name: &str, images: &[Vec<u8>], labels: &[u8]) {
    let count = images.len() as u32;
    let files = [
        (format!("{name}-images-idx3-ubyte"), idx_file(0x0803, &[count, 28, 28], &images.concat())),
        (format!("{name}-labels-idx1-ubyte"), idx_file(0x0801, &[labels.len() as u32], labels)),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A folder for each class, with its images as PNG, in their order.
fn write_folders(folder: &Path, images: &[Vec<u8>], labels: &[u8]) {
    for (index, (pixels, label)) in images.iter().zip(labels).enumerate() {
        let class = folder.join(label.to_string());
        fs::create_dir_all(&class).unwrap();
        let mut encoder =
            png::Encoder::new(File::create(class.join(format!("{index:05}.png"))).unwrap(), 28, 28);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    }
}

/// Images of which no two pixels beside each other are alike, in the order of their labels.
fn made(count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let image = |index: usize| (0..784).map(|pixel| ((pixel * 7 + index * 31) % 256) as u8).collect();
    ((0..count).map(image).collect(), (0..count).map(|index| (index * 10 / count) as u8).collect())
}

#[test]
fn idx_files_and_folders_of_images_are_the_same_table() {
    let (pairs, folders) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (images, labels) = made(40);
    write_pair(pairs.path(), "a", &images[..25], &labels[..25]);
    write_pair(pairs.path(), "b", &images[25..], &labels[25..]);
    write_folders(folders.path(), &images, &labels);
    let of_pairs = Dataset::load(pairs.path(), Some(&of_images("idx")), &pixels()).unwrap();
    let of_folders = Dataset::load(folders.path(), Some(&of_images("images")), &pixels()).unwrap();
    assert_eq!((of_pairs.rows(), of_pairs.columns()), (40, 784));
    assert_eq!(of_pairs.row(1).unwrap()[..2], [31.0 / 255.0, 38.0 / 255.0]);
    assert_eq!(of_pairs.version(), of_folders.version());
    assert_eq!((of_pairs.features(), of_pairs.labels()), (of_folders.features(), of_folders.labels()));
}

#[test]
fn what_is_wrong_with_idx_files_or_images_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (images, labels) = made(4);
    let refused = |kind: &str, path: &Path| {
        Dataset::load(path, Some(&of_images(kind)), &pixels()).unwrap_err().to_string()
    };
    assert!(refused("idx", root).contains("holds no file named like train-images-idx3-ubyte"));
    write_pair(root, "a", &images, &labels[..3]);
    assert_eq!(
        refused("idx", root),
        "a-images-idx3-ubyte: there are 4 images and 3 labels; give two files of one data set"
    );
    fs::remove_file(root.join("a-labels-idx1-ubyte")).unwrap();
    assert!(
        refused("idx", root)
            .starts_with("a-images-idx3-ubyte: beside its images there is no a-labels-idx1-ubyte")
    );
    let whole = idx_file(0x0803, &[4, 28, 28], &images.concat());
    write_pair(root, "a", &images, &labels);
    fs::write(root.join("a-images-idx3-ubyte"), &whole[..whole.len() - 1]).unwrap();
    assert!(refused("idx", root).contains("the file ends before the 4 images that its header announces"));
    fs::write(root.join("a-images-idx3-ubyte"), idx_file(0x0803, &[4, 14, 56], &images.concat())).unwrap();
    assert!(
        refused("idx", root)
            .contains("the images have 14 rows of 56 pixels, which is not the registered size")
    );
    assert!(
        refused("idx", &root.join("a-images-idx3-ubyte"))
            .contains("lie in one; name the folder that holds them")
    );
    assert!(refused("images", root).contains("no folder in it holds a PNG or JPEG image"));
}

#[test]
fn an_image_that_cannot_be_read_costs_itself_and_its_name_is_shown_to_nobody_who_sees_no_cell() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = made(10);
    write_folders(folder.path(), &images, &labels);
    fs::write(folder.path().join("3/Jane Doe.png"), "no image").unwrap();
    fs::write(folder.path().join("rows.csv"), "label\n").unwrap();
    let (read, misfits) =
        Dataset::load_leniently(folder.path(), Some(&of_images("images")), &pixels()).unwrap();
    let fits: Vec<bool> = (0..11).map(|row| read.fits(row)).collect();
    assert_eq!((read.rows(), fits.iter().filter(|fits| **fits).count(), fits[4]), (11, 10, false));
    let shown = misfits.to_string();
    assert!(
        shown.starts_with("1 rows: no image that can be read, the first in ") && shown.ends_with("line 5"),
        "{shown}"
    );
    let why = Dataset::load(folder.path(), Some(&of_images("images")), &pixels()).unwrap_err();
    assert!(
        why.to_string().contains("line 5: 3/Jane Doe.png: is neither PNG nor JPEG; save it as one"),
        "{why}"
    );
    let without = why.without_cells();
    assert!(without.contains("image 5: is neither PNG nor JPEG") && !without.contains("Jane"), "{without}");
}

#[test]
fn data_of_another_kind_in_a_folder_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = made(4);
    write_pair(folder.path(), "a", &images, &labels);
    let lonely = folder.path().join("b-labels-idx1-ubyte");
    fs::copy(folder.path().join("a-labels-idx1-ubyte"), &lonely).unwrap();
    for name in ["c.csv", "d.parquet", "e.data"] {
        fs::write(folder.path().join(name), "x\n").unwrap();
    }
    let read = Dataset::load(folder.path(), Some(&of_images("idx")), &pixels()).unwrap();
    let why = "was left out: it is of another kind than the files that are read";
    assert_eq!(
        read.remarks().to_string(),
        format!(
            "b-labels-idx1-ubyte {why}; c.csv {why}; d.parquet {why}; e.data was left out: a file is read where it is one named like \
             train-images-idx3-ubyte; rename it, if it is one of the data"
        )
    );
}

/// Where `FOLKMOOT_DATA` is set, it must name a folder with `fashion-mnist` in it; where it is not, nothing is read.
#[test]
#[expect(clippy::print_stderr, reason = "says that nothing was read")]
fn large_data_fashion_mnist_is_the_same_table_as_idx_files_and_as_a_folder_of_images() {
    const ROWS: usize = 300;
    let Some(data) = std::env::var_os("FOLKMOOT_DATA") else {
        eprintln!("FOLKMOOT_DATA is not set: Fashion-MNIST was not read, and this test passes without it");
        return;
    };
    let source = Path::new(&data).join("fashion-mnist");
    let head = |part: &str, header: u64, each: u64| {
        let packed = File::open(source.join(format!("t10k-{part}-ubyte.gz"))).unwrap();
        let mut bytes = Vec::new();
        GzDecoder::new(packed).take(header + ROWS as u64 * each).read_to_end(&mut bytes).unwrap();
        bytes.split_off(header as usize)
    };
    let (pixels_of_all, labels) = (head("images-idx3", 16, 784), head("labels-idx1", 8, 1));
    let images: Vec<Vec<u8>> = pixels_of_all.chunks(784).map(<[u8]>::to_vec).collect();
    let (pairs, folders) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_pair(pairs.path(), "t10k", &images, &labels);
    write_folders(folders.path(), &images, &labels);
    let of_pairs = Dataset::load(pairs.path(), Some(&of_images("idx")), &pixels()).unwrap();
    let of_folders = Dataset::load(folders.path(), Some(&of_images("images")), &pixels()).unwrap();
    assert_eq!((of_pairs.rows(), of_pairs.columns(), of_folders.rows()), (ROWS, 784, ROWS));
    // A folder has its images class by class.
    let mut order: Vec<usize> = (0..ROWS).collect();
    order.sort_by_key(|row| labels[*row]);
    let sorted: Vec<&[f32]> = order.iter().map(|row| of_pairs.row(*row).unwrap()).collect();
    assert!(of_folders.features() == sorted.concat());
    assert_eq!(of_folders.labels(), order.iter().map(|row| of_pairs.labels()[*row]).collect::<Vec<_>>());
    // An ankle boot is dark at its first pixel and of the last class.
    assert_eq!((of_pairs.labels()[0], of_pairs.row(0).unwrap()[0]), (9, 0.0));
}
