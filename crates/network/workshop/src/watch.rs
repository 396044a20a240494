//! What starts trainers, looked at all the time and not only when a trainer is wanted.

use std::sync::Arc;
use std::time::Duration;

use alarms::{Alarm, Kind};
use audit::{Action, Recorder};
use spawner::Spawner;
use tokio::task::spawn_blocking;
use tokio::time::interval;

/// How often: it costs a call of the kernel's.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the spawner is gone; then its operator hears of it at once, and of the way out.
///
/// # Privacy
/// Nothing else follows: a row may be why a machine had no memory left, so nobody outside may see that a spawner is gone. Runs are joined
/// and gone on with as where trainings fail.
pub async fn watch_spawner(spawner: Arc<Spawner>, alarm: Alarm, recorder: Recorder) {
    let mut looks = interval(LOOK);
    while !spawner.is_gone() {
        looks.tick().await;
    }
    let raised = spawn_blocking(move || {
        let why = spawner.lost().to_string();
        recorder.record_failure(recorder.event(Action::SpawnerLost), why.as_str());
        let text = format!(
            "{why}; choose a time for that which has nothing to do with the data, since others see that this silo goes and comes"
        );
        alarm.raise_for(Kind::Spawner, "spawner", &text);
    });
    if let Err(panic) = raised.await {
        tracing::error!("an alarm could not be raised: {panic}");
    }
}
