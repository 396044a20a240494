//! A card says what its records say, and nothing that somebody smuggled into a name.

use std::collections::BTreeMap;

use checkpoint::{Action, PrivacySpent, samples};
use serde_norway::Value;

use super::*;

fn plan() -> Plan {
    Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap()
}

fn manifest(plan: &Plan) -> Manifest {
    let digest = Digest::sha256(b"x");
    Manifest {
        run_id: digest,
        run_name: plan.name.clone(),
        parent: Some(Digest::sha256(b"parent")),
        plan_digest: plan.digest(),
        roster_digest: digest,
        parent_model: Some(digest),
        cohort: vec![1, 2, 3],
        shared: vec![1, 2, 3],
        included: vec![1, 3],
        aggregate_digest: Some(digest),
        metrics: BTreeMap::from([("training_loss".to_owned(), 0.25)]),
        privacy: PrivacySpent {
            mode: "distributed_dp_sgd".into(),
            unit: "record".into(),
            relation: "add or remove one record".into(),
            noise_by: "every silo, a share each".into(),
            trust: "at most 1 colludes".into(),
            ..samples::spent(7, 1.0 / 3.0)
        },
        ..samples::bare(7)
    }
}

fn roster(first: &str) -> Roster {
    let member = serde_json::json!({"name": first, "identity_key": "1".repeat(64), "admitted": 1});
    let roster = serde_json::json!({
        "federation": "test", "epoch": 1, "coordinator_key": "0".repeat(64), "members": {"1": member},
    });
    // Through text: only there is a member's number a key.
    serde_json::from_str(&roster.to_string()).unwrap()
}

fn controls() -> Controls {
    Controls {
        transport: "mutual TLS 1.3".into(),
        encrypted_at_rest: true,
        model_signature: false,
        audit_log: "folkmoot.test/log".into(),
        metrics_endpoint: None,
    }
}

fn card(manifest: &Manifest, first: &str, evaluations: &[Evaluation]) -> Card {
    let declared = Declarations { data: [(3, Digest::sha256(b"version"))].into(), ..Declarations::default() };
    Card::of(manifest, &plan(), &roster(first), &[], &declared, &controls(), evaluations)
}

#[test]
fn a_card_reads_back_and_equals_its_records() {
    let manifest = manifest(&plan());
    let card = card(&manifest, "St Mary", &[]);
    let read = Card::from_yaml(&card.to_yaml().unwrap()).unwrap();
    assert_eq!(read, card);
    for plan in [Some(plan()), None] {
        read.check(&manifest, &[1, 3].into(), plan.as_ref()).unwrap();
    }
    assert_eq!(read.privacy.epsilon_spent, Some(1.0 / 3.0), "no digit is lost");
    assert_eq!((read.privacy.noise_multiplier, read.privacy.epsilon_budget), (Some(5.324), Some(4.9)));
    let silos = &read.training_data.silos;
    assert_eq!((silos[0].name.as_str(), silos[0].data_versions.as_slice()), ("St Mary", &[][..]));
    assert_eq!(silos[1].data_versions, [Digest::sha256(b"version")]);
    assert!(read.compliance.legal_basis == OWNER && read.compliance.licence == OWNER);
}

#[test]
fn a_card_says_which_model_of_another_run_its_run_began_with_and_that_its_figures_leave_that_out() {
    let [run, model] = [b"parent", b"before"].map(|text| Digest::sha256(text));
    let parent = Some(plan::ParentModel { run, round: 12, model, rounds_before: 0 });
    let going_on = Plan { parent, ..plan() }.as_it_is_signed();
    let manifest = manifest(&going_on);
    let card =
        Card::of(&manifest, &going_on, &roster("St Mary"), &[], &Declarations::default(), &controls(), &[]);
    let yaml = card.to_yaml().unwrap();
    let read = Card::from_yaml(&yaml).unwrap();
    for plan in [Some(&going_on), None] {
        read.check(&manifest, &[1, 3].into(), plan).unwrap();
    }
    let refused = Card { lineage: Lineage { begun_with: None, ..read.lineage.clone() }, ..read.clone() };
    refused.check(&manifest, &[1, 3].into(), Some(&going_on)).unwrap_err();
    let readme = read.readme().unwrap();
    assert!(readme.contains(&format!("began with model {model} of round 12")), "{readme}");
    assert!(!card_of_the_plan_alone().contains("begun_with"));
}

