//! All processes of a federation: started together, looked after, stopped together.

use std::time::{Duration, Instant};

use operate::{ConnectError, refused};
use run_status::Shown;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use wire::v1::operator_client::OperatorClient;
use wire::v1::{RunStatus, WatchRequest};

use crate::error::DemoRunError;
use crate::folder::{DemoFolder, silo_name};
use crate::process::{Process, ProcessError};

/// How often the processes are looked after.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// A run that makes no progress for so many round deadlines is stuck.
const STUCK_AFTER_DEADLINES: u32 = 3;

/// A coordinator and its silos, each a process of its own. All are killed when this is dropped.
pub struct Processes<'a> {
    folder: &'a DemoFolder,
    url: String,
    coordinator: Process,
    silos: Vec<Process>,
    last_progress: Instant,
}

impl<'a> Processes<'a> {
    /// Starts the coordinator, writes the silos' configurations with its address, and starts the silos.
    ///
    /// # Errors
    /// [`DemoRunError::Process`], [`DemoRunError::Folder`]
    pub async fn start(folder: &'a DemoFolder) -> Result<Self, DemoRunError> {
        let config = folder.coordinator_config();
        let mut coordinator =
            Process::start(&["coordinator"], "coordinator", &config, folder.log("coordinator"))?;
        let url = format!("http://{}", coordinator.address().await?);
        folder.configure_silos(&url)?;
        let silos = (0..folder.plan().cohort.maximum).map(|index| start_silo(folder, index));
        let silos = silos.collect::<Result<_, _>>()?;
        Ok(Self { folder, url, coordinator, silos, last_progress: Instant::now() })
    }

    /// Where the coordinator is called, on this machine and in the clear.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process of the coordinator.
    pub fn coordinator(&self) -> &Process {
        &self.coordinator
    }

    /// The silos', in their order.
    pub fn silos(&self) -> &[Process] {
        &self.silos
    }

    /// Connects to the coordinator; the connection, and the run's status whenever it changes.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn watch(&self) -> Result<(Channel, Streaming<RunStatus>), ConnectError> {
        let channel = operate::connect(&self.url).await?;
        let changes = OperatorClient::new(channel.clone()).watch(WatchRequest::default()).await;
        Ok((channel, changes.map_err(|why| refused(&why))?.into_inner()))
    }

    /// What the coordinator sent.
    ///
    /// # Errors
    /// A connection that ended: a coordinator keeps it as long as it runs. And a status that is none.
    pub fn status(
        &self,
        message: Result<Option<RunStatus>, Status>,
    ) -> Result<run_status::Status, ProcessError> {
        match message {
            Ok(Some(sent)) => match Shown::try_from(sent) {
                Ok(shown) => Ok(shown.run),
                Err(why) => Err(self.coordinator.failure(&format!("sent a status that is none: {why}"))),
            },
            Ok(None) => Err(self.coordinator.failure("closed its connection")),
            Err(why) => Err(self.coordinator.failure(&wire::describe(&why))),
        }
    }

    /// The run went on: patience begins anew.
    pub fn progressed(&mut self) {
        self.last_progress = Instant::now();
    }

    /// Looks after the processes until one ends, or the run is stuck.
    pub async fn failed(&mut self) -> ProcessError {
        let mut check = tokio::time::interval(CHECK_EVERY);
        loop {
            check.tick().await;
            if let Err(why) = self.check() {
                return why;
            }
        }
    }

    fn check(&mut self) -> Result<(), ProcessError> {
        self.coordinator.check()?;
        self.silos.iter_mut().try_for_each(Process::check)?;
        let deadline = Duration::from_millis(self.folder.plan().timing.round_deadline_ms);
        let patience = deadline * STUCK_AFTER_DEADLINES;
        if self.last_progress.elapsed() > patience {
            let what = format!("has committed no round for {} s", patience.as_secs());
            return Err(self.coordinator.failure(&what));
        }
        Ok(())
    }

    /// Ends the last silo's process by SIGKILL; its name, where there is one.
    ///
    /// # Errors
    /// [`ProcessError::NotKilled`]
    pub async fn kill_last(&mut self) -> Result<Option<&str>, ProcessError> {
        let Some(last) = self.silos.last_mut() else { return Ok(None) };
        last.kill().await?;
        Ok(Some(last.name()))
    }

    /// Ends a silo's process by SIGKILL, by its place counted from 0, and starts it again; nothing where there is none.
    ///
    /// # Errors
    /// [`ProcessError::NotKilled`], [`ProcessError::NotStarted`]
    pub async fn restart(&mut self, index: usize) -> Result<(), ProcessError> {
        if let Some(silo) = self.silos.get_mut(index) {
            silo.kill().await?;
            *silo = start_silo(self.folder, index)?;
        }
        Ok(())
    }

    /// Stops all, the coordinator last.
    ///
    /// # Errors
    /// One that does not stop when asked to.
    pub async fn stop(mut self) -> Result<(), ProcessError> {
        for silo in &mut self.silos {
            silo.stop().await?;
        }
        self.coordinator.stop().await
    }
}

fn start_silo(folder: &DemoFolder, index: usize) -> Result<Process, ProcessError> {
    let name = silo_name(index);
    // Each ends with the run, so that nobody waits for it.
    Process::start(&["client", "--one-run"], &name, &folder.client_config(index), folder.log(&name))
}
