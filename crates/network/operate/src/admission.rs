//! Who is a member, who asks to become one, and the roster that admits or leaves out.

use std::collections::BTreeSet;

use ed25519_dalek::VerifyingKey;
use identity::{
    AuthorisedRoster, KeyError, Member, Roster, SignedRoster, identity_fingerprint, parse_verifying_key,
    printable, spoken,
};
use secagg::ClientId;
use wire::v1::{Bar, ClientEntry, Clients, Membership};

use crate::shown::barred_silo;
use crate::succession::NextRoster;

/// Why nobody is admitted, or left out.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// No request under this name awaits approval.
    #[error("nobody asks to join as `{name}`; `folkmoot clients list` shows who does")]
    NobodyAsks { name: String },
    /// More than one does, and a name does not say which is meant.
    #[error("two ask to join as `{name}`; refuse it, and have the right one enrol again under another name")]
    TwoAsk { name: String },
    /// A request's key cannot be one.
    #[error("`{name}` asks with a key that is none: {why}")]
    Key {
        name: String,
        /// What is wrong with it.
        #[source]
        why: KeyError,
    },
    /// A member has the name.
    #[error("silo {id} is `{name}` already; refuse this one, and have it enrol under another name")]
    NameTaken { id: ClientId, name: String },
    /// A member has the number that a newcomer was to get.
    #[error("silo {id} is a member; begin with a higher number")]
    NumberTaken { id: ClientId },
    /// The highest number is given.
    #[error("the roster has no number left")]
    NoNumberLeft,
    /// No member has this name or number.
    #[error("no member is `{whom}`; `folkmoot clients list` shows names and numbers")]
    NoMember {
        /// What was given.
        whom: String,
    },
    /// No member has this name, and several that are none any more had it.
    #[error("`{whom}` was the name of silos {}: give the number of the one that is meant", numbers(ids))]
    SeveralFormer {
        /// What was given.
        whom: String,
        ids: Vec<ClientId>,
    },
    /// Whose number it is was the coordinator's word, and the roster, the authority's word, says otherwise.
    #[error(
        "the coordinator barred silo {id} for `{}`, and the roster calls that one `{}`; nothing was signed",
        printable(whom),
        printable(name)
    )]
    AnotherMember {
        id: ClientId,
        /// Who was meant.
        whom: String,
        /// Whose number it is.
        name: String,
    },
}

/// What a coordinator shows as its roster, and nobody signed.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator's roster is not believed: {0}")]
pub struct Unbelieved(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The roster in force, which the coordinator cannot make up: the authority signed it. Whether it is the newest is not known.
///
/// # Errors
/// [`Unbelieved`] where the authority signed no such roster.
pub fn roster_in_force(listed: &Clients, authority: &VerifyingKey) -> Result<AuthorisedRoster, Unbelieved> {
    let signed: SignedRoster = serde_json::from_str(&listed.roster).map_err(|why| Unbelieved(why.into()))?;
    signed.authorise(authority).map_err(|why| Unbelieved(why.into()))
}

/// One that asks, with the fingerprint computed here: the coordinator's word for it is not enough.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The name that it asks under.
    pub name: String,
    /// What a person compares with what the silo's own machine shows.
    pub fingerprint: String,
    identity_key: String,
}

impl Newcomer {
    fn new(name: &str, identity_key: &str) -> Result<Self, AdmissionError> {
        let key = parse_verifying_key(identity_key)
            .map_err(|why| AdmissionError::Key { name: name.to_owned(), why })?;
        let fingerprint = spoken(&identity_fingerprint(name, &key));
        Ok(Self { name: name.to_owned(), identity_key: identity_key.to_owned(), fingerprint })
    }
}

fn asks(client: &ClientEntry, name: &str) -> bool {
    client.name == name && client.membership() == Membership::AwaitingApproval
}

/// Those who ask under these names, each name once.
///
/// # Errors
/// [`AdmissionError`] where a name is nobody's or two's, or comes with no key.
pub fn asking(clients: &[ClientEntry], names: &[String]) -> Result<Vec<Newcomer>, AdmissionError> {
    let mut found = Vec::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        let mut of_name = clients.iter().filter(|client| asks(client, name));
        let client = of_name.next().ok_or_else(|| AdmissionError::NobodyAsks { name: name.clone() })?;
        if of_name.next().is_some() {
            return Err(AdmissionError::TwoAsk { name: name.clone() });
        }
        found.push(Newcomer::new(name, &client.identity_key)?);
    }
    Ok(found)
}

