//! A coordinator that leaves one silo at an old state of its audit log, or whose silo has lost what it remembered of it.

use client::{Config, RunError};
use plan::Plan;
use protocol::{Attempt, ClientRecord, Decline, ToClient, ToCoordinator};
use store::{FileStore, JournalKind, Store};

use crate::federation::{Federation, plan};
use crate::mock::key;
use crate::step::Published;

/// The log's only checkpoint, as these members cosigned it so many seconds ago.
fn checkpoint(cosigned: &[(u8, u64)]) -> String {
    let text = tlog::Checkpoint { origin: "folkmoot/test".into(), size: 1, root: [7; 32] }.text();
    let mut note = tlog::Note::sign(text, "folkmoot/test", key(9).signing_key()).unwrap();
    for (member, ago_s) in cosigned {
        let name = audit::silo_name("test", u32::from(*member));
        let time_s = daemon::wall_ms() / 1000 - ago_s;
        let line = note.cosign(&name, key(*member).signing_key(), time_s).unwrap();
        note.add_cosignature(&line, &tlog::VerifierKey::new(&name, key(*member).public()).unwrap()).unwrap();
    }
    note.to_string()
}

fn two_witnesses(config: &mut Config) {
    (config.policy.witnesses_min, config.policy.corrupt_min) = (2, 1);
}

/// Opens round 2 to a silo that asks for two witnesses beside one colluder.
async fn opened(plan: Plan, cosigned: &[(u8, u64)]) -> (Federation, ToCoordinator) {
    let mut all = Federation::showing(plan, vec![checkpoint(cosigned)], two_witnesses).await;
    let round = Published::honest(&all.plan);
    round.say_in(&all).await;
    let said = all.say(round.open()).await;
    (all, said)
}

/// A round that waits long enough for any heartbeat.
fn patient() -> Plan {
    let mut plan = plan();
    plan.timing.round_deadline_ms = 300_000;
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_cosignatures_are_old_or_a_single_colluders_is_not_trained_under() {
    for (case, cosigned) in [
        ("frozen for ten minutes", &[(2, 600), (3, 600)][..]),
        ("a colluder cosigns it for ever", &[(2, 0), (3, 600)]),
        ("nobody", &[]),
    ] {
        let (_, said) = opened(plan(), cosigned).await;
        let ToCoordinator::Declined { round: Some(2), reason: Decline::Policy { code, .. } } = said else {
            panic!("{case}: {said:?}")
        };
        assert_eq!(code, "POLICY_WITNESSES", "{case}");
    }
    let (_, said) = opened(patient(), &[(2, 20), (3, 90)]).await;
    assert!(matches!(said, ToCoordinator::Advertise { .. }), "lately: {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_of_the_log_that_is_gone_is_noticed_and_only_its_operator_goes_on_without_it() {
    for forgotten in [false, true] {
        let (all, said) = opened(patient(), &[(2, 0), (3, 0)]).await;
        // It has looked at the log, or it would not take part.
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
        let lose = |folder: &std::path::Path| std::fs::remove_file(folder.join("state/witness")).unwrap();
        if !forgotten {
            let why = all.fails_to_start_after(lose).await;
            assert!(matches!(why, RunError::ForgottenLog { .. }) && why.exit_code() == 1, "{why}");
            assert!(why.to_string().contains("folkmoot-client witness forget"), "{why}");
            continue;
        }
        // As the command does.
        let forget = |folder: &std::path::Path| {
            lose(folder);
            let opened =
                FileStore::open(&folder.join("state"), JournalKind::Client, |_, _, _| Ok(())).unwrap();
            let record = ClientRecord::WitnessForgotten { reason: "the disk broke".into() };
            let mut journal = opened.store;
            journal.append_all(&[record.encode()]).unwrap();
        };
        all.restarted_after(Some(1), forget).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_that_is_started_again_goes_on_with_the_cosignatures_that_it_has_seen_while_they_are_fresh() {
    for (ago_s, goes_on) in [(20, true), (600, false)] {
        let plan = if goes_on { patient() } else { plan() };
        let (all, _) = opened(plan, &[(2, ago_s), (3, ago_s)]).await;
        let round = Published::honest(&all.plan);
        // Of the model, whose step it has done, nothing but the name is on its disk.
        round.serve_for_the_credulous(&all);
        // The log has moved on: nobody has cosigned its newest checkpoint yet.
        *all.process.checkpoints.lock().unwrap() = vec![checkpoint(&[])];
        let mut all = all.restarted_as(Some(1), two_witnesses).await;
        let ToClient::Open { at, model } = round.open() else { panic!() };
        let at = Attempt { attempt: at.attempt + 1, ..at };
        let said = all.say(ToClient::Open { at, model }).await;
        match said {
            ToCoordinator::Advertise { .. } if goes_on => {}
            ToCoordinator::Declined { reason: Decline::Policy { code, .. }, .. } if !goes_on => {
                assert_eq!(code, "POLICY_WITNESSES");
            }
            _ => panic!("{ago_s} s ago: {said:?}"),
        }
    }
}
