//! Signing the roster that comes next: on the last one that this authority's folder remembers, and on no other.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use identity::{AuthorisedRoster, IdentityKey, LAST_ROSTER_FILE, LastSigned, Roster, SignedRoster};
use tonic::{Code, Status};
use wire::v1::admin_client::AdminClient;
use wire::v1::{Clients as Listed, SubmitRosterRequest};

use super::{listed, open_authority, signed_in_force};
use crate::Failure;
use crate::connect::{Link, printable, refused};
use crate::files::Unusable;
use crate::keys;

/// Held while what is remembered changes.
const LOCK_FILE: &str = "last-roster.lock";

/// The authority, and what it remembers.
pub(crate) struct Authority {
    pub(crate) key: IdentityKey,
    folder: PathBuf,
    pub(crate) last: Option<LastSigned>,
}

/// What the next roster begins with.
pub(super) struct Base {
    /// The one in force, which it names as the one before it.
    pub(super) before: AuthorisedRoster,
    /// The next one, with nobody admitted or left out yet.
    pub(super) next: Roster,
    /// The highest number that anybody had, as far as is remembered.
    pub(super) highest_number: u32,
}

impl Base {
    pub(super) fn on(last: LastSigned) -> Result<Self, Failure> {
        let next = last.next().map_err(Failure::failed)?;
        Ok(Self { next, highest_number: last.highest_number, before: last.roster })
    }

    /// On another roster than the last one signed here, without whom that one left out.
    fn beside(last: &LastSigned, before: AuthorisedRoster) -> Result<Self, Failure> {
        let next = last.next_beside(&before).map_err(Failure::failed)?;
        let left_out = before.members.iter().filter(|(id, _)| !next.members.contains_key(id));
        for (id, member) in left_out {
            eprintln!(
                "warning: silo {id}, {}, is not in the last roster that was signed here, and will not be in the next one",
                printable(&member.name)
            );
        }
        let highest_number = LastSigned::new(before.clone()).highest_number.max(last.highest_number);
        Ok(Self { before, next, highest_number })
    }
}

