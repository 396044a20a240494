//! The sample configurations are read by people first: whatever they copy must work. What the daemons make of
//! theirs is tested beside the daemons.

use plan::{Plan, Policy};
use toml::Table;

use crate::tree;

#[test]
fn every_sample_configuration_parses() {
    let samples = tree::files("deploy", "toml");
    assert!(!samples.is_empty(), "deploy/ holds no sample");
    for sample in samples {
        if let Err(why) = toml::from_str::<Table>(&sample.text) {
            panic!("{}: {why}", sample.path);
        }
    }
}

#[test]
fn the_sample_plan_is_usable_and_the_sample_silo_accepts_it() {
    let plan = Plan::from_toml(&tree::read("deploy/config/plan.toml").unwrap()).unwrap();
    let client: Table = toml::from_str(&tree::read("deploy/config/client.toml").unwrap()).unwrap();
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let policy = toml::to_string(&client["policy"]).unwrap().replace("REPLACE-WITH-THE-AUTHORS-KEY", key);
    Policy::from_toml(&policy).unwrap().check_unsigned(&plan).unwrap();
}
