//! What a coordinator keeps of members, tokens, bars and incidents, as people read it and as programs do.
//!
//! Text names a silo by number and name, and a moment in UTC (RFC 3339); nothing in it drives a terminal. In JSON a moment is in
//! milliseconds since the Unix epoch, and its field ends in `_ms`.

use identity::{Roster, printable, utc};
use serde_json::{Value, json};
use wire::v1::{Bar, ClientEntry, Incident, IncidentNote, TokenState};

/// Members and those who ask, one on a line.
pub fn clients_text(clients: &[ClientEntry]) -> String {
    if clients.is_empty() {
        return "no member, and nobody asks to become one; `folkmoot tokens create --silo NAME` invites one\n".into();
    }
    let line = |client: &ClientEntry| {
        let number = if client.id == 0 { "-".to_owned() } else { client.id.to_string() };
        let link = if client.connected { "connected" } else { "" };
        let (name, state) = (printable(&client.name), printable(&client.state));
        let line =
            format!("{number:>4}  {name:<16}  {state:<17}  {}  {link}", printable(&client.fingerprint));
        format!("{}\n", line.trim_end())
    };
    clients.iter().map(line).collect()
}

/// The same for programs; `id` is null for one that asks.
pub fn clients_json(clients: &[ClientEntry]) -> Value {
    let one = |client: &ClientEntry| {
        json!({
            "id": (client.id != 0).then_some(client.id),
            "name": client.name,
            "state": client.state,
            "connected": client.connected,
            "fingerprint": client.fingerprint,
            "identity_key": client.identity_key,
        })
    };
    clients.iter().map(one).collect()
}

/// Tokens, one on a line, with how long each is good from `now_s` on, in seconds since the Unix epoch.
pub fn tokens_text(tokens: &[TokenState], now_s: u64) -> String {
    if tokens.is_empty() {
        return "no token is kept\n".into();
    }
    let line = |token: &TokenState| {
        let (id, state, purpose) = (printable(&token.id), printable(&token.state), printable(&token.purpose));
        let until = utc(ms(token.expires_s));
        format!("{id}  {state:<9}  {purpose:<28}  {}, until {until}\n", left(token.expires_s, now_s))
    };
    tokens.iter().map(line).collect()
}

/// The same for programs.
pub fn tokens_json(tokens: &[TokenState]) -> Value {
    let one = |token: &TokenState| {
        json!({
            "id": token.id,
            "state": token.state,
            "purpose": token.purpose,
            "expires_ms": ms(token.expires_s),
        })
    };
    tokens.iter().map(one).collect()
}

/// Everybody who is barred, one on a line; `clients` give the names of silos.
pub fn bars_text(bars: &[Bar], clients: &[ClientEntry]) -> String {
    if bars.is_empty() {
        return "nobody is barred\n".into();
    }
    let line = |bar: &Bar| {
        let (kind, by, reason) = (printable(&bar.kind), printable(&bar.by), printable(&bar.reason));
        let name = named(bar, clients).map_or_else(String::new, |name| format!(" {name}"));
        let whom = printable(&format!("{}{name}", bar.whom));
        format!("{}  {kind:<9}  {whom}  by {by}: {reason}\n", utc(ms(bar.time_s)))
    };
    bars.iter().map(line).collect()
}

/// The same for programs; `name` is a silo's, null where it is not known.
pub fn bars_json(bars: &[Bar], clients: &[ClientEntry]) -> Value {
    let one = |bar: &Bar| {
        json!({
            "whom": bar.whom,
            "name": named(bar, clients),
            "kind": bar.kind,
            "by": bar.by,
            "reason": bar.reason,
            "time_ms": ms(bar.time_s),
        })
    };
    bars.iter().map(one).collect()
}

/// The name of the silo that a bar is about; a coordinator of an earlier release does not say it.
fn named<'a>(bar: &'a Bar, clients: &'a [ClientEntry]) -> Option<&'a str> {
    if !bar.name.is_empty() {
        return Some(&bar.name);
    }
    let id = barred_silo(bar)?;
    clients.iter().find(|client| client.id == id && id != 0).map(|client| client.name.as_str())
}

/// The number of the silo that a bar is about.
pub(crate) fn barred_silo(bar: &Bar) -> Option<u32> {
    bar.whom.strip_prefix("silo ")?.parse().ok()
}

/// An incident with its notes, oldest first.
pub fn incident_text(incident: &Incident) -> String {
    let state = if incident.closed_ms.is_some() { "closed" } else { "open" };
    let (id, title) = (printable(&incident.id), printable(&incident.title));
    let (by, opened) = (printable(&incident.opened_by), utc(incident.opened_ms));
    let mut text = format!("incident {id}, {state}: {title}\n  {opened}  opened by {by}\n");
    for note in &incident.notes {
        let (by, said) = (printable(&note.by), printable(&note.text));
        text.push_str(&format!("  {}  {by}: {said}\n", utc(note.time_ms)));
    }
    if let Some(closed_ms) = incident.closed_ms {
        text.push_str(&format!("  {}  closed\n", utc(closed_ms)));
    }
    text
}

