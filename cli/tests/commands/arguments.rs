//! What can be called, and what cannot.

use clap::{CommandFactory, Parser};
use cli::Command;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Command::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_consistent() {
    Command::command().debug_assert();
}

#[test]
fn every_documented_call_parses() {
    for line in [
        "folkmoot demo",
        "folkmoot demo --clients 3 --rounds 7 --epsilon 2.5 --privacy distributed_dp_sgd --json",
        "folkmoot demo --privacy none --kill-client-at-round 5 --dir dir --keep",
        "folkmoot bench soak",
        "folkmoot bench soak --rounds 1000 --clients 5 --churn 10 --seed 7 --data dir --json",
        "folkmoot coordinator --config c.toml --check",
        "folkmoot client --config c.toml",
        "folkmoot status --coordinator http://127.0.0.1:1 --json",
        "folkmoot status --as admin",
        "folkmoot watch --coordinator https://h:1 --authority-file a.json",
        "folkmoot watch --coordinator http://127.0.0.1:1",
        "folkmoot model fetch --coordinator http://127.0.0.1:1 --out m --round 3",
        "folkmoot model export --data d --master f out",
        "folkmoot model card dir --evaluation e --out out",
        "folkmoot model card dir --evaluation e --evaluation f --out out --model-key k --master m",
        "folkmoot data inspect silo.csv --plan plan.toml",
        "folkmoot data inspect --config client.toml --page silo.html",
        "folkmoot data inspect exports/ --registration registration.toml --json",
        "folkmoot data register silo.csv --plan plan.toml",
        "folkmoot data register exports/ --label Ill --out ward.toml --yes",
        "folkmoot run pause --reason why --as admin",
        "folkmoot run resume --coordinator https://h:1 --authority-file a.json",
        "folkmoot model fetch --as admin --bundle dir --round 3",
        "folkmoot model quarantine 12 --reason why --as admin",
        "folkmoot model rollback 11 --reason why --as admin",
        "folkmoot tokens create --silo north --expires 24h --as admin",
        "folkmoot tokens create --operator olga --role viewer --expires 30d --as admin",
        "folkmoot tokens list --as admin",
        "folkmoot tokens withdraw 01234567 --as admin",
        "folkmoot operators issue --name olga --role operator --out olga --days 30 --as admin",
        "folkmoot clients list --as admin",
        "folkmoot clients approve north south --as admin --authority a --fingerprint 1-2 --fingerprint 3-4",
        "folkmoot clients approve north --as admin --authority a --yes --number 9",
        "folkmoot clients refuse north --reason why --as admin",
        "folkmoot clients revoke 3 --reason why --as admin --authority a",
        "folkmoot access revoke olga --reason why --as admin",
        "folkmoot incident open --title t --as admin",
        "folkmoot incident note 1 text --as admin",
        "folkmoot incident close 1 --resolution r --as admin",
        "folkmoot incident report INC-0001 --out r.tar --as admin",
        "folkmoot incident verify r.tar --key k.pem",
        "folkmoot incident list --as admin",
        "folkmoot doctor --as admin",
        "folkmoot keys rotate --as admin",
        "folkmoot verify dir --key 00 --quiet",
        "folkmoot verify dir --key 00 --model-key m.pem --plan plan.json",
        "folkmoot audit verify dir --key PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "folkmoot audit verify dir --against c --receipt r \
         --key PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "folkmoot audit show dir --action upload.received --round 3 --json",
        "folkmoot audit export dir --out copy",
        "folkmoot keys new f",
        "folkmoot keys show f",
        "folkmoot keys master f",
        "folkmoot keys rotate --data d --master f",
        "folkmoot keys rotate --data d --data e --master f --new-master n",
        "folkmoot keys rotate --data d --master credential:c --end",
        "folkmoot keys rotate",
        "folkmoot status --token-file - --authority-file a.json --coordinator https://fl.example.org:7440",
        "folkmoot roster show --as admin",
        "folkmoot roster show roster.json --authority-file a.json",
        "folkmoot plan check p --policy q",
        "folkmoot simulate --seed 3 --trace --without loss,liar",
        "folkmoot simulate --seeds 0..2000 --jobs 2 --json",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
    }
}

