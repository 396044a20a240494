//! What the silo's operator reads about real files on disk.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use datasets::{Dataset, DatasetError, Survey};
use plan::{Data, Feature};
use rustix::fs::{FileType, Mode};
use tempfile::TempDir;

fn data() -> Data {
    let feature = |column: &str| Feature::range(column, 0.0, 10.0);
    Data {
        label: "class".into(),
        classes: 3.into(),
        scaled_to: [0.0, 1.0],
        features: vec![feature("height"), feature("width")],
        class_weights: None,
    }
}

struct Silo {
    folder: TempDir,
}

impl Silo {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, name: &str) -> Result<Dataset, DatasetError> {
        Dataset::load(&self.path(name), None, &data())
    }
}

fn loaded(content: impl AsRef<[u8]>) -> Dataset {
    Silo::new().with("silo.csv", content).load("silo.csv").unwrap()
}

fn error_of(content: impl AsRef<[u8]>) -> String {
    Silo::new().with("silo.csv", content).load("silo.csv").unwrap_err().to_string()
}

#[test]
fn columns_are_found_by_name_and_others_are_ignored() {
    let silo = loaded("note,width,class,height\nsecret,2,1,5\n\"a, b\",4,0,10\n");
    assert_eq!(silo.features(), [0.5, 0.2, 1.0, 0.4]);
    assert_eq!(silo.row(1).unwrap(), [1.0, 0.4]);
    assert!(silo.row(2).is_none());
    assert!(silo.only(&[1, 2]).is_none(), "none is left out silently");
    assert_eq!(silo.labels(), [1, 0]);
    assert_eq!((silo.rows(), silo.columns(), silo.clipped_values()), (2, 2, 0));
}

#[test]
fn values_outside_the_public_range_are_clipped_and_counted() {
    let silo = loaded("height,width,class\n-1,11,0\n0,10,0\n5,1e300,0\n");
    assert_eq!(silo.features(), [0.0, 1.0, 0.0, 1.0, 0.5, 1.0]);
    assert_eq!(silo.clipped_values(), 3);
}

#[test]
fn byte_order_mark_crlf_quotes_and_blank_lines_change_nothing() {
    let plain = loaded("height,width,class\n1,2,0\n3,4,2\n");
    let other = loaded("\u{feff}\"height\",width,\"class\"\r\n\r\n\"1\", 2 ,0\r\n3.0,0.4e1,\"2\"\r\n\r\n");
    assert_eq!(plain.features(), other.features());
    assert_eq!(plain.labels(), other.labels());
    assert_eq!(plain.version(), other.version());
}

#[test]
fn a_folder_is_read_in_the_order_of_names_each_file_by_its_own_header() {
    let silo = Silo::new()
        .with("b.CSV", "class,width,height\n2,2,1\n")
        .with("a.csv", "height,width,class\n3,4,1\n")
        .with("notes.txt", "not a table");
    let folder = Dataset::load(silo.folder.path(), None, &data()).unwrap();
    assert_eq!(folder.labels(), [1, 2]);
    assert_eq!(folder.features(), [0.3, 0.4, 0.1, 0.2]);
    assert_eq!(folder.version(), loaded("height,width,class\n3,4,1\n1,2,2\n").version());
}

#[test]
fn a_label_is_a_whole_number_in_any_spelling_that_a_feature_may_have() {
    let plain = loaded("height,width,class\n1,2,0\n3,4,1\n5,6,2\n");
    let spelt = loaded("height,width,class\n1,2,-0.0\n3,4,1.0\n5,6,+0.2e1\n");
    assert_eq!(spelt.labels(), [0, 1, 2]);
    assert_eq!(spelt.version(), plain.version());
}

