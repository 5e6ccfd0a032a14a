//! What the command line says: exit code, stdout and stderr of every command and of every error a user can cause.
//!
//! `cargo insta review`, or `INSTA_UPDATE=always cargo test --test cli`, takes over what has changed.

mod bench;
mod canaries;
mod cards;
mod checkpoint;
mod commands;
mod completions;
mod config;
mod demo;
mod embeddings;
mod errors;
mod exit_codes;
mod explain;
#[cfg(target_os = "linux")]
mod failing;
mod generate;
mod if_changed;
mod interrupt;
mod isolate;
mod lock;
mod memory;
mod preparation;
mod reading;
mod rename;
mod sandbox;
mod score_outputs;
mod small_cells;
mod sweep;
mod tree;
