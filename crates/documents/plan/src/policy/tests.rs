use accounting::Relation;
use identity::IdentityKey;
use params::Digest;

use super::*;
use crate::{Column, Privacy, Sampled};

fn policy() -> Policy {
    Policy {
        cohort_min: 3,
        honest_min: 2,
        corrupt_min: 1,
        epsilon_max: 5.0,
        delta_max: 1e-5,
        privacy_modes: [PrivacyMode::DistributedDpSgd].into(),
        authors: [author(1)].into(),
        ..Policy::for_authors([author(1)])
    }
}

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

fn author(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

fn plan() -> AuthoredPlan {
    Plan::from_toml(include_str!("../../../../../deploy/config/plan.toml")).unwrap().sign(&key(1))
}

#[test]
fn each_rule_refuses_a_plan_that_violates_it_by_its_code() {
    assert_eq!(policy().check(&plan()), Ok(()));
    type Edit = fn(&mut Policy);
    let cases: [(&str, Edit); 14] = [
        ("POLICY_FEDERATION", |p| p.require_federation = true),
        ("POLICY_AUTHOR", |p| p.authors = [author(2)].into()),
        ("POLICY_READY_AFTER", |p| p.ready_after_ms_min = Some(2_001)),
        ("POLICY_EPSILON_PER_RUN", |p| p.epsilon_per_run_max = Some(4.8)),
        ("POLICY_ROUNDS", |p| p.rounds_max = Some(29)),
        ("POLICY_PARAMETERS", |p| p.parameters_max = 3),
        ("POLICY_MODEL", |p| p.models = [ModelKind::MultilayerPerceptron].into()),
        ("POLICY_UPLOAD_BYTES", |p| p.upload_mib_max = Some(0)),
        ("POLICY_PRIVACY_MODE", |p| p.privacy_modes = [PrivacyMode::Fedavg].into()),
        ("POLICY_COHORT_MIN", |p| p.cohort_min = 4),
        ("POLICY_HONEST_MIN", |p| p.honest_min = 3),
        ("POLICY_CORRUPT", |p| p.corrupt_min = 2),
        ("POLICY_EPSILON", |p| p.epsilon_max = 4.8),
        ("POLICY_DELTA", |p| p.delta_max = 1e-6),
    ];
    for (code, stricter) in cases {
        let mut policy = policy();
        stricter(&mut policy);
        assert_eq!(policy.check(&plan()).map_err(|refusal| refusal.code()), Err(code));
    }
}

#[test]
fn the_rounds_of_all_runs_before_count_as_the_plans_own() {
    let [run, model] = [b"run", b"old"].map(|text| Digest::sha256(text));
    let after = |rounds_before| {
        let parent = Some(crate::ParentModel { run, round: 12, model, rounds_before });
        Plan { parent, ..(*plan()).clone() }.numbered([1; Plan::ID_BYTES])
    };
    let allowing = |rounds| Policy { rounds_max: Some(rounds), ..policy() };
    for (before, in_all) in [(0, 42), (30, 72)] {
        assert_eq!(allowing(in_all).check_unsigned(&after(before)), Ok(()));
        let refused = Err(Refusal::Rounds { plan: in_all, policy: in_all - 1 });
        assert_eq!(allowing(in_all - 1).check_unsigned(&after(before)), refused);
    }
}

#[test]
fn an_author_cannot_have_training_watched_below_the_silos_own_time_where_something_is_promised() {
    let plan = |ready_after_ms: u64| {
        let mut plan: Plan = (*plan()).clone();
        plan.timing.ready_after_ms = ready_after_ms;
        plan
    };
    let strict = |mode| Policy { ready_after_ms_min: Some(1_000), privacy_modes: [mode].into(), ..policy() };
    let dp = strict(PrivacyMode::DistributedDpSgd);
    for ready_after_ms in [0, 1, 999] {
        let refused = Err(Refusal::ReadyAfter { plan: ready_after_ms, policy: 1_000 });
        assert_eq!(dp.check_unsigned(&plan(ready_after_ms)), refused);
    }
    assert_eq!(dp.check_unsigned(&plan(1_000)), Ok(()));
    let exact = Privacy::Exact(crate::Exact {
        coordinate_max: 1.0,
        fraction_bits: 16,
        weights: crate::Weights::Uniform,
        evaluate: false,
        loss_max: 10.0,
    });
    let exact = Plan { privacy: exact, ..plan(0) };
    assert_eq!(strict(PrivacyMode::Fedavg).check_unsigned(&exact), Ok(()), "it promises nothing");
}

#[test]
fn a_policy_of_before_that_says_nothing_of_the_time_of_training_is_read_with_a_warning() {
    let text = |more: &str| {
        format!(
            "cohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\n\
             privacy_modes = [\"distributed_dp_sgd\"]\nauthors = [\"{}\"]\n{more}",
            author(1)
        )
    };
    let of = |more: &str| Policy::from_toml(&text(more)).unwrap();
    let warns = |policy: &Policy| policy.notes().any(|note| note.contains("ready_after_ms_min is not set"));
    assert!(warns(&of("")));
    assert_eq!(of("").check(&plan()), Ok(()));
    assert!(!warns(&of("ready_after_ms_min = 0\n")));
    assert!(!warns(&Policy { privacy_modes: [PrivacyMode::Fedavg].into(), ..of("") }), "it promises nothing");
}

#[test]
fn exact_sums_and_a_promise_on_the_same_data_do_not_go_together() {
    let mut policy = policy();
    assert_eq!(policy.validate(), Ok(()));
    policy.privacy_modes.insert(PrivacyMode::Fedavg);
    let why = policy.validate().unwrap_err().to_string();
    assert!(why.contains("exact sums of the same data are in no epsilon"), "{why}");
}

#[test]
fn a_policy_of_before_is_looked_at_a_few_times_a_month_and_its_digest_follows_the_rules_and_not_the_text() {
    let policy = policy();
    assert_eq!(policy.offers_per_author, crate::OffersPerAuthor { plans: 4, days: 30 });
    let text = serde_json::to_string(&policy).unwrap();
    for absent in ["offers_per_author", "claims_per_author_max", "accepts_exact_releases"] {
        assert!(!text.contains(absent), "{text}");
    }
    let again: Policy = serde_json::from_str(&text.replace(',', " ,  ")).unwrap();
    assert_eq!(again.digest(), policy.digest());
    let other = Policy { accepts_exact_releases: 17, ..policy.clone() };
    assert_ne!(other.digest(), policy.digest());
    let none = crate::OffersPerAuthor { plans: 0, days: 30 };
    let never = Policy { offers_per_author: none, ..policy };
    assert!(never.validate().unwrap_err().to_string().contains("at least one plan"));
}

#[test]
fn hours_run_over_midnight_and_have_one_spelling() {
    let hours = |text: &str| Hours::try_from(text.to_owned());
    let at = |hour: u64, minute: u64| (20_000 * 24 * 60 + hour * 60 + minute) * 60_000;
    let night = hours("22:00-06:00").unwrap();
    assert!(night.contain(at(22, 0)) && night.contain(at(3, 30)) && night.contain(at(5, 59)));
    assert!(!night.contain(at(6, 0)) && !night.contain(at(21, 59)));
    let day = hours("08:30-17:00").unwrap();
    assert!(day.contain(at(8, 30)) && !day.contain(at(17, 0)) && !day.contain(at(0, 0)));
    assert_eq!(String::from(night), "22:00-06:00");
    for wrong in ["", "8-17", "24:00-06:00", "08:60-09:00", "08:00-08:00"] {
        assert!(hours(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_policy_that_allows_too_little_company_or_hides_a_risk_is_refused() {
    let text = "cohort_min = 2\nhonest_min = 1\ncorrupt_min = 0\nepsilon_max = 0.0\ndelta_max = 1.0\nprivacy_modes = []\nauthors = []\n";
    let why = Policy::from_toml(text).unwrap_err().to_string();
    for field in ["cohort_min", "honest_min", "epsilon_max", "delta_max", "privacy_modes", "authors"] {
        assert!(why.contains(field), "no {field} in:\n{why}");
    }
    assert!(why.contains("line 2: honest_min"), "{why}");
}

#[test]
fn what_a_plan_asks_of_a_table_is_held_against_the_schema_alone() {
    let plan = plan();
    let of = |text: &str| {
        let schema = toml::from_str(text).unwrap();
        Policy { schema: Some(schema), ..policy() }
    };
    let all: String = plan
        .data
        .features
        .iter()
        .map(|feature| format!("{:?} = {{ kind = \"number\" }}\n", feature.name()))
        .collect();
    let (label, classes) = (&plan.data.label, plan.data.classes.count());
    let with = |kind: &str| of(&format!("{all}{label:?} = {{ {kind} }}\nmore = {{ kind = \"number\" }}\n"));
    let whole = with(&format!("kind = \"label\", classes = {classes}"));
    assert_eq!((whole.validate(), whole.check(&plan)), (Ok(()), Ok(())));
    let fewer = with(&format!("kind = \"label\", classes = {}", classes - 1));
    assert_eq!(fewer.check(&plan), Ok(()), "a silo need not have every class");
    let column = |column: &str| Refusal::SchemaColumn { column: column.into() };
    let label_only = of(&format!("{label:?} = {{ kind = \"label\", classes = {classes} }}\n"));
    for (schema, refusal) in [
        (of(&all), column(label)),
        (label_only, column(plan.data.features[0].name())),
        (with("kind = \"number\""), Refusal::SchemaLabel { column: label.clone() }),
        (
            with(&format!("kind = \"label\", classes = {}", classes + 1)),
            Refusal::SchemaClasses { plan: classes, here: classes + 1 },
        ),
    ] {
        assert_eq!(refusal.code(), "POLICY_SCHEMA");
        assert_eq!(schema.check(&plan), Err(refusal));
    }
    for (text, why) in [
        ("a = { kind = \"number\" }", "has no label"),
        ("a = { kind = \"label\", classes = 1 }", "at least 2 classes"),
        ("a = { kind = \"category\", values = [] }", "at least 1 value"),
    ] {
        assert!(of(text).validate().unwrap_err().to_string().contains(why), "{text}");
    }
    for wrong in [
        "a = { kind = \"prose\" }",
        "a = { kind = \"number\", classes = 2 }",
        "a = { kind = \"label\" }",
        "a = { kind = \"category\" }",
    ] {
        assert!(toml::from_str::<crate::Schema>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_promise_about_persons_needs_a_column_that_says_whose_a_row_is_and_can_be_asked_for() {
    let rows = plan();
    assert_eq!(rows.unit(), Some(Unit::Record));
    let mut persons = Plan::clone(&rows);
    persons.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::PERSON;
    persons.format = Some(Plan::TYPED);
    let persons = persons.sign(&key(1));
    assert_eq!(
        (persons.unit(), persons.privacy.relation()),
        (Some(Unit::Person), Some(Relation::AddRemovePerson))
    );
    let asks = Policy { require_person_unit: true, ..policy() };
    assert_eq!((policy().check(&rows), policy().check(&persons)), (Ok(()), Ok(())));
    assert_eq!((asks.check(&rows), asks.check(&persons)), (Err(Refusal::RowUnit), Ok(())));
    assert_eq!(Refusal::RowUnit.code(), "POLICY_PERSON_UNIT");
    // Without the key a policy is written as before.
    assert!(!serde_json::to_string(&policy()).unwrap().contains("person"));

    let columns = rows.data.features.iter().map(|feature| (feature.name().to_owned(), Column::Number {}));
    let label = (rows.data.label.clone(), Column::Label { classes: rows.data.classes.count() });
    let bare = Schema(columns.chain([label]).collect());
    let mut named = bare.clone();
    named.0.insert("patient".into(), Column::Person {});
    let with = |schema: Schema| Policy { schema: Some(schema), ..policy() };
    assert_eq!(with(bare).check(&persons), Err(Refusal::SchemaPersons));
    assert_eq!((with(named.clone()).check(&persons), with(named.clone()).check(&rows)), (Ok(()), Ok(())));
    named.0.insert(rows.data.features[0].name().to_owned(), Column::Person {});
    let refused = with(named).check(&rows).unwrap_err();
    assert!(refused.to_string().contains("in this silo's schema it is a person"), "{refused}");
}

#[test]
fn a_policy_without_a_schema_says_how_to_register_one_and_reads_as_before() {
    let noted = |policy: &Policy| policy.notes().any(|note| note.contains("folkmoot-client schema"));
    assert!(noted(&policy()));
    assert!(!noted(&Policy { schema: Some(crate::Schema::default()), ..policy() }));
    assert!(!serde_json::to_string(&policy()).unwrap().contains("schema"));
}
