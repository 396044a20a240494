//! Which coordinator a command calls, and as whom: from the command line and the environment.

use std::path::PathBuf;

use identity::Authority;
use operate::{Admin, ConnectError, Credentials, Link, Runs, Target, WhichRun};
use params::Digest;
use pki::Outgoing;
use zeroize::Zeroizing;

const AS: &str = "FOLKMOOT_AS";
const TOKEN: &str = "FOLKMOOT_TOKEN";

/// Which coordinator, and as whom.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct Remote {
    /// The coordinator's address; an operator's folder names one already.
    #[arg(long, value_name = "URL")]
    pub(crate) coordinator: Option<String>,
    /// An operator's folder: whom to call as, and which coordinator. Else the variable FOLKMOOT_AS.
    #[arg(long = "as", value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// The file with an operator's token, `-` for standard input, for whoever has no folder. Else the variable FOLKMOOT_TOKEN.
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    pub(crate) token_file: Option<PathBuf>,
    /// The federation's authority.json, for whoever calls with a token and has no folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) authority_file: Option<PathBuf>,
    /// The HTTP proxy that leads to the coordinator: http://HOST:PORT, or none. Else as https_proxy and no_proxy say.
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// The file with one line USER:PASSWORD for that proxy.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    pub(crate) proxy_auth_file: Option<PathBuf>,
}

/// Which coordinator, as whom, and which of its runs.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct RemoteRun {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Which run, where there are several: the name of its plan, or its own first digits, 4 at least. Else what only reads means the one in
    /// progress, and what changes something the only one that is not over.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

impl RemoteRun {
    /// Connects, and finds out which run is meant; none where nobody says.
    pub(crate) async fn connect(&self) -> Result<(Link, Option<Digest>), WhichRun> {
        let link = self.remote.connect().await?;
        let run = match &self.run {
            Some(wanted) => Some(Runs::over(link.clone()).named(wanted).await?),
            None => None,
        };
        Ok((link, run))
    }

    /// Likewise, to change something: where nobody says which run, the only one that is not over.
    pub(crate) async fn administer(&self) -> Result<(Admin, Option<Digest>), WhichRun> {
        let (link, run) = self.connect().await?;
        let run = match run {
            Some(run) => Some(run),
            None => Runs::over(link.clone()).only_open().await?,
        };
        Ok((Admin::over(link), run))
    }
}

impl Remote {
    /// This coordinator's run of that name.
    pub(crate) fn run(self, run: String) -> RemoteRun {
        RemoteRun { remote: self, run: Some(run) }
    }

    /// As the command line says, with what it leaves to the environment.
    fn target(&self) -> Target {
        let folder = std::env::var_os(AS).filter(|folder| !folder.is_empty());
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        Target {
            coordinator: self.coordinator.clone(),
            folder: self.folder.clone(),
            usual_folder: folder.map(PathBuf::from),
            authority_file: self.authority_file.clone(),
            proxy: self.proxy.clone(),
            proxy_auth_file: self.proxy_auth_file.clone(),
            token: token.map(Zeroizing::new),
            token_file: self.token_file.clone(),
        }
    }

    /// The coordinator's address.
    pub(crate) fn url(&self) -> Result<String, ConnectError> {
        self.target().url()
    }

    /// The federation's authority, where a file names it.
    pub(crate) fn authority(&self) -> Result<Authority, ConnectError> {
        self.target().authority()
    }

    /// The caller's certificate, where it has one.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, ConnectError> {
        self.target().credentials()
    }

    /// The way to the coordinator.
    pub(crate) fn outgoing(&self) -> Result<Outgoing, ConnectError> {
        self.target().outgoing()
    }

    pub(crate) async fn connect(&self) -> Result<Link, ConnectError> {
        self.target().connect().await
    }

    /// Connects, to administer.
    pub(crate) async fn administer(&self) -> Result<Admin, ConnectError> {
        self.target().administer().await
    }
}

/// How a command that shows something shows it.
#[derive(clap::Args, Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text; a moment is in milliseconds since the Unix epoch, in a field that ends in `_ms`.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Output {
    pub(crate) fn print(self, json: &serde_json::Value, text: &str) {
        if self.json { println!("{json}") } else { print!("{text}") }
    }
}

/// The error in the words of this command line: the arguments and variables that are its remedy.
pub(crate) fn in_words(why: &ConnectError) -> String {
    match why {
        ConnectError::WhichCoordinator => format!(
            "which coordinator? Give --as FOLDER, an operator's folder, or --coordinator URL; the variable {AS} names a \
             folder for every call"
        ),
        ConnectError::WhichFederation => {
            "which federation? Give --as FOLDER, an operator's folder, or --authority-file authority.json"
                .into()
        }
        ConnectError::Token => format!(
            "{TOKEN}, or the file of --token-file, holds no operator's token, or not all of one; `folkmoot tokens create --operator` \
             prints one"
        ),
        ConnectError::TwoCallers { folder } => format!(
            "two callers are named: a token, in {TOKEN} or --token-file, and the folder `{}`, by --as or {AS}; unset or leave out \
             one of them",
            folder.display()
        ),
        ConnectError::ShowsNobody { url } => {
            format!("`{url}` would show nobody who calls: with --as write the address as https://HOST:PORT")
        }
        ConnectError::AnotherMachine { url } => format!(
            "`{url}` is another machine, and http:// hides nothing from who listens between: write https://HOST:PORT, with \
             --as FOLDER or --authority-file authority.json"
        ),
        why => why.to_string(),
    }
}
