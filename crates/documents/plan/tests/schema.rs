//! What a silo has registered of its columns, against what a plan makes of them.

use plan::{Data, Schema};

/// What a schema says of this plan's table in which one column is registered as `kind`.
fn registered(changed: &str, kind: &str) -> Result<(), String> {
    let data: Data = toml::from_str(
        r#"
        label = "ill"
        classes = ["no", "yes"]
        scaled_to = [0, 1]
        features = [
            { column = "age", minimum = 0, maximum = 100 },
            { column = "ward", one_hot = ["A", "B"] },
            { column = "work", one_hot = ["a"], other = true },
            { column = "grade", ordinal = ["low", "high"] },
            { column = "sex", flag = "1" },
            { column = "seen", first_day = "2020-01-01", last_day = "2021-01-01" },
        ]
        "#,
    )
    .unwrap();
    let columns = [
        ("ill", r#""category", values = ["no", "yes"]"#),
        ("age", r#""number""#),
        ("ward", r#""category", values = ["B"]"#),
        ("work", r#""category", values = ["a", "b"]"#),
        ("grade", r#""category", values = ["high", "low"]"#),
        ("sex", r#""flag""#),
        ("seen", r#""date""#),
    ];
    let kind = |name: &str, own: &str| if name == changed { kind.to_owned() } else { own.to_owned() };
    let text: String =
        columns.map(|(name, own)| format!("{name} = {{ kind = {} }}\n", kind(name, own))).concat();
    let schema: Schema = toml::from_str(&text).unwrap();
    assert_eq!(toml::from_str::<Schema>(&schema.to_toml()).unwrap(), schema);
    schema.check(&data).map_err(|refusal| {
        assert_eq!(refusal.code(), "POLICY_SCHEMA");
        refusal.to_string()
    })
}

#[test]
fn a_column_that_is_registered_as_another_kind_or_with_texts_that_a_plan_does_not_list_refuses_it() {
    assert_eq!(registered("", ""), Ok(()));
    for fits in [
        ("sex", r#""category", values = ["1", "2", "3"]"#),
        ("age", r#""flag""#),
        ("age", r#""label", classes = 9"#),
    ] {
        assert_eq!(registered(fits.0, fits.1), Ok(()), "{fits:?}");
    }
    for (column, kind, why) in [
        (
            "age",
            r#""category", values = ["old"]"#,
            "\"age\" a number from 0 to 100, and in this silo's schema it is a category",
        ),
        ("age", r#""date""#, "it is a date"),
        (
            "ward",
            r#""number""#,
            "a number for each of \"A\", \"B\", and in this silo's schema it is a number",
        ),
        (
            "ward",
            r#""category", values = ["A", "C"]"#,
            "does not list \"C\", which in this silo's schema stands in the column \"ward\"",
        ),
        ("grade", r#""category", values = ["middle"]"#, "does not list \"middle\""),
        ("sex", r#""date""#, "whether it is \"1\", and in this silo's schema it is a date"),
        ("seen", r#""category", values = ["2020-01-01"]"#, "a day from 2020-01-01 to 2021-01-01"),
        ("ill", r#""label", classes = 2"#, "which is no label in this silo's schema"),
        ("ill", r#""category", values = ["no", "maybe"]"#, "does not list \"maybe\""),
    ] {
        let refused = registered(column, kind).unwrap_err();
        assert!(refused.contains(why), "no {why:?} in {refused}");
    }
}
