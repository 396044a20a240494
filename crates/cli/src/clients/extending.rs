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
    /// submitted again. `trusted` is a digest that a person stands for, where this folder cannot know of it.
    pub(super) async fn current(
        &mut self,
        admin: &mut AdminClient<Link>,
        seen: &Listed,
        trusted: Option<&str>,
    ) -> Result<LastSigned, Failure> {
        let mut shown = signed_in_force(seen, &self.key.public())?;
        if let Some(last) = self.last.clone()
            && last.roster.succeeds(&shown).is_ok()
        {
            let (epoch, last) = (last.roster.epoch, last.roster);
            println!(
                "the roster of epoch {epoch}, the last one signed here, is not in force; it is submitted again"
            );
            self.submit(admin, last, shown).await?;
            shown = signed_in_force(&listed(admin).await?, &self.key.public())?;
        }
        if self.last.as_ref().is_some_and(|last| last.roster.digest() == shown.digest()) {
            return self.last.clone().ok_or_else(|| Failure::failed("unreachable"));
        }
        self.take_over(shown, trusted)
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
        current: &LastSigned,
        next: &Roster,
    ) -> Result<(), Failure> {
        // Read back as every silo will: what they would refuse is not remembered, and not sent.
        let next = next.sign(&self.key).authorise(&self.key.public()).map_err(Failure::usage)?;
        next.succeeds(&current.roster).map_err(Failure::usage)?;
        println!("{}", printable(&next.change_from(&current.roster).to_string()));
        self.remember(LastSigned::new(next.clone()))?;
        self.submit(admin, next, current.roster.clone()).await
    }

    async fn submit(
        &mut self,
        admin: &mut AdminClient<Link>,
        next: AuthorisedRoster,
        before: AuthorisedRoster,
    ) -> Result<(), Failure> {
        let roster = serde_json::to_string::<SignedRoster>(next.signed()).map_err(Failure::failed)?;
        match admin.submit_roster(SubmitRosterRequest { roster }).await {
            Ok(done) => {
                println!("{}", printable(&done.into_inner().text));
                Ok(())
            }
            Err(why) => {
                // Refused by its rules: the next one is signed on the roster before, under an epoch of its own.
                if was_refused(&why) {
                    self.remember(LastSigned { roster: before, epoch_signed: next.epoch })?;
                }
                Err(refused(&why))
            }
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
