//! The authority's folder: its key, and what it remembers of the rosters that it has signed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use identity::{AuthorisedRoster, IdentityKey, LAST_ROSTER_FILE, LastSigned, Member, Roster, RosterError};
use params::Digest;
use secagg::ClientId;
use store::StoreError;
use vault::files::{self, AS_UMASK};
use vault::{MasterSource, Vault, VaultError, layout};

use crate::admission::Unbelieved;
use crate::connect::{ConnectError, read_authority, roster_key};
use crate::files::Unusable;
use crate::succession::Doubt;

/// Held while what is remembered changes.
const LOCK_FILE: &str = "last-roster.lock";

/// The authority, and what it remembers.
pub struct AuthorityFolder {
    folder: PathBuf,
    key: IdentityKey,
    last: Option<LastSigned>,
}

/// What a person says of a roster. Its format, and which one it follows, the folder adds when it signs.
#[derive(Debug, Clone)]
pub struct RosterContents {
    /// The federation's name.
    pub federation: String,
    /// Higher than that of the one before.
    pub epoch: u64,
    /// The coordinator's public key, hexadecimal.
    pub coordinator_key: String,
    /// By their numbers.
    pub members: BTreeMap<ClientId, Member>,
}

/// Why no roster was signed, or one was and is not known to be in force.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file of the authority's folder.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The folder's key does not open.
    #[error("the authority's folder does not open")]
    Sealed(#[from] VaultError),
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// What the coordinator shows as its roster.
    #[error(transparent)]
    Unbelieved(#[from] Unbelieved),
    /// No roster can follow.
    #[error(transparent)]
    NoEpoch(RosterError),
    /// The next roster would be refused by every silo.
    #[error(transparent)]
    Unsound(RosterError),
    /// It does not follow the one that it names.
    #[error("after epoch {epoch}: {why}")]
    Unfollowing {
        /// Of the one that it names.
        epoch: u64,
        #[source]
        why: RosterError,
    },
    /// The folder cannot vouch for the roster in force, and nobody stands for it.
    #[error("{why}; whether roster {} of epoch {} is to be extended is for a person to say", shown.digest(), shown.epoch)]
    Doubtful {
        /// What speaks against it.
        why: Doubt,
        /// What the coordinator shows.
        shown: Box<AuthorisedRoster>,
    },
    /// A person stands for another roster than the one that is shown.
    #[error("the coordinator shows roster {} of epoch {}, not {given}; nothing was signed", shown.digest(), shown.epoch)]
    AnotherShown {
        /// What the coordinator shows.
        shown: Box<AuthorisedRoster>,
        /// What the person named.
        given: String,
    },
    /// The coordinator says that it took the last roster, and shows another.
    #[error(
        "the coordinator says that it took the last roster that was signed here, of epoch {signed}, and shows roster {} of epoch {} \
         as the one in force; nothing was signed",
        shown.digest(),
        shown.epoch
    )]
    TakenAndNotShown {
        /// The last one's epoch.
        signed: u64,
        /// What the coordinator shows.
        shown: Box<AuthorisedRoster>,
    },
    /// Another roster was signed last than the one that is to be followed.
    #[error(
        "the last roster that was signed with this key is roster {last} of epoch {epoch}; nothing was signed"
    )]
    NotTheLast {
        /// The last one.
        last: Digest,
        epoch: u64,
    },
    /// What the other one left out would come back.
    #[error(
        "another command has signed a roster with this folder meanwhile; nothing was submitted: run this again"
    )]
    Meanwhile,
    /// What is to be signed cannot be remembered.
    #[error("{0}; nothing was submitted")]
    Unremembered(#[source] StoreError),
    /// The last roster is in force, and the folder cannot say so.
    #[error(
        "{why}; the coordinator has taken the roster of epoch {epoch}, which is in force; this folder does not say so yet: see to that \
         and run `folkmoot clients list`, and run nothing else again; the next command that signs finds it out"
    )]
    TakenUnremembered {
        epoch: u64,
        /// What the folder's disk says.
        #[source]
        why: Box<MemoryError>,
    },
    /// The coordinator refuses what was signed.
    #[error(
        "{why}; the roster of epoch {epoch} is signed and not in force, and its epoch is used up; {again} to sign a later one in its \
         place"
    )]
    NotTaken {
        epoch: u64,
        /// What the caller said is to be done then.
        again: String,
        /// In the coordinator's words.
        #[source]
        why: ConnectError,
    },
    /// The coordinator may have taken what was signed.
    #[error(
        "{why}; whether the roster of epoch {epoch}, which is signed, is in force is not known; run the same command again: it finds \
         out, and submits that one again where it is not"
    )]
    Unknown {
        epoch: u64,
        /// What became of the call.
        #[source]
        why: ConnectError,
    },
}