/// The digest of content as it is defined: it is committed to in runs, so it stays what it is.
fn version_of(label: &str, columns: &[&str], rows: &[Option<(u64, &[f64])>]) -> String {
    let mut content = Vec::new();
    for text in ["folkmoot/v1/dataset", label].into_iter().chain(columns.iter().copied()) {
        content.extend((text.len() as u64).to_le_bytes());
        content.extend(text.as_bytes());
    }
    for row in rows {
        content.extend(row.map_or(u64::MAX, |(label, _)| label).to_le_bytes());
        for value in row.map_or(&[][..], |(_, values)| values) {
            content.extend(value.to_le_bytes());
        }
    }
    params::Digest::sha256(&content).to_string()
}

#[test]
fn the_version_is_what_it_was_for_every_way_of_writing_the_same_rows() {
    let expected = version_of(
        "class",
        &["height", "width"],
        &[Some((0, &[1.0, 2.0])), Some((2, &[3.5, -4.0])), Some((1, &[0.0, 1e3]))],
    );
    assert_eq!(expected, "25daf4c6c073830def074fb0b9b3723bd358c4312233a2df35dd10cc04444da0");
    for text in [
        "height,width,class\n1,2,0\n3.5,-4,2\n0,1000,1\n",
        "\u{feff}note,class,width,height\r\n\r\n x ,0,2,1\r\ny,2, -4.0 ,3.5\r\n\r\n\"a, b\",\"1\",1e3,-0.0",
        "height,width,class\r\r\n1,2,0\r\r\n3.5,-4,2\r\r\n0,1e+3,1\r\r\n",
        "height,width,5'11\",class\n1,2,6\",0\n3.5,-4,a \"b\",2\n0,1000,\"say \"\"no\"\"\",1\n",
    ] {
        assert_eq!(loaded(text).version().to_string(), expected, "{text:?}");
    }
}

#[test]
fn a_row_that_does_not_fit_has_its_place_in_the_version_as_it_had() {
    let rows = "1,2,0\n,2,0\n1,x,0\n1,inf,0\n1,2,9\n1,2\n\"1,2,0\n,,\n  \n\x1a\n3,4,1\n";
    let silo = Silo::new().with("silo.csv", format!("height,width,class\n{rows}"));
    let (table, misfits) = Dataset::load_leniently(&silo.path("silo.csv"), None, &data()).unwrap();
    assert_eq!((table.rows(), misfits.rows()), (11, 9));
    let mut expected = vec![None; 11];
    (expected[0], expected[10]) = (Some((0, &[1.0, 2.0][..])), Some((1, &[3.0, 4.0][..])));
    assert_eq!(table.version().to_string(), version_of("class", &["height", "width"], &expected));
}

#[test]
fn the_version_names_numbers_labels_and_order_and_not_their_scaling() {
    let base = loaded("height,width,class\n1,2,0\n3,4,2\n").version();
    for other in [
        "height,width,class\n1,2,1\n3,4,2\n",
        "height,width,class\n1,2.5,0\n3,4,2\n",
        "height,width,class\n3,4,2\n1,2,0\n",
        "height,width,class\n1,2,0\n",
    ] {
        assert_ne!(loaded(other).version(), base, "{other}");
    }
    let clipped = loaded("height,width,class\n11,0,0\n").version();
    assert_ne!(clipped, loaded("height,width,class\n12,0,0\n").version(), "values clipped alike differ");
    assert_eq!(
        loaded("height,width,class\n-0.0,1,0\n").version(),
        loaded("height,width,class\n0,1,0\n").version()
    );

    let silo = Silo::new().with("silo.csv", "height,width,class\n1,2,0\n3,4,2\n");
    let scaled = Data { scaled_to: [-1.0, 1.0], ..data() };
    assert_eq!(Dataset::load(&silo.path("silo.csv"), None, &scaled).unwrap().version(), base);
    let mut renamed = data();
    renamed.features.swap(0, 1);
    assert_ne!(Dataset::load(&silo.path("silo.csv"), None, &renamed).unwrap().version(), base);
}

#[test]
fn debug_shows_the_shape_and_no_value() {
    let silo = loaded("height,width,class\n7,7,2\n");
    assert_eq!(format!("{silo:?}"), "Dataset { rows: 1, columns: 2, .. }");
}

