//! What a plan may say of tables, what is wrong with one, and what the model gets of a cell.

use plan::{Cell, Classes, Encoder, Fit, FlaggedClass, Plan, PlanError, Unfit};

const SAMPLE: &str = include_str!("../../../../deploy/config/plan.toml");

/// The sample plan, whose table is this one.
fn with_data(data: &str) -> Result<Plan, PlanError> {
    let (before, rest) = SAMPLE.split_once("[data]\n").unwrap();
    let (_, behind) = rest.split_once("[training]\n").unwrap();
    Plan::from_toml(&format!("{before}[data]\n{data}\n[training]\n{behind}"))
}

fn with_features(features: &str) -> Result<Plan, PlanError> {
    with_data(&format!("label = \"ill\"\nclasses = 2\nscaled_to = [-1, 1]\nfeatures = [\n{features}\n]"))
}

fn refused(features: &str) -> String {
    match with_features(features) {
        Err(why) => why.to_string(),
        Ok(_) => panic!("{features} was accepted"),
    }
}

const TYPED: &str = r#"
label = "income"
classes = ["<=50K", ">50K"]
scaled_to = [-0.5, 0.5]
features = [
  { column = "age", minimum = 0, maximum = 110 },
  { column = "capital_gain", log_range = [0, 100000], missing = 0 },
  { column = "chol", mean = 246.0, deviation = 51.8, missing = "flag" },
  { column = "workclass", one_hot = ["Private", "State-gov"], other = true },
  { column = "education", ordinal = ["Preschool", "Bachelors", "Doctorate"], missing = "Bachelors" },
  { column = "sex", flag = "Male" },
  { column = "admitted", first_day = "2020-01-01", last_day = "2025-12-31" },
  { columns = "pixel_{0..783}", minimum = 0, maximum = 255 },
]
class_weights = [0.6, 2.1]
"#;