/// Why the folder's memory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It cannot be locked or read.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// It cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuthorityFolder {
    /// Opens the authority's own folder, where its key lies sealed.
    ///
    /// # Errors
    /// [`SigningError::Sealed`], and a key that is not that of the authority.json beside it.
    pub fn open(folder: &Path) -> Result<Self, SigningError> {
        Ok(Self::with_key(folder, sealed_key(folder)?)?)
    }

    /// With a key that was read elsewhere; this folder remembers what it signs.
    ///
    /// # Errors
    /// A memory that cannot be read, or is another key's.
    pub fn with_key(folder: &Path, key: IdentityKey) -> Result<Self, Unusable> {
        let last = remembered(folder, &key)?;
        Ok(Self { folder: folder.to_owned(), key, last })
    }

    /// What rosters are signed with.
    pub fn key(&self) -> &IdentityKey {
        &self.key
    }

    /// What is remembered, if anything was signed.
    pub fn last(&self) -> Option<&LastSigned> {
        self.last.as_ref()
    }

    /// Signs a roster by hand, which names `before` as the one that it follows; without it, the last one that was signed with the
    /// key. It is remembered before it is out, as what is submitted is. The last one itself is given again: its file may not have
    /// been written when it was signed, and others may follow it all the same.
    ///
    /// # Errors
    /// [`SigningError::Unsound`] and [`SigningError::Unfollowing`] for what every silo would refuse;
    /// [`SigningError::NotTheLast`] where it follows another roster than the last one; a memory that cannot be written.
    pub fn sign(
        &mut self,
        contents: RosterContents,
        before: Option<AuthorisedRoster>,
    ) -> Result<AuthorisedRoster, SigningError> {
        let before = before.or_else(|| self.last.as_ref().map(|last| last.roster.clone()));
        let previous = before.as_ref().map(AuthorisedRoster::digest);
        let RosterContents { federation, epoch, coordinator_key, members } = contents;
        let format = Some(Roster::FORMAT);
        let roster = Roster { format, federation, epoch, coordinator_key, members, previous };
        if let Some(last) = self.last.as_ref().map(|last| &last.roster)
            && (Roster { previous: last.previous, ..roster.clone() }) == **last
        {
            return Ok(last.clone());
        }
        // Read back as every silo will: what they would refuse is not written.
        let next = roster.sign(&self.key).authorise(&self.key.public()).map_err(SigningError::Unsound)?;
        if let Some(before) = &before {
            let epoch = before.epoch;
            next.succeeds(before).map_err(|why| SigningError::Unfollowing { epoch, why })?;
        }
        let last = match (&self.last, before) {
            (Some(last), Some(before)) if last.roster.digest() == before.digest() => {
                last.followed_by(&before, next.clone())
            }
            (Some(last), _) => {
                return Err(SigningError::NotTheLast {
                    last: last.roster.digest(),
                    epoch: last.roster.epoch,
                });
            }
            (None, Some(before)) => LastSigned::new(before.clone()).followed_by(&before, next.clone()),
            (None, None) => LastSigned::new(next.clone()),
        };
        self.remember(last)?;
        Ok(next)
    }

    /// Durable when it returns. Refused where another command has signed with this folder meanwhile: what that one left out
    /// would come back.
    pub(crate) fn remember(&mut self, last: LastSigned) -> Result<(), SigningError> {
        let _lock = self.lock()?;
        if remembered(&self.folder, &self.key)? != self.last {
            return Err(SigningError::Meanwhile);
        }
        self.write(last).map_err(SigningError::Unremembered)
    }

    /// The coordinator has the last one in force.
    pub(crate) fn note_taken(&mut self) -> Result<(), SigningError> {
        let Some(last) = self.last.clone().filter(|last| !last.taken) else { return Ok(()) };
        let epoch = last.roster.epoch;
        self.write_taken(last).map_err(|why| SigningError::TakenUnremembered { epoch, why: Box::new(why) })
    }

    fn write_taken(&mut self, last: LastSigned) -> Result<(), MemoryError> {
        let _lock = self.lock()?;
        // Where another command has signed meanwhile, it knows better.
        if remembered(&self.folder, &self.key)? != self.last {
            return Ok(());
        }
        Ok(self.write(LastSigned { taken: true, ..last })?)
    }

    fn lock(&self) -> Result<File, Unusable> {
        let path = self.folder.join(LOCK_FILE);
        let opened = files::open_or_make(&path, OpenOptions::new().write(true), AS_UMASK);
        let file = opened.map_err(|why| Unusable::new(&path, why))?;
        file.lock().map_err(|why| Unusable::new(&path, why))?;
        Ok(file)
    }

    fn write(&mut self, last: LastSigned) -> Result<(), StoreError> {
        store::write_replacing(&self.folder.join(LAST_ROSTER_FILE), last.to_json().as_bytes())?;
        self.last = Some(last);
        Ok(())
    }
}

