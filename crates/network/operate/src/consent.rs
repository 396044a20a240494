//! What waits for whom once a roster is signed: said before anybody is asked to sign it.

use identity::{Roster, printable};
use run_status::{ClientStatus, RunState, Standing, Status};

use crate::connect::Link;
use crate::operator::status;
use crate::runs::Runs;

/// A run that is not over, and how many silos its rounds need.
struct Need {
    name: String,
    state: RunState,
    minimum: usize,
}

/// In words, a line for each thing: which silos have accepted the roster in force, and which runs begin no round until how many have
/// accepted the next one. A coordinator that cannot be asked that is said to be one.
pub async fn what_will_wait(link: Link, before: &Roster, next: &Roster) -> String {
    match asked(link).await {
        Ok((shown, needs)) => described(before, next, &shown, &needs),
        Err(why) => format!(
            "{}  which runs wait for that cannot be said: {}\n",
            beginning(before, next),
            printable(&why)
        ),
    }
}

async fn asked(link: Link) -> Result<(Status, Vec<Need>), String> {
    let shown = status(link.clone(), None).await.map_err(|why| why.to_string())?.run;
    let mut runs = Runs::over(link);
    let mut needs = Vec::new();
    for run in runs.list().await.map_err(|why| why.to_string())? {
        if run.state.is_over() {
            continue;
        }
        let (_, signed) = runs.show(Some(run.run)).await.map_err(|why| why.to_string())?;
        let minimum = signed.open().map_err(|why| why.to_string())?.cohort.minimum;
        needs.push(Need { name: run.name, state: run.state, minimum });
    }
    Ok((shown, needs))
}

fn described(before: &Roster, next: &Roster, shown: &Status, needs: &[Need]) -> String {
    let mut text = beginning(before, next);
    let silos = next.members.len();
    for Need { name, state, minimum } in needs {
        let name = printable(name);
        let then = match state {
            RunState::Paused => format!("`{name}`, once it is resumed,"),
            RunState::Queued => format!("`{name}`, once it is its turn,"),
            _ => format!("`{name}`"),
        };
        text += &match minimum.checked_sub(silos) {
            None | Some(0) if before.members.is_empty() => {
                format!("  {then} begins a round once {minimum} of the {silos} are connected\n")
            }
            None | Some(0) => format!(
                "  {then} begins no round until {minimum} of the {silos} have accepted it, and goes on with those that have\n"
            ),
            Some(lacking) => format!(
                "  {then} begins no round at all: it needs {minimum} silos, and that roster has {silos}; admit {lacking} more\n"
            ),
        };
    }
    if needs.is_empty() {
        text += "  no run is in progress or waits: nothing stops for it\n";
    }
    let accepted = |silo: &ClientStatus| accepted(silo, shown.ended.is_some());
    let have = listed(shown, |silo| accepted(silo) == Some(true), |_| None);
    let lack = listed(shown, |silo| accepted(silo) == Some(false), |silo| Some(silo.last_reason.clone()));
    let away = listed(shown, |silo| silo.state == Standing::NotConnected, |_| None);
    for (what, silos) in [("accepted by", have), ("not accepted yet by", lack), ("not connected", away)] {
        if !silos.is_empty() {
            text += &format!("  epoch {}, which is in force: {what} {silos}\n", before.epoch);
        }
    }
    text
}

fn beginning(before: &Roster, next: &Roster) -> String {
    if before.members.is_empty() {
        return format!(
            "Roster epoch {} is the first with members. They get it as they enrol: none of them has to accept it.\n",
            next.epoch
        );
    }
    format!(
        "Roster epoch {} follows {}. A silo is in rounds again once it has accepted it: by itself where its policy says \
         roster_changes = \"auto\"; where it says \"by_hand\", as enrolment writes it, once its operator has (`folkmoot-client roster \
         accept`).\n",
        next.epoch, before.epoch
    )
}

/// Whether a silo has accepted the roster in force, by what it does; nothing of one that is not here, or is barred, or is asked nothing,
/// as the run is over.
fn accepted(silo: &ClientStatus, is_over: bool) -> Option<bool> {
    match silo.state {
        Standing::CheckedIn
        | Standing::Awaited
        | Standing::Answered
        | Standing::LeftOut
        | Standing::Refuses => Some(true),
        Standing::Connected => (!is_over).then_some(false),
        Standing::NotConnected | Standing::Barred | Standing::Unknown => None,
    }
}

