//! Which roster may take another's place: the one rule, for the coordinator, its administrators and every silo.
//!
//! A roster of format 2 names the one before it, and takes no other's place. An epoch alone orders nothing: an older roster
//! that is extended has a later epoch too, and brings back who was revoked since. Rosters of format 1 name none, and follow
//! one another by their epochs, as they did when they were signed; none of them follows one of format 2.

use crate::roster::{AuthorisedRoster, Roster, RosterError};

/// Most rosters that are shown between a silo's and the one in force.
pub const ROSTERS_BETWEEN_MAX: usize = 64;

/// Most bytes of their canonical texts together.
pub const ROSTERS_BETWEEN_BYTES_MAX: usize = 512 << 10;

impl AuthorisedRoster {
    /// Whether this roster may take the place of `older`, right after it.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] with the rule that it breaks; [`RosterError::Gap`] where those between are missing.
    pub fn succeeds(&self, older: &AuthorisedRoster) -> Result<(), RosterError> {
        check_link(older, self)
    }

    /// Whether a coordinator may put this roster in force after `current`: as of [`AuthorisedRoster::succeeds`], and members
    /// keep their numbers in every format.
    ///
    /// # Errors
    /// [`RosterError::Epoch`] where it is not later, and as of [`AuthorisedRoster::succeeds`].
    pub fn may_replace(&self, current: &AuthorisedRoster) -> Result<(), RosterError> {
        if self.federation == current.federation && self.epoch <= current.epoch {
            return Err(RosterError::Epoch { got: self.epoch, in_force: current.epoch });
        }
        self.succeeds(current)?;
        self.keeps_numbers_of(current)
    }

    /// Whether this roster may take the place of `older` by way of those `between`, oldest first. Those before `older`, and
    /// itself, say nothing of it.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] with the first link that does not hold.
    pub fn succeeds_by(
        &self,
        older: &AuthorisedRoster,
        between: &[AuthorisedRoster],
    ) -> Result<(), RosterError> {
        let later =
            between.iter().filter(|roster| roster.epoch >= older.epoch && roster.digest() != older.digest());
        let mut last = older;
        for roster in later.chain([self]) {
            check_link(last, roster)?;
            last = roster;
        }
        Ok(())
    }
}

fn check_link(older: &AuthorisedRoster, next: &AuthorisedRoster) -> Result<(), RosterError> {
    let refused = |why: String| Err(RosterError::Meaning(why));
    if next.federation != older.federation {
        return refused("it is of another federation".into());
    }
    if next.coordinator_key != older.coordinator_key {
        return refused("it names another key of the coordinator; keep the one in force".into());
    }
    if next.epoch == older.epoch && next.digest() != older.digest() {
        return refused(format!(
            "two rosters of epoch {} were signed, {} and {}: ask the authority which of them holds",
            next.epoch,
            older.digest().short(),
            next.digest().short()
        ));
    }
    if next.epoch <= older.epoch {
        return refused(format!(
            "its epoch {} is not later than {}, that of the roster in force",
            next.epoch, older.epoch
        ));
    }
    if next.format() == 1 {
        // As rosters were ordered when they did not name one another.
        return match older.format() {
            1 => Ok(()),
            _ => refused(format!(
                "the roster of epoch {} does not name the one before it, and that of epoch {} did",
                next.epoch, older.epoch
            )),
        };
    }
    match next.previous {
        Some(previous) if previous == older.digest() => {}
        Some(previous) if older.previous == Some(previous) => {
            return refused(format!(
                "the rosters of epochs {} and {} were both signed on {}: ask the authority which of them holds",
                older.epoch,
                next.epoch,
                previous.short()
            ));
        }
        Some(previous) => {
            return Err(RosterError::Gap(format!(
                "the roster of epoch {} follows roster {}, not {} of epoch {}: one between them was not shown, or it was signed \
                 on an older one and would undo what changed since",
                next.epoch,
                previous.short(),
                older.digest().short(),
                older.epoch
            )));
        }
        None => return refused("it is a federation's first, and follows none".into()),
    }
    next.keeps_numbers_of(older)
}