impl Authority {
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let key = open_authority(folder)?;
        let last = remembered(folder, &key)?;
        Ok(Self { key, folder: folder.to_owned(), last })
    }

    /// With a key that lies in the clear in this file.
    pub(crate) fn beside(file: &Path) -> Result<Self, Failure> {
        let key = keys::read(file)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let last = remembered(folder, &key)?;
        Ok(Self { key, folder: folder.to_owned(), last })
    }

    /// What was signed by hand is remembered before it is out, as what is submitted is.
    pub(crate) fn signed(
        &mut self,
        before: Option<&AuthorisedRoster>,
        next: &AuthorisedRoster,
    ) -> Result<(), Failure> {
        let next = match (&self.last, before) {
            (Some(last), Some(before)) if last.roster.digest() == before.digest() => {
                last.followed_by(before, next.clone())
            }
            (Some(last), _) => {
                let (digest, epoch) = (last.roster.digest(), last.roster.epoch);
                return Err(Failure::verification(format!(
                    "the last roster that was signed with this key is roster {digest} of epoch {epoch}, as {LAST_ROSTER_FILE} beside it \
                     says, and the next one follows that one and no other: leave --previous out, or name that one. Nothing was signed"
                )));
            }
            (None, Some(before)) => LastSigned::new(before.clone()).followed_by(before, next.clone()),
            (None, None) => LastSigned::new(next.clone()),
        };
        self.remember(next)
    }

    /// The roster to extend: the last one signed here, which must be in force. What a crash kept from the coordinator, or what
    /// it lost, is submitted again. `trusted` is a digest that a person stands for, where this folder cannot know of it. What is
    /// remembered never goes back on a peer's word: whom the last one left out stays out.
    pub(super) async fn current(
        &mut self,
        admin: &mut AdminClient<Link>,
        seen: &Listed,
        trusted: Option<&str>,
    ) -> Result<Base, Failure> {
        let shown = signed_in_force(seen, &self.key.public())?;
        let Some(last) = self.last.clone() else {
            stand_for(&shown, trusted, NOTHING_REMEMBERED)?;
            return Base::on(LastSigned::new(shown));
        };
        let Some(lacking) = last.after(&shown) else {
            let (epoch, later) = (last.roster.epoch, shown.epoch > last.roster.epoch);
            let why = if later { another_copy(epoch) } else { older(epoch) };
            stand_for(&shown, trusted, &why)?;
            return Base::beside(&last, shown);
        };
        let mut in_force = shown;
        let restored = !lacking.is_empty();
        if !restored && !last.taken {
            // Its answer was lost: what the coordinator does once it is in force is done with the same one again.
            if let Submitted::Refused(why) = submit(admin, &last.roster).await? {
                return Err(why);
            }
        }
        for roster in lacking {
            let epoch = roster.epoch;
            println!(
                "the roster of epoch {epoch}, which was signed here, is not in force; it is submitted again"
            );
            match submit(admin, &roster).await? {
                Submitted::Taken => in_force = roster,
                // One of format 1 was in force before it was remembered, and does not say which one it followed.
                Submitted::Refused(why) if roster.format() == 1 => return Err(why),
                Submitted::Refused(why) => return in_its_place(&last, &roster, in_force, &why, trusted),
            }
        }
        if restored {
            in_force = signed_in_force(&listed(admin).await?, &self.key.public())?;
        }
        if in_force.digest() != last.roster.digest() {
            let (digest, now) = (in_force.digest(), in_force.epoch);
            return Err(Failure::verification(format!(
                "the coordinator says that it took the last roster that was signed here, of epoch {}, and shows an OLDER roster, or \
                 another one, as the one in force: roster {digest} of epoch {now}\n{}Nothing was signed; find out why it does before it is \
                 given another roster",
                last.roster.epoch,
                members(&in_force)
            )));
        }
        self.note_taken()?;
        Base::on(last)
    }

    /// Signs, remembers, submits, in this order: what may be out is remembered. `again` is what to run where that fails.
    pub(super) async fn extend(
        &mut self,
        admin: &mut AdminClient<Link>,
        before: &AuthorisedRoster,
        next: &Roster,
        again: &str,
    ) -> Result<(), Failure> {
        // Read back as every silo will: what they would refuse is not remembered, and not sent.
        let next = next.sign(&self.key).authorise(&self.key.public()).map_err(Failure::usage)?;
        next.succeeds(before).map_err(Failure::usage)?;
        println!("{}", printable(&next.change_from(before).to_string()));
        let epoch = next.epoch;
        let last = self.last.clone().unwrap_or_else(|| LastSigned::new(before.clone()));
        self.remember(last.followed_by(before, next.clone()))?;
        match submit(admin, &next).await {
            Ok(Submitted::Taken) => self.note_taken(),
            Ok(Submitted::Refused(why)) => Err(why.and(&format!(
                "the roster of epoch {epoch} is signed and not in force, and its epoch is used up; {again} to sign a later one in its \
                 place"
            ))),
            Err(why) => Err(why.and(&format!(
                "whether the roster of epoch {epoch}, which is signed, is in force is not known; run the same command again: it finds \
                 out, and submits that one again where it is not"
            ))),
        }
    }

    /// Durable when it returns. Refused where another command has signed with this folder meanwhile: what that one left out
    /// would come back.
    pub(super) fn remember(&mut self, last: LastSigned) -> Result<(), Failure> {
        let _lock = self.lock()?;
        if remembered(&self.folder, &self.key)? != self.last {
            return Err(Failure::failed(
                "another command has signed a roster with this folder meanwhile; nothing was submitted: run this again",
            ));
        }
        self.write(last).map_err(|why| why.and("nothing was submitted"))
    }

    /// The coordinator has the last one in force.
    pub(super) fn note_taken(&mut self) -> Result<(), Failure> {
        let Some(last) = self.last.clone().filter(|last| !last.taken) else { return Ok(()) };
        let epoch = last.roster.epoch;
        self.write_taken(last).map_err(|why| {
            why.and(&format!(
                "the coordinator has taken the roster of epoch {epoch}, which is in force; this folder does not say so yet: see to that \
                 and run `folkmoot clients list`, and run nothing else again; the next command that signs finds it out"
            ))
        })
    }

    fn write_taken(&mut self, last: LastSigned) -> Result<(), Failure> {
        let _lock = self.lock()?;
        // Where another command has signed meanwhile, it knows better.
        if remembered(&self.folder, &self.key)? != self.last {
            return Ok(());
        }
        self.write(LastSigned { taken: true, ..last })
    }

    fn lock(&self) -> Result<File, Failure> {
        let path = self.folder.join(LOCK_FILE);
        let file = File::create(&path).map_err(|why| Unusable::new(&path, why))?;
        file.lock().map_err(|why| Unusable::new(&path, why))?;
        Ok(file)
    }

    fn write(&mut self, last: LastSigned) -> Result<(), Failure> {
        store::write_replacing(&self.folder.join(LAST_ROSTER_FILE), last.to_json().as_bytes())
            .map_err(Failure::failed)?;
        self.last = Some(last);
        Ok(())
    }
}

