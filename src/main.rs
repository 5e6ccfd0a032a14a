//! The command line of kohort: parse, run, exit code.

mod cli;

/// Keeps `--memory`; without a limit it is the system's allocator.
#[global_allocator]
static ALLOCATOR: kohort::sys::SpillingAllocator = kohort::sys::SpillingAllocator;

fn main() -> std::process::ExitCode {
    cli::main()
}
