//! The silo's policy as its configuration file says it now: a change is taken without a restart. Of what else changes in the file its
//! operator hears.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alarms::{Alarm, Kind};
use plan::{Policy, Problems};
use spawner::Spawner;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::Config;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct PolicyFile {
    path: PathBuf,
    /// What the file said as the daemon started by it.
    begun: String,
    /// What the file said last, or why it could not be used.
    seen: Option<Result<String, String>>,
    /// The policy in force.
    policy: Policy,
    /// Whether its columns are those of a registration, which is read when a daemon starts.
    registered: bool,
    /// Reads the file, where there is one: this process may not open what took its name.
    spawner: Option<Arc<Spawner>>,
}

/// What a look at the file came to.
#[derive(Debug, PartialEq)]
enum Look {
    Unchanged,
    /// Another text. Without a policy, the same one; what else is another than at the start.
    Usable {
        policy: Option<Box<Policy>>,
        at_the_start: Vec<String>,
    },
    /// The policy before it stays in force.
    Unusable(String),
}

impl PolicyFile {
    /// The configuration file that the policy in force was read from.
    pub(crate) fn new(
        path: PathBuf,
        begun: String,
        (policy, registered): (Policy, bool),
        spawner: Option<Arc<Spawner>>,
    ) -> Self {
        Self { path, begun, seen: None, policy, registered, spawner }
    }

    /// Looks for as long as the daemon runs. Of a file that cannot be used the operator hears once, until it is another.
    pub(crate) async fn keep(mut self, changed: mpsc::Sender<Policy>, alarm: Alarm) {
        let cause = self.path.display().to_string();
        loop {
            tokio::time::sleep(LOOK).await;
            let looked = spawn_blocking(move || {
                let look = self.look();
                (self, look)
            });
            let Ok((file, look)) = looked.await else { return };
            self = file;
            match look {
                Look::Unchanged => {}
                Look::Usable { policy, at_the_start } => {
                    usable(&alarm, &cause, at_the_start).await;
                    let Some(policy) = policy else { continue };
                    tracing::warn!(
                        "the policy in {} has changed and is in force from now on",
                        self.path.display()
                    );
                    if changed.send(*policy).await.is_err() {
                        return;
                    }
                }
                Look::Unusable(why) => {
                    let text = format!(
                        "{cause} was changed and cannot be used; the policy before it stays in force: {why}"
                    );
                    let (alarm, cause) = (alarm.clone(), cause.clone());
                    let raise = move || alarm.raise_for(Kind::Policy, &cause, &text);
                    let _: Result<(), _> = spawn_blocking(raise).await;
                }
            }
        }
    }

    /// By what the file holds: its time may be set, or stay what it was.
    fn look(&mut self) -> Look {
        let read = match &self.spawner {
            Some(spawner) => spawner
                .configuration()
                .or_else(|why| std::fs::read_to_string(&self.path).map_err(|_| why))
                .map_err(|why| why.to_string()),
            None => std::fs::read_to_string(&self.path).map_err(|why| why.to_string()),
        };
        if !self.is_new(read.clone()) {
            return Look::Unchanged;
        }
        let text = match read {
            Ok(text) => text,
            Err(why) => return Look::Unusable(format!("cannot read it: {why}")),
        };
        let mut config = match Config::of_text(&self.path, &text) {
            Ok(config) => config,
            Err(why) => return Look::Unusable(why.to_string()),
        };
        let mut problems = Problems::default();
        config.check_policy(&mut problems);
        if !problems.0.is_empty() {
            return Look::Unusable(problems.to_string());
        }
        if self.registered || config.registration.is_some() {
            config.policy.schema.clone_from(&self.policy.schema);
        }
        let mut at_the_start = daemon::changed_keys(&self.begun, &text);
        at_the_start.retain(|key| key.split('.').next() != Some("policy"));
        let is_another = config.policy != self.policy;
        self.policy = config.policy;
        let policy = is_another.then(|| Box::new(self.policy.clone()));
        Look::Usable { policy, at_the_start }
    }

    fn is_new(&mut self, seen: Result<String, String>) -> bool {
        let before = self.seen.replace(seen.clone());
        before.as_ref() != Some(&seen)
    }
}

/// That the file could not be used is over; what of it this daemon has not read is not.
async fn usable(alarm: &Alarm, cause: &str, at_the_start: Vec<String>) {
    let (alarm, cause) = (alarm.clone(), cause.to_owned());
    let write = move || {
        alarm.over(Kind::Policy, &cause);
        if at_the_start.is_empty() {
            return alarm.over(Kind::Restart, &cause);
        }
        let text = format!(
            "`{}` in {cause} is not what this daemon was started with, and takes effect at its next start; only [policy] is taken up \
             while it runs",
            at_the_start.join("`, `")
        );
        alarm.raise_for(Kind::Restart, &cause, &text);
    };
    let _: Result<(), _> = spawn_blocking(write).await;
}
