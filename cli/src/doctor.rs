//! `folkmoot doctor`: why a connection to the coordinator does not come about, step by step.

use identity::printable;
use operate::now_s;
use pki::Finding;

use crate::Failure;
use crate::connect::Remote;

#[derive(clap::Args, Debug)]
#[command(after_help = "Nothing is changed, and no call is made: the connection alone is tried.\n\n\
                        Examples:\n  \
                        folkmoot doctor --as admin\n  \
                        folkmoot doctor --coordinator https://fl.example.org:7440 --authority-file authority.json")]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let url = args.remote.url()?;
    let authority = args.remote.authority()?;
    let credentials = args.remote.credentials()?;
    let identity = credentials.as_ref().map(|own| (own.chain.as_str(), &own.key));
    let findings =
        pki::doctor(&url, &authority.ca_certificate, identity, &args.remote.outgoing()?, now_s()?).await;
    for finding in &findings {
        println!("{}", line(finding));
    }
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        bad => {
            Err(Failure::Unreachable(format!("{bad} of {} steps are not as they must be", findings.len())))
        }
    }
}

fn line(finding: &Finding) -> String {
    let mark = if finding.ok { "ok " } else { "BAD" };
    let line = format!("{mark}  {:<15}  {}", finding.what, printable(&finding.detail));
    match &finding.remedy {
        Some(remedy) => format!("{line}\n     {:<15}  -> {}", "", printable(remedy)),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_step_stands_out_and_its_remedy_follows() {
        let finding =
            Finding { what: "clock", ok: false, detail: "is behind".into(), remedy: Some("set it".into()) };
        let text = line(&finding);
        assert!(text.starts_with("BAD  clock") && text.ends_with("-> set it"), "{text}");
        let good = Finding { ok: true, remedy: None, ..finding };
        assert!(line(&good).starts_with("ok   clock") && !line(&good).contains("->"));
    }
}