#[test]
fn a_card_counts_how_the_trainers_of_the_silos_in_its_sum_are_held_and_says_nothing_where_no_silo_does() {
    let manifest = manifest(&plan());
    let sealed = "required: landlock 7, seccomp 3f2a90c1d4e5, namespaces";
    // Silo 2 is in no sum.
    let levels = [(1, sealed), (2, "best_effort"), (3, sealed)].map(|(silo, level)| (silo, level.to_owned()));
    let declared = Declarations { sandboxes: levels.into(), ..Declarations::default() };
    let card = Card::of(&manifest, &plan(), &roster("St Mary"), &[], &declared, &controls(), &[]);
    assert_eq!(card.sandboxes, BTreeMap::from([(sealed.to_owned(), 2)]));
    let read = Card::from_yaml(&card.to_yaml().unwrap()).unwrap();
    for plan in [Some(plan()), None] {
        read.check(&manifest, &[1, 3].into(), plan.as_ref()).unwrap();
    }
    let row = format!("| trainers held, by the silos' own word | 2 {sealed} |\n");
    assert!(read.readme().unwrap().contains(&row), "{}", read.readme().unwrap());
    let more = Card { sandboxes: BTreeMap::from([("off".to_owned(), 3)]), ..read };
    let refused = more.check(&manifest, &[1, 3].into(), None).unwrap_err();
    assert!(matches!(&refused, CardError::Differs { field } if field == "sandboxes"), "{refused}");
    assert!(!card_of_the_plan_alone().contains("sandbox"));
}

fn card_of_the_plan_alone() -> String {
    card(&manifest(&plan()), "St Mary", &[]).to_yaml().unwrap()
}

#[test]
fn a_card_with_another_figure_than_its_record_is_refused_by_the_figures_name() {
    let manifest = manifest(&plan());
    let original = card(&manifest, "St Mary", &[]);
    type Edit = fn(&mut Card);
    let edits: [(&str, Edit); 10] = [
        ("use.scaled_to", |card| card.usage.as_mut().unwrap().scaled_to = [0.0, 1.0]),
        ("use.layers.rule", |card| card.usage.as_mut().unwrap().layers[0].rule = "y = x".into()),
        ("privacy.epsilon_spent", |card| card.privacy.epsilon_spent = Some(0.1)),
        ("privacy.delta", |card| card.privacy.delta = None),
        ("model.params_digest", |card| card.model.params_digest = Digest::sha256(b"y")),
        ("training_data.silos", |card| drop(card.training_data.silos.pop())),
        ("privacy.trust", |card| card.privacy.trust = "nobody".into()),
        ("privacy.statement", |card| card.privacy.statement = "perfect".into()),
        ("lineage.decision", |card| card.lineage.decision = Some("none".into())),
        ("privacy.epsilon_budget", |card| card.privacy.epsilon_budget = Some(0.1)),
    ];
    for (field, edit) in edits {
        let mut card = original.clone();
        edit(&mut card);
        let refused = card.check(&manifest, &[1, 3].into(), Some(&plan())).unwrap_err();
        assert!(matches!(&refused, CardError::Differs { field: named } if named == field), "{refused}");
    }
    let later = Card::from_yaml("format: folkmoot-model-card/3\ncolour: red").unwrap_err().to_string();
    assert!(later.contains("\"folkmoot-model-card/3\", this release reads"), "{later}");
    assert!(Card::from_yaml(&format!("format: {CARD_FORMAT}\ncolour: red")).is_err());
    assert!(matches!(Card::from_yaml(&" ".repeat(CARD_BYTES_MAX + 1)), Err(CardError::TooLong(_))));
}

