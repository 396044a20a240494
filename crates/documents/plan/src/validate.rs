//! Whether a plan can be meant: bounds, the inequality of the threshold, the ring's room, the budget.

use accounting::{calibrate, epsilon_or_infinity};
use features::{Encoding, Feature, Missing};
use params::Shape;
use secagg::{COHORT_MAX, Threshold};

use crate::document::Plan;
use crate::privacy::{Privacy, Promise, Sampled, Sampling, Scheme, Weights};
use crate::problems::Problems;

const ROUNDS_MAX: u64 = 1_000_000;
const EPOCHS_MAX: u32 = 10_000;
const LOCAL_STEPS_MAX: u32 = 10_000;
const CLIP_NORM_MIN: f64 = 1e-30;
const CLIP_NORM_MAX: f64 = 1e30;
const BATCH_MAX: usize = 1 << 20;
const BATCH_ROWS_MAX: u64 = 1 << 20;
const PERSON_ROWS_MAX: usize = 1 << 20;
/// Numbers of the examples that a silo holds in memory at once, in f32 and some times over: a plan must not fill a silo's.
pub const VALUES_AT_ONCE_MAX: usize = 1 << 26;
const DEADLINE_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
const ATTEMPTS_MAX: u32 = 100;
/// A run that waits longer is better submitted again.
const PATIENCE_DAYS_MAX: u32 = 365;
const NAME_CHARS_MAX: usize = 128;

/// Everything wrong with the plan.
pub(crate) fn plan(plan: &Plan) -> Result<(), Problems> {
    let mut problems = Problems::default();
    format(plan, &mut problems);
    problems.require(is_line(&plan.name), "name", || {
        format!("must be 1 to {NAME_CHARS_MAX} printable characters")
    });
    problems.require((1..=ROUNDS_MAX).contains(&plan.rounds), "rounds", || {
        format!("must be between 1 and {ROUNDS_MAX}")
    });
    for fault in plan.data.faults() {
        problems.add(&fault.field, fault.text);
    }
    training(plan, &mut problems);
    cohort(plan, &mut problems);
    timing(plan, &mut problems);
    if let Err(why) = plan.server.validate() {
        problems.add("server", why.to_string());
    }
    network(plan, &mut problems);
    match plan.architecture().validate() {
        // What follows needs the number of parameters.
        Ok(()) => privacy(plan, &mut problems),
        Err(why) => problems.add("model", why.to_string()),
    }
    problems.into_result()
}

/// What only the newer format says, and what nothing is built for.
fn format(plan: &Plan, problems: &mut Problems) {
    let known = plan.format.is_none_or(|format| (Plan::NUMBERED..=Plan::FORMAT).contains(&format));
    problems
        .require(known, "format", || format!("must be {} to {}, or left out", Plan::NUMBERED, Plan::FORMAT));
    let fields = [
        (plan.id.is_some(), "id"),
        (plan.federation.is_some(), "federation"),
        (plan.parent.is_some(), "parent"),
        (plan.timing.patience_days.is_some(), "timing.patience_days"),
    ];
    for (said, field) in fields {
        problems.require(!said || plan.format.is_some(), field, || {
            format!("means nothing without format = {}", Plan::NUMBERED)
        });
    }
    problems.require(plan.says_only_what_format_2_did() || plan.format() >= Plan::TYPED, "format", || {
        format!(
            "must be {}, or left out: no format before has classes by name, class weights, column patterns, features that are \
             not a range, or a promise about persons",
            Plan::TYPED
        )
    });
    problems.require(plan.id.as_deref().is_none_or(is_id), "id", || {
        "must be 16 or 32 random bytes in lowercase hexadecimal; leave it out, and `folkmoot plan sign` draws one".into()
    });
    problems.require(plan.federation.as_deref().is_none_or(is_line), "federation", || {
        format!("must be a federation's name, 1 to {NAME_CHARS_MAX} printable characters, or left out")
    });
    problems.require(plan.parent.is_none_or(|parent| parent.round > 0), "parent.round", || {
        "must be at least 1: version 0 of a run was not trained, and follows from its plan".into()
    });
}

