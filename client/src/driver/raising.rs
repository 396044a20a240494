//! Alarms, written when what others see has been done.

use alarms::Alarm;
use tokio::task::{JoinHandle, spawn_blocking};

/// Writes one.
type Write = Box<dyn FnOnce(&Alarm) + Send>;

/// Alarms of the driver's.
///
/// # Privacy
/// Writing one takes a disk's time. So it comes behind what the driver does, and away from it: when a silo speaks does not
/// tell that its operator has something to look at.
pub(super) struct Alarms {
    pub(super) alarm: Alarm,
    waiting: Vec<Write>,
    writing: Option<JoinHandle<()>>,
}

impl Alarms {
    pub(super) fn new(alarm: Alarm) -> Self {
        Self { alarm, waiting: Vec::new(), writing: None }
    }

    /// Done once the effects that stand ready are performed.
    pub(super) fn later(&mut self, write: impl FnOnce(&Alarm) + Send + 'static) {
        self.waiting.push(Box::new(write));
    }

    /// Begins what waits, in its order.
    pub(super) fn write(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (earlier, alarm) = (self.writing.take(), self.alarm.clone());
        let waiting = std::mem::take(&mut self.waiting);
        self.writing = Some(tokio::spawn(async move {
            if let Some(earlier) = earlier {
                let _: Result<(), _> = earlier.await;
            }
            let write = move || waiting.into_iter().for_each(|write| write(&alarm));
            let _: Result<(), _> = spawn_blocking(write).await;
        }));
    }

    /// Waits until all is written.
    pub(super) async fn written(&mut self) {
        self.write();
        if let Some(writing) = self.writing.take() {
            let _: Result<(), _> = writing.await;
        }
    }
}
