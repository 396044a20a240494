//! What stands in for an event that cannot be an entry: who, what, when, and the digest of the rest.

use params::Digest;

use crate::{Actor, Event};

/// The detail that holds the number of the journal's record that an event was made of.
pub const JOURNAL: &str = "journal";

/// A name or an action that is longer is cut.
const NAME_BYTES: usize = 128;
/// The largest integer of canonical JSON.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The event, or what stands in for it where it cannot be an entry: who, what, when, in which run, the digest of the rest, and
/// the detail [`JOURNAL`]. The same each time.
pub fn writable(event: &Event) -> Event {
    if event.encode().is_ok() {
        return event.clone();
    }
    // Whatever else its fields are, they print.
    let whole = format!("{event:?}");
    let actor = Actor {
        id: cut(&event.actor.id, NAME_BYTES),
        role: cut(&event.actor.role, NAME_BYTES),
        address: event.actor.address.as_deref().map(|address| cut(address, NAME_BYTES)),
    };
    let time_ms = event.time_ms.min(INTEGER_MAX);
    let mut stands_in = Event::new(time_ms, actor, cut(&event.action, NAME_BYTES), event.status);
    stands_in.run = event.run.as_deref().map(|run| cut(run, NAME_BYTES));
    stands_in.round = event.round.filter(|round| *round <= INTEGER_MAX);
    stands_in.attempt = event.attempt;
    stands_in.digest = Some(Digest::sha256(whole.as_bytes()).to_string());
    stands_in.bytes = Some(whole.len() as u64);
    stands_in.details.insert("replaced".into(), "the event was too large for an entry".into());
    // Without it the record would be written again at the next start.
    stands_in
        .details
        .extend(event.details.get_key_value(JOURNAL).map(|(key, number)| (key.clone(), number.clone())));
    stands_in
}

/// The text, or its beginning and a mark where it is longer.
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let (beginning, _) = text.split_at(text.floor_char_boundary(bytes_max));
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn an_event_of_any_size_becomes_an_entry_that_names_its_record() {
        let actor =
            Actor { id: "a".repeat(70_000), role: "r".repeat(70_000), address: Some("x".repeat(70_000)) };
        let mut event = Event::new(u64::MAX, actor, "ä".repeat(70_000), Status::Refused);
        event.round = Some(u64::MAX);
        event.details.insert(JOURNAL.into(), "7".into());
        event.details.insert("reason".into(), "\"".repeat(70_000));
        let stands_in = writable(&event);
        assert!(stands_in.encode().unwrap().len() < 2_000);
        assert_eq!(stands_in.details[JOURNAL], "7");
        assert_eq!(stands_in, writable(&event), "the same each time");
        event = Event::new(1, Actor { id: "a".into(), role: "b".into(), address: None }, "c", Status::Ok);
        assert_eq!(writable(&event), event);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöü", 5), "äö…");
        assert_eq!(cut("", 0), "");
    }
}
