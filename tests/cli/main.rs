//! What the command line says: exit code, stdout and stderr of every command and of every error a user can cause.
//!
//! `cargo insta review`, or `INSTA_UPDATE=always cargo test --test cli`, takes over what has changed.

mod bench;
mod canaries;
mod commands;
mod completions;
mod config;
mod demo;
mod embeddings;
mod errors;
mod exit_codes;
mod explain;
mod generate;
mod interrupt;
mod preparation;
mod reading;
mod rename;
mod sandbox;
mod small_cells;
mod sweep;
mod tree;
