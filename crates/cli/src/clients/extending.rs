//! Signing the roster that comes next: on the last one that this authority's folder remembers, and on no other.

use std::io;
use std::path::{Path, PathBuf};

use identity::{AuthorisedRoster, IdentityKey, LAST_ROSTER_FILE, LastSigned, Roster, SignedRoster};
use tonic::{Code, Status};
use wire::v1::admin_client::AdminClient;
use wire::v1::{Clients as Listed, SubmitRosterRequest};

use super::{listed, open_authority, signed_in_force};
use crate::Failure;
use crate::connect::{Link, printable, refused, unusable};

/// The authority, and what it remembers.
pub(super) struct Authority {
    pub(super) key: IdentityKey,
    file: PathBuf,
    last: Option<LastSigned>,
}

/// What the next roster begins with.
pub(super) struct Base {
    /// The one in force, which it names as the one before it.
    pub(super) before: AuthorisedRoster,
    /// The next one, with nobody admitted or left out yet.
    pub(super) next: Roster,
}

impl Base {
    pub(super) fn on(last: LastSigned) -> Result<Self, Failure> {
        let next = last.next().map_err(Failure::failed)?;
        Ok(Self { before: last.roster, next })
    }
}

impl Authority {
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let key = open_authority(folder)?;
        let file = folder.join(LAST_ROSTER_FILE);
        let last = match std::fs::read_to_string(&file) {
            Ok(text) => {
                Some(LastSigned::from_json(&text, &key.public()).map_err(|why| unusable(&file, &why))?)
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => return Err(unusable(&file, &why)),
        };
        Ok(Self { key, file, last })
    }

    /// The roster to extend: the last one signed here, which must be in force. What a crash kept from the coordinator is
    /// submitted again. `trusted` is a digest that a person stands for, where this folder cannot know of it. What is remembered
    /// never goes back on the coordinator's word: where it refuses the last one, whom that one left out stays out.
    pub(super) async fn current(
        &mut self,
        admin: &mut AdminClient<Link>,
        seen: &Listed,
        trusted: Option<&str>,
    ) -> Result<Base, Failure> {
        let mut shown = signed_in_force(seen, &self.key.public())?;
        if let Some(last) = self.last.as_ref()
            && last.roster.succeeds(&shown).is_ok()
        {
            let epoch = last.roster.epoch;
            println!(
                "the roster of epoch {epoch}, the last one signed here, is not in force; it is submitted again"
            );
            match submit(admin, &last.roster).await? {
                Submitted::Taken => shown = signed_in_force(&listed(admin).await?, &self.key.public())?,
                // One of format 1 was in force before it was remembered, and does not say which one it followed.
                Submitted::Refused(why) if last.roster.format() == 1 => return Err(why),
                Submitted::Refused(why) => return beside(last, shown, &why),
            }
        }
        match self.last.clone().filter(|last| last.roster.digest() == shown.digest()) {
            Some(last) => Base::on(last),
            None => self.take_over(shown, trusted).and_then(Base::on),
        }
    }

    /// Another roster than the last one signed here: a person has to stand for it.
    fn take_over(&mut self, shown: AuthorisedRoster, trusted: Option<&str>) -> Result<LastSigned, Failure> {
        let digest = shown.digest().to_string();
        let described = format!("roster {digest} of epoch {}\n{}", shown.epoch, members(&shown));
        let stand_for = format!("--trust-current {digest}");
        let refused = match &self.last {
            Some(last) if shown.epoch <= last.roster.epoch => Some(format!(
                "the coordinator shows an OLDER roster as the one in force than the last one that was signed here, of epoch {}: \
                 signing on it would bring back who was revoked since. It shows {described}Nothing was signed; find out why it \
                 does, restore its folder if that was rolled back, and do not trust it with another roster until then",
                last.roster.epoch
            )),
            Some(last) => Some(format!(
                "the coordinator shows a later roster than the last one that was signed here, of epoch {}: {described}Nothing was \
                 signed. If another copy of the authority's folder signed it, say so with {stand_for}",
                last.roster.epoch
            )),
            None => Some(format!(
                "this folder does not remember which roster it signed last; a release before this one made it. The coordinator \
                 shows {described}Nothing was signed. If that is the newest roster that you signed, with exactly these members, say \
                 so once with {stand_for}"
            )),
        };
        let older = self.last.as_ref().is_some_and(|last| shown.epoch <= last.roster.epoch);
        match (trusted, refused) {
            (Some(given), _) if !older && given.trim().eq_ignore_ascii_case(&digest) => {
                let epoch_signed = self.last.as_ref().map_or(0, |last| last.epoch_signed).max(shown.epoch);
                self.remember(LastSigned { roster: shown, epoch_signed })
            }
            (Some(given), _) if !older => Err(Failure::verification(format!(
                "--trust-current: the coordinator shows {described}not {given}; nothing was signed"
            ))),
            (_, Some(why)) => Err(Failure::verification(why)),
            (_, None) => Err(Failure::verification(described)),
        }
    }