fn is_id(text: &str) -> bool {
    [32, 64].contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control)
}

/// What a plan needs to be signed and sent, beyond what a person writes.
pub(crate) fn travels(plan: &Plan) -> Result<(), Problems> {
    let mut problems = Problems::default();
    problems.require(plan.format.is_none() || plan.id.is_some(), "id", || {
        format!(
            "is missing: a plan of format {} is signed with one; sign it with `folkmoot plan sign`",
            plan.format()
        )
    });
    problems.into_result()
}

/// What a network is declared for must be the plan's table.
fn network(plan: &Plan, problems: &mut Problems) {
    let data = &plan.data;
    let vocabulary_of = |feature: &Feature| match &feature.encoding {
        Encoding::Tokens { words, .. } => Some(features::vocabulary(words)),
        _ => None,
    };
    let network = plan.model.network.as_ref();
    if let Some(vocabulary) = data.features.iter().find_map(vocabulary_of)
        && !network.is_some_and(|network| matches!(network.input, Shape::Tokens { .. }))
    {
        let length = data.width();
        problems.add("data.features", format!(
            "nothing but an embedding takes the numbers of words: give model.network the input {{ kind = \"tokens\", length = {length}, \
             vocabulary = {vocabulary} }} and a first layer {{ kind = \"embedding\", width = 16 }}"
        ));
    }
    let Some(network) = network else { return };
    problems.require(plan.model.hidden.is_empty(), "model.hidden", || {
        "says one model and model.network another; leave one of the two out".into()
    });
    let (inputs, outputs) = (network.input.values(), network.outputs());
    let (width, classes) = (data.width(), data.classes.count());
    problems.require(inputs == width, "model.network", || {
        format!("an example has {inputs} values, data.features gives {width}")
    });
    problems.require(outputs == classes, "model.network", || {
        format!("the last layer gives {outputs} numbers, data.classes is {classes}")
    });
    let Shape::Tokens { vocabulary, .. } = network.input else { return };
    // Then scaling changes nothing, and a token is the number in the table.
    let range = [0.0, vocabulary.saturating_sub(1) as f64];
    let whole = |feature: &Feature| {
        let stands_in = match feature.missing {
            Missing::Misfit => true,
            Missing::Number(number) => number.fract() == 0.0,
            Missing::Flagged | Missing::Text(_) => false,
        };
        match &feature.encoding {
            Encoding::Range { minimum, maximum } => stands_in && [*minimum, *maximum] == range,
            _ => vocabulary_of(feature) == Some(vocabulary),
        }
    };
    let unscaled = data.scaled_to == range && data.features.iter().all(whole);
    problems.require(unscaled, "data.features", || {
        format!(
            "tokens are not scaled: every column's range, and data.scaled_to, must be [{:?}, {:?}]; a list of tokens has {} words, as 0 \
             stands for none and 1 for any other",
            range[0],
            range[1],
            range[1] - 1.0
        )
    });
}

fn training(plan: &Plan, problems: &mut Problems) {
    let training = &plan.training;
    problems.require((1..=EPOCHS_MAX).contains(&training.local_epochs), "training.local_epochs", || {
        format!("must be between 1 and {EPOCHS_MAX}")
    });
    let at_once = plan.architecture().values_at_once();
    for (value, field) in
        [(training.batch_size, "training.batch_size"), (training.micro_batch, "training.micro_batch")]
    {
        problems.require((1..=BATCH_MAX).contains(&value), field, || {
            format!("must be between 1 and {BATCH_MAX}")
        });
        problems.require(value.saturating_mul(at_once) <= VALUES_AT_ONCE_MAX, field, || {
            format!("times the {at_once} values that an example takes must be at most {VALUES_AT_ONCE_MAX}; lower it")
        });
    }
    positive(training.learning_rate, "training.learning_rate", problems);
}

