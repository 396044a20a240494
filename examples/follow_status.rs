//! Follows a run until it has ended, a line at each change: what a dashboard begins with.
//!
//!     cargo run --example follow_status -- http://127.0.0.1:7440
//!     cargo run --example follow_status -- OPERATORS_FOLDER
#![allow(clippy::print_stdout)]

use anyhow::Context;
use operate::Target;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let whom = std::env::args().nth(1).context("whom to follow? follow_status URL|FOLDER")?;
    let target = match whom.contains("://") {
        true => Target { coordinator: Some(whom), ..Target::default() },
        false => Target { folder: Some(whom.into()), ..Target::default() },
    };
    let mut changes = operate::watch(target.connect().await?, None).await?;
    while let Some(shown) = changes.next().await? {
        let run = shown.run;
        let epsilon = run.privacy.epsilon.map_or("none".to_owned(), |epsilon| format!("{epsilon:.4}"));
        println!(
            "{} of {} rounds, {}, epsilon {epsilon}",
            run.rounds_committed, run.rounds_planned, run.phase
        );
        if let Some(ended) = run.ended {
            println!("ended: {}", ended.why);
            break;
        }
    }
    Ok(())
}
