//! Plans: checked, signed, held against policies, and foreseen.

use std::sync::Arc;

use accounting::{Budget, calibrate, steps_allowed};
use demo::demo_plan;
use identity::IdentityKey;
use ledger::{ClaimLimits, Cost, Ledger, Limits, RunClaim, samples};
use params::Digest;
use plan::{Answered, AuthoredPlan, Plan, PrivacyMode, SignedPlan};
use protocol::ClientRecord;
use serde_json::Value;
use store::{FileStore, JournalKind, Store};
use vault::{MasterSource, Vault};

use crate::program::{Here, USAGE};

const PLAN: &str = include_str!("../../../deploy/config/plan.toml");
const CLIENT: &str = include_str!("../../../deploy/config/client.toml");
/// What the sample has in place of the author's key.
const AUTHORS_KEY: &str = "REPLACE-WITH-THE-AUTHORS-KEY";
const CHECK: &str = "plan check plan.toml --policy client.toml";

fn author(byte: u8) -> String {
    let key = IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap();
    hex::encode(key.public().as_bytes())
}

/// A plan beside a silo's configuration, or its policy alone.
fn beside(plan: &str, client: &str) -> Here {
    let here = Here::new();
    here.write("plan.toml", plan);
    here.write("client.toml", client);
    here
}

fn demonstration() -> Plan {
    demo_plan(PrivacyMode::DistributedDpSgd, 5, None, None).unwrap()
}

#[test]
fn a_signed_plan_is_checked_under_its_author_and_refused_once_altered() {
    let here = beside(PLAN, "");
    let key = here.done("keys new author.key");
    here.done("plan sign plan.toml --key author.key --out plan.json");
    let check = "plan check plan.json --policy client.toml";
    here.write("client.toml", CLIENT.replace(AUTHORS_KEY, key.trim_end()));
    here.done(check);
    here.write("client.toml", CLIENT.replace(AUTHORS_KEY, &author(2)));
    let why = here.refused(check, USAGE);
    assert!(why.contains("POLICY_AUTHOR"), "{why}");
    here.write("plan.json", here.read("plan.json").replace("honest_min\\\":2", "honest_min\\\":1"));
    let why = here.refused("plan check plan.json", USAGE);
    assert!(why.contains("not what its author signed"), "{why}");
}

