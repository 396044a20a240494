//! Pairs of IDX files, made by hand and published.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use datasets::idx::{self, IdxError};
use datasets::{Dataset, digits};
use flate2::Compression;
use flate2::write::GzEncoder;
use plan::Data;
use readers::idx::{IdxFault, Part};

fn data() -> Data {
    idx::data_section(4, 3, [0.0, 1.0])
}

fn file(magic: u32, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let words = [&[magic], dimensions].concat();
    [words.into_iter().flat_map(u32::to_be_bytes).collect(), values.to_vec()].concat()
}

fn images(count: u32, pixels: &[u8]) -> Vec<u8> {
    file(0x0803, &[count, 2, 2], pixels)
}

fn labels(values: &[u8]) -> Vec<u8> {
    file(0x0801, &[values.len() as u32], values)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two images of 2×2 pixels.
fn sound() -> (Vec<u8>, Vec<u8>) {
    (images(2, &[0, 51, 102, 255, 1, 2, 3, 4]), labels(&[2, 0]))
}

fn read(images: &[u8], labels: &[u8]) -> Result<Dataset, IdxError> {
    idx::read(images, labels, &data())
}

fn error_of(images: &[u8], labels: &[u8]) -> String {
    read(images, labels).unwrap_err().to_string()
}

#[test]
fn pixels_are_columns_row_by_row_of_the_image_scaled_by_their_public_range() {
    let (images, labels) = sound();
    let table = read(&images, &labels).unwrap();
    assert_eq!(table.row(0).unwrap(), [0.0, 0.2, 0.4, 1.0]);
    assert_eq!(table.row(1).unwrap(), [1, 2, 3, 4].map(|pixel| (f64::from(pixel) / 255.0) as f32));
    assert_eq!(table.labels(), [2, 0]);
    assert_eq!((table.rows(), table.columns(), table.clipped_values()), (2, 4, 0));

    let mut narrow = Data { scaled_to: [-1.0, 1.0], ..data() };
    narrow.features[3] = plan::Feature::range("pixel_3", 0.0, 4.0);
    let table = idx::read(images.as_slice(), labels.as_slice(), &narrow).unwrap();
    assert_eq!((table.row(0).unwrap()[3], table.row(1).unwrap()[3], table.clipped_values()), (1.0, 1.0, 1));
    assert_eq!(table.row(0).unwrap()[0], -1.0);
}

#[test]
fn the_version_is_that_of_a_csv_file_with_the_same_numbers() {
    let (images, labels) = sound();
    let table = read(&images, &labels).unwrap();
    let csv = "pixel_3,pixel_2,pixel_1,pixel_0,label\n255,102.0,5.1e1,0,2\n4,3,2,1,0\n";
    let same = Dataset::from_csv("same.csv", csv.as_bytes(), &data()).unwrap();
    assert_eq!(table.version(), same.version());
    assert_eq!((table.features(), table.labels()), (same.features(), same.labels()));

    let swapped = self::images(2, &[1, 2, 3, 4, 0, 51, 102, 255]);
    assert_ne!(read(&swapped, &labels).unwrap().version(), table.version());
}

#[test]
fn a_whole_table_of_digits_is_the_same_in_both_formats() {
    let csv = digits::table(digits::training_rows());
    let rows: Vec<Vec<u8>> = digits::training_rows()
        .map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect())
        .collect();
    let place = digits::header().split(',').position(|name| name == "label").unwrap();
    let pixels: Vec<u8> = rows
        .iter()
        .flat_map(|row| {
            row.iter().enumerate().filter(|(column, _)| *column != place).map(|(_, value)| *value)
        })
        .collect();
    let classes: Vec<u8> = rows.iter().map(|row| row[place]).collect();
    let images = file(0x0803, &[rows.len() as u32, 8, 8], &pixels);
    let section = digits::data_section([0.0, 1.0]);
    let read = idx::read(packed(&images).as_slice(), labels(&classes).as_slice(), &section).unwrap();
    let same = Dataset::from_csv("digits.csv", csv.as_bytes(), &section).unwrap();
    assert_eq!(read.version(), same.version());
    assert!(read.features() == same.features());
}

#[test]
fn gzip_changes_nothing_in_either_file_nor_in_several_members() {
    let (images, labels) = sound();
    let plain = read(&images, &labels).unwrap().version();
    assert_eq!(read(&packed(&images), &labels).unwrap().version(), plain);
    assert_eq!(read(&images, &packed(&labels)).unwrap().version(), plain);
    let members = [packed(&images[..9]), packed(&images[9..])].concat();
    assert_eq!(read(&members, &packed(&labels)).unwrap().version(), plain);
}

#[test]
fn a_reader_that_gives_one_byte_at_a_time_is_read_as_well() {
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }
    let (images, labels) = sound();
    for (images, labels) in [(images.clone(), labels.clone()), (packed(&images), packed(&labels))] {
        let slow = idx::read(Slow(&images), Slow(&labels), &data()).unwrap();
        assert_eq!(slow.version(), read(&images, &labels).unwrap().version());
    }
}

#[test]
fn a_file_of_another_kind_is_named_with_what_it_begins_with() {
    let (images, labels) = sound();
    assert_eq!(
        error_of(&labels, &images),
        "labels: the file begins with 00000803, not with 00000801; give the IDX files of images and of labels, in \
         this order"
    );
    // Of floats in three dimensions, and of no dimension.
    for magic in [0x0d03, 0x0800] {
        let error = error_of(&file(magic, &[2, 2, 2], &[0; 8]), &labels);
        assert!(
            error.starts_with(&format!("images: the file begins with {magic:08x}, not with 0000")),
            "{error}"
        );
    }
}