#[test]
fn a_name_is_nothing_but_a_name_in_yaml_and_in_markdown() {
    let hostile = "x\n---\nlicense: mit # \"q\": [a](javascript:b) <script>|`";
    let mut manifest = manifest(&plan());
    manifest.run_name = hostile.into();
    let card = card(&manifest, hostile, &[]);
    let read = Card::from_yaml(&card.to_yaml().unwrap()).unwrap();
    assert_eq!((read.model.name.as_str(), read.training_data.silos[0].name.as_str()), (hostile, hostile));
    let readme = card.readme().unwrap();
    let (front, body) = readme.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let front: Value = serde_norway::from_str(front).unwrap();
    assert_eq!(front["license"], Value::from("other"));
    assert_eq!(front["model-index"][0]["name"], Value::from(hostile));
    assert!(!body.contains("<script>") && !body.contains("[a](") && !body.contains("\n---\n"), "{body}");
    assert_eq!(body.lines().filter(|line| line.starts_with("# ")).count(), 1, "one title: {body}");
}

#[test]
fn hubs_find_what_they_know_and_people_the_promise() {
    let manifest = manifest(&plan());
    let evaluation = Evaluation {
        params_digest: manifest.model.params_digest,
        data: "hold-out".into(),
        rows: 263,
        correct: 81,
        loss: 1.5,
        loss_deviation: 0.5,
    };
    let other = Evaluation { params_digest: Digest::sha256(b"another model"), ..evaluation.clone() };
    let card = card(&manifest, "St Mary", &[other, evaluation]);
    let accuracy: Vec<_> = card.metrics.iter().filter(|metric| metric.name == "accuracy").collect();
    assert_eq!(accuracy.len(), 1, "an evaluation of another model is not this card's");
    let [low, high] = accuracy[0].interval_95.unwrap();
    assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4);
    let readme = card.readme().unwrap();
    let front: Value =
        serde_norway::from_str(readme.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap().0)
            .unwrap();
    for key in ["license", "license_name", "library_name", "pipeline_tag", "tags", "model-index"] {
        assert!(!front[key].is_null(), "no {key}");
    }
    let tags = front["tags"].as_sequence().unwrap();
    assert!(tags.contains(&Value::from("differential-privacy")));
    assert!(
        tags.contains(&Value::from("dp-epsilon-0.334-delta-1e-5-unit-record")),
        "never less than was spent"
    );
    let results = front["model-index"][0]["results"].as_sequence().unwrap();
    assert!(
        results
            .iter()
            .all(|result| !result["task"]["type"].is_null() && !result["dataset"]["name"].is_null())
    );
    for said in ["(0.3334, 0.00001)-differential privacy", "accuracy 0.3080 (95 %: 0.2553 to 0.3662)", OWNER]
    {
        assert!(readme.contains(said), "no {said:?} in\n{readme}");
    }
}

#[test]
fn a_run_without_noise_says_so_first() {
    let mut manifest = manifest(&plan());
    (manifest.privacy.epsilon, manifest.privacy.delta) = (None, None);
    let readme = card(&manifest, "St Mary", &[]).readme().unwrap();
    assert!(readme.contains("\n\nNO DIFFERENTIAL PRIVACY: exact sums were opened"), "{readme}");
    assert!(!readme.contains("dp-epsilon"));
}

#[test]
fn hubs_learn_the_task_that_the_plans_inputs_make() {
    let inputs = [
        (params::Shape::Image { channels: 1, height: 2, width: 2 }, "image-classification"),
        (params::Shape::Tokens { length: 4, vocabulary: 9 }, "text-classification"),
        (params::Shape::Vector { width: 4 }, "tabular-classification"),
    ];
    for (input, task) in inputs {
        let mut plan = plan();
        let layers = plan.architecture().layers;
        plan.model.network = Some(params::Architecture { input, layers });
        let manifest = manifest(&plan);
        let card = Card::of(&manifest, &plan, &roster("x"), &[], &Declarations::default(), &controls(), &[]);
        let readme = card.readme().unwrap();
        assert!(readme.contains(&format!("pipeline_tag: {task}\n")), "{readme}");
        assert!(readme.contains(&format!("type: {task}\n")), "of the metrics too: {readme}");
    }
}