/// Opens the authority's key in its own folder.
fn sealed_key(folder: &Path) -> Result<IdentityKey, SigningError> {
    let layout::Authority { authority: document, key: file, master } = layout::Authority::of(folder);
    let vault = Vault::open_folder(folder, MasterSource::File(master))?;
    let text = vault::read_sealed_text(&file, &vault, layout::Authority::KEY)?;
    let key = IdentityKey::from_secret_hex(&text).map_err(|why| Unusable::new(&file, why))?;
    if document.exists() && roster_key(&read_authority(&document)?)? != key.public() {
        let why = "is not the key of the authority.json beside it; restore both from one backup";
        return Err(Unusable::new(&file, why).into());
    }
    Ok(key)
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

#[cfg(test)]
mod tests {
    use identity::Authority;
    use identity::samples::{authorised, key, public, roster};

    use super::*;

    /// The authority's key is 100; silo 1 is a member.
    fn signed() -> AuthorisedRoster {
        authorised(&roster(4, &["north"]))
    }

    /// The authority's folder, with its key in it.
    fn authority_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let layout::Authority { key: file, master, .. } = layout::Authority::of(folder.path());
        vault::make_master(&master).unwrap();
        let vault = Vault::create(folder.path(), MasterSource::File(master)).unwrap();
        let secret = key(100).secret_hex();
        vault::write_secret(&file, &vault, layout::Authority::KEY, secret.as_bytes()).unwrap();
        folder
    }

    #[test]
    fn two_commands_with_one_folder_sign_no_two_rosters_of_one_epoch() {
        let folder = authority_folder();
        let first = LastSigned::new(signed());
        AuthorityFolder::open(folder.path()).unwrap().remember(first.clone()).unwrap();
        // One waits for an answer to its question while the other signs.
        let [mut slow, mut quick] = [(); 2].map(|()| AuthorityFolder::open(folder.path()).unwrap());
        let [without, with] = [false, true].map(|keeps| {
            let mut next = first.next().unwrap();
            next.members.retain(|_, _| keeps);
            first.followed_by(&first.roster, authorised(&next))
        });
        quick.remember(without.clone()).unwrap();
        assert!(slow.remember(with).unwrap_err().to_string().contains("meanwhile"));
        slow.note_taken().unwrap();
        quick.note_taken().unwrap();
        let taken = LastSigned { taken: true, ..without };
        assert_eq!(AuthorityFolder::open(folder.path()).unwrap().last, Some(taken));
    }

    #[test]
    fn a_roster_signed_by_hand_names_the_last_one_and_the_last_one_is_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = AuthorityFolder::with_key(folder.path(), key(100)).unwrap();
        let contents = |epoch, names: &[&str]| {
            let Roster { federation, epoch, coordinator_key, members, .. } = roster(epoch, names);
            RosterContents { federation, epoch, coordinator_key, members }
        };
        let first = authority.sign(contents(4, &["north", "south"]), None).unwrap();
        let second = authority.sign(contents(5, &["north"]), None).unwrap();
        assert_eq!((first.previous, second.previous), (None, Some(first.digest())));
        assert_eq!([first.format, second.format], [Some(Roster::FORMAT); 2]);
        // Its file was lost.
        assert_eq!(authority.sign(contents(5, &["north"]), None).unwrap(), second);
        // Whom the second one left out would come back.
        let older = authority.sign(contents(6, &["north", "south"]), Some(first)).unwrap_err();
        assert!(matches!(older, SigningError::NotTheLast { epoch: 5, .. }), "{older}");
        let same_epoch = authority.sign(contents(5, &["south"]), None).unwrap_err();
        assert!(matches!(same_epoch, SigningError::Unfollowing { epoch: 5, .. }), "{same_epoch}");
        let mut twice = contents(6, &["north", "south"]);
        twice.members.get_mut(&ClientId(2)).unwrap().identity_key = public(1);
        assert!(matches!(authority.sign(twice, None), Err(SigningError::Unsound(_))));
        assert_eq!(AuthorityFolder::with_key(folder.path(), key(100)).unwrap().last.unwrap().roster, second);
    }

    #[test]
    fn a_disk_that_is_full_once_a_roster_is_in_force_is_not_said_to_have_kept_it_back() {
        let folder = authority_folder();
        let mut authority = AuthorityFolder::open(folder.path()).unwrap();
        let full = folder.path().join("last-roster.json.tmp");
        std::fs::create_dir(&full).unwrap();
        let last = LastSigned { taken: false, ..LastSigned::new(signed()) };
        assert!(authority.remember(last.clone()).unwrap_err().to_string().contains("nothing was submitted"));
        std::fs::remove_dir(&full).unwrap();
        authority.remember(last).unwrap();
        std::fs::create_dir(&full).unwrap();
        let why = authority.note_taken().unwrap_err().to_string();
        assert!(why.contains("is in force") && !why.contains("nothing was submitted"), "{why}");
    }

    #[test]
    fn the_authoritys_folder_gives_its_key_and_a_foreign_document_beside_it_is_named() {
        let folder = authority_folder();
        assert_eq!(sealed_key(folder.path()).unwrap().public(), key(100).public());
        let authority =
            Authority { federation: "hospitals".into(), key: public(101), ca_certificate: String::new() };
        std::fs::write(layout::Authority::of(folder.path()).authority, authority.to_canonical()).unwrap();
        assert!(sealed_key(folder.path()).unwrap_err().to_string().contains("restore both"));
    }
}
