//! Signed documents: texts here, verified by whoever acts on them.

use identity::SignedRoster;
use plan::SignedPlan;

use super::{ConversionError, text_at_most};
use crate::{limits, v1};

impl From<SignedPlan> for v1::SignedPlan {
    fn from(signed: SignedPlan) -> Self {
        Self { plan: signed.plan, author: signed.author, signature: signed.signature }
    }
}

impl TryFrom<v1::SignedPlan> for SignedPlan {
    type Error = ConversionError;

    fn try_from(signed: v1::SignedPlan) -> Result<Self, ConversionError> {
        Ok(Self {
            plan: text_at_most("text", signed.plan, limits::PLAN_BYTES_MAX)?,
            author: text_at_most("author", signed.author, limits::HEX_BYTES_MAX)?,
            signature: text_at_most("signature", signed.signature, limits::HEX_BYTES_MAX)?,
        })
    }
}

impl From<SignedRoster> for v1::SignedRoster {
    fn from(signed: SignedRoster) -> Self {
        Self { roster: signed.roster, signature: signed.signature }
    }
}

impl TryFrom<v1::SignedRoster> for SignedRoster {
    type Error = ConversionError;

    fn try_from(signed: v1::SignedRoster) -> Result<Self, ConversionError> {
        Ok(Self {
            roster: text_at_most("text", signed.roster, limits::ROSTER_BYTES_MAX)?,
            signature: text_at_most("signature", signed.signature, limits::HEX_BYTES_MAX)?,
        })
    }
}