#[test]
fn a_report_states_the_promise_its_unit_and_the_bytes_of_an_upload() {
    let report = beside(&demonstration().to_toml(), "").done("plan check plan.toml");
    for fact in ["distributed_dp_sgd", "epsilon 4.9, delta 0.00001", "record", "650", "2600 bytes"] {
        assert!(report.contains(fact), "no {fact:?} in\n{report}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let plan = format!("colour = 1\n{}", demonstration().to_toml());
    let why = beside(&plan, "").refused("plan check plan.toml", USAGE);
    assert!(why.contains("line 1") && why.contains("colour"), "{why}");
}

#[test]
fn the_samples_of_deploy_accept_each_other() {
    let client = CLIENT.replace(AUTHORS_KEY, &author(1));
    beside(PLAN, &client).done(CHECK);
    let stricter = client.replace("epsilon_max = 5.0", "epsilon_max = 1.0");
    let why = beside(PLAN, &stricter).refused(CHECK, USAGE);
    assert!(why.contains("this silo's epsilon_max is 1"), "{why}");
}

#[test]
fn a_fault_of_a_policy_in_a_clients_configuration_is_named_by_its_line_there() {
    let client = CLIENT.replace(AUTHORS_KEY, &author(1));
    let line =
        |text: &str, key: &str| text.lines().position(|line| line.starts_with(key)).map(|at| at + 1).unwrap();
    for fault in ["epsilon_max = -5.0", "epsilon_mox = 5.0"] {
        let wrong = client.replace("epsilon_max = 5.0", fault);
        let at = line(&wrong, &fault[..11]);
        assert!(at > line(&wrong, "[policy]") && at > 20, "the sample's policy is not at its beginning");
        let why = beside(PLAN, &wrong).refused(CHECK, USAGE);
        assert!(why.contains(&format!("line {at}")), "{fault} in line {at}: {why}");
    }
}

#[test]
fn a_policy_that_refuses_the_plan_says_why() {
    let plan = demonstration().to_toml();
    let policy = |epsilon: f64| {
        format!(
            "cohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = {epsilon:?}\ndelta_max = 1e-5\n\
             privacy_modes = [\"distributed_dp_sgd\"]\naccepts_undetected_rollback = true\n\
             authors = [\"{}\"]\n",
            author(1)
        )
    };
    beside(&plan, &policy(5.0)).done(CHECK);
    beside(&plan, &format!("[policy]\n{}", policy(5.0))).done(CHECK);
    let why = beside(&plan, &policy(1.0)).refused(CHECK, USAGE);
    assert!(why.contains("this silo's epsilon_max is 1"), "{why}");
}

#[test]
fn a_plan_that_the_ledger_has_no_room_for_is_refused_before_it_is_signed() {
    let here = beside(PLAN, &CLIENT.replace(AUTHORS_KEY, &author(1)));
    let ledger = samples::spent(&here.path("ledger"), None);
    let all = Limits { epsilon_max: 20.0, delta: 1e-5, ..samples::LIMITS };
    let dear = Cost { count: 40, ..samples::COST };
    ledger.reserve(samples::release("dear", 1), Some(dear), &all, 4).unwrap();
    let check = format!("{CHECK} --ledger ledger");
    let why = here.refused(&check, USAGE);
    assert!(why.contains("BALANCE, for BUDGET_SPENT: ") && why.contains("its limit is 5"), "{why}");
    here.write("client.toml", here.read("client.toml").replace("epsilon_max = 5.0", "epsilon_max = 20.0"));
    assert!(here.done(&check).contains("ledger        has room"));
    let most = steps_allowed(&samples::COST.event, &Budget::new(20.0, 1e-5).unwrap()).unwrap();
    let rest = samples::claim("not over", most - 43);
    ledger.claim(rest, &ClaimLimits { limits: all, ..samples::CLAIM_LIMITS }, daemon::wall_ms()).unwrap();
    let why = here.refused(&check, USAGE);
    assert!(why.contains("what 1 other runs that are not over have claimed"), "{why}");
    here.refused("plan check plan.toml --ledger ledger", USAGE);
}

/// A silo's folder, sealed as enrolment makes it, with what its journal says.
struct SealedSilo {
    here: Here,
    vault: Arc<Vault>,
}

impl SealedSilo {
    fn new() -> Self {
        let key = IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap();
        let here = beside(PLAN, "");
        let plan = Plan::from_toml(PLAN).unwrap().sign(&key);
        here.write("plan.json", serde_json::to_string(plan.signed()).unwrap());
        let master = here.path("master.key");
        vault::make_master(&master).unwrap();
        let vault = Arc::new(Vault::create(&here.path(""), MasterSource::File(master)).unwrap());
        let client = CLIENT.replace(AUTHORS_KEY, &author(1)).replace("/var/lib/folkmoot/client", "state");
        let sealed = "encryption = { master_key = { file = \"master.key\" } }\nplaintext = true\n";
        here.write("client.toml", client.replace("\nplaintext = true\n", &format!("\n{sealed}")));
        Self { here, vault }
    }

    fn plan(&self) -> AuthoredPlan {
        SignedPlan::from_json(&self.here.read("plan.json")).unwrap().open().unwrap()
    }

    fn answers(&self, records: &[ClientRecord]) {
        let (state, vault) = (self.here.path("state"), Arc::clone(&self.vault));
        let mut opened =
            FileStore::open_sealed(&state, JournalKind::Client, vault, |_, _, _| Ok(())).unwrap().store;
        let records: Vec<Vec<u8>> = records.iter().map(ClientRecord::encode).collect();
        opened.append_all(&records).unwrap();
    }
}

const BESIDE: &str = "plan check plan.json --policy client.toml --ledger state/ledger";

#[test]
fn a_silo_that_has_looked_at_as_many_plans_of_the_author_as_it_does_would_answer_so_and_one_that_never_ran_has_spent_nothing()
 {
    let silo = SealedSilo::new();
    let said = silo.here.done(BESIDE);
    assert!(said.contains("ledger        nothing spent yet; has room for a run of the plan"), "{said}");
    silo.here.refused(&BESIDE.replace("state/ledger", "stat/ledger"), USAGE);
    let author = silo.plan().author().to_bytes();
    let answered = |name: &str| {
        let [run, plan, policy] =
            [format!("a run of {name}").as_str(), name, "policy"].map(|text| Digest::sha256(text.as_bytes()));
        let time_ms = daemon::wall_ms();
        ClientRecord::OfferAnswered(Answered { time_ms, run, plan, author, policy, admitted: true })
    };
    silo.answers(&["a", "b", "c"].map(answered));
    assert!(silo.here.done(BESIDE).contains("has room for a run of the plan"));
    silo.answers(&[answered("d")]);
    let why = silo.here.refused(BESIDE, USAGE);
    assert!(
        why.contains("the silo would answer BALANCE: this silo looks at its balance for 4 plans"),
        "{why}"
    );
    let unsigned = silo.here.done(&BESIDE.replace("plan.json", "plan.toml"));
    assert!(unsigned.contains("is known once the plan is signed"), "{unsigned}");
}

#[test]
fn a_plan_that_a_silo_takes_part_in_is_said_to_have_its_claim_and_not_to_be_refused_for_it() {
    let silo = SealedSilo::new();
    let ledger =
        Ledger::new(&silo.here.path("state/ledger"), "data", None, Some(Arc::clone(&silo.vault))).unwrap();
    let plan = silo.plan();
    let claim = RunClaim { plan: plan.digest(), ..samples::claim("its run", 38) };
    let limits =
        ClaimLimits { limits: Limits { epsilon_max: 50.0, ..samples::LIMITS }, ..samples::CLAIM_LIMITS };
    ledger.claim(claim, &limits, daemon::wall_ms()).unwrap();
    let run = Digest::sha256(b"its run").short();
    let expected = format!(
        "run {run} of this plan has its claim: its data was in 0 rounds under the plan, and 38 more are left"
    );
    let said = silo.here.done(BESIDE);
    assert!(said.contains(&expected), "{said}");
}

/// What is foreseen of a plan, for programs and for people.
struct Foreseen {
    json: Value,
    text: String,
}

impl Foreseen {
    fn of(plan: &Plan) -> Self {
        let here = beside(&plan.to_toml(), "");
        let json = serde_json::from_str(&here.done("plan plan.toml --json")).unwrap();
        Self { json, text: here.done("plan plan.toml") }
    }

    /// A figure by its path.
    fn figure(&self, path: &str) -> f64 {
        self.json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path}: {}", self.json))
    }

    fn texts(&self, field: &str) -> Vec<&str> {
        self.json[field].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }
}

#[test]
fn the_shipped_plan_stays_in_its_budget_by_every_accountant_and_can_work() {
    let forecast = Foreseen::of(&demonstration());
    let epsilon = |field: &str| forecast.figure(&format!("/epsilon/{field}"));
    assert!(epsilon("pld") < epsilon("rdp_fractional") && epsilon("rdp_fractional") <= epsilon("at_the_end"));
    assert!(epsilon("at_the_end") <= epsilon("budget") && epsilon("at_the_end") > 0.99 * epsilon("budget"));
    assert!(epsilon("last_round_adds") > 0.0 && epsilon("last_round_adds") < epsilon("after_one_round"));
    // z C sqrt(n / (n - c)) sqrt(d) over the divisor, against C.
    let expected = 5.324 * 1.25f64.sqrt() * 650f64.sqrt() / 1437.0;
    let ratio = forecast.figure("/noise/ratio");
    assert!((ratio / expected - 1.0).abs() < 0.01, "{ratio} {expected}");
    assert!(forecast.texts("warnings").is_empty(), "{}", forecast.text);
    assert_eq!((forecast.figure("/dropouts_tolerated"), forecast.figure("/honest_floor")), (1.0, 2.0));
    assert!(!forecast.text.contains("suggestion    sampling_rate"), "every record is in every batch");
}

#[test]
fn a_mode_that_cannot_work_at_this_size_is_called_so_and_one_that_learns_under_loud_noise_is_not() {
    let shown = |mode| Foreseen::of(&demo_plan(mode, 5, None, None).unwrap()).text;
    let whole_silos = shown(PrivacyMode::DistributedDpFedavg);
    assert!(whole_silos.contains("WARNING       this mode hides a whole silo"), "{whole_silos}");
    // A softmax regression learns under noise like this: a round's is louder than its largest step, and rounds add up.
    let mut loud = demonstration();
    let divided_by = |loud: &mut Plan, divisor| {
        loud.privacy.promise_mut().unwrap().sampling_mut().unwrap().divisor = divisor;
        Foreseen::of(loud)
    };
    let louder = divided_by(&mut loud, 14.0);
    assert!(louder.text.contains("WARNING       the noise that adds up over the run has"), "{}", louder.text);
    let loud = divided_by(&mut loud, 140.0);
    let [round, run] = ["/noise/ratio", "/noise/ratio_of_run"].map(|ratio| loud.figure(ratio));
    assert!(round > 1.0 && run < 0.3, "{round} {run}");
    assert!(loud.texts("warnings").is_empty() && !loud.text.contains("USELESS"), "{}", loud.text);
    let exact = shown(PrivacyMode::Fedavg);
    assert!(exact.contains("none: exact sums") && exact.contains("no differential privacy"), "{exact}");
}

#[test]
fn excess_noise_that_could_be_removed_is_pointed_out_and_removal_is_paid_for() {
    let removing = demonstration();
    let mut keeping = removing.clone();
    *keeping.privacy.promise_mut().unwrap().remove_excess_noise_mut().unwrap() = false;
    let (removing, keeping) = (Foreseen::of(&removing), Foreseen::of(&keeping));
    // Five silos, noise calibrated to honest_min = 2 of them or to all but the corrupt one: sqrt((5/4)/(5/2)).
    let ratio = removing.figure("/noise/ratio") / keeping.figure("/noise/ratio");
    assert!((ratio - 0.5f64.sqrt()).abs() < 1e-6, "{ratio}");
    let hint = "suggestion    remove_excess_noise = true would leave a full cohort's sums 71 % of this noise";
    assert!(keeping.text.contains(hint), "{}", keeping.text);
    assert!(!removing.text.contains("remove_excess_noise"), "{}", removing.text);
    let up = "/bytes/up_per_silo_and_round";
    let more = removing.figure(up) - keeping.figure(up);
    assert_eq!(more, 500.0, "a link of noise seeds, of 100 bytes, to each of five silos");
}

#[test]
fn larger_batches_are_suggested_where_they_have_less_noise_at_the_same_epsilon() {
    let mut plan = demonstration();
    let sums = plan.rounds;
    let at = |plan: &mut Plan, rate: f64| {
        let promise = plan.privacy.promise_mut().unwrap();
        let least = calibrate(4.9, 1e-5, rate, sums).unwrap();
        promise.noise_multiplier = least.value();
        let sampling = promise.sampling_mut().unwrap();
        (sampling.rate, sampling.divisor) = (rate, 1437.0 * rate);
        (least, Foreseen::of(plan))
    };
    let (_, now) = at(&mut plan, 0.05);
    let (least, then) = at(&mut plan, 0.1);
    let ratio = then.figure("/noise/ratio") / now.figure("/noise/ratio");
    assert!(ratio < 0.9, "{ratio}");
    let expected = format!(
        "suggestion    sampling_rate = 0.1 with noise_multiplier = {least}, and privacy.divisor 2 times as large, would leave \
         a mean {:.0} % of this noise",
        100.0 * ratio
    );
    assert!(now.text.contains(&expected), "{expected}\n{}", now.text);
}

#[test]
fn more_noise_than_needed_is_pointed_out() {
    let mut plan = demonstration();
    plan.rounds = 10;
    let forecast = Foreseen::of(&plan);
    let suggestions = forecast.texts("suggestions");
    assert!(suggestions.iter().any(|s| s.starts_with("noise_multiplier = 3.")), "{suggestions:?}");
    assert!(suggestions.contains(&"rounds = 30 would fit the budget at this noise"), "{suggestions:?}");
}
