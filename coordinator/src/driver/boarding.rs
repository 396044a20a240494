//! What the rest of the daemon sees of the runs, brought up to date after each turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use federation::RunNumber;
use params::Digest;
use run_status::Server;

use super::Driver;
use crate::board::{Board, OnBoard};

impl Driver {
    /// Shows what has changed. A run that is over changes no more, unless something was done to it.
    pub(super) fn publish_status(&mut self) {
        self.publish_roster();
        let Some(default) = self.federation.default_run().and_then(|run| self.runs.get(&run)) else { return };
        let default = default.id;
        let before = self.outward.board.borrow().clone();
        let runs = self.on_board(before.as_deref());
        let metrics = &self.outward.metrics;
        metrics.clients_connected.set(self.sessions.len() as i64);
        let server = Server {
            bytes_received: metrics.bytes_received.get(),
            bytes_sent: metrics.bytes_sent.get(),
            server_version: env!("CARGO_PKG_VERSION").into(),
            now_ms: self.clock.now().0,
            started_ms: self.clock.started().0,
        };
        let board = Board { default, runs, connected: self.federation.connected_silos().collect(), server };
        self.outward.board.send_replace(Some(Arc::new(board)));
    }

    fn publish_roster(&self) {
        let Some(newest) = self.federation.newest_roster() else { return };
        self.outward.roster.send_if_modified(|known| {
            let new = known.digest() != newest.digest();
            if new {
                *known = Arc::new(newest.clone());
            }
            new
        });
    }

    fn on_board(&mut self, before: Option<&Board>) -> BTreeMap<Digest, OnBoard> {
        let mut runs = BTreeMap::new();
        let active = self.federation.active();
        for (number, at_work) in &mut self.runs {
            let known = before.and_then(|before| before.runs.get(&at_work.id));
            let Some(run) = self.federation.run(*number) else { continue };
            let is_over = run.ended().is_some() && !self.touched.contains(number);
            let status = match known {
                Some(known) if is_over => Arc::clone(&known.status),
                _ => {
                    let Some(status) = self.federation.status_among(*number, &active) else { continue };
                    at_work.metrics.epsilon_spent.set(status.privacy.epsilon.unwrap_or(0.0));
                    at_work.metrics.enter_phase(status.phase.word());
                    match known {
                        Some(known) if *known.status == status => Arc::clone(&known.status),
                        _ => Arc::new(status),
                    }
                }
            };
            runs.insert(at_work.id, OnBoard { number: number.0, status });
        }
        self.touched.clear();
        runs
    }

    /// The run of this name, or the one that is meant where none is named.
    pub(super) fn number_of(&self, named: Option<Digest>) -> Option<RunNumber> {
        match named {
            Some(run) => self.federation.by_id(&run),
            None => self.federation.default_run(),
        }
    }
}