#[test]
fn every_documented_call_about_one_of_several_runs_parses() {
    for line in [
        "folkmoot runs submit plan.json --as author --json",
        "folkmoot runs list --as admin --json",
        "folkmoot runs show --as admin",
        "folkmoot runs show wards --plan-out p.json --as admin",
        "folkmoot runs pause wards --reason why --as admin",
        "folkmoot runs resume 3f2a --as admin",
        "folkmoot runs stop wards --reason why --as author",
        "folkmoot runs extend wards --rounds 5 --key k --as author",
        "folkmoot runs extend wards --rounds 5 --key k --name wards-2 --as author",
        "folkmoot status --run wards --as admin",
        "folkmoot watch --run wards --as admin",
        "folkmoot model fetch --run wards --as admin --out m",
        "folkmoot model rollback 11 --run wards --reason why --as admin",
        "folkmoot incident report INC-0001 --run wards --out r.tar --as admin",
        "folkmoot run pause --run wards --reason why --as admin",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
    }
}

#[test]
fn impossible_calls_are_usage_errors() {
    for line in [
        "folkmoot",
        "folkmoot demo --clients 2",
        "folkmoot demo --clients many",
        "folkmoot demo --rounds 0",
        "folkmoot bench",
        "folkmoot bench soak --clients 3",
        "folkmoot demo --epsilon -1",
        "folkmoot demo --epsilon nan",
        "folkmoot demo --privacy local",
        "folkmoot keys rotate --master f",
        "folkmoot keys rotate --data d",
        "folkmoot keys rotate --data d --master f --as admin",
        "folkmoot keys rotate --as admin --token-file t",
        "folkmoot tokens create --expires 24h --as admin",
        "folkmoot tokens create --silo north --operator olga --role viewer --expires 24h",
        "folkmoot tokens create --operator olga --expires 24h",
        "folkmoot tokens create --operator olga --role owner --expires 24h",
        "folkmoot tokens create --silo north --expires soon",
        "folkmoot clients approve --authority a",
        "folkmoot clients approve north",
        "folkmoot clients approve north --authority a --yes --fingerprint 1-2",
        "folkmoot clients revoke north",
        "folkmoot operators issue --name olga --role operator --out olga --days 91",
        "folkmoot run pause",
        "folkmoot runs",
        "folkmoot runs submit",
        "folkmoot runs stop wards",
        "folkmoot runs extend wards --key k",
        "folkmoot runs extend wards --rounds 5",
        "folkmoot runs stop --reason why",
        "folkmoot model rollback --reason why",
        "folkmoot model card dir --out out",
        "folkmoot model card dir --evaluation e --out out --master m",
        "folkmoot keys rotate --data d --master f --new-master n --end",
        "folkmoot simulate",
        "folkmoot simulate --seeds 0..9 --trace",
        "folkmoot simulate --seeds 7",
        "folkmoot simulate --seeds 7..7",
        "folkmoot simulate --seeds 9..3",
        "folkmoot simulate --seeds a..b",
        "folkmoot simulate --seeds ..4",
        "folkmoot simulate --seed 1 --without weather",
        "folkmoot model fetch --coordinator http://127.0.0.1:1 --out m --round 3 --digest 00",
        "folkmoot model fetch --as admin",
        "folkmoot model fetch --as admin --out m --bundle dir",
        "folkmoot audit verify dir",
        "folkmoot audit verify dir --key PeterNeumann+00000000+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert_eq!(parse(line).map(|_| ()).unwrap_err().exit_code(), 2, "{line}");
    }
}
