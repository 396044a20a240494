//! What a silo's own log tells of its data and its trainers, where others see no difference.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use datasets::Dataset;
use params::Params;
use plan::Plan;
use protocol::{Attempt, RoundOutcome, ToClient, ToCoordinator};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use train::StoppableTrainer;
use trainer::{Stop, TrainError, Trained, Trainer, Trainers};

use crate::federation::{plan, table, threads};
use crate::mock::FIRST;
use crate::participation::{FITS, federation};

/// Of a silo that has ended.
pub(crate) struct OwnLog {
    actions: Vec<String>,
    /// Of each upload, whether it says that nothing of the data is in it.
    without_data: Vec<bool>,
    /// All of it, as it lies on the disk.
    journal: Vec<u8>,
}

impl OwnLog {
    pub(crate) fn of(folder: &Path) -> Self {
        let audit = folder.join("state/audit");
        let (mut actions, mut without_data) = (Vec::new(), Vec::new());
        let event = |shown: &audit::ShownEvent<'_>| {
            let shown: serde_json::Value = serde_json::from_str(&shown.json()).unwrap();
            let action = shown["event"]["action"].as_str().unwrap();
            if action == "upload.sent" {
                without_data.push(shown["event"]["details"]["data"] == "nothing of it is in this upload");
            }
            actions.push(action.to_owned());
            true
        };
        audit::read_events(&audit, &audit::Wanted::default(), event).unwrap();
        Self { actions, without_data, journal: std::fs::read(audit.join("journal")).unwrap() }
    }

    pub(crate) fn has(&self, action: &str) -> bool {
        self.actions.iter().any(|had| had == action)
    }

    /// Training came to nothing over what the trainer answered, or did not.
    pub(crate) fn check_lie(&self, lie: &str, of_numbers: bool) {
        assert!(self.has("contribution.replaced"), "{lie}: {:?}", self.actions);
        // One that is never ready did not start.
        let starts = !["NeverReady", "SpawnerGone"].contains(&lie);
        assert_eq!(starts, self.has("trainer.started"), "{lie}: {:?}", self.actions);
        assert_eq!(lie == "SpawnerGone", self.has("spawner.lost"), "{lie}: {:?}", self.actions);
        if lie == "Late" {
            // Whether its answer is heard before it is ended is chance: heard, it is honest, and no failure of the trainer's.
            return;
        }
        assert_eq!(starts, self.has("trainer.ended"), "{lie}: {:?}", self.actions);
        assert!(self.has("trainer.failed"), "{lie}: {:?}", self.actions);
        // A frame that is too long is not looked into.
        let is_read = of_numbers && lie != "OneTooMany";
        assert!(!is_read || self.has("trainer.disbelieved"), "{lie}: {:?}", self.actions);
    }

    /// The log of a round over a table: of one in which training failed, of one with a row, `case`, that does not fit, or of another.
    pub(crate) fn check(&self, case: &str, is_misfit: bool) {
        let (actions, fails) = (&self.actions, ["Panic", "Hang", "Memory", "Error"].contains(&case));
        assert!(self.has("trainer.started"), "{case}: {actions:?}");
        let happened = ["trainer.failed", "contribution.replaced"].map(|action| self.has(action));
        assert_eq!(happened, [fails; 2], "{case}: {actions:?}");
        // A table without a row that fits is not recorded as if it had been opened.
        let is_empty = !fails && case != "fits" && !is_misfit;
        assert_eq!(self.without_data, [fails || is_empty], "{case}: {actions:?}");
        assert_eq!(
            ["data.opened", "data.unusable"].map(|action| self.has(action)),
            [!is_empty, is_empty],
            "{case}: {actions:?}"
        );
        if fails || case == "fits" {
            assert!(self.has("data.opened") && !self.has("data.misfit"), "{case}: {actions:?}");
        } else {
            assert!(self.has("data.misfit") || self.has("data.unusable"), "{case}: {actions:?}");
        }
        if is_misfit {
            let cell = |bytes: &[u8]| bytes == case.as_bytes();
            assert!(!self.journal.windows(case.len()).any(cell), "{case} is in the log");
        }
    }
}

/// Trains until it is asked to stop, the first time, and says when it begins.
struct Slow {
    stop: Stop,
    begins: UnboundedSender<()>,
    is_first: bool,
}

impl Trainer for Slow {
    fn train(
        &mut self,
        plan: &Plan,
        model: &Params,
        data: &Dataset,
        clip_norm: Option<f64>,
        seed: [u8; 32],
    ) -> Result<Trained, TrainError> {
        if self.is_first {
            self.begins.send(()).unwrap();
            loop {
                self.stop.check()?;
                std::thread::yield_now();
            }
        }
        StoppableTrainer(self.stop.clone()).train(plan, model, data, clip_norm, seed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_whose_attempt_is_over_is_given_up_and_no_trainer_failed() {
    let (begins, mut begun) = unbounded_channel();
    let first = AtomicBool::new(true);
    let trainers: Trainers = Arc::new(move |stop| {
        Box::new(Slow { stop, begins: begins.clone(), is_first: first.swap(false, SeqCst) })
    });
    let mut plan = plan();
    // However slow this machine is, its time is not over.
    plan.timing.round_deadline_ms = 600_000;
    let mut all = federation(&plan, table(FITS).as_deref(), threads(trainers)).await;
    all.session.say(all.open(FIRST)).await;
    begun.recv().await.unwrap();
    let outcome = RoundOutcome::TooFewAdverts { got: 1, need: 3 };
    all.session.say(ToClient::Aborted { at: FIRST, outcome }).await;
    // One trains at a time: the second is through once the first is over.
    let second = Attempt { attempt: 2, ..FIRST };
    let said = all.say(all.open(second)).await;
    assert!(matches!(said, ToCoordinator::Advertise { at, .. } if at == second), "{said:?}");
    let log = OwnLog::of(all.left().await.path());
    assert!(log.has("training.given_up") && !log.has("trainer.failed"), "{:?}", log.actions);
    assert_eq!(log.actions.iter().filter(|action| *action == "trainer.started").count(), 1, "it is kept");
}
