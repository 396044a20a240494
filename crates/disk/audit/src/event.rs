//! Events and their canonical bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tlog::ENTRY_BYTES_MAX;

use crate::{Action, silo};

/// Most that an integer may be: RFC 8785 reads numbers as doubles, and these are exact up to here.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// An event that cannot be an entry, or an entry that is no event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Above the limit.
    #[error("an event of {0} bytes is above {ENTRY_BYTES_MAX}: log the digest of what is large")]
    TooLong(usize),
    /// A number that other readers would round.
    #[error("{0} is above {INTEGER_MAX}, the largest integer of canonical JSON: log it as text")]
    Number(String),
    /// Written by a later release.
    #[error("the entry is an event of format {0}, this release reads format 1: install a newer release")]
    Format(u64),
    /// No JSON of an event.
    #[error("the entry is no event that this release knows: use the release that wrote it, or a later one")]
    Unreadable(#[source] serde_json::Error),
    /// Not the bytes that the event has.
    #[error("the entry is an event, but not in canonical form: another program wrote it")]
    NotCanonical,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, in milliseconds since 1970, by the clock of whoever keeps the log.
    pub time_ms: u64,
    /// Who did it, or tried to.
    pub actor: Actor,
    /// What, as `thing.verb`: the name of an [`Action`](crate::Action), or a [`call`](crate::call).
    pub action: String,
    /// Whether it was done.
    pub status: Status,
    /// The run, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Digest of what it is about, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Length of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What the other side's log calls the same thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Anything else. Never a secret, and nothing about one person: a log cannot forget.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Its name in the federation.
    pub id: String,
    /// What it acted as: admin, operator, author, auditor, viewer, client, coordinator.
    pub role: String,
    /// Where it called from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Asked for and not done; `details` say why.
    Refused,
}

impl Actor {
    /// The coordinator, of its own accord.
    pub fn coordinator() -> Self {
        Self { id: "coordinator".into(), role: "coordinator".into(), address: None }
    }

    /// A silo's daemon.
    pub fn silo(id: u32) -> Self {
        Self { id: silo(id), role: "client".into(), address: None }
    }

    /// Which silo it is; none where it is somebody else.
    pub fn silo_id(&self) -> Option<u32> {
        let id = self.id.strip_prefix("silo-")?.parse().ok()?;
        (self.id == silo(id)).then_some(id)
    }
}

impl Event {
    /// An event with what each has; the rest is filled in where it applies.
    pub fn new(time_ms: u64, actor: Actor, action: impl Into<String>, status: Status) -> Self {
        Self {
            time_ms,
            actor,
            action: action.into(),
            status,
            run: None,
            round: None,
            attempt: None,
            digest: None,
            bytes: None,
            peer: None,
            details: BTreeMap::new(),
        }
    }

    /// What the coordinator did.
    pub fn of_coordinator(time_ms: u64, action: Action) -> Self {
        Self::new(time_ms, Actor::coordinator(), action, Status::Ok)
    }

    /// What a silo did.
    pub fn of_silo(time_ms: u64, id: u32, action: Action) -> Self {
        Self::new(time_ms, Actor::silo(id), action, Status::Ok)
    }

    /// The event in this attempt at this round.
    #[must_use]
    pub fn in_attempt(self, round: u64, attempt: u32) -> Self {
        Self { round: Some(round), attempt: Some(attempt), ..self }
    }

    /// The event about what has this digest.
    #[must_use]
    pub fn with_digest(self, digest: impl std::fmt::Display) -> Self {
        Self { digest: Some(digest.to_string()), ..self }
    }

    /// The event with one detail more.
    #[must_use]
    pub fn with(mut self, detail: &str, text: impl Into<String>) -> Self {
        self.details.insert(detail.into(), text.into());
        self
    }

    /// The event about somebody, as the other side's log calls them.
    #[must_use]
    pub fn about(self, peer: impl Into<String>) -> Self {
        Self { peer: Some(peer.into()), ..self }
    }

    /// Its entry: canonical JSON (RFC 8785) of objects, text and integers; what is absent is left out.
    ///
    /// # Errors
    ///
    /// Above 65,535 bytes; an integer above 2^53 - 1.
    pub fn encode(&self) -> Result<Vec<u8>, EventError> {
        let value = serde_json::to_value(self).map_err(EventError::Unreadable)?;
        let mut text = String::new();
        write_canonical(&value, &mut text)?;
        match text.len() <= ENTRY_BYTES_MAX {
            true => Ok(text.into_bytes()),
            false => Err(EventError::TooLong(text.len())),
        }
    }

    /// Reads an entry back.
    ///
    /// # Errors
    ///
    /// Anything but the canonical bytes of an event.
    pub fn decode(entry: &[u8]) -> Result<Self, EventError> {
        /// Events of the first format do not say it.
        #[derive(Deserialize)]
        struct Numbered {
            format: u64,
        }
        if let Ok(Numbered { format }) = serde_json::from_slice(entry) {
            return Err(EventError::Format(format));
        }
        let event: Self = serde_json::from_slice(entry).map_err(EventError::Unreadable)?;
        match event.encode()? == entry {
            true => Ok(event),
            false => Err(EventError::NotCanonical),
        }
    }
}