#[test]
fn a_missing_path_is_named() {
    let silo = Silo::new();
    let path = silo.path("absent.csv");
    assert_eq!(
        silo.load("absent.csv").unwrap_err().to_string(),
        format!(
            "{}: cannot be read (No such file or directory (os error 2)); check the path and its permissions",
            path.display()
        )
    );
}

#[test]
fn an_entry_of_a_folder_that_cannot_be_read_as_a_file_is_named() {
    let silo = Silo::new();
    fs::create_dir(silo.path("folder.csv")).unwrap();
    let error = Dataset::load(silo.folder.path(), None, &data()).unwrap_err().to_string();
    let path = silo.path("folder.csv");
    assert!(error.starts_with(&format!("{}: cannot be read (", path.display())), "{error}");
}

#[test]
fn what_is_no_file_is_named_and_not_opened() {
    let silo = Silo::new();
    let pipe = silo.path("pipe.csv");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = UnixListener::bind(silo.path("socket.csv")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", silo.path("zero.csv")).unwrap();
    for (name, kind) in [("pipe.csv", "a named pipe"), ("socket.csv", "a socket"), ("zero.csv", "a device")] {
        let path = silo.path(name);
        let why =
            format!("{}: this is {kind}, and not opened; put a regular file in its place", path.display());
        assert_eq!(silo.load(name).unwrap_err().to_string(), why);
        assert_eq!(datasets::columns(&path).unwrap_err().to_string(), why);
        assert_eq!(Survey::of(&path, None, None).unwrap_err().to_string(), why);
    }
    let silo = silo.with("silo.csv", "height,width,class\n1,2,0\n");
    let (read, misfits) = Dataset::load_leniently(silo.folder.path(), None, &data()).unwrap();
    assert_eq!(read.rows(), 1);
    assert_eq!(misfits.to_string().matches("put a regular file in its place").count(), 3, "{misfits}");
}

#[test]
fn whoever_may_not_see_the_data_hears_of_place_kind_and_remedy_and_not_a_cells_text() {
    let said = |content: &str| {
        let why = Silo::new().with("silo.csv", content).load("silo.csv").unwrap_err();
        assert!(why.to_string().contains("SECRET") || why.to_string().contains("inf"), "{why}");
        why.without_cells()
    };
    assert_eq!(
        said("height,width,class\n1,SECRET,0\n"),
        "silo.csv, line 2, column width: the cell is not a number; every feature must be a number, correct the file"
    );
    assert_eq!(
        said("height,width,class\n1,inf,0\n"),
        "silo.csv, line 2, column width: the number is not finite; every feature must be a finite number, correct the file"
    );
    assert_eq!(
        said("height,width,class\n1,2,SECRET\n"),
        "silo.csv, line 2, column class: the cell is no class; every label must be a whole number from 0 to 2, correct the file"
    );
    assert_eq!(
        said("Height (SECRET),width,class\n1,2,0\n"),
        "silo.csv: the header (line 1, 3 names) has no column height, which the plan asks for; a name there differs in case, spaces \
         or brackets alone: rename it"
    );
    let several = said("height,width,class\nSECRET,inf,0\n1,2,SECRET\n");
    assert!(several.contains("in all 2 rows do not fit") && !several.contains("SECRET"), "{several}");
}

#[test]
fn a_folder_without_tables_is_named() {
    let silo = Silo::new().with("data.parquet", "PAR1");
    assert_eq!(
        Dataset::load(silo.folder.path(), None, &data()).unwrap_err().to_string(),
        format!(
            "{}: the folder holds no file that ends in .csv; put the silo's files there under such names, or register the `kind` that they are",
            silo.folder.path().display()
        )
    );
}

#[test]
fn a_file_without_header_or_rows_is_refused() {
    for empty in ["", "\n\r\n", "\u{feff}"] {
        assert_eq!(
            error_of(empty),
            "silo.csv: the file is empty; its first line must name the columns",
            "{empty:?}"
        );
    }
    assert_eq!(
        error_of("height,width,class\n"),
        "silo.csv: there is a header and no row under it; a silo needs at least one row"
    );
}

#[test]
fn a_missing_or_repeated_column_is_named() {
    assert_eq!(
        error_of("height,class\n1,0\n"),
        "silo.csv: the header (line 1, 2 names) has no column width, which the plan asks for; add or rename it"
    );
    assert_eq!(
        error_of("height,width\n1,0\n"),
        "silo.csv: the header (line 1, 2 names) has no column class, which the plan asks for; add or rename it"
    );
    assert_eq!(
        error_of("height,width,class,height\n1,2,0,1\n"),
        "silo.csv: the header names column height twice; remove or rename one of them"
    );
    assert_eq!(
        error_of(",name\n1,a\n"),
        "silo.csv: the header (line 1, 2 names) has no column class (nor 2 more), which the plan asks for; add or rename it"
    );
}

#[test]
fn a_bad_feature_is_named_by_line_and_column_and_the_rest_of_its_row_is_not_shown() {
    assert_eq!(
        error_of("height,width,class\n1,2,0\n\n73,x1,0\n"),
        "silo.csv, line 4, column width: \"x1\" is not a number; every feature must be a number, correct the file"
    );
    assert_eq!(
        error_of("height,width,class\r\n1,,0\r\n"),
        "silo.csv, line 2, column width: the cell is empty, and the plan has nothing that stands for one; fill it in, take the \
         row out, or ask the plan's author for `missing`"
    );
    for cell in ["inf", "-infinity", "NaN", "1e999"] {
        assert_eq!(
            error_of(format!("height,width,class\n{cell},2,0\n")),
            format!(
                "silo.csv, line 2, column height: {cell:?} is not finite; every feature must be a finite number, \
                 correct the file"
            )
        );
    }
}

#[test]
fn a_label_that_is_no_class_is_named() {
    for cell in ["3", "-1", "1.5", "cat", "", "70000", "NaN", "inf", "0x1", "2.0000001"] {
        assert_eq!(
            error_of(format!("height,width,class\n1,2,{cell}\n")),
            format!(
                "silo.csv, line 2, column class: {cell:?} is no class; every label must be a whole number from 0 \
                 to 2, correct the file"
            )
        );
    }
}

#[test]
fn a_ragged_row_is_named() {
    let error = |cells| {
        format!("silo.csv, line 3: the record has {cells} cells, and there are 3 columns; correct the record")
    };
    assert_eq!(error_of("height,width,class\n1,2,0\n1,2\n"), error(2));
    assert_eq!(error_of("height,width,class\n1,2,0\n1,2,0,\n"), error(4));
}

#[test]
fn an_open_quote_is_named() {
    assert_eq!(
        error_of("height,width,class,note\n1,2,0,\"a note\n3,4,0,another\n"),
        "silo.csv, line 2: a quoted cell does not end before a separator or the end of the line; close its quote, or register \
         `line_breaks = true` where cells hold line breaks"
    );
}

#[test]
fn a_line_that_is_not_utf8_is_named() {
    assert_eq!(
        error_of(b"height,width,class,note\n1,2,0,caf\xe9\n"),
        "silo.csv, line 2: the record is not UTF-8; save the file as UTF-8, or register the `encoding` that it has"
    );
}

#[test]
fn a_line_without_end_is_refused_before_it_is_read_whole() {
    let mut content = b"height,width,class\n".to_vec();
    content.resize(content.len() + (4 << 20) + 1, b'1');
    assert_eq!(
        error_of(content),
        "silo.csv, line 2: the record is longer than 4194304 bytes; end each record with a line break"
    );
}

#[test]
fn the_file_of_a_folder_that_is_wrong_is_the_one_named() {
    let silo = Silo::new()
        .with("silo-1.csv", "height,width,class\n1,2,0\n")
        .with("silo-2.csv", "height,width,class\n1,2,0\n1,x1,0\n");
    assert_eq!(
        Dataset::load(silo.folder.path(), None, &data()).unwrap_err().to_string(),
        "silo-2.csv, line 3, column width: \"x1\" is not a number; every feature must be a number, correct the file"
    );
}
