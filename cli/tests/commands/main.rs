//! The commands against a real desk behind its guard, over TLS.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::{
    Desk, FakeRun, Guard, IssuedCertificate, Issuer, Lifetimes, Operations, Purpose, Queue, Rates, Registry,
    RunDesk,
};
use clap::Parser;
use cli::{Command, Failure, perform};
use ed25519_dalek::Signer;
use identity::{
    Authority, IdentityKey, JoinToken, LAST_ROSTER_FILE, LastSigned, Role, Roster, SignedRoster, Subject,
    identity_fingerprint, join_signed_bytes, spoken,
};
use operate::{Target, now_s};
use pki::{CertificateAuthority, Incoming, ServerTls, TransportKey};
use rand::rand_core::UnwrapErr;
use secagg::ClientId;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use vault::{MasterSource, Vault};
use wire::v1;
use wire::v1::enrolment_client::EnrolmentClient;

use program::Ended;

mod admissions;
mod arguments;
mod audits;
mod canaries;
mod chains;
mod demonstrations;
mod exports;
mod inspections;
mod keys;
mod ledgers;
mod long_runs;
mod noise;
mod plans;
mod predictions;
mod program;
mod registrations;
mod rosters;
mod runs;
mod shapes;
mod signing;

struct RealIssuer(Arc<CertificateAuthority>);

impl Issuer for RealIssuer {
    fn issue(
        &self,
        request: &[u8],
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, String> {
        let issued = self.0.issue(request, subject, &[], now_s().unwrap(), lifetime.as_secs());
        let issued = issued.map_err(|why| why.to_string())?;
        Ok(IssuedCertificate { chain: issued.chain_pem, not_after_s: issued.not_after_s })
    }
}

/// A federation without members, its administrator's folder `admin` and its authority's `authority`.
struct Federation {
    folder: TempDir,
    registry: Arc<Registry>,
    run: Arc<FakeRun>,
    authority: Authority,
    authority_key: IdentityKey,
    runtime: Runtime,
}

impl Federation {
    fn new() -> Self {
        Self::with(long_runs::LongRun { rounds: 1, last: long_runs::Last::Ends })
    }

    /// Whose coordinator has published this chain.
    fn with(chain: long_runs::LongRun) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rng = &mut UnwrapErr(rand::rngs::SysRng);
        let authority_key = IdentityKey::generate(rng);
        let now = now_s().unwrap();
        let ca = Arc::new(CertificateAuthority::create("hospitals", now).unwrap());
        let authority = Authority {
            federation: "hospitals".into(),
            key: hex::encode(authority_key.public().as_bytes()),
            ca_certificate: ca.certificate_pem().to_owned(),
        };
        let own = folder.path().join("authority");
        fs::create_dir(&own).unwrap();
        vault::make_master(&own.join("master.key")).unwrap();
        let vault = Vault::create(&own, MasterSource::File(own.join("master.key"))).unwrap();
        let secret = authority_key.secret_hex();
        vault::write_secret(&own.join("authority.key"), &vault, "authority.key", secret.as_bytes()).unwrap();

        let roster = Roster {
            format: None,
            previous: None,
            federation: "hospitals".into(),
            epoch: 1,
            coordinator_key: hex::encode(published::samples::key().verifying_key().as_bytes()),
            members: [].into(),
        };
        let registry = Arc::new(Registry::open(&folder.path().join("access.json")).unwrap());
        registry.settle_roster(&roster, "init", now).unwrap();
        let signed = roster.sign(&authority_key);
        let last = LastSigned::new(signed.clone().authorise(&authority_key.public()).unwrap());
        fs::write(own.join(LAST_ROSTER_FILE), last.to_json()).unwrap();
        let run = Arc::new(FakeRun::new(signed));
        let clock: access::WallClock = Arc::new(|| now_s().unwrap() * 1000);
        let operations = Arc::clone(&run) as Arc<dyn Operations>;
        let issuer = Arc::new(RealIssuer(Arc::clone(&ca)));
        let desk =
            Desk::new(registry.clone(), &authority, operations, issuer, Lifetimes::default(), clock.clone())
                .unwrap();
        let guard = Guard::new(registry.clone(), &Rates::default(), clock, Arc::new(|_| {}));

