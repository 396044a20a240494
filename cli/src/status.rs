//! `folkmoot status` and `folkmoot watch`: what a coordinator says about its run, at once and as it goes on.

use std::time::{Duration, Instant};

use operate::{Models, Sight, Watch};
use run_status::{Shown, Watching, past, render};

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

/// Without a change for so long, who is waited for is worth a line.
const QUIET: Duration = Duration::from_secs(10);

#[derive(clap::Args, Debug)]
#[command(
    after_help = "A line a round: its time, how many silos are in the sum, what is spent, how long it took, who was left out and \
                  why. Between rounds a line where a silo goes or refuses, an attempt is aborted, somebody pauses the run, or nothing \
                  has happened for ten seconds: who is waited for. A connection that is lost is tried for again, until Ctrl-C or an answer \
                  that refuses it. With --run it ends with that run; without, it goes on with the next one.\n\n\
                  With --json each line is an object with `time_ms` and `event`: watching, round, aborted, waiting, silo, notice, \
                  connection or ended.\n\n\
                  Examples:\n  folkmoot watch --as admin\n  folkmoot watch --as admin --json\n  folkmoot watch --as admin --since 24h"
)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    run: RemoteRun,
    /// Begin with the rounds that were committed within this time, such as 24h, and what operators did of models.
    #[arg(long, value_name = "TIME", value_parser = identity::parse_time)]
    since: Option<u64>,
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
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
    let mut watch = Watch::begin(link.clone(), run).await?;
    let (mut watching, mut seen_at, mut since_s) = (Watching::default(), Instant::now(), args.since);
    loop {
        // A wait that is cut off loses no status: the stream keeps it.
        let next = tokio::time::timeout(QUIET, watch.next()).await;
        let quiet_ms = seen_at.elapsed().as_millis() as u64;
        let news = match next {
            Ok(sight) => match sight? {
                Sight::Shown(shown) => {
                    seen_at = Instant::now();
                    let mut news = Vec::new();
                    if let Some(since_s) = since_s.take() {
                        let mut models = Models::over(link.clone(), None).of_run(Some(shown.run.run_id));
                        news = past(&models.new_records().await?, &shown, since_s);
                    }
                    news.extend(watching.changed(*shown));
                    news
                }
                Sight::Lost(why) => watching.lost(quiet_ms, why).into_iter().collect(),
            },
            Err(_) => watching.quiet(quiet_ms).into_iter().collect(),
        };
        for news in news {
            let json =
                args.json.then(|| serde_json::to_string(&news)).transpose().map_err(Failure::failed)?;
            println!("{}", json.unwrap_or_else(|| news.line()));
        }
        if daemon::out::is_closed() || run.is_some() && watching.is_over() {
            return Ok(());
        }
    }
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
