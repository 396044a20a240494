//! What the driver keeps in sight for everybody who asks how the runs stand: a new board whenever anything changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use params::Digest;
use run_status::{Server, Shown, Status};
use secagg::ClientId;

/// All runs at one moment.
#[derive(Clone)]
pub(crate) struct Board {
    /// The run that is meant where nobody says which.
    pub(crate) default: Digest,
    /// Every run, by its random name.
    pub(crate) runs: BTreeMap<Digest, OnBoard>,
    /// Silos whose sessions stand.
    pub(crate) connected: BTreeSet<ClientId>,
    pub(crate) server: Server,
}

/// One run as the board shows it.
#[derive(Clone)]
pub(crate) struct OnBoard {
    pub(crate) number: u32,
    /// The same one until anything in it changes.
    pub(crate) status: Arc<Status>,
}

/// What somebody who watches has been shown.
pub(crate) struct Watched {
    run: Digest,
    /// Whether another run follows once this one is over: where nobody said which.
    goes_on: bool,
    shown: Option<Arc<Status>>,
}

impl Watched {
    /// A run from this moment on.
    pub(crate) fn begin(run: Digest, goes_on: bool) -> Self {
        Self { run, goes_on, shown: None }
    }

    /// What is new on a board: of the run, and behind its end of the one that is meant then. What happens in other runs is no news.
    pub(crate) fn news(&mut self, board: &Board) -> Vec<Shown> {
        let mut news = Vec::from_iter(self.news_of_run(board));
        let is_over = |run: &Digest| board.runs.get(run).is_none_or(|run| run.status.ended.is_some());
        if self.goes_on && is_over(&self.run) && !is_over(&board.default) {
            *self = Self::begin(board.default, true);
            news.extend(self.news_of_run(board));
        }
        news
    }

    fn news_of_run(&mut self, board: &Board) -> Option<Shown> {
        let run = board.runs.get(&self.run)?;
        if self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, &run.status)) {
            return None;
        }
        self.shown = Some(Arc::clone(&run.status));
        Some(board.shown(run))
    }
}

impl Board {
    /// The run of this name, or the one that is meant where none is named.
    pub(crate) fn run(&self, named: Option<Digest>) -> Option<(Digest, &OnBoard)> {
        let run = named.unwrap_or(self.default);
        self.runs.get(&run).map(|found| (run, found))
    }

    /// What an operator is shown of a run.
    pub(crate) fn shown(&self, run: &OnBoard) -> Shown {
        let mut status = Status::clone(&run.status);
        // Nothing on the board changes of a run that is over, however many there are; silos come and go all the same.
        if status.ended.is_some() {
            status.show_links(|silo| self.connected.contains(&silo));
        }
        Shown { run: status, server: self.server.clone() }
    }
}

#[cfg(test)]
mod tests {
    use run_status::{Ended, Ending, samples};

    use super::*;

    /// A board of these runs, by number and whether they are over; the first of them that is not over is meant, else the last.
    fn board(runs: &[(u32, bool)]) -> Board {
        let Shown { run, server } = samples::shown();
        let ended = |over: bool| over.then(|| Ended { how: Ending::Complete, why: "all rounds".into() });
        let name = |number: u32| Digest::sha256(&number.to_le_bytes());
        let on_board = |(number, over): &(u32, bool)| {
            let status = Status { run_id: name(*number), ended: ended(*over), ..run.clone() };
            (name(*number), OnBoard { number: *number, status: Arc::new(status) })
        };
        let default = runs.iter().find(|(_, over)| !over).or(runs.last()).unwrap().0;
        Board {
            default: name(default),
            runs: runs.iter().map(on_board).collect(),
            connected: BTreeSet::new(),
            server,
        }
    }

    #[test]
    fn the_silos_of_a_run_that_is_over_are_shown_as_connected_as_they_are_now() {
        let mut board = board(&[(1, true)]);
        let links = |board: &Board| board.shown(&board.runs[&board.default]).run.clients[0].connected;
        assert!(!links(&board), "whatever it saw last");
        board.connected.insert(ClientId(7));
        assert!(links(&board));
    }

    /// Which runs are shown, and whether they are over.
    fn seen(watched: &mut Watched, board: &Board) -> Vec<(u32, bool)> {
        let news = watched.news(board);
        let number = |shown: &Shown| (board.runs[&shown.run.run_id].number, shown.run.ended.is_some());
        news.iter().map(number).collect()
    }

    #[test]
    fn who_watches_no_run_by_name_sees_its_end_and_then_the_one_that_follows() {
        let begun = board(&[(1, false), (2, false)]);
        let mut watched = Watched::begin(begun.default, true);
        assert_eq!(seen(&mut watched, &begun), [(1, false)]);
        assert_eq!(seen(&mut watched, &begun), [], "nothing changed");
        assert_eq!(seen(&mut watched, &board(&[(1, true), (2, false)])), [(1, true), (2, false)]);
        // Where nothing follows, the one that is over stays until something does.
        assert_eq!(seen(&mut watched, &board(&[(1, true), (2, true)])), [(2, true)]);
        assert_eq!(seen(&mut watched, &board(&[(1, true), (2, true), (3, false)])), [(2, true), (3, false)]);
    }

    #[test]
    fn who_watches_a_run_by_name_sees_that_one_alone() {
        let begun = board(&[(1, false), (2, false)]);
        let mut watched = Watched::begin(begun.default, false);
        assert_eq!(seen(&mut watched, &begun), [(1, false)]);
        assert_eq!(seen(&mut watched, &board(&[(1, true), (2, false)])), [(1, true)]);
    }
}
