//! The targets for libFuzzer. One program holds them all, so that one build with coverage counters does; the
//! variable `FUZZ_TARGET` says which one runs, and `list` names them.
#![no_main]
// What makes seeds is for the workspace's tests.
#![allow(dead_code)]

mod targets;

use std::sync::OnceLock;

use targets::Target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
        for target in targets::all() {
            if wanted == "list" {
                println!("target {}", target.0);
            } else if wanted == target.0 {
                CHOSEN.get_or_init(|| *target);
            }
        }
        if CHOSEN.get().is_none() {
            std::process::exit(if wanted == "list" { 0 } else { 2 });
        }
    },
    |bytes: &[u8]| {
        if let Some((_, target)) = CHOSEN.get() {
            target(bytes);
        }
    }
);