        let runtime = Runtime::new().unwrap();
        let key = TransportKey::generate().unwrap();
        let names = ["localhost".to_owned()];
        let issued = ca.issue(&key.request_der().unwrap(), &Subject::Coordinator, &names, now, 3600).unwrap();
        let tls = ServerTls::new(&issued.chain_pem, &key, ca.certificate_pem(), Arc::new(|_| false)).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let runs = RunDesk::new(Arc::clone(&run) as Arc<dyn Queue>);
        let services = Server::builder().layer(guard).add_service(desk.admin());
        let services = services.add_service(desk.enrolment()).add_service(runs.service());
        let server = chain.serve(services);
        runtime.spawn(async move { server.serve_with_incoming(Incoming::tls(listener, tls)).await });

        let this = Self { folder, registry, run, authority, authority_key, runtime };
        let admin = this.path("admin");
        fs::create_dir(&admin).unwrap();
        let key = TransportKey::generate().unwrap();
        let ada = Subject::operator("ada", Role::Admin).unwrap();
        let issued = ca.issue(&key.request_der().unwrap(), &ada, &[], now, 3600).unwrap();
        fs::write(admin.join("operator.key"), key.to_pem().as_str()).unwrap();
        fs::write(admin.join("operator.crt"), issued.chain_pem).unwrap();
        fs::write(admin.join("authority.json"), this.authority.to_canonical()).unwrap();
        fs::write(admin.join("coordinator"), format!("https://localhost:{port}\n")).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command as it would be typed; `@NAME` is that folder here.
    fn run(&self, line: &str) -> Result<(), Failure> {
        let words = line.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        });
        perform(Command::try_parse_from(std::iter::once("folkmoot".to_owned()).chain(words)).unwrap())
            .map(drop)
    }

    /// The same as a process of its own, with `answers` to what it asks.
    fn answer(&self, line: &str, answers: &str) -> Ended {
        program::folkmoot(self.folder.path(), line, answers)
    }

    fn asked(&self) -> Vec<String> {
        self.run.take_asked()
    }

    fn roster(&self) -> Roster {
        self.run.roster.lock().unwrap().open(&self.authority_key.public()).unwrap()
    }

    /// A silo with new keys asks to join; gives its fingerprint.
    fn ask(&self, name: &str) -> String {
        self.ask_with(name, &IdentityKey::generate(&mut UnwrapErr(rand::rngs::SysRng)))
    }

    /// A silo with this key asks to join with a token that an administrator made; gives its fingerprint.
    fn ask_with(&self, name: &str, key: &IdentityKey) -> String {
        let rng = &mut UnwrapErr(rand::rngs::SysRng);
        let token = JoinToken::generate(name, self.authority.fingerprint(), rng).unwrap();
        let (now, purpose) = (now_s().unwrap(), Purpose::Silo { name: name.into() });
        self.registry.register_token(token.secret_hash(), purpose, now + 60, now).unwrap();
        let certificate_request = TransportKey::generate().unwrap().request_der().unwrap();
        let signed = join_signed_bytes(token.secret(), name, &certificate_request);
        let join = v1::JoinRequest {
            secret: token.secret().to_vec(),
            silo: name.into(),
            identity_key: key.public().as_bytes().to_vec(),
            certificate_request,
            signature: key.signing_key().sign(&signed).to_bytes().to_vec(),
        };
        let admin = Target { folder: Some(self.path("admin")), ..Target::default() };
        let joined = async { EnrolmentClient::new(admin.connect().await.unwrap()).join(join).await };
        self.runtime.block_on(joined).unwrap();
        spoken(&identity_fingerprint(name, &key.public()))
    }
}