/// The same for programs, and in a report.
pub fn incident_json(incident: &Incident) -> Value {
    let note = |note: &IncidentNote| json!({ "time_ms": note.time_ms, "by": note.by, "text": note.text });
    json!({
        "id": incident.id,
        "title": incident.title,
        "opened_ms": incident.opened_ms,
        "opened_by": incident.opened_by,
        "notes": incident.notes.iter().map(note).collect::<Vec<_>>(),
        "closed_ms": incident.closed_ms,
    })
}

/// A roster with its members, as people compare them.
pub fn roster_text(roster: &Roster) -> String {
    let (federation, coordinator) = (printable(&roster.federation), printable(&roster.coordinator_key));
    let mut text = format!(
        "federation   {federation}\nepoch        {}\ncoordinator  {coordinator}\ndigest       {}\n",
        roster.epoch,
        roster.digest()
    );
    for (id, member) in &roster.members {
        let fingerprint = member.fingerprint().unwrap_or_else(|| "no key".to_owned());
        let name = printable(&member.name);
        text.push_str(&format!("{id:>4}  {name:<16}  {fingerprint}  since epoch {}\n", member.admitted));
    }
    text
}

/// The same for programs.
pub fn roster_json(roster: &Roster) -> Value {
    let members = roster.members.iter().map(|(id, member)| {
        json!({
            "id": id,
            "name": member.name,
            "identity_key": member.identity_key,
            "fingerprint": member.fingerprint(),
            "since_epoch": member.admitted,
        })
    });
    json!({
        "federation": roster.federation,
        "epoch": roster.epoch,
        "coordinator_key": roster.coordinator_key,
        "digest": roster.digest(),
        "members": members.collect::<Vec<_>>(),
    })
}

/// Of a peer's seconds, which may be any.
fn ms(seconds: u64) -> u64 {
    u64::try_from(u128::from(seconds) * 1000).unwrap_or(u64::MAX)
}

/// What is left until then, in the largest unit that says it.
fn left(then_s: u64, now_s: u64) -> String {
    match then_s.checked_sub(now_s) {
        None | Some(0) => "over".to_owned(),
        Some(seconds @ 1..=119) => format!("{seconds} s left"),
        Some(seconds @ 120..=7_199) => format!("{} min left", seconds / 60),
        Some(seconds @ 7_200..=172_799) => format!("{} h left", seconds / 3_600),
        Some(seconds) => format!("{} days left", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_a_fitting_unit() {
        let said = [0, 90, 600, 90_000, 864_000].map(|seconds| left(1_000 + seconds, 1_000));
        assert_eq!(said, ["over", "90 s left", "10 min left", "25 h left", "10 days left"]);
        assert_eq!((left(1, 2), left(u64::MAX, 0).contains("days")), ("over".to_owned(), true));
    }

    #[test]
    fn an_incident_is_shown_with_its_notes_in_order_and_no_note_drives_the_terminal() {
        let note = |time_ms, text: &str| IncidentNote { time_ms, by: "olga".into(), text: text.into() };
        let mut incident = Incident {
            id: "3".into(),
            title: "odd losses".into(),
            opened_ms: 17_000,
            opened_by: "ada".into(),
            notes: vec![note(18_000, "paused"), note(19_000, "\u{1b}[2Jgone")],
            closed_ms: None,
        };
        let expected = "incident 3, open: odd losses\n  1970-01-01T00:00:17Z  opened by ada\n  1970-01-01T00:00:18Z  olga: paused\n  \
                        1970-01-01T00:00:19Z  olga: \u{fffd}[2Jgone\n";
        assert_eq!(incident_text(&incident), expected);
        incident.closed_ms = Some(20_000);
        assert!(incident_text(&incident).starts_with("incident 3, closed"));
        assert!(incident_text(&incident).ends_with("  1970-01-01T00:00:20Z  closed\n"));
    }

    #[test]
    fn a_barred_silo_is_shown_by_number_and_name_where_that_is_known() {
        let bar = |whom: &str, name: &str| Bar {
            whom: whom.into(),
            reason: "odd".into(),
            by: "olga".into(),
            time_s: 17,
            kind: "barred".into(),
            name: name.into(),
        };
        let bars = [bar("silo 3", ""), bar("silo 4", ""), bar("operator 3", ""), bar("silo 5", "west")];
        let north = ClientEntry { id: 3, name: "north".into(), ..ClientEntry::default() };
        let lines = bars_text(&bars, &[north]);
        let expected = ["silo 3 north", "silo 4", "operator 3", "silo 5 west"]
            .map(|whom| format!("1970-01-01T00:00:17Z  barred     {whom}  by olga: odd\n"));
        assert_eq!(lines, expected.concat());
    }
}
