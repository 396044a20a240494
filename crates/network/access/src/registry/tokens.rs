//! Tokens, and the requests for admission that use them.

use ed25519_dalek::{Signature, VerifyingKey};
use identity::{
    AccessToken, Member, Roster, Subject, identity_fingerprint, is_name, join_signed_bytes, secret_hash,
    spoken,
};
use params::Digest;
use subtle::ConstantTimeEq;

use super::state::{Purpose, Request, RequestState, State, Token, TokenState, Whom};
use super::{Registry, text};
use crate::error::{AccessError, RegistryError};

/// Tokens that are kept, the spent ones too.
const TOKENS_MAX: usize = 1 << 10;
/// A certificate request of a P-256 key has 300 bytes or so.
const CERTIFICATE_REQUEST_BYTES_MAX: usize = 4 << 10;

/// A request for admission, as it arrived.
pub struct JoinRequest<'a> {
    /// The join token's secret.
    pub secret: &'a [u8],
    /// The name that the silo wants.
    pub silo: &'a str,
    /// Its Ed25519 identity.
    pub identity_key: &'a VerifyingKey,
    /// A PKCS#10 request in DER.
    pub certificate_request: &'a [u8],
    /// By the identity key over `identity::join_signed_bytes`.
    pub signature: &'a Signature,
}

/// How far a request for admission is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestStanding {
    /// Nobody has decided.
    Awaiting {
        /// To be compared by two people.
        fingerprint: String,
    },
    /// A roster named it; the roster in force says under which number.
    Admitted,
    /// An administrator said no.
    Refused { reason: String },
}

impl Registry {
    /// Registers a token by the hash of its secret.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn register_token(
        &self,
        secret_hash: Digest,
        purpose: Purpose,
        expires_s: u64,
        now_s: u64,
    ) -> Result<Token, RegistryError> {
        if expires_s <= now_s {
            return Err(RegistryError::Invalid("the token expires in the past; give it some time".into()));
        }
        let token = Token { secret_hash, purpose, expires_s, state: TokenState::Good };
        self.change(|state| state.register(token.clone(), now_s))?;
        Ok(token)
    }

    /// Every token that is kept.
    pub fn tokens(&self) -> Vec<Token> {
        self.now().tokens.clone()
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn withdraw_token(&self, id: &str, by: &str) -> Result<Token, RegistryError> {
        self.change(|state| {
            let no_such = || RegistryError::NoSuch { what: "token", id: id.to_owned() };
            let token = state.tokens.iter_mut().find(|token| token.id() == id).ok_or_else(no_such)?;
            match token.state {
                TokenState::Good => token.state = TokenState::Withdrawn { by: by.to_owned() },
                TokenState::Used { .. } => return Err(settled("token", id, "used")),
                TokenState::Withdrawn { .. } => return Err(settled("token", id, "withdrawn")),
            }
            Ok(token.clone())
        })
    }

    /// Whose token this is, its id, and when it expires.
    ///
    /// # Errors
    /// [`AccessError`] for a token that is unknown, expired or withdrawn.
    pub fn operator(&self, token: &AccessToken, now_s: u64) -> Result<(Subject, String, u64), AccessError> {
        let state = self.now();
        let token = state.token(&token.secret_hash()).ok_or(AccessError::UnknownToken)?;
        let Purpose::Operator { name, role } = &token.purpose else {
            return Err(AccessError::UnknownToken);
        };
        match token.state {
            TokenState::Withdrawn { .. } => return Err(AccessError::TokenWithdrawn),
            _ if now_s >= token.expires_s => return Err(AccessError::TokenExpired),
            _ => {}
        }
        let subject = Subject::operator(name, *role).map_err(|_| AccessError::UnknownToken)?;
        Ok((subject, token.id(), token.expires_s))
    }

    /// Asks for admission under the roster in force, or again how far that is. The first identity key that uses a token
    /// has it: that key may ask for ever, with another transport key too, and no other may. `check` says whether a
    /// certificate could be issued from a request.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn join(
        &self,
        join: &JoinRequest<'_>,
        roster: &Roster,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
        now_s: u64,
    ) -> Result<RequestStanding, RegistryError> {
        // Looked up before anything is changed: who guesses never reaches the disk.
        let hash = secret_hash(join.secret);
        let state = self.now();
        let token = state.token(&hash).ok_or(RegistryError::TokenUnknown)?;
        let Purpose::Silo { name } = &token.purpose else { return Err(RegistryError::TokenUnknown) };
        let signed = join_signed_bytes(join.secret, join.silo, join.certificate_request);
        join.identity_key.verify_strict(&signed, join.signature).map_err(|_| RegistryError::JoinSignature)?;
        if name != join.silo {
            return Err(RegistryError::TokenForAnother(join.silo.to_owned()));
        }
        if join.certificate_request.len() > CERTIFICATE_REQUEST_BYTES_MAX {
            return Err(RegistryError::Invalid(format!(
                "the certificate request is longer than {CERTIFICATE_REQUEST_BYTES_MAX} bytes; use the one that \
                 the enrolment makes"
            )));
        }
        self.change(|state| state.join(join, &hash, roster, check, now_s))
    }

    /// Says no to a request for admission.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn refuse_request(&self, name: &str, reason: &str) -> Result<(), RegistryError> {
        let reason = text("a reason", reason)?;
        self.change(|state| {
            let mut requests = state.requests.iter_mut().filter(|request| request.name == name);
            let awaiting = requests.find(|request| request.state == RequestState::Awaiting);
            let no_such = || RegistryError::NoSuch { what: "undecided request of", id: name.to_owned() };
            awaiting.ok_or_else(no_such)?.state = RequestState::Refused { reason };
            Ok(())
        })
    }
}

