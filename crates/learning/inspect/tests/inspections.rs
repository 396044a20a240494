//! What is found in silos' files: by its code, in words, and on a page.

use std::fs;
use std::path::PathBuf;

use inspect::{DataFinding, Inspection, Known};
use plan::Data;
use registration::Registration;
use tempfile::TempDir;

/// A folder with these tables.
struct Silo(TempDir);

impl Silo {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self(folder)
    }

    fn of(content: &str) -> Self {
        Self::new(&[("silo.csv", content)])
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn inspected(&self, known: &Known<'_>) -> Inspection {
        Inspection::of(&self.path(), known).unwrap()
    }

    /// The findings' codes, columns and counts.
    fn found(&self, known: &Known<'_>) -> Vec<(&'static str, String, u64)> {
        let of = |finding: &DataFinding| {
            (finding.code, finding.column.clone().unwrap_or("-".into()), finding.count)
        };
        self.inspected(known).findings().iter().map(of).collect()
    }
}

fn codes<'f>(found: &'f [(&'static str, String, u64)]) -> Vec<(&'f str, &'f str, u64)> {
    found.iter().map(|(code, column, count)| (*code, column.as_str(), *count)).collect()
}

/// A column of these cells beside one that varies.
fn column(cells: &[&str]) -> Silo {
    let rows = cells.iter().enumerate().map(|(row, cell)| format!("{},{cell}\n", (row * 7 + 3) % 11));
    Silo::of(&format!("other,x\n{}", rows.collect::<String>()))
}

fn plan() -> Data {
    toml::from_str(
        "label = \"ill\"\nclasses = [\"no\", \"yes\", \"unclear\"]\nscaled_to = [0.0, 1.0]\nfeatures = [\n\
         { column = \"age\", minimum = 0, maximum = 110 },\n{ column = \"bp\", minimum = 60, maximum = 240 },\n\
         { column = \"sex\", one_hot = [\"m\", \"f\"] },\n{ column = \"admitted\", first_day = \"2020-01-01\", last_day = \"2025-12-31\" },\n\
         { column = \"chol\", minimum = 50, maximum = 600, missing = \"flag\" },\n]\n",
    )
    .unwrap()
}

#[test]
fn what_a_plan_makes_of_the_cells_is_counted_by_column() {
    let silo = Silo::of(
        "Age (years),bp,sex,admitted,ill\n45,170,m,2021-05-01,no\n61,300,f,2019-01-01,yes\n70,,d,2022-01-01,yes\n50,20,m,2023-01-01,maybe\n",
    );
    let plan = plan();
    let known = Known { plan: Some(&plan), ..Known::default() };
    assert_eq!(
        codes(&silo.found(&known)),
        [
            ("rows_with_missing", "-", 1),
            ("rows_that_do_not_fit", "-", 2),
            ("no_column", "chol", 0),
            ("near_name", "Age (years)", 1),
            ("missing", "bp", 1),
            ("outside_range", "bp", 2),
            ("no_value", "bp", 1),
            ("no_category", "sex", 1),
            ("outside_range", "admitted", 1),
            ("no_class", "ill", 1),
            ("no_row_of_class", "ill", 0),
        ]
    );
    let text = silo.inspected(&known).to_text();
    for said in [
        "bp: 2 cells are outside the plan's range 60 to 240, and read as its ends; the farthest is 300. Is it another unit?",
        "sex: 1 row is left out under the plan: \"d\" is none of its categories",
        "rows of each class of ill",
        "admitted           date             0 2019-01-01",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
}

#[test]
fn by_a_registration_cells_are_what_it_says_and_others_are_counted() {
    let silo = Silo::of("Age;Chol;Sex;note\n45;4,8;M;a\n70;5,2;F;b\n61;0;X;c\n52;6,1;M;d\n");
    let registration = Registration::from_toml(
        "format = 1\n[dialect]\nseparator = \";\"\ndecimal = \",\"\n[columns]\nage = { from = \"Age\", type = \"number\" }\n\
         chol = { from = \"Chol\", type = \"number\", times = 38.67, missing = [\"0\"] }\n\
         sex = { from = \"Sex\", type = \"category\", values = { M = \"male\", F = \"female\" } }\n",
    )
    .unwrap();
    let inspected = silo.inspected(&Known { registration: Some(&registration), ..Known::default() });
    let found: serde_json::Value = serde_json::from_str(&inspected.to_json().unwrap()).unwrap();
    let columns = found["columns"].as_array().unwrap();
    assert_eq!(columns[1]["word"], "chol");
    assert_eq!(
        (columns[1]["missing"].as_u64(), columns[1]["minimum"].as_f64()),
        (Some(1), Some(4.8 * 38.67))
    );
    assert_eq!(columns[3]["type"], "ignored");
    let strange = &found["findings"][2];
    assert_eq!(
        (strange["code"].as_str(), strange["column"].as_str()),
        (Some("not_as_registered"), Some("Sex"))
    );
    assert!(
        strange["text"].as_str().unwrap().contains("\"X\", is none of the registered values"),
        "{strange}"
    );
    assert!(
        inspected.to_text().contains("category         0 male 66.7 %, female 33.3 %"),
        "{}",
        inspected.to_text()
    );
}

#[test]
fn numbers_that_stand_for_missing_are_told_from_codes_and_measurements() {
    let far: Vec<String> = (0..40).map(|row| (100 + row * 3).to_string()).collect();
    let with = |stand_in: &str| -> Vec<String> {
        far.iter().cloned().chain([stand_in.to_owned(), stand_in.to_owned()]).collect()
    };
    for stand_in in ["0", "-9", "999", "9999"] {
        let cells = with(stand_in);
        let found = column(&cells.iter().map(String::as_str).collect::<Vec<_>>()).found(&Known::default());
        assert_eq!(codes(&found), [("stands_for_missing", "x", 2)], "{stand_in}");
    }
    assert_eq!(codes(&column(&["0"; 9]).found(&Known::default())), [("stands_for_missing", "x", 9)]);
    assert_eq!(codes(&column(&["5"; 9]).found(&Known::default())), [("constant", "x", 9)]);
    assert_eq!(
        codes(&column(&["1", "2", "9", "1", "2", "9", "3"]).found(&Known::default())),
        [("stands_for_missing", "x", 2)]
    );
    let fine: [&[&str]; 4] = [
        &["0", "1", "0", "1", "1"],
        &["0", "1", "2", "3", "4", "0", "2", "4"],
        &["0", "0", "0.1", "0.4", "1.2", "2.5", "3", "0.9", "1.7"],
        &["-1", "-0.5", "0", "0.5", "1", "1.5"],
    ];
    for cells in fine {
        let found = column(cells).found(&Known::default());
        assert!(!found.iter().any(|(code, ..)| *code == "stands_for_missing"), "{cells:?}: {found:?}");
    }
}

#[test]
fn equal_rows_are_counted_within_and_between_files_in_any_order_of_columns() {
    let silo = Silo::new(&[
        ("a.csv", "x,y\n1,a\n2,b\n1,a\n3,c\n"),
        ("b.csv", "y,x\na,1\nd,4\n"),
        ("c.csv", "y,x\nd,4\ne,5\n"),
    ]);
    let found = silo.found(&Known::default());
    assert_eq!(codes(&found), [("duplicate_rows", "-", 1), ("duplicate_rows_between_files", "-", 2)]);
    let silo = Silo::new(&[("a.csv", "x\n1\n2\n"), ("b.csv", "x\n1\n2\n")]);
    assert!(silo.found(&Known::default()).contains(&("files", "-".into(), 1)), "one is the other's copy");
}

#[test]
fn persons_with_several_rows_identifiers_and_an_index_are_named() {
    let rows: String = (0..30).map(|row| format!("{row},p{},k{row},{}\n", row / 3, (row * 7) % 13)).collect();
    let silo = Silo::of(&format!("row,patient_id,sampleID,x\n{rows}"));
    let found = silo.found(&Known::default());
    assert_eq!(
        codes(&found),
        [("index", "row", 30), ("rows_per_person", "patient_id", 3), ("identifier", "sampleID", 30)]
    );
    let text = silo.inspected(&Known::default()).to_text();
    assert!(
        text.contains("10 of them; one has 3 rows, and 100 % of the rows are of persons with several"),
        "{text}"
    );
}

#[test]
fn names_spellings_mixed_cells_and_broken_records_are_named() {
    let silo = Silo::of(
        "a,a,,s,m\n1,2,3,Male,1.5\n2,3,4,male,2.5\n1\n3,4,5,Male,<5\n4,4,5,Female,3.5\n5,4,5,female,4\n",
    );
    let found = silo.found(&Known::default());
    assert_eq!(
        codes(&found),
        [
            ("broken_record", "-", 1),
            ("no_name", "", 1),
            ("name_twice", "a", 2),
            ("spellings", "s", 1),
            ("spellings", "s", 1),
            ("mixed", "m", 1),
        ]
    );
}

#[test]
fn classes_that_are_rare_or_alone_are_named() {
    let rows: String =
        (0..60).map(|row| format!("{row}.5,{}\n", if row == 7 { "yes" } else { "no" })).collect();
    let silo = Silo::of(&format!("x,ill\n{rows}"));
    let known = Known { label: Some("ill"), ..Known::default() };
    assert_eq!(codes(&silo.found(&known)), [("rare_class", "ill", 1)]);
}

/// Cells and names that would take over a terminal, a page or a program's reading.
const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[31m\u{202e}\0'\"&";

#[test]
fn hostile_names_and_cells_do_nothing_on_a_terminal_in_json_or_on_a_page() {
    let quoted = format!("\"{}\"", HOSTILE.replace('"', "\"\""));
    let rows: String = (0..30).map(|row| format!("{row}.5,{quoted},{quoted}\n")).collect();
    let silo = Silo::of(&format!("x,{quoted},patient\n{rows}1,<5,{}\n", "y".repeat(5_000)));
    let plan: Data = toml::from_str(&format!(
        "label = \"x\"\nclasses = [\"1\", \"2\"]\nscaled_to = [0.0, 1.0]\nfeatures = [{{ column = {}, one_hot = [\"a\", \"b\"] }}]\n",
        toml::Value::from(HOSTILE)
    ))
    .unwrap();
    for known in [Known::default(), Known { plan: Some(&plan), ..Known::default() }] {
        let inspected = silo.inspected(&known);
        let (text, json, page) = (inspected.to_text(), inspected.to_json().unwrap(), inspected.to_page());
        for shown in [&text, &json, &page] {
            let obeyed: Vec<char> =
                shown.chars().filter(|letter| !identity::is_printable(*letter) && *letter != '\n').collect();
            assert!(obeyed.is_empty(), "{obeyed:?}");
            assert!(!shown.contains(&"y".repeat(40)), "a cell is cut");
        }
        assert!(!page.contains("<script") && !page.contains("alert(1)</") && page.contains("&lt;script&gt;"));
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["columns"][1]["name"], HOSTILE, "a program reads the name as it is");
    }
}

#[test]
fn a_page_is_one_file_without_programs_and_draws_each_column() {
    let rows: String = (0..200)
        .map(|row| format!("{},{},2020-01-{:02}\n", row * 5 % 97, ["m", "f"][row % 2], row % 28 + 1))
        .collect();
    let silo = Silo::of(&format!("age,sex,admitted\n{rows}"));
    let page = silo.inspected(&Known { label: Some("sex"), ..Known::default() }).to_page();
    assert!(page.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"));
    for outside in ["http://", "https://", "src=", "url(", "@import", "<script", "onload", "javascript:"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("This page stays in the silo") && page.contains("prefers-color-scheme:dark"));
    assert_eq!(page.matches("<article class=\"card\"").count(), 3);
    assert_eq!(page.matches("role=\"img\" aria-label=\"histogram of").count(), 2, "an age and a day");
    // Every bar says what it is about; the bars of a histogram hold all cells.
    let bars = page.split("histogram of age").nth(1).unwrap().split("</svg>").next().unwrap();
    let counts = bars.split("<title>").skip(1).map(|bar| {
        bar.split("</title>").next().unwrap().rsplit(": ").next().unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(counts.sum::<u64>(), 200);
    assert!(page.contains("<th scope=\"row\">f</th>") && page.contains(">100</td>"));
}

#[test]
fn of_many_rows_what_is_said_is_near_and_called_an_estimate() {
    let rows: String = (0..40_000u64).map(|row| format!("{}\n", row * 7_919 % 40_009)).collect();
    let silo = Silo::of(&format!("x\n{rows}"));
    let inspected = silo.inspected(&Known::default());
    let found: serde_json::Value = serde_json::from_str(&inspected.to_json().unwrap()).unwrap();
    assert_eq!((found["rows"].as_u64(), found["estimated"].as_bool()), (Some(40_000), Some(true)));
    for (place, share) in [0.25, 0.5, 0.75].into_iter().enumerate() {
        let quartile = found["columns"][0]["quartiles"][place].as_f64().unwrap() / 40_009.0;
        assert!((quartile - share).abs() < 0.01, "{quartile}");
    }
}

#[test]
fn of_a_wide_table_a_kind_of_finding_is_listed_a_few_times_and_counted() {
    let names: Vec<String> = (0..900).map(|place| format!("pixel_{place}")).collect();
    let row = vec!["0"; names.len()].join(",");
    let silo = Silo::of(&format!("{}\n{row}\n{row}\n", names.join(",")));
    let inspected = silo.inspected(&Known::default());
    assert_eq!(inspected.findings().len(), 901);
    let (text, page) = (inspected.to_text(), inspected.to_page());
    assert!(
        text.lines().count() < 90 && text.contains("  and 892 more of the kind stands_for_missing"),
        "{text}"
    );
    assert!(
        page.contains("and 860 more of the kind stands_for_missing")
            && page.matches("<article").count() == 300
    );
    assert!(page.contains("600 more columns are not drawn"));
}

#[test]
fn parquet_is_looked_at_and_registered_as_it_is_without_the_columns_that_cannot_be_read() {
    let file =
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../readers/tests/data/plain.parquet"));
    let inspected = Inspection::of(file, &Known::default()).unwrap();
    let found: serde_json::Value = serde_json::from_str(&inspected.to_json().unwrap()).unwrap();
    let columns = found["columns"].as_array().unwrap();
    let column = |name: &str| columns.iter().find(|column| column["name"] == name).unwrap();
    assert_eq!((found["rows"].as_u64(), column("age")["missing"].as_u64()), (Some(4), Some(1)));
    assert_eq!(
        (column("age")["minimum"].as_f64(), column("age")["maximum"].as_f64()),
        (Some(33.0), Some(71.0))
    );
    assert_eq!((&column("born")["type"], &column("born")["maximum"]), (&"date".into(), &"2024-02-29".into()));
    assert_eq!((&column("time")["type"], &column("nothing")["type"]), (&"ignored".into(), &"empty".into()));
    let unreadable = inspected.findings().iter().filter(|finding| finding.code == "unreadable_column");
    assert!(unreadable.filter_map(|finding| finding.column.as_deref()).any(|name| name.starts_with("tags")));
    let proposal = inspect::Proposal::of(file, None, None).unwrap();
    let registration = Registration::from_toml(&proposal.to_toml()).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(registration.dialect().kind, registration::FileKind::Parquet);
    let again =
        Inspection::of(file, &Known { registration: Some(&registration), ..Known::default() }).unwrap();
    assert_eq!(again.rows(), 4);
    assert!(again.to_text().contains("born               date             1"), "{}", again.to_text());
}

#[test]
fn a_pair_of_idx_files_is_looked_at_and_registered_as_its_pixels_and_its_label() {
    let images =
        [&[0, 0, 8, 3][..], &[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2], &[0, 9, 1, 8, 2, 7, 3, 200]].concat();
    let labels = [&[0, 0, 8, 1][..], &[0, 0, 0, 4], &[0, 1, 1, 2]].concat();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    let known = Known { label: Some("label"), ..Known::default() };
    let inspected = Inspection::of(folder.path(), &known).unwrap();
    let found: serde_json::Value = serde_json::from_str(&inspected.to_json().unwrap()).unwrap();
    assert_eq!((found["rows"].as_u64(), found["label"].as_str()), (Some(4), Some("label")));
    let pixel =
        found["columns"].as_array().unwrap().iter().find(|column| column["name"] == "pixel_1").unwrap();
    assert_eq!((pixel["minimum"].as_f64(), pixel["maximum"].as_f64()), (Some(7.0), Some(200.0)));
    let proposal = inspect::Proposal::of(folder.path(), Some("label"), None).unwrap();
    let registration = Registration::from_toml(&proposal.to_toml()).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(registration.schema().unwrap().0["label"], plan::Column::Label { classes: 3 });
    assert_eq!(registration.dialect().kind, registration::FileKind::Idx);
}

#[test]
fn a_folder_of_images_by_class_is_looked_at_and_registered_with_its_pixels_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    for (class, light) in [("dog", 40), ("cat", 200), ("cat", 90)] {
        let class = folder.path().join(class);
        fs::create_dir_all(&class).unwrap();
        let file = fs::File::create(class.join(format!("{light}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 4, 3);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[light; 12]).unwrap();
    }
    let inspected = Inspection::of(folder.path(), &Known::default()).unwrap();
    let found: serde_json::Value = serde_json::from_str(&inspected.to_json().unwrap()).unwrap();
    assert_eq!((found["rows"].as_u64(), found["label"].as_str()), (Some(3), Some("label")));
    let text = inspect::Proposal::of(folder.path(), None, None).unwrap().to_toml();
    assert!(text.contains("image = { width = 4, height = 3 }"), "{text}");
    assert!(text.contains("\n\"pixel_{0..11}\" = { type = \"number\" }"), "{text}");
    let registration = Registration::from_toml(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let schema = registration.schema().unwrap().0;
    let values = ["cat", "dog"].map(String::from).into();
    assert_eq!((schema.len(), &schema["label"]), (13, &plan::Column::Category { values }));
    fs::write(folder.path().join("dog/40.png"), "no image").unwrap();
    let broken = Inspection::of(folder.path(), &Known::default()).unwrap();
    assert!(
        broken.findings().iter().any(|finding| finding.code == "broken_record"),
        "{:?}",
        broken.findings()
    );
}

#[test]
fn numbered_columns_that_are_alike_are_a_line_where_they_are_many_and_follow_each_other() {
    let names =
        ["a_8", "a_9", "a_10", "a_11", "a_12", "a_13", "a_14", "a_15", "a_17", "b_1", "b_2", "b_03", "y"];
    let row = |cell: usize| format!("{}\n", vec![cell.to_string(); names.len()].join(","));
    let rows: String = (0..30).map(row).collect();
    let silo = Silo::of(&format!("{}\n{rows}", names.join(",")));
    let text = inspect::Proposal::of(&silo.path(), Some("y"), None).unwrap().to_toml();
    let columns: Vec<&str> = text.split("[columns]\n").nth(1).unwrap().lines().collect();
    let words: Vec<&str> = columns.iter().map(|line| line.split(" = ").next().unwrap()).collect();
    assert_eq!(words, ["\"a_{8..15}\"", "a_17", "b_1", "b_2", "b_03", "y"]);
    let registration = Registration::from_toml(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert_eq!(registration.columns().len(), names.len());
}
