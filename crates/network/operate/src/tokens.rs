//! New tokens: what a silo joins with, and what a person or a program without a certificate calls with.

use identity::{AccessToken, Authority, JoinToken, Role, Subject, SubjectError, TokenError};
use params::Digest;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use wire::v1::OperatorToken;
use wire::v1::register_token_request::Purpose;
use zeroize::Zeroizing;

/// A token that was made on this machine and is to be registered.
pub struct NewToken {
    /// The token itself, for its owner alone.
    pub text: Zeroizing<String>,
    /// What the coordinator keeps of it.
    pub secret_hash: Digest,
    /// Whom it is for.
    pub purpose: Purpose,
}

impl NewToken {
    /// For a silo that will be admitted under this name; it pins the federation's authority.
    ///
    /// # Errors
    /// [`TokenError`] for a text that is no name.
    pub fn for_silo(name: &str, authority: &Authority) -> Result<Self, TokenError> {
        let token = JoinToken::generate(name, authority.fingerprint(), &mut UnwrapErr(SysRng))?;
        Ok(Self {
            text: token.to_text(),
            secret_hash: token.secret_hash(),
            purpose: Purpose::Silo(name.to_owned()),
        })
    }

    /// For a person or a program of this name, which calls with it.
    ///
    /// # Errors
    /// [`SubjectError`] for a text that is no name, and for a role that nobody can be given.
    pub fn for_operator(name: &str, role: Role) -> Result<Self, SubjectError> {
        Subject::operator(name, role)?;
        let token = AccessToken::generate(&mut UnwrapErr(SysRng));
        Ok(Self {
            text: token.to_text(),
            secret_hash: token.secret_hash(),
            purpose: Purpose::Operator(OperatorToken { name: name.to_owned(), role: role.to_string() }),
        })
    }
}