#[test]
fn a_plan_with_typed_features_is_of_format_three_and_its_canonical_bytes_are_the_only_ones() {
    let plan = with_data(TYPED).unwrap();
    assert_eq!(
        (plan.format, plan.data.width(), plan.data.column_count()),
        (Some(3), 3 + 1 + 3 + 3 + 784, 791)
    );
    let signed = plan.clone().numbered([7; Plan::ID_BYTES]);
    let bytes = signed.to_canonical();
    assert_eq!(Plan::from_canonical(&bytes).unwrap(), signed);
    assert_eq!(Plan::from_toml(&signed.to_toml()).unwrap().digest(), signed.digest());
    let text = String::from_utf8(bytes).unwrap();
    for part in [
        r#""classes":["<=50K",">50K"]"#,
        r#"{"column":"age","minimum":0.0,"maximum":110.0}"#,
        r#"{"column":"capital_gain","log_range":[0.0,100000.0],"missing":0.0}"#,
        r#"{"column":"chol","mean":246.0,"deviation":51.8,"missing":"flag"}"#,
        r#"{"column":"workclass","one_hot":["Private","State-gov"],"other":true}"#,
        r#"{"column":"education","ordinal":["Preschool","Bachelors","Doctorate"],"missing":"Bachelors"}"#,
        r#"{"column":"sex","flag":"Male"}"#,
        r#"{"column":"admitted","first_day":"2020-01-01","last_day":"2025-12-31"}"#,
        r#"{"columns":"pixel_{0..783}","minimum":0.0,"maximum":255.0}],"class_weights":[0.6,2.1]"#,
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let names: Vec<_> = plan.data.columns().map(|(name, _)| name.into_owned()).collect();
    assert_eq!((names[6].as_str(), names[7].as_str(), names.len()), ("admitted", "pixel_0", 791));
}

#[test]
fn a_plan_that_an_earlier_format_can_say_is_signed_in_that_one() {
    let sample = Plan::from_toml(SAMPLE).unwrap();
    assert_eq!((sample.format, sample.clone().as_it_is_signed().format), (None, Some(2)));
    assert!(sample.data.is_plain());
    for (from, to) in [
        ("classes = 2", "classes = [\"well\", \"ill\"]"),
        ("classes = 2", "classes = { flag = \"ill\" }"),
        ("classes = 2", "classes = 2\nclass_weights = [1, 3]"),
        ("maximum = 110.0 }", "maximum = 110.0, missing = 50 }"),
        (
            "column = \"age\", minimum = 0.0, maximum = 110.0",
            "columns = \"age_{1..2}\", minimum = 0.0, maximum = 110.0",
        ),
        ("minimum = 0.0, maximum = 110.0", "log_range = [0, 110]"),
    ] {
        let text = SAMPLE.replace(from, to);
        assert_ne!(text, SAMPLE, "{from}");
        let plan = Plan::from_toml(&text).unwrap();
        assert_eq!((plan.format, plan.clone().as_it_is_signed()), (Some(3), plan), "{to}");
        let why = Plan::from_toml(&format!("format = 2\n{text}")).unwrap_err().to_string();
        assert!(why.contains("line 1: format: must be 3, or left out"), "{why}");
    }
}

#[test]
fn a_feature_that_says_too_little_or_too_much_is_refused_with_what_to_write() {
    for (feature, expected) in [
        (r#"{ minimum = 0, maximum = 1 }"#, "neither `column` nor `columns`"),
        (r#"{ column = "a", columns = "b{0..1}", minimum = 0, maximum = 1 }"#, "leave one of them out"),
        (r#"{ column = "a", minimum = 0 }"#, "has `minimum` and no `maximum`"),
        (r#"{ column = "a", deviation = 2 }"#, "has `deviation` and no `mean`"),
        (r#"{ column = "a", first_day = "2020-01-01" }"#, "has `first_day` and no `last_day`"),
        (r#"{ column = "a" }"#, "says in 0 ways"),
        (r#"{ column = "a", minimum = 0, maximum = 1, flag = "x" }"#, "says in 2 ways"),
        (r#"{ column = "a", flag = "x", other = true }"#, "`other` without `one_hot`"),
        (
            r#"{ column = "a", first_day = "2020-02-30", last_day = "2021-01-01" }"#,
            "\"2020-02-30\" is no day",
        ),
        (r#"{ columns = "a{9..1}", minimum = 0, maximum = 1 }"#, "{9..1} is no range"),
        (r#"{ column = "a", minimum = 0, maximum = 1, missing = true }"#, "`missing` must be a number"),
        (r#"{ column = "a", minimum = 0, maximum = 1, median = 3 }"#, "median"),
    ] {
        let why = refused(&format!("{{ column = \"z\", flag = \"y\" }},\n{feature}"));
        assert!(why.contains(expected), "no {expected:?} in {why}");
    }
    let why = with_data("label = \"y\"\nclasses = [1, 2]\nscaled_to = [0, 1]\nfeatures = []")
        .unwrap_err()
        .to_string();
    assert!(why.contains("`classes` must be how many there are"), "{why}");
}

#[test]
fn all_that_is_wrong_with_a_table_is_said_at_once_each_with_its_line() {
    let features = [
        r#"{ column = "a", minimum = 1, maximum = 1 },"#,
        r#"{ column = "b", log_range = [5, -5] },"#,
        r#"{ column = "c", mean = 0, deviation = 0 },"#,
        r#"{ column = "d", one_hot = [] },"#,
        r#"{ column = "e", one_hot = ["1", "y", "01"] },"#,
        r#"{ column = "f", ordinal = ["x"] },"#,
        r#"{ column = "g", flag = " x" },"#,
        r#"{ column = "h", first_day = "2020-01-02", last_day = "2020-01-02" },"#,
        r#"{ column = "ill", flag = "x" },"#,
        r#"{ columns = "p{1..9}", minimum = 0, maximum = 1 },"#,
        r#"{ columns = "p{7..12}", minimum = 0, maximum = 1 },"#,
        r#"{ column = "i", minimum = 0, maximum = 1, missing = 2 },"#,
        r#"{ column = "j", one_hot = ["x", "y"], missing = "z" },"#,
        r#"{ column = "k", first_day = "2020-01-01", last_day = "2020-02-01", missing = "2019-01-01" },"#,
        r#"{ column = "l", ordinal = ["x", "y"], missing = 0 },"#,
        r#"{ column = "", flag = "x" },"#,
    ];
    let classes = "classes = [\"sick\", \"well\", \"sick\"]\nclass_weights = [1, -1]";
    let data =
        format!("label = \"ill\"\n{classes}\nscaled_to = [-1, 1]\nfeatures = [\n{}\n]", features.join("\n"));
    let why = with_data(&data).unwrap_err().to_string();
    for (line, expected) in [
        (20, "data.classes: the class \"sick\" is listed twice; list it once"),
        (21, "data.class_weights: has 2 numbers for 3 classes"),
        (21, "data.class_weights: -1 is no weight"),
        (24, "data.features[0]: column \"a\": minimum must be below maximum"),
        (25, "data.features[1]: column \"b\": minimum must be below maximum"),
        (26, "data.features[2]: column \"c\": deviation must be a positive number"),
        (27, "data.features[3]: column \"d\": one_hot lists no category"),
        (28, "data.features[4]: the category \"01\" is listed twice; list it once"),
        (29, "data.features[5]: column \"f\": ordinal must list at least 2"),
        (30, "data.features[6]: column \"g\": the flag \" x\" is no text"),
        (31, "data.features[7]: column \"h\": first_day must be before last_day"),
        (32, "data.features[8]: column \"ill\" is the label, which the model must not see"),
        (34, "data.features[10]: column \"p7\" is repeated: data.features[9] has it too"),
        (35, "data.features[11]: column \"i\": missing must be a number within the range"),
        (36, "data.features[12]: column \"j\": missing must be one of the categories"),
        (37, "data.features[13]: column \"k\": missing must be a day between"),
        (38, "data.features[14]: column \"l\": missing must be one of the categories"),
        (39, "data.features[15]: a column has an empty name"),
    ] {
        assert!(why.contains(&format!("line {line}: {expected}")), "no {line}: {expected:?} in\n{why}");
    }
    assert_eq!(why.lines().count(), 1 + 18, "each once:\n{why}");
}

#[test]
fn sixty_thousand_columns_fit_a_plan_and_what_does_not_is_said_with_the_limit() {
    let plan = with_features("{ columns = \"g{1..60000}\", minimum = 0, maximum = 1 }").unwrap();
    assert_eq!((plan.data.width(), plan.to_canonical().len() < 1500), (60_000, true));
    let why = refused("{ columns = \"g{1..40000}\", minimum = 0, maximum = 1, missing = \"flag\" }");
    assert!(why.contains("the model would get 80000 numbers of a row, and 65536 are the most"), "{why}");
    let why = refused("{ columns = \"g{1..65536}\", flag = \"x\" }, { column = \"h\", flag = \"x\" }");
    assert!(why.contains("must list between 1 and 65536 columns, and lists 65537"), "{why}");
    assert!(refused("").contains("and lists 0"));
    let many: String =
        (0..65).map(|group| format!("{{ columns = \"g{group}_{{0..1}}\", flag = \"x\" }},\n")).collect();
    assert!(refused(&many).contains("at most 64 features with `columns`, and has 65"));
}

/// What the model gets of a cell under a feature, and how it fitted.
fn encoded(feature: &str, cell: Cell<'_>) -> Result<(Fit, Vec<f32>), Unfit> {
    let plan = with_features(feature).unwrap();
    let encoder = Encoder::new(&plan.data.features[0], plan.data.scaled_to);
    let mut numbers = vec![9.0];
    let fit = encoder.encode(cell, &mut numbers);
    let own = numbers.split_off(1);
    match fit {
        Ok(fit) => {
            assert_eq!(own.len(), encoder.width());
            assert!(own.iter().all(|number| (-1.0..=1.0).contains(number)), "{own:?}");
            Ok((fit, own))
        }
        Err(why) => {
            assert!(own.is_empty(), "{own:?} of a cell that does not fit");
            Err(why)
        }
    }
}

fn of_number(feature: &str, number: f64) -> Result<(Fit, Vec<f32>), Unfit> {
    encoded(feature, Cell::Number(number))
}

#[test]
fn numbers_are_mapped_to_the_interval_end_to_end_and_what_is_outside_is_clipped() {
    let range = r#"{ column = "a", minimum = 0, maximum = 8 }"#;
    let scaled = [-3.0, 0.0, 2.0, 8.0, 8.5].map(|number| of_number(range, number).unwrap());
    let (inside, clipped) = (|number| (Fit::Inside, vec![number]), |number| (Fit::Clipped, vec![number]));
    assert_eq!(scaled, [clipped(-1.0), inside(-1.0), inside(-0.5), inside(1.0), clipped(1.0)]);

    let log = r#"{ column = "a", log_range = [1, 1000] }"#;
    assert_eq!(of_number(log, 1.0).unwrap(), inside(-1.0));
    assert_eq!(of_number(log, 1000.0).unwrap(), inside(1.0));
    assert_eq!(of_number(log, 0.0).unwrap(), clipped(-1.0));
    // 1 + 25 - 1 = 25 and 1 + 625 - 1 = 625: half of its logarithm.
    let half = of_number(r#"{ column = "a", log_range = [1, 625] }"#, 25.0).unwrap();
    assert!(half.1[0].abs() < 1e-6, "{half:?}");

    let standard = r#"{ column = "a", mean = 10, deviation = 2 }"#;
    for (number, scaled) in
        [(10.0, inside(0.0)), (12.0, inside(0.25)), (2.0, inside(-1.0)), (1e9, clipped(1.0))]
    {
        assert_eq!(of_number(standard, number).unwrap(), scaled);
    }
    for feature in [range, log, standard] {
        assert_eq!(of_number(feature, f64::NAN), Err(Unfit::NotFinite));
        assert_eq!(of_number(feature, f64::NEG_INFINITY), Err(Unfit::NotFinite));
        assert_eq!(encoded(feature, Cell::Text("8")), Err(Unfit::NoNumber));
        assert_eq!(encoded(feature, Cell::Missing), Err(Unfit::Missing));
    }
}

#[test]
fn categories_flags_and_days_become_numbers_at_the_intervals_ends_and_between() {
    let of = |feature: &str, text| encoded(feature, Cell::Text(text));
    let inside = |numbers: &[f32]| Ok((Fit::Inside, numbers.to_vec()));
    let listed = r#"{ column = "a", one_hot = ["x", "y", "z"] }"#;
    assert_eq!(of(listed, "y"), inside(&[-1.0, 1.0, -1.0]));
    assert_eq!(of(listed, "Y"), Err(Unfit::NoCategory));
    let other = r#"{ column = "a", one_hot = ["x", "y"], other = true }"#;
    assert_eq!(of(other, "x"), inside(&[1.0, -1.0, -1.0]));
    assert_eq!(of(other, "w"), Ok((Fit::Other, vec![-1.0, -1.0, 1.0])));
    let ordinal = r#"{ column = "a", ordinal = ["low", "middle", "high"] }"#;
    assert_eq!(
        ["low", "middle", "high"].map(|text| of(ordinal, text)),
        [-1.0, 0.0, 1.0].map(|x| inside(&[x]))
    );
    assert_eq!(of(ordinal, "none"), Err(Unfit::NoCategory));
    let flag = r#"{ column = "a", flag = "1" }"#;
    assert_eq!((of(flag, "1"), of(flag, "yes")), (inside(&[1.0]), inside(&[-1.0])));
    assert_eq!((of_number(flag, 1.0), of_number(flag, -0.0)), (inside(&[1.0]), inside(&[-1.0])));
    assert_eq!(
        (of(flag, "1.0"), of(flag, "01"), of(flag, "10")),
        (inside(&[1.0]), inside(&[1.0]), inside(&[-1.0]))
    );
    let grades = r#"{ column = "a", one_hot = ["1.0", "2"] }"#;
    assert_eq!((of(grades, "1"), of(grades, "+2.00")), (inside(&[1.0, -1.0]), inside(&[-1.0, 1.0])));
    assert_eq!((of(grades, "1a"), of(grades, "inf")), (Err(Unfit::NoCategory), Err(Unfit::NoCategory)));
    let days = r#"{ column = "a", first_day = "2020-01-01", last_day = "2020-01-05" }"#;
    assert_eq!((of(days, "2020-01-01"), of(days, "2020-01-04")), (inside(&[-1.0]), inside(&[0.5])));
    assert_eq!(of(days, "2021-01-01"), Ok((Fit::Clipped, vec![1.0])));
    for wrong in ["2020-02-30", "yesterday", "1/2/2020"] {
        assert_eq!(of(days, wrong), Err(Unfit::NoDay), "{wrong}");
    }
    for feature in [listed, other, ordinal, flag, days] {
        assert_eq!(encoded(feature, Cell::Missing), Err(Unfit::Missing));
        assert_eq!(of_number(feature, f64::NAN), Err(Unfit::NotFinite));
    }
}

#[test]
fn what_stands_for_a_missing_cell_is_what_the_plan_says_and_is_counted() {
    let missing = |feature: &str| encoded(feature, Cell::Missing);
    let stood_in = |numbers: &[f32]| Ok((Fit::StoodIn, numbers.to_vec()));
    assert_eq!(missing(r#"{ column = "a", minimum = 0, maximum = 8, missing = 2 }"#), stood_in(&[-0.5]));
    assert_eq!(missing(r#"{ column = "a", one_hot = ["x", "y"], missing = "y" }"#), stood_in(&[-1.0, 1.0]));
    let other = r#"{ column = "a", one_hot = ["x"], other = true, missing = "unknown" }"#;
    assert_eq!(missing(other), stood_in(&[-1.0, 1.0]));
    assert_eq!(missing(r#"{ column = "a", flag = "x", missing = "x" }"#), stood_in(&[1.0]));
    let day =
        r#"{ column = "a", first_day = "2020-01-01", last_day = "2020-01-05", missing = "2020-01-03" }"#;
    assert_eq!(missing(day), stood_in(&[0.0]));
    for (feature, unknown, cell, known) in [
        (r#"minimum = 0, maximum = 8"#, vec![0.0, 1.0], Cell::Number(8.0), vec![1.0, -1.0]),
        (r#"mean = 3, deviation = 1"#, vec![0.0, 1.0], Cell::Number(3.0), vec![0.0, -1.0]),
        (r#"flag = "x""#, vec![0.0, 1.0], Cell::Text("y"), vec![-1.0, -1.0]),
        (r#"ordinal = ["x", "y"]"#, vec![0.0, 1.0], Cell::Text("y"), vec![1.0, -1.0]),
        (r#"one_hot = ["x", "y"]"#, vec![-1.0, -1.0, 1.0], Cell::Text("y"), vec![-1.0, 1.0, -1.0]),
    ] {
        let feature = format!("{{ column = \"a\", {feature}, missing = \"flag\" }}");
        assert_eq!(missing(&feature), stood_in(&unknown), "{feature}");
        assert_eq!(encoded(&feature, cell), Ok((Fit::Inside, known)), "{feature}");
    }
}

#[test]
fn a_label_is_read_by_number_by_name_or_by_one_text() {
    let count = Classes::Count(3);
    for (number, class) in
        [(0.0, Ok(0)), (2.0, Ok(2)), (3.0, Err(())), (-1.0, Err(())), (0.5, Err(())), (f64::NAN, Err(()))]
    {
        assert_eq!(count.class_of(Cell::Number(number)).map_err(drop), class, "{number}");
    }
    assert_eq!(count.class_of(Cell::Text("1")), Err(Unfit::NoClass));
    let names = Classes::Names(vec!["<=50K".into(), ">50K".into()]);
    assert_eq!(
        (names.class_of(Cell::Text(">50K")), names.class_of(Cell::Text(">50K."))),
        (Ok(1), Err(Unfit::NoClass))
    );
    let flag = Classes::Flag(FlaggedClass { flag: "1".into() });
    assert_eq!((flag.class_of(Cell::Text("0")), flag.class_of(Cell::Text("1.0"))), (Ok(0), Ok(1)));
    for classes in [count, names, flag] {
        assert_eq!(classes.class_of(Cell::Missing), Err(Unfit::Missing));
        assert!(classes.name(classes.count() - 1).is_some() && classes.name(classes.count()).is_none());
    }
}

#[test]
fn a_table_is_described_in_the_models_order_and_neighbours_that_are_alike_share_a_row() {
    let plan = with_data(TYPED).unwrap();
    let text: Vec<String> =
        plan.data.described().iter().map(|(name, what)| format!("{name}: {what}")).collect();
    let expected = [
        "label: \"income\": one of \"<=50K\", \">50K\"",
        "class weights: 0.6, 2.1, in the loss",
        "columns: 791, of which the model gets 794 numbers between -0.5 and 0.5",
        "  age: a number from 0 to 110",
        "  capital_gain: a number from 0 to 100000, by the logarithm of 1 + x - 0; missing: as 0",
        "  chol: a number with mean 246 and deviation 51.8, within 4 deviations; missing: a number beside it says so",
        "  workclass: a number for each of \"Private\", \"State-gov\", and one for any other",
        "  education: the place among \"Preschool\", \"Bachelors\", \"Doctorate\"; missing: as \"Bachelors\"",
        "  sex: whether it is \"Male\"",
        "  admitted: a day from 2020-01-01 to 2025-12-31",
        "  pixel_{0..783}: a number from 0 to 255",
    ];
    assert_eq!(text, expected);
    let alike = with_features("{ column = \"a\", flag = \"x\" }, { column = \"b\", flag = \"x\" }").unwrap();
    assert_eq!(alike.data.described().last().unwrap().0, "  a to b (2)");
}

#[test]
fn the_tables_that_the_guide_shows_are_those_of_plans() {
    let guide = include_str!("../../../../deploy/DATA.md");
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // The others are registrations, which say what is in files.
    let tables = blocks.filter(|block| block.contains("scaled_to = "));
    let widths = tables.map(|data| with_data(data).unwrap().data.width());
    assert_eq!(
        widths.collect::<Vec<_>>(),
        [1 + 9 + 1 + 6 + 13 + 6 + 1 + 3 + 4, 784, 1 + 1 + 4 + 1 + 2 + 2 + 1]
    );
}
