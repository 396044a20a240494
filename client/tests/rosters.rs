//! A later roster at a silo whose operator decides by hand: the daemon waits, and goes on without a restart.

mod mock;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use client::Config;
use identity::{Member, Roster};
use mock::{Process, public, roster, silo, start};
use params::Digest;
use protocol::{Decline, ToClient, ToCoordinator};
use secagg::ClientId;

/// The silo's operator at the command line.
fn folkmoot_client(args: &[&str], config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
    command.args(["roster", args[0], "--config"]).arg(config).args(&args[1..]).output().unwrap()
}

/// What the daemon has for its operator to look at, once it is written, which is behind what others see.
async fn alarms(config: &Path, expected: i32) -> String {
    let looked = async {
        loop {
            let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot-client"));
            let ended = command.args(["alarms", "--config"]).arg(config).output().unwrap();
            if ended.status.code() == Some(expected) {
                return text(&ended);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.expect("the alarms stay what they were")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A fifth silo joins.
fn later() -> Roster {
    let mut later = roster();
    later.epoch = 2;
    let member = Member { name: "silo 5".into(), identity_key: public(5), admitted: 2 };
    later.members.insert(ClientId(5), member);
    later
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_roster_waits_for_the_operator_and_is_in_force_once_accepted_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start("127.0.0.1:0", vec![]);
    // The policy says nothing of rosters: by hand is what is meant then.
    let path = mock::written(&silo(folder.path(), process.address, 3), "");
    let daemon = start(Config::load(&path).unwrap().config);

    let plan = sim::plan(3, 2);
    let later = later();
    let digest = later.digest().to_string();
    let welcome = mock::welcome(Digest::sha256(b"run"), &plan, &later);
    let mut session = process.session().await;
    session.greet().await;
    session.say(welcome.clone()).await;
    let said = session.heard().await;
    let ToCoordinator::Declined { round: None, reason: Decline::AwaitsOperator(change) } = said else {
        panic!("{said:?}")
    };
    assert_eq!(change, "a later roster");
    let state = folder.path().join("state");
    assert!(state.join("roster-offered.json").exists(), "shown before it is declined");

    let shown = folkmoot_client(&["show"], &path);
    assert!(shown.status.success(), "{}", text(&shown));
    assert!(
        text(&shown).contains("roster epoch 2 after 1; joins: 5 silo 5") && text(&shown).contains(&digest),
        "{}",
        text(&shown)
    );
    let other = folkmoot_client(&["accept", &roster().digest().to_string(), "--yes"], &path);
    assert!(!other.status.success(), "{}", text(&other));
    assert!(!state.join("roster-accepted").exists(), "another roster than the one on offer");
    let waits = alarms(&path, 1).await;
    assert!(waits.contains("ALARM a later roster waits for you") && waits.contains(&digest), "{waits}");
    // It goes on waiting, however often it is asked.
    session.say(welcome.clone()).await;
    let again = Decline::AwaitsOperator(change);
    assert_eq!(session.heard().await, ToCoordinator::Declined { round: None, reason: again });

    let accepted = folkmoot_client(&["accept", &digest, "--yes"], &path);
    assert!(accepted.status.success(), "{}", text(&accepted));
    assert_eq!(
        session.heard().await,
        ToCoordinator::CheckIn { head: None, data: None, sandbox: None },
        "in the same session"
    );
    assert!(state.join("roster-in-force.json").exists());
    assert!(!state.join("roster-offered.json").exists(), "nothing is on offer any more");
    assert!(!state.join("roster-accepted").exists(), "an answer is used once");
    assert_eq!(alarms(&path, 0).await, "", "nothing is left to look at");

    drop(session);
    let mut session = process.session().await;
    session.greet().await;
    session.say(welcome).await;
    assert_eq!(
        session.heard().await,
        ToCoordinator::CheckIn { head: None, data: None, sandbox: None },
        "and nobody is asked again"
    );
    session.say(ToClient::Finished { reason: protocol::RunEnd::Complete }).await;
    assert!(session.heard.message().await.unwrap().is_none());
    drop(session);
    assert_eq!(daemon.await.unwrap().unwrap(), client::Ended::Finished(protocol::RunEnd::Complete));
}

/// The silo's operator, whose umask lets nobody else read anything.
fn secretive(args: &[&str], config: &Path) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_folkmoot-client")]);
    command.args(&args[..2]).arg("--config").arg(config).args(&args[2..]).output().unwrap()
}

/// Gives a folder to another user, where this one may: whoever is not root has a daemon that is the same user.
fn given_away(folder: &Path) -> (u32, u32) {
    let own = fs::metadata(folder).unwrap();
    let owner = if own.uid() == 0 { (12_345, 12_346) } else { (own.uid(), own.gid()) };
    chown(folder, Some(owner.0), Some(owner.1)).unwrap();
    owner
}

#[test]
fn what_was_accepted_is_the_daemons_to_read_whichever_user_accepted_it_under_whatever_umask() {
    let folder = tempfile::tempdir().unwrap();
    let path = mock::written(&silo(folder.path(), "127.0.0.1:1".parse().unwrap(), 3), "");
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let owner = given_away(&state);
    let offered = serde_json::to_string(&later().sign(&mock::key(100))).unwrap();
    fs::write(state.join("roster-offered.json"), offered).unwrap();
    let accepted = secretive(&["roster", "accept", &later().digest().to_string(), "--yes"], &path);
    assert!(accepted.status.success(), "{}", text(&accepted));
    let answer = fs::metadata(state.join("roster-accepted")).unwrap();
    assert_eq!((answer.uid(), answer.gid()), owner);
    assert_eq!(answer.permissions().mode() & 0o777, 0o644);

    // What opens the journal itself is that user's to do.
    if owner.0 == 12_345 {
        for command in [["ledger", "accept"], ["witness", "forget"]] {
            let refused = secretive(&[command[0], command[1], "--reason", "the disk broke"], &path);
            assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
            assert!(text(&refused).contains("sudo -u '#12345'"), "{}", text(&refused));
            assert!(!state.join("journal").exists());
        }
    }
}
