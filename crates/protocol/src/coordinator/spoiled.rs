//! Who spoils the weights of every sum that it is in, narrowed down over rounds.
//!
//! A sum hides who sent what, so a sum with weights that no silos have names nobody. What is known is who was in it, and who
//! was in sums that were sound. Cohorts that leave a part of the suspects out tell the parts from each other, one round each,
//! while the others go on. It starts with the first such sum, since without noise a silo's policy allows few uploads on one model.
//!
//! # Security
//! It proves nothing: a silo that spoils only those sums that another one is in makes that one the suspect. So whoever is left out
//! is tried again, and the decision is an operator's. All of it follows from the journal.

use std::collections::BTreeSet;

use identity::AuthorisedRoster;
use secagg::ClientId;

/// Results after which those who are left out are tried again.
const TRIED_AGAIN_AFTER: u64 = 10;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spoiled {
    /// In every spoiled sum, and in no sound one since.
    suspects: BTreeSet<ClientId>,
    /// Spoiled sums since the newest result: on one model.
    since_result: u64,
    /// Results since the last spoiled sum.
    results: u64,
}

impl Spoiled {
    /// The weights of this sum cannot be right.
    pub(super) fn spoil(&mut self, included: &BTreeSet<ClientId>) {
        let both: BTreeSet<ClientId> = self.suspects.intersection(included).copied().collect();
        // None of the suspects was in it: there is another one, and the search begins again.
        self.suspects = if both.is_empty() { included.clone() } else { both };
        self.since_result += 1;
        self.results = 0;
    }

    /// This sum gave a result: nobody in it spoils every sum.
    pub(super) fn commit(&mut self, included: &BTreeSet<ClientId>) {
        self.since_result = 0;
        self.results += 1;
        self.suspects.retain(|suspect| !included.contains(suspect));
        if self.suspects.is_empty() {
            *self = Self::default();
        }
    }

    /// Who of those that are here is put into no cohort now; `minimum` of them are left in any case.
    ///
    /// On a model that no sum was spoiled on, a half of the suspects is left out, and the other half is told from it. After that
    /// all of them are, where that is possible, so that the run goes on.
    pub(super) fn left_out(&self, here: &BTreeSet<ClientId>, minimum: usize) -> BTreeSet<ClientId> {
        let room = here.len().saturating_sub(minimum);
        let suspects: Vec<ClientId> = self.suspects.intersection(here).copied().collect();
        let all = suspects.len();
        let wanted = match self.since_result {
            0 if self.results >= TRIED_AGAIN_AFTER => 0,
            0 => all.div_ceil(2),
            _ if all <= room => all,
            _ => all.div_ceil(2),
        };
        suspects.into_iter().take(wanted.min(room)).collect()
    }

    pub(super) fn is_suspect(&self, client: &ClientId) -> bool {
        self.suspects.contains(client)
    }

    /// For operators, in words; `left_out` of those that are here.
    pub(super) fn notice(&self, roster: &AuthorisedRoster, left_out: &BTreeSet<ClientId>) -> Option<String> {
        if self.suspects.is_empty() {
            return None;
        }
        let names = |clients: &BTreeSet<ClientId>| {
            clients.iter().map(|client| roster.name(*client)).collect::<Vec<_>>().join(", ")
        };
        let now = if left_out.is_empty() {
            "nobody can be left out, since a cohort needs all who are here, or they are tried again"
                .to_owned()
        } else {
            format!("the next cohort leaves out {}", names(left_out))
        };
        Some(format!(
            "weights that cannot be right spoiled a sum; if one silo spoils every sum that it is in, it is one of {}; {now}. \
             Nothing is proven: revoke the silo if you know better, or have the plan signed with uniform weights, of which nothing \
             is summed",
            names(&self.suspects)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<ClientId> {
        numbers.into_iter().map(ClientId).collect()
    }

    /// Plays rounds of `silos` with one that spoils every sum; the uploads that each has made on one model at most, and how many
    /// rounds gave no result.
    fn played(silos: u32, minimum: usize, spoiler: u32, rounds: u32) -> (Spoiled, u64, u64) {
        let here = ids(1..=silos);
        let (mut spoiled, mut aborted, mut most) = (Spoiled::default(), 0, 0);
        let mut uploads = vec![0; silos as usize + 1];
        for _ in 0..rounds {
            let out = spoiled.left_out(&here, minimum);
            let included: BTreeSet<ClientId> = here.difference(&out).copied().collect();
            assert!(included.len() >= minimum);
            included.iter().for_each(|client| uploads[client.0 as usize] += 1);
            most = uploads.iter().copied().max().unwrap().max(most);
            if included.contains(&ClientId(spoiler)) {
                spoiled.spoil(&included);
                aborted += 1;
            } else {
                spoiled.commit(&included);
                uploads.fill(0);
            }
        }
        (spoiled, most, aborted)
    }

    #[test]
    fn one_that_spoils_every_sum_is_found_within_the_uploads_that_a_policy_allows_on_one_model() {
        for (silos, minimum) in [(5, 3), (6, 3), (8, 4), (10, 5), (30, 15), (100, 50)] {
            for spoiler in 1..=silos {
                let (spoiled, most, aborted) = played(silos, minimum, spoiler, 16);
                assert_eq!(spoiled.suspects, ids([spoiler]), "{silos} silos, of which {minimum} are needed");
                assert!(most <= 3, "{silos} silos, {spoiler} spoils: {most} uploads on one model");
                assert!(aborted <= 8, "{silos} silos, {spoiler} spoils: {aborted} rounds without a result");
            }
        }
    }

    #[test]
    fn who_was_left_out_is_tried_again_and_cleared_by_a_sound_sum() {
        let here = ids(1..=6);
        let (mut spoiled, ..) = played(6, 3, 2, 8);
        let left_out = |spoiled: &Spoiled| spoiled.left_out(&here, 3);
        while spoiled.results < TRIED_AGAIN_AFTER {
            assert_eq!(left_out(&spoiled), ids([2]));
            spoiled.commit(&ids([1, 3, 4, 5, 6]));
        }
        assert_eq!(left_out(&spoiled), ids([]));
        let mut mended = Spoiled { suspects: spoiled.suspects.clone(), ..spoiled };
        mended.commit(&here);
        assert_eq!(mended, Spoiled::default());
        // It does it again, and is left out at once.
        spoiled.spoil(&here);
        assert_eq!(left_out(&spoiled), ids([2]));
    }

    #[test]
    fn a_cohort_that_needs_everyone_leaves_nobody_out_and_names_all() {
        let (spoiled, ..) = played(4, 4, 2, 5);
        assert_eq!(spoiled.suspects, ids(1..=4));
        assert_eq!(spoiled.left_out(&ids(1..=4), 4), ids([]));
    }
}
