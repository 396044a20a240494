//! A table in which nothing is refused: what does not fit contributes nothing, and the operator hears of it.

use std::fs;

use datasets::{Dataset, Misfits};
use plan::{Data, Feature};

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

fn load(content: impl AsRef<[u8]>) -> (Dataset, Misfits) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("silo.csv"), content).unwrap();
    Dataset::load_leniently(&folder.path().join("silo.csv"), None, &data()).unwrap()
}

/// A table whose middle row is this.
fn around(row: &[u8]) -> Vec<u8> {
    [b"class,height,width\n0,1,2\n", row, b"\n2,3,4\n"].concat()
}

#[test]
fn a_row_that_does_not_fit_contributes_nothing_and_leaves_every_other_in_its_place() {
    let long = vec![b'1'; (4 << 20) + 1];
    let (fitting, none) = load(around(b"1,5,6"));
    assert!(none.is_empty() && (0..3).all(|row| fitting.fits(row)) && !fitting.fits(3));
    let rows: [(&[u8], &str); 15] = [
        (b"3,5,6", "no class of the plan in column class"),
        (b"-1,5,6", "no class of the plan in column class"),
        (b"ill,5,6", "no class of the plan in column class"),
        (b"65535,5,6", "no class of the plan in column class"),
        (b",5,6", "no label in column class"),
        (b"1,,6", "no value in column height"),
        (b"1,5,tall", "not a number in column width"),
        (b"1,inf,6", "not finite in column height"),
        (b"1,5,1e999", "not finite in column width"),
        (b"1,5", "more or fewer cells than columns"),
        (b"1,\"5,6", "a quote that does not end"),
        (b"1,\xff,6", "not text in the file's encoding"),
        (b",,", "nothing in the record"),
        (b" \t", "nothing in the record"),
        (&long, "a record that is too long"),
    ];
    for (row, kind) in rows {
        let case = String::from_utf8_lossy(&row[..row.len().min(20)]).into_owned();
        let (table, misfits) = load(around(row));
        assert_eq!((table.rows(), misfits.rows(), misfits.any_file()), (3, 1, false), "{case}");
        assert_eq!((table.fits(0), table.fits(1), table.fits(2)), (true, false, true), "{case}");
        assert_eq!((table.row(0), table.row(2)), (fitting.row(0), fitting.row(2)), "{case}");
        assert_eq!(
            (table.labels()[0], table.labels()[2], table.row(1)),
            (0, 2, Some(&[0.0, 0.0][..])),
            "{case}"
        );
        assert_eq!(misfits.to_string(), format!("1 rows: {kind}, the first in silo.csv, line 3"), "{case}");
        let (again, _) = load(around(row));
        assert_eq!(again.version(), table.version(), "{case}");
        assert_ne!(table.version(), fitting.version(), "{case}");
    }
}

#[test]
fn without_misfits_a_lenient_reading_is_the_strict_one() {
    let text = "width,note,class,height\n2,x,1,5\n\n4,y,0,10\r\n11,z,2,0\n";
    let (lenient, misfits) = load(text);
    let strict = Dataset::from_csv("silo.csv", text.as_bytes(), &data()).unwrap();
    assert!(misfits.is_empty());
    assert_eq!((lenient.features(), lenient.labels()), (strict.features(), strict.labels()));
    assert_eq!((lenient.version(), lenient.clipped_values()), (strict.version(), strict.clipped_values()));
}

#[test]
fn what_is_wrong_with_a_table_as_a_whole_makes_it_empty_and_is_reported() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "silo.csv: the file is empty; its first line must name the columns"),
        (
            b"class,height,width\n",
            "silo.csv: there is a header and no row under it; a silo needs at least one row",
        ),
        (
            b"class,height\n1,2\n",
            "silo.csv: the header (line 1, 2 names) has no column width, which the plan asks for; add or rename it",
        ),
        (
            b"class,height,width,class\n1,2,3,1\n",
            "silo.csv: the header names column class twice; remove or rename one of them",
        ),
        (
            b"cl\xffss,height,width\n1,2,3\n",
            "silo.csv: line 1, taken for the header: the record is not UTF-8; save the file as UTF-8, or register the `encoding` that it has \
             (the file looks like text in an encoding of one byte for each character: save it as UTF-8, or register the `encoding` that \
             it has, such as \"windows-1252\")",
        ),
        (
            b"class,\"height,width\n1,2,3\n",
            "silo.csv: line 1, taken for the header: a quoted cell does not end before a separator or the end of the line; close its quote, \
             or register `line_breaks = true` where cells hold line breaks",
        ),
    ];
    for (content, reported) in cases {
        let (table, misfits) = load(content);
        assert_eq!((table.rows(), table.columns(), misfits.rows()), (0, 2, 0), "{reported}");
        assert!(misfits.any_file() && !misfits.is_empty());
        assert_eq!(misfits.to_string(), reported);
        assert_eq!(table.version(), Dataset::empty(&data()).version(), "{reported}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (path, reported) in
        [(folder.path().join("none.csv"), "cannot be read"), (folder.path().into(), "holds no file")]
    {
        let (table, misfits) = Dataset::load_leniently(&path, None, &data()).unwrap();
        assert!(table.rows() == 0 && misfits.to_string().contains(reported), "{misfits}");
    }
}

#[test]
fn a_file_of_a_folder_that_cannot_be_used_takes_no_row_of_the_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("a.csv", "class,height,width\n1,2,3\n"),
        ("b.csv", "class,height\n1,2\n"),
        ("c.csv", "class,height,width\nx,2,3\n2,2,3\n"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    fs::create_dir(folder.path().join("d.csv")).unwrap();
    let (table, misfits) = Dataset::load_leniently(folder.path(), None, &data()).unwrap();
    assert_eq!((table.rows(), misfits.rows()), (3, 1));
    assert_eq!((table.fits(0), table.fits(1), table.fits(2)), (true, false, true));
    let reported = misfits.to_string();
    assert!(
        reported.contains("c.csv, line 2")
            && reported.contains("b.csv: the header (line 1, 2 names) has no column width"),
        "{reported}"
    );
    assert!(reported.contains("d.csv: cannot be read"), "{reported}");
}

#[test]
fn the_count_of_misfits_quotes_no_cell() {
    let (_, misfits) = load("class,height,width\nsecret,1,1\n1,secret,1\n1,1,secret\n1,1,\"secret\n");
    assert_eq!(misfits.rows(), 4);
    assert!(!misfits.to_string().contains("secret"), "{misfits}");
    let (_, headless) = load("secret,secret,3\n1,2,3\n");
    assert!(headless.any_file() && !headless.to_string().contains("secret"), "{headless}");
}