/// Of these names those that are members and ask for nothing: what admitted them was lost on its way, or its answer was. And the
/// others.
pub fn admitted(
    roster: &Roster,
    clients: &[ClientEntry],
    names: &[String],
) -> (Vec<(ClientId, Newcomer)>, Vec<String>) {
    let mut members = Vec::new();
    let mut others = Vec::new();
    for name in names {
        let awaited = clients.iter().any(|client| asks(client, name));
        let member = roster.members.iter().find(|(_, member)| !awaited && member.name == *name);
        let known =
            member.and_then(|(id, member)| Some((*id, Newcomer::new(name, &member.identity_key).ok()?)));
        match known {
            Some(known) => members.push(known),
            None => others.push(name.clone()),
        }
    }
    (members, others)
}

/// A member's number, from it or from its name.
///
/// # Errors
/// [`AdmissionError::NoMember`].
pub fn member(clients: &[ClientEntry], whom: &str) -> Result<ClientId, AdmissionError> {
    let members = || clients.iter().filter(|client| client.id != 0);
    let by_name = members().find(|client| client.name == whom);
    let found = by_name.or_else(|| members().find(|client| whom.parse() == Ok(client.id)));
    found.map(|client| ClientId(client.id)).ok_or_else(|| AdmissionError::NoMember { whom: whom.to_owned() })
}

/// The number of one that is barred, from it or from its name; of one that is no member any more, from the name that it had.
///
/// # Errors
/// [`AdmissionError::NoMember`], [`AdmissionError::SeveralFormer`].
pub fn barred(clients: &[ClientEntry], bars: &[Bar], whom: &str) -> Result<ClientId, AdmissionError> {
    if let Ok(id) = whom.parse() {
        return Ok(ClientId(id));
    }
    member(clients, whom).or_else(|none| {
        let of_name = bars.iter().filter(|bar| bar.name == whom).filter_map(barred_silo).map(ClientId);
        match of_name.collect::<Vec<_>>()[..] {
            [] => Err(none),
            [id] => Ok(id),
            ref ids => Err(AdmissionError::SeveralFormer { whom: whom.to_owned(), ids: ids.to_vec() }),
        }
    })
}