impl State {
    fn register(&mut self, token: Token, now_s: u64) -> Result<(), RegistryError> {
        match &token.purpose {
            Purpose::Silo { name } if !is_name(name) => return Err(bad_name(name)),
            Purpose::Silo { .. } => {}
            Purpose::Operator { name, role } => {
                Subject::operator(name, *role).map_err(|why| RegistryError::Invalid(why.to_string()))?;
                self.refuse_barred_operator(name)?;
            }
        }
        if self.tokens.iter().any(|kept| kept.id() == token.id()) {
            return Err(RegistryError::TokenRepeated(token.id()));
        }
        if self.tokens.len() >= TOKENS_MAX {
            self.forget_spent(now_s)?;
        }
        self.tokens.push(token);
        Ok(())
    }

    /// The token with this hash, each compared in constant time.
    fn token(&self, hash: &Digest) -> Option<&Token> {
        let same = |token: &&Token| bool::from(token.secret_hash.as_bytes().ct_eq(hash.as_bytes()));
        self.tokens.iter().find(same)
    }

    fn join(
        &mut self,
        join: &JoinRequest<'_>,
        hash: &Digest,
        roster: &Roster,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
        now_s: u64,
    ) -> Result<RequestStanding, RegistryError> {
        let key = hex::encode(join.identity_key.as_bytes());
        let request = hex::encode(join.certificate_request);
        // Again: another call may have changed it since.
        let token = self
            .tokens
            .iter_mut()
            .find(|token| token.secret_hash == *hash)
            .ok_or(RegistryError::TokenUnknown)?;
        match &token.state {
            TokenState::Withdrawn { .. } => return Err(RegistryError::TokenWithdrawn),
            TokenState::Used { .. } => {
                let mut requests = self.requests.iter_mut();
                let mine = requests.find(|kept| kept.token == *hash && kept.identity_key == key);
                let mine = mine.ok_or(RegistryError::TokenReplayed)?;
                if mine.certificate_request != request {
                    // The identity key has signed it: a silo that was stopped, or whose certificate has expired.
                    check(join.certificate_request).map_err(RegistryError::Issue)?;
                    mine.certificate_request = request;
                }
                return Ok(mine.standing(join));
            }
            TokenState::Good if now_s >= token.expires_s => return Err(RegistryError::TokenExpired),
            TokenState::Good => {}
        }
        let awaits = |kept: &&Request| kept.name == join.silo && kept.state == RequestState::Awaiting;
        if self.requests.iter().any(|kept| awaits(&kept)) {
            return Err(RegistryError::NameAwaiting(join.silo.to_owned()));
        }
        let taken = |member: &Member| member.name == join.silo && member.identity_key != key;
        if roster.members.values().any(taken) {
            return Err(RegistryError::NameTaken(join.silo.to_owned()));
        }
        // Last: a token is used up by nothing less than a request that can lead to a certificate.
        check(join.certificate_request).map_err(RegistryError::Issue)?;
        token.state = TokenState::Used { identity_key: key.clone() };
        let request = Request {
            name: join.silo.to_owned(),
            identity_key: key,
            certificate_request: request,
            token: *hash,
            first_seen_s: now_s,
            state: RequestState::Awaiting,
        };
        let standing = request.standing(join);
        self.requests.push(request);
        Ok(standing)
    }