    /// Signs, remembers, submits, in this order: what may be out is remembered.
    pub(super) async fn extend(
        &mut self,
        admin: &mut AdminClient<Link>,
        before: &AuthorisedRoster,
        next: &Roster,
    ) -> Result<(), Failure> {
        // Read back as every silo will: what they would refuse is not remembered, and not sent.
        let next = next.sign(&self.key).authorise(&self.key.public()).map_err(Failure::usage)?;
        next.succeeds(before).map_err(Failure::usage)?;
        println!("{}", printable(&next.change_from(before).to_string()));
        self.remember(LastSigned::new(next.clone()))?;
        match submit(admin, &next).await? {
            Submitted::Taken => Ok(()),
            Submitted::Refused(why) => Err(why),
        }
    }

    /// Durable when it returns.
    fn remember(&mut self, last: LastSigned) -> Result<LastSigned, Failure> {
        store::write_replacing(&self.file, last.to_json().as_bytes())
            .map_err(|why| Failure::failed(format!("nothing was submitted: {why}")))?;
        self.last = Some(last.clone());
        Ok(last)
    }
}

/// What the coordinator says of a roster.
enum Submitted {
    Taken,
    /// Refused by its rules.
    Refused(Failure),
}

async fn submit(admin: &mut AdminClient<Link>, next: &AuthorisedRoster) -> Result<Submitted, Failure> {
    let roster = serde_json::to_string::<SignedRoster>(next.signed()).map_err(Failure::failed)?;
    match admin.submit_roster(SubmitRosterRequest { roster }).await {
        Ok(done) => {
            println!("{}", printable(&done.into_inner().text));
            Ok(Submitted::Taken)
        }
        Err(why) if was_refused(&why) => Ok(Submitted::Refused(refused(&why))),
        Err(why) => Err(refused(&why)),
    }
}

/// The next roster in place of the last one, which the coordinator refuses.
fn beside(last: &LastSigned, shown: AuthorisedRoster, why: &Failure) -> Result<Base, Failure> {
    eprintln!(
        "warning: the coordinator refuses the roster of epoch {}: {why}; the next one is signed on that of epoch {} in its place, \
         without whom the refused one left out; whom the refused one admitted has to be approved again",
        last.roster.epoch, shown.epoch
    );
    let next = last.next_beside(&shown).map_err(Failure::failed)?;
    Ok(Base { before: shown, next })
}

/// An answer of the desk's, not a connection that broke: then it may have been put in force.
fn was_refused(status: &Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument)
        && wire::reason(status).is_some_and(|reason| reason.starts_with("ROSTER"))
}

fn members(roster: &Roster) -> String {
    let line = |(id, member): (&secagg::ClientId, &identity::Member)| {
        let key = identity::parse_verifying_key(&member.identity_key);
        let fingerprint = key.map_or_else(
            |_| "no key".to_owned(),
            |key| identity::spoken(&identity::identity_fingerprint(&member.name, &key)),
        );
        format!("{id:>4}  {:<16}  {fingerprint}\n", printable(&member.name))
    };
    roster.members.iter().map(line).collect()
}
