//! What a ledger says was spent, as people read it.

use std::fmt::Write;

use accounting::{Relation, rounded_up};
use identity::{printable, span};

use crate::spending::{ClaimShown, RunSpending, Spending, Spent};

/// What is said of a last line that is no entry.
pub const UNFINISHED_LINE: &str = "the last line is unfinished, and counted as no entry: a crash cut its write short, before anything of it \
     could leave the silo, and the next debit overwrites it; if nothing crashed, the line was damaged after it was written \
     and its debit is missing here: compare the anchor, and start the daemon, whose journal holds its own debits and which \
     refuses a ledger without them";

impl Spending {
    /// All of it but what opens commitments, at this moment in milliseconds since the Unix epoch, which says what claims count.
    pub fn text(&self, now_ms: u64) -> String {
        let mut text = format!(
            "data set      {}\nhead          {}\ntotal         {}\n",
            self.dataset,
            self.head,
            figures(&self.total)
        );
        text.extend(self.runs.iter().map(run));
        text.extend(self.claims.iter().map(|shown| claim(shown, now_ms)));
        text.push_str(&self.declared());
        if self.unfinished_line {
            let _ = writeln!(text, "UNFINISHED    {UNFINISHED_LINE}");
        }
        for reason in &self.accepted_losses {
            let _ = writeln!(text, "LOSS ACCEPTED by an operator: {}", printable(reason));
        }
        text
    }

    /// How much was declared of the data, and how much was not.
    fn declared(&self) -> String {
        let mut text = String::new();
        let all = self.runs.iter().map(|run| &run.commitments);
        let declared: usize =
            all.chain(self.runs_without_upload.iter().map(|run| &run.commitments)).map(Vec::len).sum();
        if declared > 0 {
            let _ = writeln!(
                text,
                "declared      commitments to the data in each run, {declared} in all; --json opens them"
            );
        }
        let undeclared = self.runs.iter().map(|run| &run.random_words);
        let undeclared: usize = undeclared
            .chain(self.runs_without_upload.iter().map(|run| &run.random_words))
            .map(Vec::len)
            .sum();
        if undeclared > 0 {
            let _ = writeln!(
                text,
                "undeclared    {undeclared} random words, which open to nothing; --json lists them"
            );
        }
        text
    }
}

/// As much of a run's id as people compare.
fn short(run: &str) -> String {
    run.chars().take(12).collect()
}

fn run(run: &RunSpending) -> String {
    let name = if run.name.is_empty() { "unnamed" } else { &run.name };
    format!(
        "run           {} {}: {} rounds, {}, {}, noise by {}, {} versions of the data\n              {}\n",
        short(&run.run),
        printable(name),
        run.rounds,
        printable(&run.mode),
        Relation::or_none(run.relation),
        printable(&run.noise_by),
        run.data_versions.len(),
        figures(&run.spent)
    )
}

/// What a run that is not over may still spend.
fn claim(claim: &ClaimShown, now_ms: u64) -> String {
    let epsilon = claim.epsilon_left.map_or_else(
        || "no epsilon".into(),
        |left| format!("at most epsilon {} more, rounded up", rounded_up(left, 4)),
    );
    let counts = match claim.until_ms.checked_sub(now_ms).filter(|left| *left > 0) {
        Some(left) => {
            format!("counts for {} more unless something is heard of the run", span(left))
        }
        None => "LAPSED, counts no more: nothing was heard of the run".into(),
    };
    format!(
        "claim         {} {}: {} rounds made, {} left, {epsilon}; {counts}\n",
        short(&claim.run),
        printable(&claim.name),
        claim.made,
        claim.uploads_left,
    )
}

/// Figures with the words that must stand beside them.
fn figures(spent: &Spent) -> String {
    let mut text = match spent.unit {
        None => format!("nothing with a promise; {} debits", spent.debits),
        Some(unit) => format!(
            "epsilon {} at delta {} for {}, by {}; {} debits",
            rounded_up(spent.epsilon, 4),
            spent.delta,
            unit.hidden(),
            spent.accountant,
            spent.debits
        ),
    };
    for bound in &spent.approximations {
        let _ =
            write!(text, "; {} by {}, which gates nothing", rounded_up(bound.epsilon, 4), bound.accountant);
    }
    if let Some(why) = &spent.left_out {
        let _ = write!(text, "; left out: {why}");
    }
    if spent.units_mixed {
        text.push_str(", of persons or silos too: counted for the row");
    }
    let without_noise = spent.exact_releases - spent.failed_trainings;
    if without_noise > 0 {
        let _ = write!(text, "; AND {without_noise} RELEASES WITHOUT NOISE, which no epsilon covers");
    }
    if spent.failed_trainings > 0 {
        let _ = write!(
            text,
            "; AND {} ROUNDS IN WHICH TRAINING FAILED and nothing of the data was contributed, which no epsilon covers",
            spent.failed_trainings
        );
    }
    text
}
