//! `folkmoot plan`: whether a plan can be meant, what it costs, and what it will do.

mod forecast;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use plan::forecast::Forecast;
use plan::{AuthoredPlan, Policy, PolicyError, Problems, SignedPlan};
use rand::rand_core::{Rng, UnwrapErr};
use serde::Deserialize;

use crate::Failure;
use crate::files::{Unusable, read_text};
use crate::keys;

#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  folkmoot plan plan.toml\n  folkmoot plan check plan.toml --policy client.toml"
)]
pub(crate) struct Args {
    /// A plan, TOML or signed: print what it promises, what it costs, whether it can work, and what would fit.
    file: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long, requires = "file")]
    json: bool,
    #[command(subcommand)]
    what: Option<Plan>,
}

#[derive(Subcommand, Debug)]
enum Plan {
    /// Print what a plan promises and costs, or everything that is wrong with it.
    #[command(after_help = "Example:\n  folkmoot plan check plan.toml --policy client.toml")]
    Check {
        /// The plan, TOML.
        file: PathBuf,
        /// A silo's policy, or its client.toml with the table [policy]: would that silo take part?
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Sign a plan as its author: what a coordinator is given, and what silos hold against their policy.
    #[command(after_help = "Example:\n  folkmoot plan sign plan.toml --key author.key --out plan.json")]
    Sign {
        /// The plan, TOML.
        file: PathBuf,
        /// The author's secret key, from `folkmoot keys new`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the signed plan goes; must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match (&args.what, &args.file) {
        (Some(Plan::Check { file, policy }), _) => check(file, policy.as_deref()),
        (Some(Plan::Sign { file, key, out }), _) => sign(file, key, out),
        (None, Some(file)) => foresee(file, args.json),
        (None, None) => Err(Failure::usage("name a plan, or a command: `folkmoot plan --help`")),
    }
}

fn foresee(file: &Path, json: bool) -> Result<(), Failure> {
    let plan = match find(file)? {
        Found::Written(plan) => plan.of_newest_format(),
        Found::Signed(plan) => plan::Plan::clone(&plan),
    };
    let forecast = Forecast::of(&plan)?;
    if json {
        println!("{}", serde_json::to_string(&forecast).map_err(Failure::failed)?);
    } else {
        print!("{}{}", report(&plan), forecast::text(&forecast));
    }
    Ok(())
}

/// A plan as a person wrote it, or as its author signed it.
enum Found {
    Written(Box<plan::Plan>),
    Signed(Box<AuthoredPlan>),
}

fn check(file: &Path, policy: Option<&Path>) -> Result<(), Failure> {
    let plan = match find(file)? {
        Found::Written(plan) => Found::Written(Box::new(plan.of_newest_format())),
        signed @ Found::Signed(_) => signed,
    };
    match &plan {
        Found::Written(plan) => {
            print!("{}", report(plan));
            println!("author        nobody yet: `folkmoot plan sign` signs it");
        }
        Found::Signed(plan) => {
            print!("{}", report(plan));
            println!("author        {}", plan.signed().author);
        }
    }
    let Some(file) = policy else { return Ok(()) };
    let policy = read_policy(&read_text(file)?).map_err(|why| Unusable::new(file, why))?;
    let checked = match &plan {
        Found::Written(plan) => policy.check_unsigned(plan),
        Found::Signed(plan) => policy.check(plan),
    };
    checked.map_err(|why| Failure::usage(format!("the policy refuses the plan: {}: {why}", why.code())))?;
    match plan {
        Found::Written(_) => println!("policy        accepts the plan, if one of its authors signs it"),
        Found::Signed(_) => println!("policy        accepts the plan"),
    }
    Ok(())
}

fn sign(file: &Path, key: &Path, out: &Path) -> Result<(), Failure> {
    let plan = plan::Plan::from_toml(&read_text(file)?).map_err(|why| Unusable::new(file, why))?;
    let author = keys::read(key)?;
    let signed = newly_numbered(plan).sign(&author);
    let json = serde_json::to_string(signed.signed()).map_err(Failure::failed)?;
    crate::roster::write_new_text(out, &json)?;
    println!("plan {}", signed.digest());
    println!("authors = [\"{}\"]", signed.signed().author);
    Ok(())
}

/// A plan as it is signed: with an id that no plan had before.
fn newly_numbered(plan: plan::Plan) -> plan::Plan {
    let mut random = [0u8; plan::Plan::ID_BYTES];
    UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut random);
    plan.numbered(random)
}