fn cohort(plan: &Plan, problems: &mut Problems) {
    let cohort = &plan.cohort;
    problems.require((3..=COHORT_MAX).contains(&cohort.minimum), "cohort.minimum", || {
        format!("must be between 3 and {COHORT_MAX}: with two silos each can subtract its own update")
    });
    problems.require((cohort.minimum..=COHORT_MAX).contains(&cohort.maximum), "cohort.maximum", || {
        format!("must be between cohort.minimum and {COHORT_MAX}")
    });
    problems.require(cohort.honest_min >= 2, "cohort.honest_min", || {
        "must be at least 2: a sum with one honest update in it is that update".into()
    });
    match Threshold::new(cohort.minimum, cohort.corrupt) {
        Ok(threshold) => {
            let honest = threshold.honest_in_any_sum();
            problems.require(honest >= cohort.honest_min, "cohort.honest_min", || {
                format!(
                    "a cohort of {} with {} corrupt opens sums with only {honest} honest silos; lower \
                     honest_min to {honest} or raise cohort.minimum",
                    cohort.minimum, cohort.corrupt
                )
            });
        }
        Err(why) => problems.add("cohort.corrupt", why.to_string()),
    }
}

fn timing(plan: &Plan, problems: &mut Problems) {
    let timing = &plan.timing;
    problems.require(
        (1_000..=DEADLINE_MS_MAX).contains(&timing.round_deadline_ms),
        "timing.round_deadline_ms",
        || format!("must be between 1000 and {DEADLINE_MS_MAX} (a week)"),
    );
    problems.require(
        timing.ready_after_ms.saturating_add(timing.minimum_wait_ms) <= timing.round_deadline_ms / 2,
        "timing.minimum_wait_ms",
        || "ready_after_ms and minimum_wait_ms together must fit into half of round_deadline_ms".into(),
    );
    problems.require((1..=ATTEMPTS_MAX).contains(&timing.attempts_max), "timing.attempts_max", || {
        format!("must be between 1 and {ATTEMPTS_MAX}")
    });
    let patience = timing.patience_days.is_none_or(|days| (1..=PATIENCE_DAYS_MAX).contains(&days));
    problems.require(patience, "timing.patience_days", || {
        format!("must be between 1 and {PATIENCE_DAYS_MAX}, or left out for {}", crate::Timing::PATIENCE_DAYS)
    });
}

fn privacy(plan: &Plan, problems: &mut Problems) {
    match &plan.privacy {
        Privacy::Exact(exact) => {
            positive(exact.coordinate_max, "privacy.coordinate_max", problems);
            positive(exact.loss_max, "privacy.loss_max", problems);
            if let Weights::Rows { rows_max } = exact.weights {
                problems.require(rows_max >= 1, "privacy.weights", || "rows_max must be at least 1".into());
            }
        }
        Privacy::Private(promise) => {
            clip_norm_in_range(promise.clip_norm, problems);
            match &promise.scheme {
                Scheme::DistributedDpSgd { sampling, .. } => {
                    positive(sampling.divisor, "privacy.divisor", problems);
                    sampled(sampling, problems);
                }
                Scheme::SiloDpSgd { sampling, local_steps, coordinate_max, .. } => {
                    positive(sampling.divisor, "privacy.divisor", problems);
                    positive(*coordinate_max, "privacy.coordinate_max", problems);
                    sampled(sampling, problems);
                    problems.require(
                        (1..=LOCAL_STEPS_MAX).contains(local_steps),
                        "privacy.local_steps",
                        || format!("must be between 1 and {LOCAL_STEPS_MAX}"),
                    );
                }
                Scheme::DistributedDpFedavg { .. } | Scheme::CentralDpFedavg { .. } => {}
            }
            budget(promise, plan.rounds, problems);
        }
    }
    if problems.0.is_empty()
        && let Err(problem) = plan.mechanism()
    {
        problems.0.push(problem);
    }
}

