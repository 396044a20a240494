//! `folkmoot clients`: who asks to join, who is let in, and who is put out.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Subcommand;
use identity::{AuthorisedRoster, LAST_ROSTER_FILE, Roster, printable, with_causes};
use operate::{Admin, AuthorityFolder, Doubt, Newcomer, Notice, SigningError};
use secagg::ClientId;

use crate::Failure;
use crate::connect::{Output, Remote};

#[derive(Subcommand, Debug)]
pub(crate) enum Clients {
    /// Show the members and who asks to become one.
    #[command(
        after_help = "Examples:\n  folkmoot clients list --as admin\n  folkmoot clients list --as admin --json"
    )]
    List {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        output: Output,
    },
    /// Admit silos that ask: sign the roster that names them, and put it in force.
    #[command(
        after_help = "Compare the fingerprint with what the silo's own machine shows, by telephone for example: it is \
                      what keeps another in the middle out. Several names make one roster. Which runs wait for how many silos to \
                      accept it is said first.\n\n\
                      Examples:\n  \
                      folkmoot clients approve north --as admin --authority authority\n  \
                      folkmoot clients approve north --as admin --authority authority --fingerprint 3f9a-22c1-…"
    )]
    Approve(ApproveArgs),
    /// Say no to a silo that asks.
    #[command(after_help = "Example:\n  folkmoot clients refuse north --reason 'no contract yet' --as admin")]
    Refuse {
        /// The name that it asks under.
        name: String,
        /// Why; the silo reads it.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Bar a member at once, on live connections too, and leave it out of the roster.
    #[command(
        after_help = "Without --authority the member is barred just as well, but the roster still names it: other \
                      silos learn of it from the next roster. With it, which runs wait for how many silos to accept that roster is \
                      said before it is signed.\n\n\
                      Example:\n  folkmoot clients revoke north --reason 'poisoned updates' --as admin --authority authority"
    )]
    Revoke(RevokeArgs),
    /// Let a member in again that was barred.
    #[command(
        after_help = "Only an administrator may. Of a silo that the roster does not name any more, only the bar is \
                      lifted: it enrols again. Where several had its name, give its number, as `folkmoot access list` shows it.\n\n\
                      Example:\n  folkmoot clients restore north --reason 'it was the disk after all' --as admin"
    )]
    Restore {
        /// The member's name, or its number.
        #[arg(value_name = "NAME|ID")]
        whom: String,
        /// Why; it goes into the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct ApproveArgs {
    /// The names that they ask under.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    remote: Remote,
    /// The authority's folder.
    #[arg(long, value_name = "FOLDER")]
    authority: PathBuf,
    /// The fingerprint that the silo's machine shows, once for each name: asks nothing, and fails where one differs.
    #[arg(long = "fingerprint", value_name = "XXXX-…", conflicts_with = "yes")]
    fingerprints: Vec<String>,
    /// Admit them without a comparison.
    #[arg(long)]
    yes: bool,
    /// The first new member's number; without it the next after the highest that this folder remembers to have given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    #[command(flatten)]
    trust: Trust,
}

