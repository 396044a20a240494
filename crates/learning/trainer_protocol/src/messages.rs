//! The messages of both sides, as the heads of frames hold them.

use params::Digest;
use plan::SignedPlan;
use sandbox::Level;
use serde::{Deserialize, Serialize};

/// Of this protocol. A trainer says which it speaks, and the daemon ends one that speaks another.
pub const VERSION: u32 = 2;
/// Of a text in an [`Reply`], in bytes: what is longer is cut where it is made.
pub const TEXT_BYTES_MAX: usize = 4096;

/// What a daemon asks of a trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Read the table for this plan, unless that was done before: [`Reply::Table`]. [`Reply::Failed`] where its author did not sign it,
    /// or the silo's policy does not allow it.
    Read { job: u64, plan: SignedPlan },
    /// Train on the table, for the plan of the last [`Ask::Read`]: [`Reply::Trained`]. With a body: a seed and a model.
    Train {
        job: u64,
        /// What is clipped to, in modes that clip: the plan's, or what it has become since. [`Reply::Failed`] where no round of the plan
        /// clips to it.
        clip_norm: Option<f64>,
    },
    /// The job's result is of no more use.
    Stop { job: u64 },
    /// Of one that only describes: whether the files can be used, and what of their rows does not fit what is registered, or a policy's
    /// schema in JSON: [`Reply::Checked`].
    Check { job: u64, schema: Option<String> },
    /// Of one that only describes: a schema of the files' headers, with these labels, each as `COLUMN=CLASSES`: [`Reply::Described`].
    Describe { job: u64, labels: Vec<String> },
}

/// What a trainer replies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// First of all, before anything of the data is opened.
    Ready {
        /// [`VERSION`], or what else it speaks.
        protocol: u32,
        /// What its seal came to.
        sandbox: Level,
    },
    /// The table is read.
    Table {
        job: u64,
        /// A digest of its rows as they were read.
        version: Digest,
        /// What contributes nothing, where anything does not fit the plan: counts, without a cell's text.
        misfits: Option<String>,
        /// What of it may not be what was meant, where anything is: cells outside their range by column, and the like. No cell's text.
        remarks: Option<String>,
        /// Whether nothing of it contributes: there is no row, or none that fits the plan.
        empty: bool,
        /// Whether the files are others than those that were read.
        changed: bool,
    },
    /// The training's result, in the body.
    Trained {
        job: u64,
        /// Of the values in the body.
        precision: Precision,
        /// Rows that it is made of.
        rows: u64,
        /// Of a clipped update 1 where it was within the clip norm and -1 where it was beyond; of a clipped sum, gradients that were
        /// within less those beyond; else 0.
        within_less_beyond: i64,
        /// As the plan's mode names them.
        metrics: [f64; 2],
    },
    /// There is no result. Whether it is the data that cannot be used, and why, for the silo's operator.
    Failed { job: u64, data: bool, why: String },
    /// Of [`Ask::Check`]: what keeps the files from being used, where anything does, and what was found in them, a line each. No cell's
    /// text.
    Checked { job: u64, problem: Option<String>, found: Vec<String> },
    /// Of [`Ask::Describe`]: the schema in JSON.
    Described { job: u64, schema: String },
}

/// What each value of a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Of updates, which are new parameters less old; clipped in modes that hide whole silos.
    F32,
    /// Of sums of clipped descent directions: `distributed_dp_sgd`.
    F64,
}

impl Ask {
    /// The job's number: of [`Ask::Stop`] that of the job it is about.
    pub fn job(&self) -> u64 {
        match self {
            Self::Read { job, .. }
            | Self::Train { job, .. }
            | Self::Stop { job }
            | Self::Check { job, .. }
            | Self::Describe { job, .. } => *job,
        }
    }
}

impl Reply {
    /// The job that it answers; none of [`Reply::Ready`].
    pub fn job(&self) -> Option<u64> {
        match self {
            Self::Ready { .. } => None,
            Self::Table { job, .. }
            | Self::Trained { job, .. }
            | Self::Failed { job, .. }
            | Self::Checked { job, .. }
            | Self::Described { job, .. } => Some(*job),
        }
    }

    /// A text as it may stand in an answer: at most [`TEXT_BYTES_MAX`], without what a terminal would obey or that turns its lines.
    pub fn text(text: &str) -> String {
        let mut kept = String::new();
        for character in text.chars() {
            let turns = matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let shown = if character.is_control() || turns { ' ' } else { character };
            if kept.len() + shown.len_utf8() > TEXT_BYTES_MAX {
                break;
            }
            kept.push(shown);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use sandbox::{Demand, SealProfile};

    use super::*;

    #[test]
    fn messages_are_these_texts_for_ever() {
        let plan = SignedPlan { plan: "{}".into(), author: "a0".into(), signature: "51".into() };
        let asks = [
            (
                Ask::Read { job: 1, plan },
                r#"{"ask":"read","job":1,"plan":{"plan":"{}","author":"a0","signature":"51"}}"#,
            ),
            (Ask::Train { job: 2, clip_norm: Some(0.5) }, r#"{"ask":"train","job":2,"clip_norm":0.5}"#),
            (Ask::Stop { job: 2 }, r#"{"ask":"stop","job":2}"#),
            (Ask::Check { job: 3, schema: None }, r#"{"ask":"check","job":3,"schema":null}"#),
            (
                Ask::Describe { job: 4, labels: vec!["ill=2".into()] },
                r#"{"ask":"describe","job":4,"labels":["ill=2"]}"#,
            ),
        ];
        for (ask, text) in asks {
            assert_eq!(serde_json::to_string(&ask).unwrap(), text);
            assert_eq!(serde_json::from_str::<Ask>(text).unwrap(), ask);
        }
        let answers = [
            (
                Reply::Ready { protocol: 2, sandbox: Level::none(Demand::Off, SealProfile::Native) },
                r#"{"reply":"ready","protocol":2,"sandbox":{"demand":"off","profile":"native","landlock":0,"namespaces":[]}}"#,
            ),
            (
                Reply::Trained {
                    job: 2,
                    precision: Precision::F64,
                    rows: 5,
                    within_less_beyond: -1,
                    metrics: [0.5, 1.0],
                },
                r#"{"reply":"trained","job":2,"precision":"f64","rows":5,"within_less_beyond":-1,"metrics":[0.5,1.0]}"#,
            ),
            (
                Reply::Failed { job: 2, data: true, why: "no file".into() },
                r#"{"reply":"failed","job":2,"data":true,"why":"no file"}"#,
            ),
            (
                Reply::Checked { job: 3, problem: None, found: vec!["2 rows".into()] },
                r#"{"reply":"checked","job":3,"problem":null,"found":["2 rows"]}"#,
            ),
        ];
        for (answer, text) in answers {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), answer);
        }
        let table = Reply::Table {
            job: 1,
            version: Digest::sha256(b""),
            misfits: None,
            remarks: None,
            empty: false,
            changed: false,
        };
        let text = serde_json::to_string(&table).unwrap();
        assert!(text.starts_with(r#"{"reply":"table","job":1,"version":""#), "{text}");
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), table);
    }

    #[test]
    fn a_text_is_bounded_and_obeyed_by_no_terminal() {
        assert_eq!(Reply::text("a\u{1b}[31mb\n\u{202e}c"), "a [31mb  c");
        assert_eq!(Reply::text(&"ä".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
    }
}