/// Products of it with scales, numbers of rows and parameters stay far from where f64 rounds coarsely or ends.
fn clip_norm_in_range(clip_norm: f64, problems: &mut Problems) {
    problems.require((CLIP_NORM_MIN..=CLIP_NORM_MAX).contains(&clip_norm), "privacy.clip_norm", || {
        format!("must be a positive number between {CLIP_NORM_MIN:e} and {CLIP_NORM_MAX:e}")
    });
}

fn sampled(sampling: &Sampling, problems: &mut Problems) {
    problems.require(sampling.rate > 0.0 && sampling.rate <= 1.0, "privacy.sampling_rate", || {
        "must be above 0 and at most 1".into()
    });
    problems.require((1..=BATCH_ROWS_MAX).contains(&sampling.rows_max), "privacy.batch_rows_max", || {
        format!("must be between 1 and {BATCH_ROWS_MAX}")
    });
    if let Sampled::Person { rows_max } = sampling.unit {
        problems.require((1..=PERSON_ROWS_MAX).contains(&rows_max), "privacy.unit", || {
            format!("a person's rows_max must be between 1 and {PERSON_ROWS_MAX}")
        });
    }
}

/// The noise must keep the promise over the whole run; where it does not, the remedy is the calibrated one.
fn budget(promise: &Promise, rounds: u64, problems: &mut Problems) {
    let Promise { epsilon, delta, noise_multiplier, .. } = *promise;
    positive(epsilon, "privacy.epsilon", problems);
    problems.require(delta > 0.0 && delta < 1.0, "privacy.delta", || {
        "must lie between 0 and 1; usual is at most one over the number of records".into()
    });
    positive(noise_multiplier, "privacy.noise_multiplier", problems);
    if !problems.0.is_empty() {
        return;
    }
    let event = promise.event();
    let spent = epsilon_or_infinity([(event, rounds)], delta);
    if spent > epsilon {
        let (rate, ..) = event.parts();
        let remedy = match calibrate(epsilon, delta, rate, event.sums(rounds)) {
            Ok(multiplier) => format!("set noise_multiplier to {multiplier} or more, or lower rounds"),
            Err(why) => why.to_string(),
        };
        problems.add(
            "privacy.noise_multiplier",
            format!(
                "{noise_multiplier} spends epsilon {} at delta {delta} over {rounds} rounds, more than the \
                 plan's {epsilon}; {remedy}",
                accounting::rounded_up(spent, 3),
            ),
        );
    }
}

fn positive(value: f64, field: &str, problems: &mut Problems) {
    problems.require(value.is_finite() && value > 0.0, field, || "must be a positive number".into());
}

#[cfg(test)]
mod tests {
    use secagg::EXCESS_COHORT_MAX;

    use super::*;
    use crate::document::PlanError;

    const SAMPLE: &str = include_str!("../../../../deploy/config/plan.toml");

    fn with(from: &str, to: &str) -> Result<Plan, PlanError> {
        assert!(SAMPLE.contains(from), "the sample has no {from:?}");
        Plan::from_toml(&SAMPLE.replace(from, to))
    }

    fn refusal(from: &str, to: &str) -> String {
        match with(from, to) {
            Err(why) => why.to_string(),
            Ok(_) => panic!("{to:?} was accepted"),
        }
    }

    #[test]
    fn the_sample_plan_is_usable_and_its_canonical_bytes_are_the_only_ones() {
        let plan = Plan::from_toml(SAMPLE).unwrap();
        let bytes = plan.to_canonical();
        assert_eq!(Plan::from_canonical(&bytes).unwrap(), plan);
        let spaced = [b" ", bytes.as_slice()].concat();
        assert!(matches!(Plan::from_canonical(&spaced), Err(PlanError::NotCanonical)));
        assert_eq!(Plan::from_toml(&plan.to_toml()).unwrap().digest(), plan.digest());
    }