#[derive(clap::Args, Debug, Default)]
pub(crate) struct Trust {
    /// Stand for the roster of this digest as the newest that the authority signed, where its folder does not remember it:
    /// after an update from the first release, or where another copy of the folder signed it. For an older one only where the
    /// coordinator's newest folder is lost: whom the last one signed here left out stays out all the same.
    #[arg(long, value_name = "DIGEST")]
    trust_current: Option<String>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The member's name, or its number.
    #[arg(value_name = "NAME|ID")]
    whom: String,
    /// Why; the silo reads it.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    remote: Remote,
    /// The authority's folder, to sign the roster without it.
    #[arg(long, value_name = "FOLDER")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

pub(crate) async fn run(clients: Clients) -> Result<(), Failure> {
    match clients {
        Clients::List { remote, output } => {
            let clients = remote.administer().await?.clients().await?.clients;
            output.print(&operate::clients_json(&clients), &operate::clients_text(&clients));
            Ok(())
        }
        Clients::Approve(args) => approve(args, &mut std::io::stdin().lock()).await,
        Clients::Refuse { name, reason, remote } => {
            let done = remote.administer().await?.refuse_client(name, reason).await?;
            println!("{}", printable(&done.text));
            Ok(())
        }
        Clients::Revoke(args) => revoke(args).await,
        Clients::Restore { whom, reason, remote } => {
            let mut admin = remote.administer().await?;
            let (clients, bars) = (admin.clients().await?.clients, admin.bars().await?);
            let id = operate::barred(&clients, &bars, &whom).map_err(|why| {
                Failure::from(why).and("whoever no roster names any more stands in `folkmoot access list`")
            })?;
            let done = admin.restore_client(id, reason).await?;
            println!("{}", printable(&done.text));
            Ok(())
        }
    }
}

async fn approve(args: ApproveArgs, answers: &mut impl BufRead) -> Result<(), Failure> {
    let mut authority = AuthorityFolder::open(&args.authority)?;
    let link = args.remote.connect().await?;
    let mut admin = Admin::over(link.clone());
    let seen = admin.clients().await?;
    let trusted = args.trust.trust_current.as_deref();
    let current = authority.current(&mut admin, &seen, trusted, &mut tell).await?;
    // What was submitted again may have admitted some of them.
    let clients = admin.clients().await?.clients;
    let (members, names) = operate::admitted(&current.roster, &clients, &args.names);
    for (id, member) in &members {
        if !args.fingerprints.is_empty() {
            confirm(member, &args, answers)?;
        }
        println!("silo {id} is {} already", printable(&member.name));
    }
    if names.is_empty() {
        return Ok(());
    }
    let asking = operate::asking(&clients, &names)?;
    let next = current.admit(&asking, args.number)?;
    let (renumbered, former) = (current.renumbered(&asking, &next), current.former_numbers());
    for (Newcomer { name, .. }, number) in &renumbered {
        eprintln!(
            "warning: {0} was silo {number} and asks with the keys of its old folder, which is of that number: admitted under another, it \
             does not start. Answer no, and give: folkmoot clients approve {0} --number {number} with the arguments of this command",
            printable(name)
        );
    }
    if args.number.is_none() && renumbered.is_empty() && !former.is_empty() {
        eprintln!(
            "warning: {} former members had the numbers {}: one of those that enrols again in its old folder has to keep its own, by \
             --number; under another one that folder is of no use (`folkmoot access list` names those that were barred)",
            former.len(),
            former.iter().take(20).map(u32::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    print!("{}", operate::what_will_wait(link, &current.before, &next).await);
    for newcomer in &asking {
        confirm(newcomer, &args, answers)?;
    }
    let highest = next.members.keys().map(|id| id.0).fold(current.highest_number, u32::max);
    let number = highest.checked_add(1).map(|number| {
        format!("run this again, with --number {number} or higher if a number is what it refuses,")
    });
    let again = number.as_deref().unwrap_or("run this again");
    authority.extend(&mut admin, &current.before, &next, again, &mut tell).await?;
    for (id, member) in next.members.iter().filter(|(_, member)| member.admitted == next.epoch) {
        println!("silo {id} is {}", printable(&member.name));
    }
    Ok(())
}

async fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    // A wrong folder is found before anybody is barred.
    let authority = args.authority.as_deref().map(AuthorityFolder::open).transpose()?;
    let link = args.remote.connect().await?;
    let mut admin = Admin::over(link.clone());
    let id = operate::member(&admin.clients().await?.clients, &args.whom)?;
    let done = admin.revoke_client(id, args.reason).await?;
    println!("{}", printable(&done.text));
    let Some(mut authority) = authority else {
        eprintln!(
            "warning: the roster still names it; with the authority's folder run this again with --authority FOLDER, \
             so that every silo learns of it"
        );
        return Ok(());
    };
    let seen = admin.clients().await?;
    let trusted = args.trust.trust_current.as_deref();
    let current = authority.current(&mut admin, &seen, trusted, &mut tell).await?;
    if let Some(next) = current.leave_out(id, &args.whom)? {
        print!("{}", operate::what_will_wait(link, &current.before, &next).await);
        authority.extend(&mut admin, &current.before, &next, "run this again", &mut tell).await?;
    }
    Ok(())
}

/// What becomes of rosters, as it happens.
fn tell(note: Notice) {
    match note {
        Notice::SubmittedAgain { epoch } => println!(
            "the roster of epoch {epoch}, which was signed here, is not in force; it is submitted again"
        ),
        Notice::StaysOut { id, name } => eprintln!(
            "warning: silo {id}, {}, is not in the last roster that was signed here, and will not be in the next one",
            printable(&name)
        ),
        Notice::InItsPlace { epoch, why, on } => eprintln!(
            "warning: the coordinator refuses the roster of epoch {epoch}: {why}; the next one is signed on that of epoch {on} in its \
             place, without whom the refused one left out; whom the refused one admitted has to be approved again"
        ),
        Notice::Signed(change) => println!("{}", printable(&change.to_string())),
        Notice::InForce(text) => println!("{}", printable(&text)),
    }
}

/// The error in the words of this command line: what is done with which argument.
pub(crate) fn in_words(why: &SigningError) -> String {
    match why {
        SigningError::Sealed(why) => format!("--authority: {}", with_causes(why)),
        SigningError::NotTheLast { last, epoch } => format!(
            "the last roster that was signed with this key is roster {last} of epoch {epoch}, as {LAST_ROSTER_FILE} beside it says, and the \
             next one follows that one and no other: leave --previous out, or name that one. Nothing was signed"
        ),
        SigningError::Doubtful { why, shown } => {
            format!(
                "{}. It shows {}Nothing was signed",
                what_to_do(why, &shown.digest().to_string()),
                described(shown)
            )
        }
        SigningError::AnotherShown { shown, given } => format!(
            "--trust-current: the coordinator shows {}not {given}; nothing was signed",
            described(shown)
        ),
        SigningError::TakenAndNotShown { signed, shown } => format!(
            "the coordinator says that it took the last roster that was signed here, of epoch {signed}, and shows an OLDER roster, or \
             another one, as the one in force: {}Nothing was signed; find out why it does before it is given another roster",
            described(shown)
        ),
        why => why.to_string(),
    }
}

/// How a person resolves it, by standing for the roster of this digest.
fn what_to_do(doubt: &Doubt, digest: &str) -> String {
    match doubt {
        Doubt::NothingRemembered => format!(
            "this folder does not remember which roster it signed last: a release before this one made it, or last-roster.json is \
             lost. If what is shown is the newest roster that you signed, with exactly these members, say so once with \
             --trust-current {digest}"
        ),
        Doubt::AnotherCopy { epoch } => format!(
            "the coordinator shows a later roster than the last one that was signed here, of epoch {epoch}. If another copy of the \
             authority's folder signed it, say so with --trust-current {digest}"
        ),
        Doubt::Older { epoch } => format!(
            "the coordinator shows an OLDER roster as the one in force than the last one that was signed here, of epoch {epoch}, or one \
             that was signed beside that one by another copy of the authority's folder. Find out why it does, and restore its folder if \
             that was rolled back. If it is to go on from there all the same, say so with --trust-current {digest}: whom the last one left \
             out stays out, whom it admitted is approved again, and silos that hold the last one need the next one from you"
        ),
        Doubt::RefusesWhatItTook { epoch, why } => format!(
            "the coordinator refuses the roster of epoch {epoch}, which it had in force before: {why}. Silos may hold that one, and would \
             take none that is signed in its place. Find out why it does, and restore its newest folder. If that is lost, and it is \
             to go on from the roster before, say so with --trust-current {digest}"
        ),
    }
}

/// A roster with its members, as people compare them.
fn described(shown: &AuthorisedRoster) -> String {
    format!("roster {} of epoch {}\n{}", shown.digest(), shown.epoch, members(shown))
}

fn members(roster: &Roster) -> String {
    let line = |(id, member): (&ClientId, &identity::Member)| {
        let fingerprint = member.fingerprint().unwrap_or_else(|| "no key".to_owned());
        format!("{id:>4}  {:<16}  {fingerprint}\n", printable(&member.name))
    };
    roster.members.iter().map(line).collect()
}

fn confirm(newcomer: &Newcomer, args: &ApproveArgs, answers: &mut impl BufRead) -> Result<(), Failure> {
    let Newcomer { name, fingerprint, .. } = newcomer;
    if args.yes {
        return Ok(());
    }
    if !args.fingerprints.is_empty() {
        let same = |given: &String| given.trim().eq_ignore_ascii_case(fingerprint);
        return match args.fingerprints.iter().any(same) {
            true => Ok(()),
            false => Err(Failure::verification(format!(
                "who asks as `{name}` has the fingerprint {fingerprint}, which is not what was given; if the silo's \
                 machine shows another, somebody else asks in its name: folkmoot clients refuse {name} --reason TEXT"
            ))),
        };
    }
    println!("`{name}` asks to join. Its machine must show this fingerprint:\n  {fingerprint}");
    print!("Does it? [y/N] ");
    let mut answer = String::new();
    std::io::stdout().flush().map_err(Failure::failed)?;
    answers.read_line(&mut answer).map_err(Failure::failed)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed(format!(
            "`{name}` is not admitted; folkmoot clients refuse {name} --reason TEXT says so to it"
        ))),
    }
}
