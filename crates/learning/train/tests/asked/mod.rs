//! A trainer as its daemon has it: a process that a spawner started, asked over its socket.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use identity::IdentityKey;
use params::{Activation, Digest};
use plan::{Cohort, Data, Feature, LocalOptimizer, Model, Plan, Privacy, SignedPlan, Timing, Training};
use sandbox::{Demand, Level};
use spawner::{Program, Settings, Spawner, TrainerId};
use trainer_protocol::{Ask, Frame, Reply, body_of_job, limits};

/// Allows plans of this one's mode to trainers that start on this table from now on.
pub(crate) fn allow(data: &Path, plan: &Plan) {
    let (mode, author) = (plan.mode(), signed(plan).author);
    let policy = format!(
        "[policy]\ncohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 1e16\ndelta_max = 1e-5\n\
         accepts_undetected_rollback = true\nprivacy_modes = [\"{mode}\"]\nauthors = [\"{author}\"]\n"
    );
    std::fs::write(configuration(data), policy).unwrap();
}

fn configuration(data: &Path) -> PathBuf {
    data.with_file_name("client.toml")
}

fn signed(plan: &Plan) -> SignedPlan {
    plan.clone().sign(&IdentityKey::from_secret_hex(&"01".repeat(32)).unwrap()).signed().clone()
}

/// What starts trainers on this table, sealed as demanded, which read it by this registration as it is now.
pub(crate) fn spawner(data: &Path, demand: Demand, registration: Option<&Path>) -> Spawner {
    let program = Program { path: env!("CARGO_BIN_EXE_folkmoot-trainer").into(), first: Vec::new() };
    let level = demand.to_string();
    let file = configuration(data);
    let words = ["--sandbox", level.as_str(), "--data"].map(AsRef::as_ref);
    let arguments = words.into_iter().chain([data.as_os_str(), "--configuration".as_ref(), file.as_os_str()]);
    let digest = registration.map(|file| Digest::sha256(&std::fs::read(file).unwrap()).to_string());
    let registered = registration.zip(digest.as_deref()).map(|(file, digest)| {
        ["--registration".as_ref(), file.as_os_str(), "--registration-digest".as_ref(), digest.as_ref()]
    });
    let trainer = program.command("train", arguments.chain(registered.into_iter().flatten()));
    let settings = Settings { trainer, configuration: None, trainers_max: 1, demand };
    Spawner::start(&program, &settings).unwrap()
}

/// One process, which has said that it is ready.
#[derive(Debug)]
pub(crate) struct Asked {
    socket: UnixStream,
    pub(crate) id: TrainerId,
    /// What its seal came to, as it says.
    pub(crate) level: Level,
}

impl Asked {
    /// One that is ready, or what another said instead.
    pub(crate) fn start(spawner: &Spawner) -> Result<Self, Reply> {
        let started = spawner.trainer().unwrap();
        match Frame::read(&mut &started.socket, limits::REPLY).unwrap().message().unwrap() {
            Reply::Ready { sandbox: level, .. } => Ok(Self { socket: started.socket, id: started.id, level }),
            said => {
                spawner.end(started.id).unwrap();
                Err(said)
            }
        }
    }

    /// Has it read its table for this plan.
    pub(crate) fn read(&mut self, plan: &Plan) -> Reply {
        let said = self.answer(&Ask::Read { job: 1, plan: signed(plan) }, &[], 0).message().unwrap();
        assert!(matches!(said, Reply::Table { misfits: None, .. }), "{said:?}");
        said
    }

    /// Has it train from the plan's initial model on the table that was read.
    pub(crate) fn train(&mut self, plan: &Plan, seed: u8) -> Frame {
        let model = plan.initial_model();
        let ask = Ask::Train { job: 2, clip_norm: plan.clip_norm() };
        let answer = self.answer(&ask, &body_of_job(&[seed; 32], model.values()), model.values().len());
        let said: Reply = answer.message().unwrap();
        assert!(matches!(said, Reply::Trained { .. }), "{said:?}");
        answer
    }

    fn answer(&mut self, ask: &Ask, body: &[u8], parameters: usize) -> Frame {
        self.socket.write_all(&Frame::of(ask, body).unwrap().to_bytes()).unwrap();
        Frame::read(&mut self.socket, limits::trained(parameters)).unwrap()
    }
}

/// Of a network with one hidden layer.
pub(crate) fn plan(features: usize, hidden: usize, privacy: Privacy) -> Plan {
    let feature = |index: usize| Feature::range(format!("x{index}"), 0.0, 255.0);
    let plan = Plan {
        format: None,
        id: None,
        federation: None,
        parent: None,
        name: "sealed".into(),
        rounds: 1,
        model: Model { hidden: vec![hidden], activation: Activation::Relu, initial_seed: 1, network: None },
        data: Data {
            label: "label".into(),
            classes: 10.into(),
            scaled_to: [0.0, 1.0],
            features: (0..features).map(feature).collect(),
            class_weights: None,
        },
        training: Training {
            local_epochs: 1,
            batch_size: 32,
            optimizer: LocalOptimizer::Sgd,
            learning_rate: 0.1,
            micro_batch: 32,
        },
        server: optim::ServerOptimizer::FedAvg { learning_rate: 1.0, momentum: 0.0 },
        privacy,
        cohort: Cohort { minimum: 3, maximum: 5, corrupt: 1, honest_min: 2 },
        timing: Timing {
            round_deadline_ms: 10_000,
            minimum_wait_ms: 1,
            ready_after_ms: 0,
            attempts_max: 1,
            patience_days: None,
        },
    };
    plan.validate().unwrap();
    plan
}

/// As CSV, of so many rows that fit the plan.
pub(crate) fn table(plan: &Plan, rows: usize) -> String {
    let features = &plan.data.features;
    let mut csv: String = features.iter().map(|feature| format!("{},", feature.name())).collect();
    csv.push_str("label\n");
    for row in 0..rows {
        for column in 0..features.len() {
            write!(csv, "{},", (row * 31 + column * 7 + row * column) % 256).unwrap();
        }
        writeln!(csv, "{}", row % plan.data.classes.count()).unwrap();
    }
    csv
}