    #[test]
    fn removal_of_excess_noise_is_named_only_where_it_is_wanted_and_refused_where_it_cannot_be() {
        let sample = Plan::from_toml(SAMPLE).unwrap();
        assert!(sample.excess_noise().is_removed());
        assert!(String::from_utf8(sample.to_canonical()).unwrap().contains("\"remove_excess_noise\":true"));
        let keeping = with("remove_excess_noise = true", "").unwrap();
        assert!(!String::from_utf8(keeping.to_canonical()).unwrap().contains("remove_excess_noise"));

        let sized = |maximum: usize, scale_bits: u32| {
            let text = SAMPLE.replace("maximum = 5", &format!("maximum = {maximum}"));
            Plan::from_toml(&text.replace("scale_bits = 16", &format!("scale_bits = {scale_bits}")))
        };
        sized(EXCESS_COHORT_MAX, 13).unwrap();
        let why = sized(EXCESS_COHORT_MAX + 1, 13).unwrap_err().to_string();
        assert!(why.contains("privacy.remove_excess_noise") && why.contains("lower cohort.maximum"), "{why}");
        let why = sized(EXCESS_COHORT_MAX, 4).unwrap_err().to_string();
        assert!(why.contains("privacy.remove_excess_noise") && why.contains("raise scale_bits"), "{why}");
        let why = refusal("mode = \"distributed_dp_sgd\"", "mode = \"central_dp_fedavg\"");
        assert!(why.contains("unknown field"), "{why}");
    }