#[test]
fn every_cut_of_either_file_is_named() {
    let (images, labels) = sound();
    for end in 0..images.len() {
        let error = error_of(&images[..end], &labels);
        let place =
            if end < 16 { "inside its header" } else { "before the 2 images that its header announces" };
        assert_eq!(error, format!("images: the file ends {place}; copy it anew"));
    }
    for end in 0..labels.len() {
        let error = error_of(&images, &labels[..end]);
        let place =
            if end < 8 { "inside its header" } else { "before the 2 labels that its header announces" };
        assert_eq!(error, format!("labels: the file ends {place}; copy it anew"));
    }
    let whole = packed(&images);
    for end in 2..whole.len() {
        let error = error_of(&whole[..end], &labels);
        assert!(error.starts_with("images: the file ends "), "{end}: {error}");
    }
}

#[test]
fn what_follows_the_values_is_refused() {
    let (images, labels) = sound();
    for more in [[&images[..], &[0]].concat(), packed(&[&images[..], &[0]].concat())] {
        assert_eq!(
            error_of(&more, &labels),
            "images: there is more in the file than the 2 images that its header announces; copy it anew"
        );
    }
    let error = read(&images, &[&labels[..], &[0]].concat()).unwrap_err();
    assert!(
        matches!(error, IdxError::Files(IdxFault::TrailingBytes { part: Part::Labels, count: 2 })),
        "{error}"
    );
    let error = error_of(&[packed(&images), b"more".to_vec()].concat(), &labels);
    assert!(error.starts_with("images: "), "{error}");
}

#[test]
fn damage_inside_gzip_is_refused() {
    let (images, labels) = sound();
    let mut damaged = packed(&images);
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let error = read(&damaged, &labels).unwrap_err();
    assert!(matches!(error, IdxError::Files(IdxFault::Unreadable { part: Part::Images, .. })), "{error}");
}

#[test]
fn counts_and_sizes_that_do_not_belong_together_are_refused() {
    let (images, labels) = sound();
    assert_eq!(
        error_of(&images, &self::labels(&[0, 1, 2])),
        "there are 2 images and 3 labels; give two files of one data set"
    );
    assert_eq!(
        error_of(&file(0x0803, &[2, 2, 3], &[0; 12]), &labels),
        "an image has 2 rows of 3 pixels, the plan has 4 features; correct the plan"
    );
    // 2^32 + 4 pixels, were they multiplied in 32 bits, would be 4.
    let wide = file(0x0803, &[2, 0x8000_0002, 2], &[0; 8]);
    assert!(matches!(read(&wide, &labels).unwrap_err(), IdxError::Pixels { .. }));
    let empty = (self::images(0, &[]), self::labels(&[]));
    assert_eq!(error_of(&empty.0, &empty.1), "there is no image in the files; a silo needs at least one row");
    assert_eq!(
        error_of(&images, &file(0x0801, &[u32::MAX], &[])),
        "there are 4294967295 labels, a table has at most 536870912 rows; split it over several silos"
    );
}

#[test]
fn a_label_that_is_no_class_is_named() {
    let (images, _) = sound();
    assert_eq!(
        error_of(&images, &labels(&[2, 3])),
        "label 1 is 3, which is no class: the plan's are 0 to 2; correct the plan"
    );
}

#[test]
fn the_section_of_a_plan_has_a_column_for_each_pixel() {
    let section = idx::data_section(784, 10, [-1.0, 1.0]);
    let columns: Vec<&str> = section.features.iter().map(|feature| feature.name()).collect();
    assert_eq!((columns.len(), columns[0], columns[783]), (784, "pixel_0", "pixel_783"));
    assert!(section.features.iter().all(|feature| feature.encoding.number_range() == Some([0.0, 255.0])));
    assert_eq!((section.classes.count(), section.scaled_to), (10, [-1.0, 1.0]));
}

/// Where `FOLKMOOT_DATA` is set, it must name a folder with `fashion-mnist` in it; where it is not, nothing is read.
#[test]
#[expect(clippy::print_stderr, reason = "says that nothing was read")]
fn large_data_fashion_mnist_is_read_whole() {
    let Some(folder) = std::env::var_os("FOLKMOOT_DATA") else {
        eprintln!("FOLKMOOT_DATA is not set: Fashion-MNIST was not read, and this test passes without it");
        return;
    };
    let folder = Path::new(&folder).join("fashion-mnist");
    let open = |name: &str| File::open(folder.join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    for (part, rows) in [("train", 60_000), ("t10k", 10_000)] {
        let images = open(&format!("{part}-images-idx3-ubyte.gz"));
        let labels = open(&format!("{part}-labels-idx1-ubyte.gz"));
        let table = idx::read(images, labels, &idx::data_section(784, 10, [0.0, 1.0])).unwrap();
        assert_eq!((table.rows(), table.columns(), table.clipped_values()), (rows, 784, 0));
        for class in 0..10 {
            let count = table.labels().iter().filter(|label| **label == class).count();
            assert_eq!(count, rows / 10, "{part}, class {class}");
        }
        // The published mean of a pixel is 0.2860 in training.
        let mean =
            table.features().iter().map(|x| f64::from(*x)).sum::<f64>() / table.features().len() as f64;
        assert!((mean - 0.286).abs() < 0.002, "{part}: {mean}");
    }
}