#[test]
fn a_clip_norm_that_moves_is_not_shown_as_a_constant() {
    let mut plan = plan();
    let of = |plan: &Plan| {
        Card::of(&manifest(plan), plan, &roster("x"), &[], &Declarations::default(), &controls(), &[])
    };
    assert!(of(&plan).readme().unwrap().contains("| clip norm | 0.5 |"));
    let following = plan::AdaptiveClipping { target_quantile: 0.7, learning_rate: 0.2, share: 0.05 };
    *plan.privacy.promise_mut().unwrap().adaptive_clip_mut().unwrap() = Some(following);
    let card = of(&plan);
    assert_eq!((card.privacy.clip_norm, card.privacy.clip_norm_quantile), (Some(0.5), Some(0.7)));
    let said = "| clip norm | 0.5 in the first round, then it follows the 0.7 quantile";
    assert!(card.readme().unwrap().contains(said));
}

#[test]
fn a_card_names_every_silo_on_its_models_line_with_what_each_declared_on_the_way() {
    let plan = plan();
    let [a, b, c] = [b"a", b"b", b"c"].map(|version| Digest::sha256(version));
    let mut learned = LearnedFrom::default();
    let mut record = |round, included: &[u32], action: Option<Action>| {
        let manifest = Manifest { round, included: included.to_vec(), action, ..manifest(&plan) };
        let silos: Vec<u32> = learned.push(&manifest).into_iter().collect();
        (manifest, silos)
    };
    let card = |manifest: &Manifest, before: &[Silo], declared: &[(u32, Digest)]| {
        let declared = Declarations { data: declared.iter().copied().collect(), ..Declarations::default() };
        Card::of(manifest, &plan, &roster("x"), before, &declared, &controls(), &[]).training_data.silos
    };
    let declared = |silos: &[Silo]| -> Vec<(u32, Vec<Digest>)> {
        silos.iter().map(|silo| (silo.id, silo.data_versions.clone())).collect()
    };
    let (first, silos) = record(1, &[1, 2], None);
    assert_eq!(silos, [1, 2]);
    let first = card(&first, &[], &[(1, a)]);
    let (second, silos) = record(2, &[1, 3], None);
    assert_eq!(silos, [1, 2, 3]);
    let second = card(&second, &first, &[(1, b), (3, c)]);
    assert_eq!(declared(&second), [(1, vec![a, b]), (2, vec![]), (3, vec![c])]);
    let (reason, by) = ("poisoned".to_owned(), "ops".to_owned());
    let stop = Action::Quarantine { model: a, round: 2, reason: reason.clone(), by: by.clone() };
    assert_eq!(record(3, &[], Some(stop)).1, [1, 2, 3], "it keeps the model");
    let (back, silos) = record(4, &[], Some(Action::Rollback { to_round: 1, reason, by }));
    assert_eq!(silos, [1, 2]);
    assert_eq!(declared(&card(&back, &first, &[])), declared(&first));
    assert_eq!(record(5, &[2, 4], None).1, [1, 2, 4], "round 2's silo 3 is not on this line");

    let many: Vec<Digest> = (0..40u32).map(|version| Digest::sha256(&version.to_be_bytes())).collect();
    let manifest = record(6, &[1], None).0;
    let silos = many.iter().fold(Vec::new(), |before, version| card(&manifest, &before, &[(1, *version)]));
    assert_eq!(silos[0].data_versions, many[many.len() - DATA_VERSIONS_MAX..], "the newest of too many");
}

