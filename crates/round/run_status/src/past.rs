//! Rounds that are over, and what operators did of the chain, as a watch would have said them.

use checkpoint::Manifest;
use secagg::ClientId;

use crate::watching::{Happening, Named, News, NotIncluded};
use crate::{Shown, Status};

/// A line for each round that was committed, and for each model that an operator took out of use or went back to, within the last
/// `within_s` seconds, and that `shown` knows of: what it will say itself is not said twice. `chain` are the run's records from the
/// first on, oldest first.
pub fn past(chain: &[Manifest], shown: &Shown, within_s: u64) -> Vec<News> {
    let now_s = shown.server.now_ms / 1000;
    let run = &shown.run;
    let budget = run.privacy.epsilon.zip(run.epsilon_left).map(|(spent, left)| spent + left);
    let (mut news, mut committed, mut before_ms) = (Vec::new(), 0, None);
    for record in chain.iter().filter(|record| record.round <= run.head_round) {
        let took_ms =
            before_ms.replace(record.created_ms).map_or(0, |before| record.created_ms.abs_diff(before));
        // Version 0 is no round.
        if record.round == 0 {
            continue;
        }
        committed += u64::from(record.action.is_none());
        let long_ago = |until_s: u64| until_s < now_s;
        if (record.created_ms / 1000).checked_add(within_s).is_some_and(long_ago) {
            continue;
        }
        let time_ms = record.created_ms;
        if let Some(action) = &record.action {
            news.push(News { time_ms, what: Happening::Notice { text: action.to_string(), over: false } });
            continue;
        }
        let left_out = record
            .left_out
            .iter()
            .map(|one| NotIncluded { silo: named(run, one.client), reason: one.reason.clone() });
        let what = Happening::Round {
            round: record.round,
            rounds: 1,
            rounds_committed: committed,
            rounds_planned: run.rounds_planned,
            included: record.included.iter().map(|id| named(run, *id)).collect(),
            left_out: left_out.collect(),
            epsilon: record.privacy.epsilon,
            epsilon_left: budget.zip(record.privacy.epsilon).map(|(budget, spent)| (budget - spent).max(0.0)),
            metrics: record.metrics.clone(),
            took_ms,
        };
        news.push(News { time_ms, what });
    }
    news
}

/// Of one that is no member any more, the number alone.
fn named(run: &Status, client: u32) -> Named {
    let client = ClientId(client);
    let known = run.clients.iter().find(|one| one.id == client);
    Named { client, name: known.map_or_else(String::new, |one| one.name.clone()) }
}

#[cfg(test)]
mod tests {
    use checkpoint::{Action, LeftOut};

    use super::*;
    use crate::samples;

    #[test]
    fn past_rounds_are_said_in_the_words_of_a_watch_from_a_moment_on_and_none_that_is_still_to_be_said() {
        let mut shown = samples::shown();
        (shown.run.head_round, shown.server.now_ms) = (4, 301_000);
        let chain: Vec<Manifest> = (0..=5)
            .map(|round| {
                let mut record = checkpoint::samples::manifest(round);
                record.created_ms = 1_000 + 60_000 * round;
                record.metrics = [("loss".to_owned(), 0.5)].into();
                record.privacy.epsilon = Some(0.25 * round as f64);
                record.included = vec![7];
                record.left_out = vec![LeftOut { client: 9, reason: "silent".into() }];
                record.action = (round == 3).then(|| Action::Rollback {
                    to_round: 2,
                    reason: "odd".into(),
                    by: "ada".into(),
                });
                record
            })
            .collect();
        let said: Vec<String> = past(&chain, &shown, 180).iter().map(News::line).collect();
        assert_eq!(
            said,
            [
                "1970-01-01T00:02:01Z  round     2  committed, 2 of 23, 1 silos, epsilon 0.5000 of 4.9000, loss 0.5000, 1 min; left out: 9 (silent)",
                "1970-01-01T00:03:01Z  rolled back to the model of round 2 by ada: odd",
                "1970-01-01T00:04:01Z  round     4  committed, 3 of 23, 1 silos, epsilon 1.0000 of 4.9000, loss 0.5000, 1 min; left out: 9 (silent)",
            ]
        );
        assert_eq!(past(&chain, &shown, u64::MAX).len(), 4);
    }
}