fn text(result: Result<(), Failure>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn silos_are_admitted_by_their_fingerprints_in_one_epoch_and_put_out_in_another() {
    let federation = Federation::new();
    let (north, south) = (federation.ask("north"), federation.ask("south"));
    federation.run("clients list --as @admin").unwrap();
    let approve = "clients approve north south --as @admin --authority @authority";
    let wrong = federation.run(&format!("{approve} --fingerprint {north} --fingerprint 0000-0000"));
    assert!(matches!(wrong, Err(Failure::Verification(_))), "{wrong:?}");
    assert!(federation.roster().members.is_empty());

    federation.run(&format!("{approve} --fingerprint {north} --fingerprint {south}")).unwrap();
    let roster = federation.roster();
    let named: Vec<_> = roster.members.iter().map(|(id, member)| (id.0, member.name.as_str())).collect();
    assert_eq!((roster.epoch, named), (2, vec![(1, "north"), (2, "south")]));

    federation.run("roster show --as @admin").unwrap();

    // Barred at once; the roster follows when the authority's key is there.
    federation.run("clients revoke north --reason poisoned --as @admin").unwrap();
    assert_eq!((federation.asked(), federation.roster().epoch), (vec!["removed 1".to_owned()], 2));
    federation.run("clients revoke 1 --reason poisoned --as @admin --authority @authority").unwrap();
    let roster = federation.roster();
    assert_eq!((roster.epoch, roster.members.keys().copied().collect()), (3, vec![ClientId(2)]));
}

#[test]
fn the_usual_folder_is_whom_every_command_calls_as_and_a_token_beside_it_is_no_silent_choice() {
    let federation = Federation::new();
    let run = |line: &str, token: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_folkmoot"));
        command
            .args(line.split_whitespace())
            .current_dir(federation.folder.path())
            .env("FOLKMOOT_AS", "admin");
        command.envs(token.map(|token| ("FOLKMOOT_TOKEN", token)));
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run("keys rotate", None).0, 0);
    assert_eq!(federation.asked(), ["rotated by ada"]);
    for (line, token) in
        [("keys rotate", Some("t")), ("clients list", Some("t")), ("clients list --token-file t", None)]
    {
        let (code, why) = run(line, token);
        assert_eq!(code, program::USAGE, "{line}: {why}");
        assert!(
            ["FOLKMOOT_TOKEN", "--token-file", "`admin`", "FOLKMOOT_AS"]
                .iter()
                .all(|name| why.contains(name)),
            "{why}"
        );
    }
    assert_eq!(federation.asked(), Vec::<String>::new());
}

#[test]
fn a_silo_that_is_refused_asks_no_longer() {
    let federation = Federation::new();
    let east = federation.ask("east");
    federation.run("clients refuse east --reason contract --as @admin").unwrap();
    let approve = format!("clients approve east --as @admin --authority @authority --fingerprint {east}");
    assert!(text(federation.run(&approve)).contains("nobody asks"));
    assert!(text(federation.run("clients refuse east --reason again --as @admin")).contains("east"));
}

#[test]
fn a_token_is_registered_by_its_hash_and_withdrawn_by_its_id() {
    let federation = Federation::new();
    federation.run("tokens create --silo north --expires 24h --as @admin").unwrap();
    federation.run("tokens create --operator olga --role viewer --expires 30d --as @admin").unwrap();
    let tokens = federation.registry.tokens();
    let purposes: Vec<_> = tokens.iter().map(|token| token.purpose.clone()).collect();
    let olga = Purpose::Operator { name: "olga".into(), role: Role::Viewer };
    assert_eq!(purposes, [Purpose::Silo { name: "north".into() }, olga]);
    assert!(tokens[0].expires_s.abs_diff(now_s().unwrap() + 86_400) < 60);
    federation.run(&format!("tokens withdraw {} --as @admin", tokens[1].id())).unwrap();
    federation.run("tokens list --as @admin").unwrap();
    let now = now_s().unwrap();
    let standing: Vec<_> = federation.registry.tokens().iter().map(|token| token.standing(now)).collect();
    assert_eq!(standing, ["good", "withdrawn"]);
}