fn remembered(folder: &Path, key: &IdentityKey) -> Result<Option<LastSigned>, Unusable> {
    let file = folder.join(LAST_ROSTER_FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            LastSigned::from_json(&text, &key.public()).map(Some).map_err(|why| Unusable::new(&file, why))
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Unusable::new(&file, why)),
    }
}

/// What a person says to stand for a roster.
const TRUST: &str = "--trust-current";

const NOTHING_REMEMBERED: &str = "this folder does not remember which roster it signed last: a release before this one made it, \
     or last-roster.json is lost. If what is shown is the newest roster that you signed, with exactly these members, say so once \
     with --trust-current";

fn another_copy(epoch: u64) -> String {
    format!(
        "the coordinator shows a later roster than the last one that was signed here, of epoch {epoch}. If another copy of the \
         authority's folder signed it, say so with --trust-current"
    )
}

fn older(epoch: u64) -> String {
    format!(
        "the coordinator shows an OLDER roster as the one in force than the last one that was signed here, of epoch {epoch}, or one \
         that was signed beside that one by another copy of the authority's folder. Find out why it does, and restore its folder if \
         that was rolled back. If it is to go on from there all the same, say so with --trust-current: whom the last one left out \
         stays out, whom it admitted is approved again, and silos that hold the last one need the next one from you"
    )
}

/// Whether a person stands for a roster that this folder cannot vouch for.
fn stand_for(shown: &AuthorisedRoster, trusted: Option<&str>, why: &str) -> Result<(), Failure> {
    let digest = shown.digest().to_string();
    let described = format!("roster {digest} of epoch {}\n{}", shown.epoch, members(shown));
    match trusted {
        Some(given) if given.trim().eq_ignore_ascii_case(&digest) => Ok(()),
        Some(given) => Err(Failure::verification(format!(
            "--trust-current: the coordinator shows {described}not {given}; nothing was signed"
        ))),
        None => {
            let why = why.replace(TRUST, &format!("{TRUST} {digest}"));
            Err(Failure::verification(format!("{why}. It shows {described}Nothing was signed")))
        }
    }
}

/// The next roster in place of one that the coordinator refuses, on the one before it.
fn in_its_place(
    last: &LastSigned,
    refused: &AuthorisedRoster,
    in_force: AuthorisedRoster,
    why: &Failure,
    trusted: Option<&str>,
) -> Result<Base, Failure> {
    let epoch = refused.epoch;
    if last.taken || refused.digest() != last.roster.digest() {
        // It took that one, or one on it: silos may hold it.
        let why = format!(
            "the coordinator refuses the roster of epoch {epoch}, which it had in force before: {why}. Silos may hold that one, and would \
             take none that is signed in its place. Find out why it does, and restore its newest folder. If that is lost, and it is \
             to go on from the roster before, say so with --trust-current"
        );
        stand_for(&in_force, trusted, &why)?;
    }
    eprintln!(
        "warning: the coordinator refuses the roster of epoch {epoch}: {why}; the next one is signed on that of epoch {} in its place, \
         without whom the refused one left out; whom the refused one admitted has to be approved again",
        in_force.epoch
    );
    Base::beside(last, in_force)
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
        Err(why) if was_refused(&why) => Ok(Submitted::Refused(refused(&why).into())),
        Err(why) => Err(refused(&why).into()),
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