impl Roster {
    /// Whether every member that `older` has under some number, and every number, stays what it was.
    ///
    /// # Errors
    /// [`RosterError::Meaning`] with the member.
    pub fn keeps_numbers_of(&self, older: &Roster) -> Result<(), RosterError> {
        for (id, member) in &self.members {
            let before = older.members.iter().find(|(_, old)| old.identity_key == member.identity_key);
            if before.is_some_and(|(old, _)| old != id) {
                return Err(RosterError::Meaning(format!(
                    "it gives `{}` another number; members keep theirs",
                    member.name
                )));
            }
            if older.members.get(id).is_some_and(|old| old.identity_key != member.identity_key) {
                return Err(RosterError::Meaning(format!(
                    "it gives the number {id} another key; members keep theirs"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use secagg::ClientId;

    use super::*;
    use crate::Member;
    use crate::samples::{self, public};

    fn member(byte: u8, admitted: u64) -> Member {
        samples::member(&format!("silo {byte}"), byte, admitted)
    }

    fn first() -> Roster {
        samples::roster(1, &["silo 1", "silo 2", "silo 3"])
    }

    fn signed(roster: Roster) -> AuthorisedRoster {
        samples::authorised(&roster)
    }

    fn without(roster: &Roster, id: u32) -> Roster {
        let mut next = roster.successor().unwrap();
        next.members.remove(&ClientId(id));
        next
    }

    fn with(roster: &Roster, id: u32) -> Roster {
        let mut next = roster.successor().unwrap();
        next.members.insert(ClientId(id), member(id as u8, next.epoch));
        next
    }

    fn why(result: Result<(), RosterError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_later_roster_of_the_same_federation_says_who_joins_and_who_leaves() {
        let mut next = without(&first(), 2);
        next.members.insert(ClientId(4), member(4, 2));
        let (older, newer) = (signed(first()), signed(next.clone()));
        newer.succeeds(&older).unwrap();
        let text = newer.change_from(&older).to_string();
        let fingerprint = member(4, 2).fingerprint().unwrap();
        assert!(
            text.starts_with(&format!("roster epoch 2 after 1; joins: 4 silo 4 ({fingerprint})")),
            "{text}"
        );
        assert!(text.ends_with("; leaves: 2 silo 2"), "{text}");
        type Edit = fn(&mut Roster);
        let edits: [(&str, Edit); 5] = [
            ("another federation", |r| r.federation.push('x')),
            ("another key of the coordinator", |r| r.coordinator_key = public(8)),
            ("two rosters of epoch 1", |r| r.epoch = 1),
            ("not later", |r| r.epoch = 0),
            ("follows none", |r| r.previous = None),
        ];
        for (rule, edit) in edits {
            let mut other = next.clone();
            edit(&mut other);
            assert!(why(signed(other).succeeds(&older)).contains(rule), "{rule}");
        }
    }

    #[test]
    fn a_revocation_is_not_undone_by_a_roster_that_was_signed_on_the_one_before_it() {
        let second = without(&first(), 2);
        let fork = with(&first(), 4);
        let third = with(&fork, 5);
        let held = signed(second.clone());
        assert!(why(signed(fork.clone()).succeeds(&held)).contains("two rosters of epoch 2"));
        // A later one on the fork has a later epoch, and still does not lead to what is held.
        let refused = signed(third.clone()).succeeds_by(&held, &[signed(fork)]);
        assert!(why(refused).contains("two rosters of epoch 2"));
        assert!(why(signed(third).succeeds(&held)).contains("would undo what changed since"));
    }

    #[test]
    fn a_silo_that_missed_rosters_takes_the_newest_by_way_of_all_of_those_between() {
        let second = without(&first(), 2);
        let third = with(&second, 4);
        let fourth = with(&third, 5);
        let [one, two, three, four] = [first(), second, third, fourth].map(signed);
        four.succeeds_by(&one, &[two.clone(), three.clone()]).unwrap();
        // Those that it has passed already say nothing.
        four.succeeds_by(&two, &[one.clone(), two.clone(), three.clone()]).unwrap();
        let backwards = [three.clone(), two.clone()];
        for skipped in [std::slice::from_ref(&three), std::slice::from_ref(&two), &[], &backwards] {
            assert!(four.succeeds_by(&one, skipped).is_err());
        }
    }

    #[test]
    fn rosters_of_the_first_format_follow_by_their_epochs_and_never_one_that_names_its_parent() {
        let old = |epoch: u64| signed(Roster { epoch, ..first() });
        old(5).succeeds(&old(1)).unwrap();
        let named = signed(old(5).successor().unwrap());
        named.succeeds(&old(5)).unwrap();
        named.succeeds_by(&old(1), &[old(3), old(5)]).unwrap();
        assert!(why(named.succeeds(&old(1))).contains("not shown"));
        assert!(why(old(7).succeeds(&named)).contains("does not name the one before it"));
    }

    #[test]
    fn what_a_coordinator_puts_in_force_is_later_and_moves_no_number_in_any_format() {
        let old = |epoch: u64| Roster { epoch, ..first() };
        let current = signed(old(5));
        signed(old(6)).may_replace(&current).unwrap();
        for epoch in [4, 5] {
            let refused = signed(Roster { coordinator_key: public(8), ..old(epoch) }).may_replace(&current);
            assert!(matches!(refused, Err(RosterError::Epoch { in_force: 5, .. })), "{refused:?}");
        }
        let mut moved = old(6);
        let two = moved.members.remove(&ClientId(2)).unwrap();
        moved.members.insert(ClientId(7), two);
        let moved = signed(moved);
        moved.succeeds(&current).unwrap();
        assert!(why(moved.may_replace(&current)).contains("another number"));
    }

    #[test]
    fn a_member_keeps_its_number_and_a_number_its_key() {
        let older = signed(first());
        let mut moved = first().successor().unwrap();
        let two = moved.members.remove(&ClientId(2)).unwrap();
        moved.members.insert(ClientId(7), two);
        assert!(why(signed(moved).succeeds(&older)).contains("another number"));
        let mut rekeyed = first().successor().unwrap();
        rekeyed.members.insert(ClientId(2), member(6, 2));
        assert!(why(signed(rekeyed).succeeds(&older)).contains("another key"));
    }
}
