//! `folkmoot doctor`: why a connection to the coordinator does not come about, step by step.

use operate::now_s;
use pki::Finding;

use crate::Failure;
use crate::connect::{Output, Remote};

#[derive(clap::Args, Debug)]
#[command(after_help = "Nothing is changed, and no call is made: the connection alone is tried.\n\n\
                        Examples:\n  \
                        folkmoot doctor --as admin\n  \
                        folkmoot doctor --as admin --json\n  \
                        folkmoot doctor --coordinator https://fl.example.org:7440 --authority-file authority.json")]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let url = args.remote.url()?;
    let authority = args.remote.authority()?;
    let credentials = args.remote.credentials()?;
    let identity = credentials.as_ref().map(|own| (own.chain.as_str(), &own.key));
    let findings =
        pki::doctor(&url, &authority.ca_certificate, identity, &args.remote.outgoing()?, now_s()?).await;
    let text: String = findings.iter().map(Finding::text).collect();
    args.output.print(&serde_json::to_value(&findings).map_err(Failure::failed)?, &text);
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        bad => {
            Err(Failure::Unreachable(format!("{bad} of {} steps are not as they must be", findings.len())))
        }
    }
}