    #[test]
    fn clip_norms_near_the_ends_of_f64_are_refused() {
        for bad in ["0.0", "-0.5", "1e-40", "1e40", "inf", "nan"] {
            let why = refusal("clip_norm = 0.5", &format!("clip_norm = {bad}"));
            assert!(
                why.contains("privacy.clip_norm: must be a positive number between 1e-30 and 1e30"),
                "{why}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let why = refusal("rounds = 30", "rounds = 30\nroundz = 31");
        assert!(why.contains("roundz") && why.contains("line 9"), "{why}");
        let why = refusal("clip_norm = 0.5", "clip_norm = 0.5\nclip = 0.5");
        assert!(why.contains("clip"), "{why}");
    }

    #[test]
    fn too_little_noise_is_refused_with_the_multiplier_that_would_do() {
        let why = refusal("noise_multiplier = 5.324", "noise_multiplier = 2.0");
        assert!(
            why.contains("privacy.noise_multiplier") && why.contains("set noise_multiplier to 5.32"),
            "{why}"
        );
        assert!(why.contains("\nline 52: "), "{why}");
    }

    #[test]
    fn a_plan_that_could_wrap_is_refused_with_the_bits_it_takes() {
        let why = refusal("scale_bits = 16", "scale_bits = 24");
        assert!(
            why.contains("could wrap in a ring of 32 bits") && why.contains("privacy.scale_bits"),
            "{why}"
        );
        let why = refusal("batch_rows_max = 1024", "batch_rows_max = 1000000");
        assert!(why.contains("could wrap"), "{why}");
    }

    #[test]
    fn floors_that_a_cohort_cannot_keep_are_refused() {
        let why = refusal("honest_min = 2", "honest_min = 3");
        assert!(why.contains("only 2 honest silos"), "{why}");
        assert!(refusal("minimum = 3\nmaximum", "minimum = 2\nmaximum").contains("cohort.minimum"));
        assert!(refusal("corrupt = 1", "corrupt = 0").contains("cohort.corrupt"));
    }

    /// The sample plan with the layers that README.md shows, and the digits' worth of columns.
    fn network(edit: impl Fn(&mut Plan)) -> Result<(), Problems> {
        let readme = include_str!("../../../../README.md");
        let toml = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        #[derive(serde::Deserialize)]
        struct Shown {
            model: crate::document::Model,
        }
        let mut plan = Plan::from_toml(SAMPLE).unwrap();
        plan.model = toml::from_str::<Shown>(toml).unwrap().model;
        plan.data.classes = 10.into();
        plan.data.features = (0..784).map(|pixel| Feature::range(format!("p{pixel}"), 0.0, 255.0)).collect();
        edit(&mut plan);
        plan.validate()
    }

    #[test]
    fn words_of_texts_need_a_network_that_takes_as_many_numbers_as_there_are_words() {
        let mut plan = Plan::from_toml(SAMPLE).unwrap();
        let words = ["pain".to_owned(), "fever".to_owned()];
        let encoding = Encoding::Tokens { words: words.into(), length: 8 };
        plan.data.features = vec![Feature { encoding, ..Feature::range("note", 0.0, 1.0) }];
        plan.data.scaled_to = [0.0, 3.0];
        let why = plan.validate().unwrap_err().to_string();
        assert!(why.contains(r#"the input { kind = "tokens", length = 8, vocabulary = 4 }"#), "{why}");
        let network = |vocabulary| {
            let input = format!("input = {{ kind = \"tokens\", length = 8, vocabulary = {vocabulary} }}");
            let layers = r#"layers = [{ kind = "embedding", width = 3 }, { kind = "mean_positions" }, { kind = "linear", width = 2 }]"#;
            toml::from_str(&format!("{input}\n{layers}")).unwrap()
        };
        plan.data.classes = 2.into();
        plan.format = Some(3);
        plan.data.classes = 2.into();
        plan.model.hidden.clear();
        plan.model.network = Some(network(5));
        let why = plan.validate().unwrap_err().to_string();
        assert!(why.contains("must be [0.0, 4.0]; a list of tokens has 3 words"), "{why}");
        plan.model.network = Some(network(4));
        assert_eq!(plan.validate(), Ok(()));
        plan.data.features[0].missing = Missing::Flagged;
        let why = plan.validate().unwrap_err().to_string();
        assert!(why.contains(r#"missing must be a text, such as "", or be left out"#), "{why}");
        let written = toml::to_string(&plan).unwrap();
        assert!(written.contains("tokens = [\"pain\", \"fever\"]\nlength = 8"), "{written}");
    }

    #[test]
    fn the_layers_that_the_readme_shows_make_a_plan_and_must_be_those_of_its_table() {
        assert_eq!(network(|_| ()), Ok(()));
        type Edit = fn(&mut Plan);
        let edits: [(&str, Edit); 7] = [
            ("data.features gives 783", |p| drop(p.data.features.pop())),
            ("data.classes is 9", |p| p.data.classes = 9.into()),
            ("leave one of the two out", |p| p.model.hidden = vec![3]),
            ("batch normalisation is refused", |p| {
                let layers = &mut p.model.network.as_mut().unwrap().layers;
                layers.insert(1, params::Layer::BatchNorm {});
            }),
            ("training.micro_batch", |p| p.training.micro_batch = 1 << 14),
            ("training.batch_size", |p| p.training.batch_size = 1 << 14),
            ("tokens are not scaled", |p| {
                p.model.network.as_mut().unwrap().input = Shape::Tokens { length: 784, vocabulary: 9 };
            }),
        ];
        for (expected, edit) in edits {
            let why = network(edit).unwrap_err().to_string();
            assert!(why.contains(expected), "no {expected:?} in\n{why}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text = SAMPLE.replace("classes = 2", "classes = 1").replace("maximum = 110.0", "maximum = 0.0");
        let why = Plan::from_toml(&text).unwrap_err().to_string();
        assert!(why.contains("data.classes") && why.contains("\"age\""), "{why}");
    }
}