    /// Makes room: what can do nothing any more is forgotten, and its token is then one that nobody knows.
    fn forget_spent(&mut self, now_s: u64) -> Result<(), RegistryError> {
        let requests = &self.requests;
        let undecided = |token: &Token| {
            requests
                .iter()
                .any(|kept| kept.token == token.secret_hash && kept.state == RequestState::Awaiting)
        };
        let spent = |token: &Token| token.standing(now_s) != "good" && !undecided(token);
        let kept: Vec<Token> = self.tokens.iter().filter(|token| !spent(token)).cloned().collect();
        if kept.len() >= TOKENS_MAX {
            return Err(RegistryError::Full {
                what: "tokens",
                most: TOKENS_MAX,
                remedy: "withdraw those that nobody will use, and decide the requests that wait",
            });
        }
        self.requests.retain(|request| kept.iter().any(|token| token.secret_hash == request.token));
        self.tokens = kept;
        Ok(())
    }

    pub(super) fn refuse_barred_operator(&self, name: &str) -> Result<(), RegistryError> {
        if self.bars(&Whom::Operator(name.to_owned())) {
            return Err(RegistryError::Invalid(format!(
                "the operator `{name}` is barred; lift that with `folkmoot access restore {name}`, or use another name"
            )));
        }
        Ok(())
    }
}

impl Request {
    fn standing(&self, join: &JoinRequest<'_>) -> RequestStanding {
        match &self.state {
            RequestState::Awaiting => RequestStanding::Awaiting {
                fingerprint: spoken(&identity_fingerprint(join.silo, join.identity_key)),
            },
            RequestState::Admitted => RequestStanding::Admitted,
            RequestState::Refused { reason } => RequestStanding::Refused { reason: reason.clone() },
        }
    }
}

fn bad_name(name: &str) -> RegistryError {
    RegistryError::Invalid(format!(
        "`{name}` cannot name a silo; names have letters, digits, `-`, `_` and `.`, at most 64"
    ))
}

pub(super) fn settled(what: &'static str, id: &str, state: &'static str) -> RegistryError {
    RegistryError::Settled { what, id: id.to_owned(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(i: usize, expires_s: u64) -> Token {
        Token {
            secret_hash: Digest::sha256(&i.to_be_bytes()),
            purpose: Purpose::Silo { name: format!("silo-{i}") },
            expires_s,
            state: TokenState::Good,
        }
    }

    fn full() -> State {
        State { tokens: (0..TOKENS_MAX).map(|i| token(i, 100)).collect(), ..State::default() }
    }

    /// Token `i` is used, and its request became this.
    fn used(state: &mut State, i: usize, became: RequestState) {
        state.tokens[i].state = TokenState::Used { identity_key: "aa".into() };
        state.requests.push(Request {
            name: format!("silo-{i}"),
            identity_key: "aa".into(),
            certificate_request: "bb".into(),
            token: state.tokens[i].secret_hash,
            first_seen_s: 1,
            state: became,
        });
    }

    #[test]
    fn a_full_registry_forgets_spent_tokens_with_their_requests_and_nothing_that_is_still_open() {
        let mut state = full();
        assert!(matches!(state.register(token(5000, 100), 0), Err(RegistryError::Full { .. })));
        used(&mut state, 7, RequestState::Awaiting);
        assert!(matches!(state.register(token(5000, 100), 0), Err(RegistryError::Full { .. })));
        used(&mut state, 8, RequestState::Admitted);
        state.register(token(5000, 100), 0).unwrap();
        assert_eq!(state.tokens.len(), TOKENS_MAX);
        assert!(!state.tokens.contains(&token(8, 100)));
        let [open] = &state.requests[..] else { panic!("one request") };
        assert_eq!(open.name, "silo-7");
    }

    #[test]
    fn a_full_registry_of_expired_tokens_has_room_for_new_ones() {
        let mut state = full();
        state.register(token(5000, 200), 100).unwrap();
        assert_eq!(state.tokens, [token(5000, 200)]);
    }
}
