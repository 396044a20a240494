//! The anchor: the ledger's heads, one a line, in a file that a rollback of this machine does not reach.
//!
//! Whoever restores an old ledger cannot restore the anchor with it, and the two no longer agree. The anchor is only
//! ever appended to, so it may lie where nothing can be taken back.

use crate::chain::{Chain, split_line};
use crate::entry::LedgerHead;

/// An anchor that does not agree with its ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The anchor knows entries that the ledger lacks, or has otherwise.
    #[error(
        "the ledger ends with {ledger}, its anchor with {anchor}: the ledger was rolled back or replaced"
    )]
    Ledger { ledger: LedgerHead, anchor: LedgerHead },
    /// The ledger knows more entries than a crash leaves without a line.
    #[error(
        "the ledger ends with {ledger}, its anchor with {}: the anchor was rolled back, or the ledger was used without it",
        or_nothing(anchor)
    )]
    Anchor {
        ledger: LedgerHead,
        /// The anchor's, if it has any line.
        anchor: Option<LedgerHead>,
    },
    /// The anchor's lines are not in one order, and no entry of an operator says why.
    #[error(
        "line {line} of the anchor, {head}, does not follow from the line before it, and no operator's entry in the \
         ledger accepts that; the ledger ends with {ledger}"
    )]
    Order {
        /// Counted from 1.
        line: usize,
        /// What it says.
        head: LedgerHead,
        ledger: LedgerHead,
    },
    /// The last line is cut off, and is not the one that a crash would have left.
    #[error(
        "the anchor's last line is cut off, and does not begin the line of {ledger}, with which the ledger ends"
    )]
    Torn { ledger: LedgerHead },
}

fn or_nothing(anchor: &Option<LedgerHead>) -> String {
    anchor.map_or_else(|| "nothing".into(), |head| head.to_string())
}

/// What an anchor says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Anchor {
    lines: Vec<Read>,
    /// A last line without its line break.
    pub(crate) torn: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Read {
    head: LedgerHead,
    /// Something that is no line stands before it.
    after_a_gap: bool,
}

/// The anchor's line of an entry.
pub(crate) fn line(head: &LedgerHead) -> String {
    format!("{} {}\n", head.sequence, head.hash)
}

impl Anchor {
    pub(crate) fn read(mut bytes: &[u8]) -> Self {
        let (mut anchor, mut after_a_gap) = (Self::default(), false);
        while let Some((text, rest)) = split_line(bytes) {
            bytes = rest;
            let Some(head) = parse(text) else {
                after_a_gap = true;
                continue;
            };
            anchor.lines.push(Read { head, after_a_gap });
            after_a_gap = false;
        }
        anchor.torn = bytes.to_vec();
        anchor
    }

    pub(crate) fn last(&self) -> Option<LedgerHead> {
        self.lines.last().map(|line| line.head)
    }

    /// Whether `chain` is the ledger that this anchor follows; gives what the anchor lacks of its last line.
    ///
    /// `accepted` tells of an entry by its number what it says of the anchor, if an operator wrote it to accept a loss;
    /// `two`, whether the chain's last two entries were one write, both of which a crash may leave without a line.
    pub(crate) fn check(
        &self,
        chain: &Chain,
        accepted: &dyn Fn(u64) -> Option<Option<LedgerHead>>,
        two: bool,
    ) -> Result<String, AnchorError> {
        let ledger = chain.head();
        let ledger_is_rolled_back = |anchor| AnchorError::Ledger { ledger, anchor };
        let mut before: Option<LedgerHead> = None;
        let mut segment = 0;
        for (index, Read { head, after_a_gap }) in self.lines.iter().enumerate() {
            let follows = before.map_or(0, |before| before.sequence).checked_add(1) == Some(head.sequence);
            if !follows || *after_a_gap {
                segment = index;
            }
            before = Some(*head);
        }
        // Lines before the last segment are what an operator has accepted the loss of.
        if let Some(Read { head, .. }) = self.lines.get(segment) {
            let before = segment.checked_sub(1).and_then(|at| self.lines.get(at)).map(|line| line.head);
            let begins = segment == 0 && head.sequence == 1;
            if chain.hash(head.sequence) == Some(head.hash)
                && !begins
                && accepted(head.sequence) != Some(before)
            {
                return Err(AnchorError::Order { line: segment + 1, head: *head, ledger });
            }
        }
        for Read { head, .. } in self.lines.iter().skip(segment) {
            if head.sequence == 0 || chain.hash(head.sequence) != Some(head.hash) {
                return Err(ledger_is_rolled_back(self.last().unwrap_or(*head)));
            }
        }
        let anchored = self.last().map_or(0, |head| head.sequence);
        let missing = match ledger.sequence.checked_sub(anchored) {
            Some(behind @ 0..=2) if behind < 2 || two => (anchored + 1..=ledger.sequence)
                .filter_map(|sequence| Some(line(&LedgerHead { sequence, hash: chain.hash(sequence)? })))
                .collect::<String>(),
            _ => return Err(AnchorError::Anchor { ledger, anchor: self.last() }),
        };
        match missing.as_bytes().strip_prefix(self.torn.as_slice()) {
            Some(_) => Ok(missing.get(self.torn.len()..).unwrap_or_default().to_owned()),
            None => Err(AnchorError::Torn { ledger }),
        }
    }
}

/// Whether an anchor's bytes follow a ledger; whether the ledger is one write ahead, as a crash may leave it.
///
/// Without the opened `entries` of a sealed ledger, what an operator has accepted is taken for accepted, and two entries for
/// one write.
///
/// # Errors
/// [`AnchorError`]
pub fn check_anchor(
    anchor: &[u8],
    chain: &Chain,
    entries: Option<&[crate::Entry]>,
) -> Result<bool, AnchorError> {
    let anchor = Anchor::read(anchor);
    let missing = match entries {
        Some(entries) => {
            anchor.check(chain, &|sequence| accepted(entries, sequence), written_as_two(entries))
        }
        None => {
            let before = |sequence| {
                let at = anchor.lines.iter().rposition(|line| line.head.sequence == sequence)?;
                Some(at.checked_sub(1).and_then(|at| anchor.lines.get(at)).map(|line| line.head))
            };
            anchor.check(chain, &before, true)
        }
    }?;
    Ok(!missing.is_empty())
}

/// Whether the last two entries are a debit and the word that training failed in its round, which are one write.
pub(crate) fn written_as_two(entries: &[crate::Entry]) -> bool {
    let [.., debit, failed] = entries else { return false };
    failed.says_training_failed()
        && matches!(debit.what, crate::What::Debit { .. })
        && debit.release() == failed.release()
}

/// What the entry of this number says of the anchor, if an operator wrote it to accept a loss.
pub(crate) fn accepted(entries: &[crate::Entry], sequence: u64) -> Option<Option<LedgerHead>> {
    let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
    match &entries.get(index)?.what {
        crate::What::OperatorAcceptsLoss { anchor, .. } => Some(*anchor),
        _ => None,
    }
}

fn parse(line: &[u8]) -> Option<LedgerHead> {
    let (number, hash) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let sequence: u64 = number.parse().ok()?;
    (number == sequence.to_string()).then_some(LedgerHead { sequence, hash: hash.parse().ok()? })
}