fn listed(
    shown: &Status,
    which: impl Fn(&ClientStatus) -> bool,
    more: impl Fn(&ClientStatus) -> Option<String>,
) -> String {
    let one = |silo: &ClientStatus| {
        let more = more(silo).filter(|why| !why.is_empty());
        let why = more.map_or_else(String::new, |why| format!(" ({})", printable(&why)));
        format!("{}{why}", shown.label(silo.id))
    };
    shown.clients.iter().filter(|silo| which(silo)).map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use identity::samples;
    use secagg::ClientId;

    use super::*;

    fn status_of(silos: &[(&str, Standing, &str)]) -> Status {
        let mut status = run_status::samples::shown().run;
        status.ended = None;
        let one = status.clients[0].clone();
        let silo = |(id, (name, state, why)): (usize, &(&str, Standing, &str))| ClientStatus {
            id: ClientId(id as u32 + 1),
            name: (*name).into(),
            state: *state,
            last_reason: (*why).into(),
            ..one.clone()
        };
        status.clients = silos.iter().enumerate().map(silo).collect();
        status
    }

    fn need(name: &str, state: RunState, minimum: usize) -> Need {
        Need { name: name.into(), state, minimum }
    }

    #[test]
    fn who_has_accepted_what_and_how_many_have_to_is_said_of_each_run_that_is_not_over() {
        let (before, next) = (
            samples::roster(4, &["north", "south", "west", "east"]),
            samples::roster(5, &["north", "south", "east"]),
        );
        let why = "its operator has not accepted a later roster";
        let shown = status_of(&[
            ("north", Standing::Answered, "was late"),
            ("south", Standing::Connected, why),
            ("west", Standing::Barred, "revoked"),
            ("east", Standing::NotConnected, ""),
        ]);
        let needs = [
            need("digits", RunState::Running, 3),
            need("wards", RunState::Paused, 2),
            need("hearts", RunState::Queued, 5),
        ];
        let text = described(&before, &next, &shown, &needs);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("Roster epoch 5 follows 4. ") && lines[0].contains("roster accept"),
            "{text}"
        );
        assert_eq!(
            lines[1..],
            [
                "  `digits` begins no round until 3 of the 3 have accepted it, and goes on with those that have",
                "  `wards`, once it is resumed, begins no round until 2 of the 3 have accepted it, and goes on with those that have",
                "  `hearts`, once it is its turn, begins no round at all: it needs 5 silos, and that roster has 3; admit 2 more",
                "  epoch 4, which is in force: accepted by 1 north",
                "  epoch 4, which is in force: not accepted yet by 2 south (its operator has not accepted a later roster)",
                "  epoch 4, which is in force: not connected 4 east",
            ]
        );
    }

    #[test]
    fn where_no_run_goes_on_nothing_stops() {
        let text = described(&samples::roster(1, &[]), &samples::roster(2, &["north"]), &status_of(&[]), &[]);
        assert!(text.ends_with("nothing stops for it\n") && text.lines().count() == 2, "{text}");
    }

    #[test]
    fn nobody_has_to_accept_the_first_roster_with_members() {
        let next = samples::roster(2, &["north", "south", "west"]);
        let needs = [need("digits", RunState::Waiting, 3)];
        let text = described(&samples::roster(1, &[]), &next, &status_of(&[]), &needs);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("epoch 2 is the first with members") && !text.contains("by_hand"),
            "{text}"
        );
        assert_eq!(lines[1..], ["  `digits` begins a round once 3 of the 3 are connected"]);
    }

    #[test]
    fn who_is_connected_while_no_run_goes_on_is_not_said_to_have_accepted_nothing() {
        let mut shown = status_of(&[("north", Standing::Connected, "")]);
        shown.ended = run_status::samples::shown().run.ended;
        let roster = samples::roster(4, &["north"]);
        let text = described(&roster, &samples::roster(5, &["north"]), &shown, &[]);
        assert!(!text.contains("epoch 4, which is in force"), "{text}");
    }
}
