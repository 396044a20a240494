//! Folders of images. `data/make.py` has made the JPEGs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use png::{BitDepth, ColorType};
use proptest::prelude::*;
use readers::{FileFault, ImageFault, RecordFault, Records};
use registration::{Colour, Dialect, FileKind, ImageForm};

/// The pixels of a record and its label, or what is wrong with it.
type Row = Result<(Vec<u8>, String), RecordFault>;

fn dialect(width: u16, height: u16, colour: Colour) -> Dialect {
    let image = Some(ImageForm { width, height, colour });
    Dialect { kind: FileKind::Images, image, ..Dialect::default() }
}

fn read(folder: &Path, dialect: &Dialect) -> Result<Vec<Row>, FileFault> {
    let mut records: Records<File> = Records::open(folder, dialect)?;
    assert_eq!(records.names().last().map(String::as_str), Some("label"));
    assert_eq!(records.names()[0], "pixel_0");
    let mut rows = Vec::new();
    while let Some(record) = records.next_record()? {
        rows.push(record.cells.map(|cells| {
            let all: Vec<_> = (0..cells.len()).map(|index| cells.get(index).unwrap()).collect();
            let (label, pixels) = all.split_last().unwrap();
            (pixels.iter().map(|pixel| pixel.parse().unwrap()).collect(), label.to_string())
        }));
    }
    Ok(rows)
}

/// What becomes of a single file.
fn read_one(name: &str, bytes: &[u8], dialect: &Dialect) -> Row {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::write(folder.path().join("cat").join(name), bytes).unwrap();
    let mut rows = read(folder.path(), dialect).unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn fault_of(name: &str, bytes: &[u8], dialect: &Dialect) -> ImageFault {
    match read_one(name, bytes, dialect) {
        Err(RecordFault::Image { file, fault }) => {
            assert_eq!(file, format!("cat/{name}"));
            fault
        }
        other => panic!("{other:?}"),
    }
}

/// A PNG of 2 by 2.
fn png(color: ColorType, depth: BitDepth, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 0, 0, 10, 20, 30]);
    }
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    bytes
}

fn grey() -> Vec<u8> {
    png(ColorType::Grayscale, BitDepth::Eight, &[0, 7, 100, 255])
}

