//! A daemon as a program: its configuration loaded, its log begun, run until it ends, and its exit code.

use std::path::Path;
use std::process::ExitCode;

use crate::{ConfigError, println, process};

/// Exit code of everything that ends a daemon and has no code of its own.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a configuration that cannot be used.
pub const EXIT_CONFIGURATION: u8 = 2;

/// A daemon's configuration with all that it names opened: what [`main`] needs of it.
pub trait Daemon: Sized {
    /// Reads the configuration and opens what it names.
    ///
    /// # Errors
    /// Every problem at once.
    fn load(file: &Path) -> Result<Self, ConfigError>;

    /// The filter of the log, and whether each line is a JSON object.
    fn log(&self) -> (&str, bool);

    /// What `--check` looks at and a start does not; gives what the line that all can be used says besides.
    ///
    /// # Errors
    /// What cannot be used, with its field.
    fn check(&self) -> Result<String, String> {
        Ok(String::new())
    }

    /// What can be used and should be known, a line each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Shuts the process out of what it must not reach, for good, before it has a second thread: what is to start without that is
    /// started here first. A `--check` does not come here.
    ///
    /// # Errors
    /// What it must not be without.
    fn isolate(&mut self) -> Result<(), Stopped> {
        Ok(())
    }

    /// Runs until it is over or until `shutdown`.
    ///
    /// # Errors
    /// What ended it before either.
    fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = Result<(), Stopped>>;
}

/// Why a daemon ended that nobody asked to.
#[derive(Debug)]
pub struct Stopped {
    /// The reason with its causes, one line.
    pub why: String,
    /// The process's exit code.
    pub exit_code: u8,
}

/// A daemon from its command line to its exit code. With `check` it ends once its configuration has been loaded; `arrange` adds what
/// the command line says and no file does.
pub fn main<D: Daemon>(config: &Path, check: bool, arrange: impl FnOnce(&mut D)) -> ExitCode {
    let ended = load(config).and_then(|mut daemon: D| {
        arrange(&mut daemon);
        if check { checked(config, &daemon) } else { run(daemon) }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped { why, exit_code }) => {
            crate::eprintln!("error: {why}");
            ExitCode::from(exit_code)
        }
    }
}

fn load<D: Daemon>(config: &Path) -> Result<D, Stopped> {
    D::load(config).map_err(|why| unusable(format!("{}: {why}", config.display())))
}

fn checked<D: Daemon>(config: &Path, daemon: &D) -> Result<(), Stopped> {
    let besides = daemon.check().map_err(|why| unusable(format!("{}: {why}", config.display())))?;
    println!("{}: the configuration can be used{besides}", config.display());
    daemon.notes().iter().for_each(|note| println!("note: {note}"));
    Ok(())
}

fn run<D: Daemon>(daemon: D) -> Result<(), Stopped> {
    let (filter, json) = daemon.log();
    telemetry::init(filter, json).map_err(|why| unusable(why.to_string()))?;
    alone(daemon)
}

/// The same, with a log, on the process's only thread.
fn alone<D: Daemon>(mut daemon: D) -> Result<(), Stopped> {
    // The runtime has threads from its first moment.
    daemon.isolate()?;
    let runtime = process::runtime().map_err(|why| Stopped { why, exit_code: EXIT_FAILURE })?;
    let ended = runtime.block_on(async { daemon.run(process::terminated()).await });
    // What is still calculated on its threads, a training or the opening of a sum, is of no more use, and not waited for.
    runtime.shutdown_background();
    ended
}

fn unusable(why: String) -> Stopped {
    Stopped { why, exit_code: EXIT_CONFIGURATION }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration that loads where its name is not `later`, whose data can be used where it is `right`, and whose process
    /// is not shut out of it where it is `open`.
    struct Named(String);

    impl Daemon for Named {
        fn load(file: &Path) -> Result<Self, ConfigError> {
            match file.to_str() {
                Some("later") => Err(ConfigError::Format { format: 2 }),
                name => Ok(Self(name.unwrap().to_owned())),
            }
        }

        fn log(&self) -> (&str, bool) {
            ("off", false)
        }

        fn check(&self) -> Result<String, String> {
            if self.0 == "right" { Ok(String::new()) } else { Err("data: none".into()) }
        }

        fn isolate(&mut self) -> Result<(), Stopped> {
            assert!(tokio::runtime::Handle::try_current().is_err(), "a runtime is there already");
            if self.0 == "open" {
                Err(Stopped { why: "cannot be shut out".into(), exit_code: 4 })
            } else {
                Ok(())
            }
        }

        async fn run(self, _: impl Future<Output = ()> + Send + 'static) -> Result<(), Stopped> {
            Err(Stopped { why: "refused".into(), exit_code: 3 })
        }
    }

    #[test]
    fn how_a_daemon_ends_is_its_exit_code_and_each_reason_names_its_configuration() {
        let code = |name: &str, check| format!("{:?}", main::<Named>(Path::new(name), check, |_| ()));
        let exit = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code("right", true), exit(0));
        assert_eq!(code("right", false), exit(3), "as it says itself");
        assert_eq!(
            alone(Named("open".into())).unwrap_err().exit_code,
            4,
            "nothing runs that is not isolated"
        );
        assert_eq!(code("later", false), exit(EXIT_CONFIGURATION));
        assert_eq!(code("wrong", true), exit(EXIT_CONFIGURATION));
        let why = |name: &str| checked(Path::new("its.toml"), &Named(name.into())).unwrap_err().why;
        assert_eq!(why("wrong"), "its.toml: data: none");
        let later = load::<Named>(Path::new("later")).map(|_| ()).unwrap_err();
        assert!(later.why.starts_with("later: it has format 2"), "{}", later.why);
    }
}