#[test]
fn a_card_says_how_its_model_is_used_in_the_plans_words_and_with_every_tensor_of_its_file() {
    let plan = plan();
    let card = card(&manifest(&plan), "St Mary", &[]);
    let usage = Card::from_yaml(&card.to_yaml().unwrap()).unwrap().usage.unwrap();
    assert_eq!((&usage.features, usage.scaled_to), (&plan.data.features, [-0.5, 0.5]));
    assert_eq!(
        (usage.label.as_str(), usage.classes.as_slice()),
        ("diagnosis", &["0".to_owned(), "1".to_owned()][..])
    );
    let tensors: Vec<(&str, &[usize])> = usage.layers[0]
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
        .collect();
    assert_eq!(tensors, [("layers.0.weight", &[3, 2][..]), ("layers.0.bias", &[2])]);
    assert!(
        card.readme()
            .unwrap()
            .contains("* columns, in this order: age, systolic, cholesterol\n* classes of diagnosis: 0, 1\n")
    );
}

#[test]
fn every_tensor_of_a_gated_network_stands_with_its_layer_and_the_order_of_its_gates() {
    let mut plan = plan();
    let linear = |width| params::Layer::Linear { width, tied_to: None };
    plan.model.network = Some(params::Architecture {
        input: params::Shape::Tokens { length: 3, vocabulary: 9 },
        layers: vec![
            params::Layer::Embedding { width: 4 },
            params::Layer::Gru { width: 5 },
            params::Layer::Tanh {},
            linear(2),
        ],
    });
    let usage =
        Card::of(&manifest(&plan), &plan, &roster("x"), &[], &Declarations::default(), &controls(), &[])
            .usage
            .unwrap();
    let named: Vec<&str> =
        usage.layers.iter().flat_map(|layer| &layer.tensors).map(|tensor| tensor.name.as_str()).collect();
    let layout = plan.architecture().layout();
    assert_eq!(named, layout.entries().iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>());
    assert_eq!(usage.layers.iter().map(|layer| layer.tensors.len()).collect::<Vec<_>>(), [1, 4, 0, 2]);
    assert!(usage.layers[1].rule.contains("the update gate z first, then the reset gate r"));
}

#[test]
fn a_card_of_the_first_format_is_held_against_its_record_and_reads_as_it_did() {
    let mut manifest = manifest(&plan());
    manifest.run_name = "2026-01-02".into();
    let new = card(&manifest, "no", &[]);
    let mut first = Card { format: FIRST_CARD_FORMAT.into(), usage: None, ..new.clone() };
    first.privacy.statement = new.privacy.statement.replace("for one row;", "for one record;");
    assert_ne!(first.privacy.statement, new.privacy.statement);
    let written = serde_norway::to_string(&first).unwrap();
    assert!(written.contains("name: 2026-01-02\n"), "as its release wrote it: {written}");
    let read = Card::from_yaml(&written).unwrap();
    assert_eq!(read, first);
    for plan in [Some(plan()), None] {
        read.check(&manifest, &[1, 3].into(), plan.as_ref()).unwrap();
        new.check(&manifest, &[1, 3].into(), plan.as_ref()).unwrap();
    }
    assert!(read.readme().unwrap().contains("\n- name: 2026-01-02\n"), "{}", read.readme().unwrap());
    assert!(new.readme().unwrap().contains("\n- name: \"2026-01-02\"\n"), "{}", new.readme().unwrap());
    let without = Card { usage: None, ..new };
    let refused = without.check(&manifest, &[1, 3].into(), Some(&plan())).unwrap_err();
    assert!(matches!(&refused, CardError::Differs { field } if field == "use"), "{refused}");
    let with = Card { usage: card(&manifest, "no", &[]).usage, ..first };
    let refused = with.check(&manifest, &[1, 3].into(), Some(&plan())).unwrap_err();
    assert!(matches!(&refused, CardError::Differs { field } if field == "use"), "{refused}");
}