#[test]
fn an_operators_folder_opens_the_coordinator_in_its_role_until_the_name_is_barred() {
    let federation = Federation::new();
    federation.run("operators issue --name olga --role operator --out @olga --days 1 --as @admin").unwrap();
    federation.run("run pause --reason odd --as @olga").unwrap();
    assert_eq!(federation.asked(), ["paused by olga: odd"]);
    // Her role grants nobody anything.
    assert!(text(federation.run("tokens list --as @olga")).contains("needs"));
    let again = text(federation.run("operators issue --name o --role viewer --out @olga --as @admin"));
    assert!(again.contains("exists"), "{again}");
    // A slip holds too, and warns.
    federation.run("access revoke olag --reason lost --as @admin").unwrap();
    federation.run("access revoke olga --reason lost --as @admin").unwrap();
    assert!(text(federation.run("run resume --as @olga")).contains("lost"));
    federation.run("access revoke olga --reason lost --as @admin").unwrap();
    assert_eq!(federation.asked(), Vec::<String>::new());
}

#[test]
fn a_bar_is_shown_and_lifted_and_a_pair_is_reconciled() {
    let federation = Federation::new();
    let (north, south) = (federation.ask("north"), federation.ask("south"));
    federation
        .run(&format!(
            "clients approve north south --as @admin --authority @authority --fingerprint {north} --fingerprint {south}"
        ))
        .unwrap();
    federation.run("operators issue --name olga --role operator --out @olga --days 1 --as @admin").unwrap();
    federation.run("clients revoke north --reason odd --as @olga").unwrap();
    federation.run("access list --as @olga").unwrap();
    assert!(text(federation.run("clients restore north --reason fine --as @olga")).contains("needs"));
    federation.run("clients restore north --reason fine --as @admin").unwrap();
    federation.run("access revoke olga --reason lost --as @admin").unwrap();
    assert!(text(federation.run("run reconcile north 2 --reason memory --as @olga")).contains("lost"));
    federation.run("access restore olga --reason found --as @admin").unwrap();
    federation.run("run reconcile north 2 --reason memory --as @olga").unwrap();
    let asked = ["removed 1", "restored 1 by ada: fine", "reconciled 1 and 2 by olga: memory"];
    assert_eq!(federation.asked(), asked);
    assert!(federation.registry.denials().is_empty());
}

#[test]
fn an_incident_is_dealt_with_from_its_opening_to_its_close() {
    let federation = Federation::new();
    for line in [
        "incident open --title odd",
        "run pause --reason odd",
        "model quarantine 12 --reason poisoned",
        "model rollback 11 --reason poisoned",
        "keys rotate",
        "incident note INC-0001 paused",
        "run resume",
        "incident close INC-0001 --resolution out",
        "incident close INC-0001 --resolution again",
        "incident list",
    ] {
        federation.run(&format!("{line} --as @admin")).unwrap();
    }
    let asked = [
        "paused by ada: odd",
        "round 12 quarantined by ada: poisoned",
        "rolled back to 11 by ada: poisoned",
        "rotated by ada",
        "resumed by ada",
    ];
    assert_eq!(federation.asked(), asked);
    let incident = federation.registry.incidents().pop().unwrap();
    let notes: Vec<_> = incident.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(notes, ["paused", "out"]);
    assert!(incident.closed_ms.is_some());
}

#[test]
fn a_coordinator_of_another_federation_is_not_talked_to_and_the_doctor_says_why() {
    let federation = Federation::new();
    federation.run("doctor --as @admin").unwrap();
    let other = CertificateAuthority::create("others", now_s().unwrap()).unwrap();
    let authority =
        Authority { ca_certificate: other.certificate_pem().to_owned(), ..federation.authority.clone() };
    let file = federation.path("other.json");
    fs::write(&file, authority.to_canonical()).unwrap();
    let url = fs::read_to_string(federation.path("admin").join("coordinator")).unwrap();
    let remote = format!("--coordinator {} --authority-file @other.json", url.trim());
    for command in ["clients list", "doctor"] {
        let why = federation.run(&format!("{command} {remote}")).unwrap_err();
        assert!(matches!(why, Failure::Unreachable(_)), "{why}");
    }
}
