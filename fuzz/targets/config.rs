#![no_main]
#![allow(dead_code, unused_imports, reason = "of the command line only the reading of kohort.toml is of use here")]

// The command line is no part of the library.
#[path = "../../src/cli/mod.rs"]
mod cli;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cli::fuzz_config(bytes));
