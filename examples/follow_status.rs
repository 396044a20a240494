//! Follows a run until it has ended, a line at each change: what a dashboard begins with.
//!
//!     cargo run --example follow_status -- http://127.0.0.1:7440
//!     cargo run --example follow_status -- OPERATORS_FOLDER
#![allow(clippy::print_stdout)]

use anyhow::Context;
use operate::{Sight, Target, Watch};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let whom = std::env::args().nth(1).context("whom to follow? follow_status URL|FOLDER")?;
    let target = match whom.contains("://") {
        true => Target { coordinator: Some(whom), ..Target::default() },
        false => Target { folder: Some(whom.into()), ..Target::default() },
    };
    let mut watch = Watch::begin(target.connect().await?, None).await?;
    loop {
        let run = match watch.next().await? {
            Sight::Shown(shown) => shown.run,
            Sight::Lost(why) => {
                println!("connection lost, trying again: {why}");
                continue;
            }
        };
        let epsilon = run.privacy.epsilon.map_or("none".to_owned(), |epsilon| format!("{epsilon:.4}"));
        println!(
            "{} of {} rounds, {}, epsilon {epsilon}",
            run.rounds_committed, run.rounds_planned, run.phase
        );
        if let Some(ended) = run.ended {
            println!("ended: {}", ended.why);
            return Ok(());
        }
    }
}