fn find(file: &Path) -> Result<Found, Unusable> {
    let text = read_text(file)?;
    if text.trim_start().starts_with('{') {
        let signed = SignedPlan::from_json(&text).and_then(SignedPlan::open);
        return signed.map(|plan| Found::Signed(Box::new(plan))).map_err(|why| Unusable::new(file, why));
    }
    plan::Plan::from_toml(&text)
        .map(|plan| Found::Written(Box::new(plan)))
        .map_err(|why| Unusable::new(file, why))
}

/// A plan as a person wrote it, or as its author signed it.
pub(crate) fn read_any(file: &Path) -> Result<plan::Plan, Unusable> {
    Ok(match find(file)? {
        Found::Written(plan) => *plan,
        Found::Signed(plan) => plan::Plan::clone(&plan),
    })
}

/// A signed plan, under its author's signature.
pub(crate) fn read_signed(file: &Path) -> Result<AuthoredPlan, Unusable> {
    SignedPlan::from_json(&read_text(file)?)
        .and_then(SignedPlan::open)
        .map_err(|why| Unusable::new(file, why))
}

/// The table `[policy]` of a client's configuration, or the whole text where there is none; faults by their lines in the text.
fn read_policy(text: &str) -> Result<Policy, PolicyError> {
    #[derive(Deserialize)]
    struct Configuration {
        policy: Policy,
    }
    if !text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("policy")) {
        return Policy::from_toml(text);
    }
    let Configuration { policy } =
        toml::from_str(text).map_err(|why| PolicyError::Syntax(why.to_string()))?;
    let Err(problems) = policy.validate() else { return Ok(policy) };
    let mut placed = Problems::default();
    for problem in problems.0 {
        placed.add(&format!("policy.{}", problem.field), problem.text);
    }
    Err(PolicyError::Meaning(placed.with_lines_of(text)))
}