fn numbers(ids: &[ClientId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl NextRoster {
    /// The roster that admits these, each under a number that no member has: from `number` on, or after the highest that is
    /// remembered. A former member's number is nobody else's.
    ///
    /// # Errors
    /// [`AdmissionError`] for a name or a number that a member has.
    pub fn admit(&self, asking: &[Newcomer], number: Option<u32>) -> Result<Roster, AdmissionError> {
        let mut next = self.roster.clone();
        let mut id = number.or_else(|| self.highest_number.checked_add(1));
        for Newcomer { name, identity_key, .. } in asking {
            if let Some((id, _)) = self.roster.members.iter().find(|(_, member)| member.name == *name) {
                return Err(AdmissionError::NameTaken { id: *id, name: name.clone() });
            }
            let here = id.ok_or(AdmissionError::NoNumberLeft)?;
            let (name, identity_key) = (name.clone(), identity_key.clone());
            let member = Member { name, identity_key, admitted: next.epoch };
            if next.members.insert(ClientId(here), member).is_some() {
                return Err(AdmissionError::NumberTaken { id: ClientId(here) });
            }
            id = here.checked_add(1);
        }
        Ok(next)
    }

    /// Numbers that were given and are no member's any more: who had one of them and enrols again keeps it, as its own folder is of
    /// that number.
    pub fn former_numbers(&self) -> Vec<u32> {
        (1..=self.highest_number).filter(|id| !self.roster.members.contains_key(&ClientId(*id))).collect()
    }

    /// Of these, as `next` admits them, those that were members under another number, with that number, by the key that they ask with:
    /// it is in the folder of a silo, which is of the number that it was admitted under.
    pub fn renumbered<'a>(&self, asking: &'a [Newcomer], next: &Roster) -> Vec<(&'a Newcomer, ClientId)> {
        let number_in = |roster: &Roster, key: &str| {
            roster.members.iter().find(|(_, member)| member.identity_key == key).map(|(id, _)| *id)
        };
        let was = |newcomer: &'a Newcomer| {
            let key = &newcomer.identity_key;
            let former = self.earlier.iter().rev().find_map(|roster| number_in(roster, key))?;
            (number_in(next, key) != Some(former)).then_some((newcomer, former))
        };
        asking.iter().filter_map(was).collect()
    }

    /// The roster without a member that the coordinator has barred for `whom`, its name or its number; none where the roster in
    /// force does not name it.
    ///
    /// # Errors
    /// [`AdmissionError::AnotherMember`] where that number is not `whom`'s.
    pub fn leave_out(&self, id: ClientId, whom: &str) -> Result<Option<Roster>, AdmissionError> {
        let Some(member) = self.before.members.get(&id) else { return Ok(None) };
        if member.name != whom && whom.parse() != Ok(id.0) {
            let (whom, name) = (whom.to_owned(), member.name.clone());
            return Err(AdmissionError::AnotherMember { id, whom, name });
        }
        let mut next = self.roster.clone();
        next.members.remove(&id);
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use identity::LastSigned;
    use identity::samples::{self, authorised, key, public};

    use super::*;

    /// The authority's key is 100; silo 1 is a member.
    fn current() -> Roster {
        samples::roster(4, &["north"])
    }

    fn next_roster() -> NextRoster {
        NextRoster::on(LastSigned::new(authorised(&current()))).unwrap()
    }

    fn entry(name: &str, byte: u8) -> ClientEntry {
        ClientEntry {
            name: name.into(),
            identity_key: public(byte),
            // What a coordinator that lies would say.
            fingerprint: "0000-0000".into(),
            state_code: Membership::AwaitingApproval.into(),
            ..ClientEntry::default()
        }
    }

    fn found(entries: &[ClientEntry], names: &[&str]) -> Result<Vec<Newcomer>, AdmissionError> {
        asking(entries, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn several_newcomers_make_one_epoch_under_numbers_that_no_member_has() {
        let entries = [entry("south", 2), entry("west", 3), entry("east", 4)];
        let newcomers = found(&entries, &["west", "south", "west"]).unwrap();
        let next = next_roster().admit(&newcomers, None).unwrap();
        assert_eq!(next.epoch, 5);
        let members: Vec<_> =
            next.members.iter().map(|(id, member)| (id.0, member.name.as_str(), member.admitted)).collect();
        assert_eq!(members, [(1, "north", 1), (2, "south", 5), (3, "west", 5)]);
        assert!(next.sign(&key(100)).open(&key(100).public()).is_ok());
    }

    #[test]
    fn numbers_that_were_given_and_are_no_members_any_more_are_known() {
        let mut next = next_roster();
        assert_eq!(next.former_numbers(), [0; 0]);
        next.highest_number = 4;
        next.roster.members.insert(ClientId(3), next.roster.members[&ClientId(1)].clone());
        assert_eq!(next.former_numbers(), [2, 4]);
    }

    #[test]
    fn who_asks_with_the_key_of_a_former_member_is_known_to_get_another_number_than_its_own() {
        let north = samples::roster(4, &["north"]);
        let signed = authorised(&north);
        let without = Roster { members: [].into(), ..signed.successor().unwrap() };
        let last = LastSigned::new(signed.clone()).followed_by(&signed, authorised(&without));
        let next = NextRoster::on(last).unwrap();
        let again = ClientEntry {
            identity_key: north.members[&ClientId(1)].identity_key.clone(),
            ..entry("north", 2)
        };
        let asking = found(&[again, entry("south", 3)], &["north", "south"]).unwrap();
        let renumbered = |number| {
            let admitted = next.admit(&asking, number).unwrap();
            let found = next.renumbered(&asking, &admitted).into_iter();
            found.map(|(newcomer, was)| (newcomer.name.clone(), was.0)).collect::<Vec<_>>()
        };
        assert_eq!(renumbered(None), [("north".to_owned(), 1)]);
        assert!(renumbered(Some(1)).is_empty());
    }

    #[test]
    fn a_number_that_was_a_former_members_can_be_passed_over_but_no_member_is_replaced() {
        let south = found(&[entry("south", 2)], &["south"]).unwrap();
        assert!(next_roster().admit(&south, Some(7)).unwrap().members.contains_key(&ClientId(7)));
        let why = next_roster().admit(&south, Some(1)).unwrap_err();
        assert!(matches!(why, AdmissionError::NumberTaken { id: ClientId(1) }), "{why}");
        let again = found(&[entry("north", 2)], &["north"]).unwrap();
        let why = next_roster().admit(&again, None).unwrap_err();
        assert!(matches!(why, AdmissionError::NameTaken { id: ClientId(1), .. }), "{why}");
    }

    #[test]
    fn a_member_is_left_out_by_its_own_name_or_number_and_by_no_other() {
        let next = next_roster();
        for whom in ["north", "1"] {
            assert!(next.leave_out(ClientId(1), whom).unwrap().unwrap().members.is_empty());
        }
        let why = next.leave_out(ClientId(1), "south").unwrap_err();
        assert!(why.to_string().contains("calls that one `north`"), "{why}");
        assert_eq!(next.leave_out(ClientId(2), "south").unwrap(), None);
    }

    #[test]
    fn the_fingerprint_is_computed_here_and_not_what_the_coordinator_says() {
        let south = found(&[entry("south", 2)], &["south"]).unwrap().pop().unwrap();
        assert_eq!(south.fingerprint, spoken(&identity_fingerprint("south", &key(2).public())));
    }

    #[test]
    fn who_does_not_ask_is_not_found_and_of_two_with_one_name_neither_is() {
        let entries = [entry("south", 2), entry("south", 3)];
        assert!(matches!(found(&entries, &["east"]), Err(AdmissionError::NobodyAsks { .. })));
        assert!(matches!(found(&entries, &["south"]), Err(AdmissionError::TwoAsk { .. })));
        let mut refused = entry("east", 4);
        refused.state_code = Membership::Refused.into();
        assert!(found(&[refused], &["east"]).is_err());
    }

    #[test]
    fn a_roster_that_another_signed_is_not_believed() {
        let roster = serde_json::to_string(&current().sign(&key(101))).unwrap();
        let listed = Clients { clients: vec![], roster };
        let why = roster_in_force(&listed, &key(100).public()).unwrap_err();
        assert!(why.to_string().contains("not believed"), "{why}");
        assert_eq!(*roster_in_force(&listed, &key(101).public()).unwrap(), current());
    }

    #[test]
    fn a_member_is_found_by_its_name_before_its_number_and_a_newcomer_never_is() {
        let member_of = |id, name: &str| ClientEntry { id, name: name.into(), ..ClientEntry::default() };
        let clients = [member_of(1, "north"), member_of(2, "1"), entry("south", 2)];
        assert_eq!(member(&clients, "north").unwrap(), ClientId(1));
        assert_eq!(member(&clients, "1").unwrap(), ClientId(2));
        assert_eq!(member(&clients, "2").unwrap(), ClientId(2));
        for whom in ["south", "0", "9"] {
            assert!(member(&clients, whom).unwrap_err().to_string().contains(whom));
        }
    }

    #[test]
    fn whoever_is_barred_is_found_by_the_name_that_it_has_or_had_where_that_is_one_silos() {
        let bar =
            |id: u32, name: &str| Bar { whom: format!("silo {id}"), name: name.into(), ..Bar::default() };
        let operator = Bar { whom: "operator east".into(), ..Bar::default() };
        let clients = [ClientEntry { id: 1, name: "north".into(), ..ClientEntry::default() }];
        let bars =
            [bar(1, "north"), bar(2, "south"), bar(3, "west"), bar(5, "west"), bar(4, "north"), operator];
        let found = |whom: &str| barred(&clients, &bars, whom);
        assert_eq!(found("north").unwrap(), ClientId(1), "a member goes before one that had its name");
        assert_eq!(found("south").unwrap(), ClientId(2));
        assert_eq!(found("7").unwrap(), ClientId(7), "the coordinator knows whether that is one");
        assert!(found("west").unwrap_err().to_string().contains("silos 3, 5: give the number"));
        assert!(matches!(found("east"), Err(AdmissionError::NoMember { .. })));
    }
}