/// RFC 8785, but for fractions, which no event has.
fn write_canonical(value: &Value, text: &mut String) -> Result<(), EventError> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // By UTF-16 units, as the RFC has it; it differs from Rust's order beyond the basic plane.
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                // JSON text of serde_json escapes exactly what the RFC says, as it says.
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(member, text)?;
            }
            text.push('}');
        }
        Value::Number(number) if number.as_u64().is_none_or(|n| n > INTEGER_MAX) => {
            return Err(EventError::Number(number.to_string()));
        }
        scalar => text.push_str(&scalar.to_string()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> Event {
        let actor = Actor { id: "silo-3".into(), role: "client".into(), address: Some("10.0.0.3".into()) };
        let mut event = Event::new(1_760_000_000_123, actor, "upload.received", Status::Ok);
        event.round = Some(7);
        event
    }

    #[test]
    fn a_silo_is_read_back_from_its_name_and_nobody_else_is_one() {
        assert_eq!(Actor::silo(7).silo_id(), Some(7));
        for id in ["silo-", "silo-07", "silo-7 ", "silo/7", "north", "coordinator"] {
            assert_eq!(Actor { id: id.into(), ..Actor::silo(7) }.silo_id(), None, "{id}");
        }
    }

    #[test]
    fn the_bytes_are_canonical_json() {
        let mut event = event();
        event.details.insert("why".into(), "a \"b\"\n\u{1f}\u{7f}é".into());
        let expected = "{\"action\":\"upload.received\",\"actor\":{\"address\":\"10.0.0.3\",\"id\":\"silo-3\",\
            \"role\":\"client\"},\"details\":{\"why\":\"a \\\"b\\\"\\n\\u001f\u{7f}é\"},\"round\":7,\
            \"status\":\"ok\",\"time_ms\":1760000000123}";
        assert_eq!(String::from_utf8(event.encode().unwrap()).unwrap(), expected);
    }

    #[test]
    fn names_are_in_the_order_of_their_utf_16_units() {
        let mut event = event();
        for name in ["\u{fb33}", "\u{1f600}", "\u{20ac}", "\r", "1"] {
            event.details.insert(name.into(), String::new());
        }
        let text = String::from_utf8(event.encode().unwrap()).unwrap();
        // The order of the example in RFC 8785, section 3.2.3.
        assert!(
            text.contains("{\"\\r\":\"\",\"1\":\"\",\"\u{20ac}\":\"\",\"\u{1f600}\":\"\",\"\u{fb33}\":\"\"}")
        );
        assert_eq!(Event::decode(text.as_bytes()).unwrap(), event);
    }

    #[test]
    fn an_event_of_65535_bytes_is_taken_and_a_longer_one_refused() {
        let mut event = event();
        event.details.insert("x".into(), String::new());
        let rest = ENTRY_BYTES_MAX - event.encode().unwrap().len();
        event.details.insert("x".into(), "a".repeat(rest));
        assert_eq!(event.encode().unwrap().len(), 65_535);
        event.details.insert("x".into(), "a".repeat(rest + 1));
        assert!(matches!(event.encode(), Err(EventError::TooLong(65_536))));
    }

    #[test]
    fn integers_that_a_double_cannot_hold_are_refused() {
        let mut event = event();
        event.bytes = Some((1 << 53) - 1);
        assert!(event.encode().is_ok());
        event.bytes = Some(1 << 53);
        assert!(matches!(event.encode(), Err(EventError::Number(_))));
    }

    #[test]
    fn other_bytes_are_refused() {
        let text = String::from_utf8(event().encode().unwrap()).unwrap();
        assert!(matches!(Event::decode(text.replace(',', ", ").as_bytes()), Err(EventError::NotCanonical)));
        let other = text.replace("\"round\"", "\"rounds\"");
        let later = br#"{"format":2,"unheard":true}"#;
        assert!(matches!(Event::decode(later), Err(EventError::Format(2))));
        assert!(matches!(Event::decode(other.as_bytes()), Err(EventError::Unreadable(_))));
        assert!(matches!(
            Event::decode(text.replace(":7,", ":7.0,").as_bytes()),
            Err(EventError::Unreadable(_))
        ));
        assert!(Event::decode(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_event_reads_back(id: String, action: String, peer: Option<String>, n in 0..INTEGER_MAX, name: String, text: String) {
            let mut event = Event::new(n, Actor { id, role: "client".into(), address: None }, action, Status::Refused);
            event.peer = peer;
            event.details.insert(name, text);
            prop_assert_eq!(Event::decode(&event.encode().unwrap()).unwrap(), event);
        }
    }
}