fn report(plan: &plan::Plan) -> String {
    let mode = plan.mode();
    let lanes = plan.lanes();
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<13} {value}\n"));
    match &plan.id {
        None if plan.format.is_some() => row("plan", "not signed yet: signing draws its id".into()),
        _ => row("plan", plan.digest().to_string()),
    }
    row("format", plan.format().to_string());
    row("federation", plan.federation.clone().unwrap_or_else(|| "any whose silos do not forbid that".into()));
    row("rounds", plan.rounds.to_string());
    row("mode", mode.to_string());
    row(
        "promise",
        plan.budget().map_or_else(
            || "none: exact sums, no differential privacy".into(),
            |(epsilon, delta)| format!("(epsilon {epsilon}, delta {delta})"),
        ),
    );
    row("unit", accounting::Unit::or_none(mode.unit()).into());
    row("relation", accounting::Relation::or_none(mode.relation()).into());
    row("noise by", mode.noise_by().into());
    if plan.excess_noise().is_removed() {
        row("excess noise", "removed: of u silos in a sum, any u - corrupt keep the calibrated noise".into());
    }
    if let (Some(adaptive), Some(clip_norm)) = (plan.adaptive_clipping(), plan.clip_norm()) {
        row(
            "clip norm",
            format!(
                "from {clip_norm} on it follows the quantile {} of the norms; counting who is within is {} % of the \
                 squared sensitivity, and in the epsilon",
                adaptive.target_quantile,
                100.0 * adaptive.share
            ),
        );
    }
    row("trust", plan.trust());
    let cohort = &plan.cohort;
    row(
        "cohort",
        format!(
            "{} to {} silos, {} corrupt, at least {} honest in any sum",
            cohort.minimum, cohort.maximum, cohort.corrupt, cohort.honest_min
        ),
    );
    row("dropouts", format!("a round of {} survives {}", cohort.maximum, cohort.dropouts_survived()));
    row("parameters", plan.architecture().parameter_count().to_string());
    row("lanes", lanes.to_string());
    row("upload", format!("{} bytes a silo and round", lanes as u64 * plan::Plan::LANE_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use demo::demo_plan;
    use plan::PrivacyMode;

    use super::*;

    fn check(plan: &str, policy: Option<&str>) -> Result<(), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.toml");
        fs::write(&file, plan).unwrap();
        let policy = policy.map(|text| {
            let file = folder.path().join("policy.toml");
            fs::write(&file, text).unwrap();
            file
        });
        super::check(&file, policy.as_deref())
    }

    fn key(byte: u8) -> identity::IdentityKey {
        identity::IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
    }

    fn author(byte: u8) -> String {
        keys::public_text(&key(byte))
    }

    #[test]
    fn a_signed_plan_is_checked_under_its_author_and_refused_once_altered() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("plan.toml"), include_str!("../../deploy/config/plan.toml")).unwrap();
        let author_key = keys::create(&path("author.key")).unwrap();
        sign(&path("plan.toml"), &path("author.key"), &path("plan.json")).unwrap();
        let client = include_str!("../../deploy/config/client.toml");
        let policy = |key: &str| {
            let file = path("client.toml");
            fs::write(&file, client.replace("REPLACE-WITH-THE-AUTHORS-KEY", key)).unwrap();
            file
        };
        super::check(&path("plan.json"), Some(&policy(&keys::public_text(&author_key)))).unwrap();
        let why = super::check(&path("plan.json"), Some(&policy(&author(2)))).unwrap_err().to_string();
        assert!(why.contains("POLICY_AUTHOR"), "{why}");
        let weaker =
            fs::read_to_string(path("plan.json")).unwrap().replace("honest_min\\\":2", "honest_min\\\":1");
        fs::write(path("plan.json"), weaker).unwrap();
        let why = super::check(&path("plan.json"), None).unwrap_err().to_string();
        assert!(why.contains("not what its author signed"), "{why}");
    }

    #[test]
    fn a_report_states_the_promise_its_unit_and_the_bytes_of_an_upload() {
        let report = report(&demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap());
        for fact in ["distributed_dp_sgd", "epsilon 4.9, delta 0.00001", "record", "650", "2600 bytes"] {
            assert!(report.contains(fact), "no {fact:?} in\n{report}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap().to_toml();
        let why = check(&format!("colour = 1\n{plan}"), None).unwrap_err().to_string();
        assert!(why.contains("line 1") && why.contains("colour"), "{why}");
    }

    #[test]
    fn the_samples_of_deploy_accept_each_other() {
        let client = include_str!("../../deploy/config/client.toml")
            .replace("REPLACE-WITH-THE-AUTHORS-KEY", &author(1));
        check(include_str!("../../deploy/config/plan.toml"), Some(&client)).unwrap();
        let stricter = client.replace("epsilon_max = 5.0", "epsilon_max = 1.0");
        let why = check(include_str!("../../deploy/config/plan.toml"), Some(&stricter)).unwrap_err();
        assert!(why.to_string().contains("this silo's epsilon_max is 1"), "{why}");
    }

    #[test]
    fn a_fault_of_a_policy_in_a_clients_configuration_is_named_by_its_line_there() {
        let client = include_str!("../../deploy/config/client.toml")
            .replace("REPLACE-WITH-THE-AUTHORS-KEY", &author(1));
        let line = |text: &str, key: &str| {
            text.lines().position(|line| line.starts_with(key)).map(|at| at + 1).unwrap()
        };
        for fault in ["epsilon_max = -5.0", "epsilon_mox = 5.0"] {
            let wrong = client.replace("epsilon_max = 5.0", fault);
            let at = line(&wrong, &fault[..11]);
            assert!(at > line(&wrong, "[policy]") && at > 20, "the sample's policy is not at its beginning");
            let why = check(include_str!("../../deploy/config/plan.toml"), Some(&wrong)).unwrap_err();
            assert!(why.to_string().contains(&format!("line {at}")), "{fault} in line {at}: {why}");
        }
    }

    #[test]
    fn a_policy_that_refuses_the_plan_says_why() {
        let plan = demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap().to_toml();
        let policy = |epsilon: f64| {
            format!(
                "cohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = {epsilon:?}\ndelta_max = 1e-5\n\
                 privacy_modes = [\"distributed_dp_sgd\"]\naccepts_undetected_rollback = true\n\
                 authors = [\"{}\"]\n",
                author(1)
            )
        };
        check(&plan, Some(&policy(5.0))).unwrap();
        let why = check(&plan, Some(&policy(1.0))).unwrap_err().to_string();
        assert!(why.contains("this silo's epsilon_max is 1"), "{why}");
    }
}
