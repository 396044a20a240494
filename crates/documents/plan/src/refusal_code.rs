//! What of a refusal leaves a silo: which rule it was, and nothing of what the rule was held against.

use std::fmt;

macro_rules! codes {
    ($($code:ident = $name:literal: $sentence:literal,)*) => {
        /// Which of a silo's rules a plan or a round was refused by. Numbers and words stay in the silo's own log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RefusalCode {
            $(#[doc = $sentence] $code,)*
        }

        impl RefusalCode {
            /// Every one of this release.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// As it is sent, journalled and shown.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// For people who see only the code.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$code => $sentence,)* }
            }
        }
    };
}

codes! {
    PrivacyMode = "POLICY_PRIVACY_MODE": "its policy does not allow the plan's privacy mode",
    CohortMin = "POLICY_COHORT_MIN": "its policy asks for larger cohorts than the plan does",
    HonestMin = "POLICY_HONEST_MIN": "its policy asks for more honest silos in a sum than the plan does",
    Corrupt = "POLICY_CORRUPT": "its policy reckons with more corrupt silos than the plan does",
    Epsilon = "POLICY_EPSILON": "the plan may spend more than its policy allows",
    Delta = "POLICY_DELTA": "the plan's delta is larger than its policy allows",
    Author = "POLICY_AUTHOR": "its policy does not list the plan's author",
    OtherFederation = "PLAN_FEDERATION": "the plan is meant for another federation",
    NoFederation = "POLICY_FEDERATION": "its policy asks for plans that name their federation",
    RowUnit = "POLICY_PERSON_UNIT": "its policy asks for a promise about persons, and the plan's is about rows",
    ReadyAfter = "POLICY_READY_AFTER": "the plan shows sooner than its policy allows that training is done",
    EpsilonPerRun = "POLICY_EPSILON_PER_RUN": "the plan may spend more than its policy allows a plan",
    Rounds = "POLICY_ROUNDS": "the plan has more rounds than its policy allows",
    UploadBytes = "POLICY_UPLOAD_BYTES": "the plan's updates take more bytes than its policy allows",
    Parameters = "POLICY_PARAMETERS": "the plan's model is larger than its policy allows",
    Model = "POLICY_MODEL": "its policy does not allow this kind of model",
    Hours = "POLICY_HOURS": "its policy begins no round at this time of day",
    PeriodSpent = "PERIOD_SPENT": "its data's budget for a period has no room for another round",
    Witnesses = "POLICY_WITNESSES": "too few others have cosigned the audit log as it sees it",
    Receipt = "RECEIPT_MISSING": "the audit log as it sees it does not tell of its own upload",
    BudgetSpent = "BUDGET_SPENT": "its data's budget has no room for another round",
    PlanComplete = "PLAN_COMPLETE": "the run has all results that its plan asks for",
    PlanUploads = "PLAN_UPLOADS": "it has uploaded as often under this plan as it may; have the plan signed anew for another run",
    PlanBytes = "PLAN_UPLOAD_BYTES": "it has uploaded as many bytes under this plan as its policy allows",
    PlanSpent = "PLAN_SPENT": "its data has no budget left under this plan",
    Repeats = "REPEATS_WITHOUT_DP": "it has uploaded as often on this model without noise as its policy allows",
    RostersMissing = "ROSTERS_MISSING": "it was not shown the rosters that lead to the one in force; its operator can pin the newest",
    CatchingUp = "CATCHING_UP": "it has still to redo the server's steps before this model",
    Schema = "POLICY_SCHEMA": "the plan asks for columns or classes that its registered table does not have",
    SharedData = "LEDGER_SHARED": "another silo with the same data was in this run before it, and in one sum the data would count twice",
    Balance = "BALANCE": "its data's balance has no room for this, or was looked at often enough for this author's plans",
    RoundsBefore = "PLAN_ROUNDS_BEFORE": "the plan counts fewer rounds before it than the plan of the run that it goes on from",
}

impl RefusalCode {
    /// Longest name that is repeated to anybody.
    const NAME_BYTES_MAX: usize = 40;

    /// The code of this name, if this release knows it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// What a coordinator's operator can do where a run cannot go on for it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::PlanUploads => {
                "have the plan signed anew and begin another run with it, or have repeats_per_plan raised at these silos"
            }
            Self::PlanBytes => {
                "have upload_mib_max raised at these silos, or a plan signed that uploads less"
            }
            Self::PlanSpent => {
                "have the plan signed anew and begin another run with it, or, where it is smaller than the plan's epsilon, have \
                 epsilon_per_run_max raised at these silos"
            }
            Self::PlanComplete => "have the plan signed anew and begin another run with it",
            Self::Repeats => {
                "see why rounds on this model gave no result; have repeats_without_dp raised at these silos, or begin another \
                 run with a plan whose rounds are not spoiled like that"
            }
            Self::SharedData => {
                "of silos that share a ledger have one in the federation: leave the others out of the next roster"
            }
            Self::Balance => {
                "their operators' own logs hold the numbers and the rule; a silo answers a plan once, so stop this run and submit a plan \
                 that is signed anew, one that spends less or once other runs of the same data are over; or have their policies \
                 changed, which they answer again"
            }
            Self::RoundsBefore => {
                "stop this run and have the plan made anew with `folkmoot runs extend`, which counts the rounds of all runs before it"
            }
            _ => {
                "their operators' own logs hold the numbers; change the plan, or have their policies changed"
            }
        }
    }

    /// What may be written down and shown of a code that a peer sent: the name, where it could be one of another release's, and
    /// a sentence of our own.
    pub fn describe(name: &str) -> (String, String) {
        if let Some(code) = Self::named(name) {
            return (code.name().into(), code.sentence().into());
        }
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        match (1..=Self::NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) {
            true => (name.into(), format!("another reason ({name})")),
            false => ("OTHER".into(), "another reason".into()),
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_that_reads_back_and_a_sentence_without_numbers() {
        let names: BTreeSet<&str> = RefusalCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), RefusalCode::ALL.len());
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::named(code.name()), Some(*code));
            assert_eq!(RefusalCode::describe(code.name()), (code.name().into(), code.sentence().into()));
            assert!(!code.remedy().is_empty());
            assert!(!code.sentence().bytes().any(|byte| byte.is_ascii_digit()), "{}", code.sentence());
        }
    }

    #[test]
    fn of_a_code_that_is_not_known_its_name_is_repeated_only_where_it_could_be_one() {
        assert_eq!(
            RefusalCode::describe("NEW_RULE"),
            ("NEW_RULE".into(), "another reason (NEW_RULE)".into())
        );
        for free in ["", "patient 17 died", "\u{1b}[31m", &"A".repeat(41), "code"] {
            assert_eq!(RefusalCode::describe(free), ("OTHER".into(), "another reason".into()), "{free}");
        }
    }
}
