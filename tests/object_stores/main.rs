//! Data in object stores, read by the program from servers on this machine: an S3-compatible one, Azurite, and one for
//! plain HTTP that is part of these tests.
//!
//! `.ci/object-stores` installs and starts the servers. Without them the tests that need them say SKIPPED, and fail where
//! `KOHORT_REQUIRE_STORES` is set.

mod bytes;
mod commands;
mod equality;
mod errors;
mod http_server;
mod program;
mod proxy;
mod secrets;
mod stores;
mod tables;