fn jpeg(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

#[test]
fn a_png_of_every_kind_becomes_grey_or_three_planes() {
    let (one, three) = (dialect(2, 2, Colour::Grey), dialect(2, 2, Colour::Rgb));
    let coloured = [255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30];
    let with_alpha = [255, 0, 0, 0, 0, 255, 0, 9, 0, 0, 255, 255, 10, 20, 30, 128];
    let planes = [255, 0, 0, 10, 0, 255, 0, 20, 0, 0, 255, 30];
    for (kind, bytes, greys, colours) in [
        ("grey", grey(), [0, 7, 100, 255], [0, 7, 100, 255].repeat(3)),
        (
            "16 bits",
            png(ColorType::Grayscale, BitDepth::Sixteen, &[0, 9, 7, 9, 100, 9, 255, 9]),
            [0, 7, 100, 255],
            [0, 7, 100, 255].repeat(3),
        ),
        (
            "2 bits",
            png(ColorType::Grayscale, BitDepth::Two, &[0b0001_0000, 0b1011_0000]),
            [0, 85, 170, 255],
            [0, 85, 170, 255].repeat(3),
        ),
        (
            "opaque grey",
            png(ColorType::GrayscaleAlpha, BitDepth::Eight, &[0, 1, 7, 2, 100, 0, 255, 9]),
            [0, 7, 100, 255],
            [0, 7, 100, 255].repeat(3),
        ),
        ("colours", png(ColorType::Rgb, BitDepth::Eight, &coloured), [76, 150, 29, 18], planes.to_vec()),
        (
            "opaque colours",
            png(ColorType::Rgba, BitDepth::Eight, &with_alpha),
            [76, 150, 29, 18],
            planes.to_vec(),
        ),
        (
            "palette",
            png(ColorType::Indexed, BitDepth::Eight, &[1, 0, 1, 2]),
            [76, 0, 76, 18],
            vec![255, 0, 255, 10, 0, 0, 0, 20, 0, 0, 0, 30],
        ),
    ] {
        assert_eq!(read_one("a.png", &bytes, &one), Ok((greys.to_vec(), "cat".into())), "{kind}");
        assert_eq!(read_one("a.PNG", &bytes, &three), Ok((colours, "cat".into())), "{kind}");
    }
}

#[test]
fn a_jpeg_of_every_kind_becomes_grey_or_three_planes() {
    let near = |found: u8, expected: u8| found.abs_diff(expected) <= 3;
    for name in ["plain.jpg", "passes.jpg", "grey.jpg", "print.jpg"] {
        let (greys, label) = read_one("a.jpeg", &jpeg(name), &dialect(16, 8, Colour::Grey)).unwrap();
        assert_eq!((greys.len(), label.as_str()), (128, "cat"), "{name}");
        assert!(near(greys[3 * 16 + 2], 76) && near(greys[3 * 16 + 13], 29), "{name}: {greys:?}");
    }
    let (planes, _) = read_one("a.jpg", &jpeg("plain.jpg"), &dialect(16, 8, Colour::Rgb)).unwrap();
    let at = |plane: usize, x: usize| planes[plane * 128 + 3 * 16 + x];
    let left = [at(0, 2), at(1, 2), at(2, 2)];
    let right = [at(0, 13), at(1, 13), at(2, 13)];
    let is_near = |found: [u8; 3], expected: [u8; 3]| (0..3).all(|plane| near(found[plane], expected[plane]));
    assert!(is_near(left, [255, 0, 0]) && is_near(right, [0, 0, 255]), "{left:?} {right:?}");
}

#[test]
fn classes_and_files_are_read_in_the_order_of_their_names_and_a_bad_file_costs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for class in ["b", "a", ".hidden"] {
        fs::create_dir(root.join(class)).unwrap();
    }
    let image = |first: u8| png(ColorType::Grayscale, BitDepth::Eight, &[first, 0, 0, 0]);
    for (path, first) in
        [("b/10.png", 1), ("b/9.png", 2), ("a/z.png", 3), ("a/Ä.png", 4), (".hidden/x.png", 5)]
    {
        fs::write(root.join(path), image(first)).unwrap();
    }
    for (path, bytes) in [("a/.DS_Store", "x"), ("a/Thumbs.db", "x"), ("README.txt", "of 2026")] {
        fs::write(root.join(path), bytes).unwrap();
    }
    let dialect = dialect(2, 2, Colour::Grey);
    let row = |first: u8, class: &str| Ok((vec![first, 0, 0, 0], class.to_owned()));
    let sound = [row(3, "a"), row(4, "a"), row(1, "b"), row(2, "b")];
    assert_eq!(read(root, &dialect).unwrap(), sound);

    fs::write(root.join("a/zz.txt"), "no image").unwrap();
    fs::create_dir(root.join("b/more")).unwrap();
    fs::write(root.join("loose.png"), image(9)).unwrap();
    fs::write(root.join("b/5.jpg"), "no image").unwrap();
    let wide = png(ColorType::Grayscale, BitDepth::Eight, &[0; 4]);
    fs::write(root.join("b/7.png"), &wide[..wide.len() - 1]).unwrap();
    let fault = |file: &str, fault| Err(RecordFault::Image { file: file.to_owned(), fault });
    let rows = read(root, &dialect).unwrap();
    assert!(
        matches!(&rows[6], Err(RecordFault::Image { file, fault: ImageFault::Damaged(_) }) if file == "b/7.png")
    );
    let [first, second, third, fourth] = sound;
    let expected = [
        fault("loose.png", ImageFault::NoClass),
        first,
        fault("a/zz.txt", ImageFault::Ending),
        second,
        third,
        fault("b/5.jpg", ImageFault::Format),
        rows[6].clone(),
        fourth,
        fault("b/more", ImageFault::Folder),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn an_image_of_another_size_is_named_before_it_is_decoded() {
    let other = ImageFault::Size { width: 2, height: 2 };
    for (width, height) in [(2, 3), (1, 2), (4, 1)] {
        assert_eq!(fault_of("a.png", &grey(), &dialect(width, height, Colour::Grey)), other);
    }
    let fault = fault_of("a.jpg", &jpeg("plain.jpg"), &dialect(2, 2, Colour::Grey));
    assert_eq!(fault, ImageFault::Size { width: 16, height: 8 });
    assert_eq!(
        fault.to_string(),
        "the image has 8 rows of 16 pixels, and another size is registered; scale it"
    );
    // Of 2^62 pixels, if its header is believed: a header's checksum is right, and 40 bytes follow.
    let mut bomb = grey();
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let checksum = crc32fast::hash(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&checksum);
    let size = ImageFault::Size { width: 0x7fff_ffff, height: 0x7fff_ffff };
    assert_eq!(fault_of("a.png", &bomb, &dialect(2, 2, Colour::Grey)), size);
    let long = [grey(), vec![0; 16 << 20]].concat();
    assert_eq!(fault_of("a.png", &long, &dialect(2, 2, Colour::Grey)), ImageFault::TooLong);
}

#[test]
fn every_cut_of_an_image_is_damaged() {
    let small = dialect(2, 2, Colour::Grey);
    let whole = grey();
    for end in 0..whole.len() {
        let fault = fault_of("a.png", &whole[..end], &small);
        assert!(matches!(fault, ImageFault::Format | ImageFault::Damaged(_)), "{end}: {fault:?}");
    }
    for name in ["plain.jpg", "passes.jpg", "grey.jpg"] {
        let whole = jpeg(name);
        for end in 0..whole.len() {
            let fault = fault_of("a.jpg", &whole[..end], &dialect(16, 8, Colour::Grey));
            assert!(matches!(fault, ImageFault::Format | ImageFault::Damaged(_)), "{name}, {end}: {fault:?}");
        }
    }
}

#[test]
fn a_class_whose_name_is_no_text_costs_its_own_images() {
    let folder = tempfile::tempdir().unwrap();
    for class in [&b"a"[..], b"b\xff", b"c"] {
        let class = folder.path().join(OsStr::from_bytes(class));
        fs::create_dir(&class).unwrap();
        fs::write(class.join("1.png"), grey()).unwrap();
    }
    let rows = read(folder.path(), &dialect(2, 2, Colour::Grey)).unwrap();
    let [a, b, c] = &rows[..] else { panic!("{rows:?}") };
    let label = |row: &Row| row.clone().map(|(_, label)| label);
    assert_eq!([label(a), label(c)], [Ok("a".to_owned()), Ok("c".to_owned())]);
    let file = "b\u{fffd}/1.png".to_owned();
    assert_eq!(b, &Err(RecordFault::Image { file, fault: ImageFault::ClassName }));
}

#[test]
fn a_folder_without_images_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dialect = dialect(2, 2, Colour::Grey);
    let refused = || read(folder.path(), &dialect).unwrap_err();
    assert!(matches!(refused(), FileFault::NoImages));
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::write(folder.path().join("cat/notes.txt"), "none").unwrap();
    fs::write(folder.path().join("loose.png"), grey()).unwrap();
    assert_eq!(
        refused().to_string(),
        "no folder in it holds a PNG or JPEG image; make a folder for each class, and put its images there"
    );
    assert!(matches!(read(&folder.path().join("none"), &dialect), Err(FileFault::Unreadable(_))));
}

proptest! {
    #[test]
    fn an_image_in_which_bytes_are_changed_is_read_or_damaged(
        name in prop::sample::select(vec!["plain.jpg", "passes.jpg", "grey.jpg", "print.jpg", "a.png"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let is_png = name == "a.png";
        let mut bytes = if is_png { grey() } else { jpeg(name) };
        for (place, byte) in changes {
            let length = bytes.len();
            bytes[place.index(length)] = byte;
        }
        let (width, height) = if is_png { (2, 2) } else { (16, 8) };
        match read_one(name, &bytes, &dialect(width, height, Colour::Rgb)) {
            Ok((pixels, _)) => prop_assert_eq!(pixels.len(), usize::from(width) * usize::from(height) * 3),
            Err(RecordFault::Image { fault, .. }) => prop_assert!(fault.to_string().len() < 1 << 10),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
