//! `folkmoot status` and `folkmoot watch`: everything that a coordinator says about its run.

use run_status::{Shown, render};

use crate::Failure;
use crate::connect::RemoteRun;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  folkmoot status --as admin\n  folkmoot status --coordinator http://127.0.0.1:7440 --json\n  folkmoot status --run wards --as admin"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    run: RemoteRun,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Ends when the coordinator does, or at Ctrl-C.\n\n\
                        Example:\n  folkmoot watch --as admin")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    run: RemoteRun,
}

pub(crate) async fn status(args: StatusArgs) -> Result<(), Failure> {
    let (link, run) = args.run.connect().await?;
    let shown = operate::status(link, run).await?;
    let text = if args.json { json(&shown)? } else { render(&shown) };
    print!("{text}");
    Ok(())
}

pub(crate) async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let (link, run) = args.run.connect().await?;
    let mut changes = operate::watch(link, run).await?;
    while let Some(shown) = changes.next().await? {
        println!("{}", render(&shown));
        if daemon::out::is_closed() {
            return Ok(());
        }
    }
    Ok(())
}

/// One line, its fields in the order of their names.
fn json(shown: &Shown) -> Result<String, Failure> {
    let value = serde_json::to_value(shown).map_err(Failure::failed)?;
    Ok(format!("{value}\n"))
}

#[cfg(test)]
mod tests {
    use run_status::samples;

    use super::*;

    #[test]
    fn the_json_is_one_line_of_the_status_with_its_fields_in_the_order_of_their_names() {
        let printed = json(&samples::shown()).unwrap();
        assert!(
            printed.starts_with(r#"{"attempt":2,"attempts_aborted":11,"bytes_received":59,"#),
            "{printed}"
        );
        assert_eq!(printed, format!("{}\n", serde_json::to_value(samples::shown()).unwrap()));
    }
}
