//! Layer 7: the command line. Glue over the library, and the only part that prints.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use kohort::{Error, ErrorKind, Result};

mod args;
mod bench;
mod changed;
mod columns;
mod completions;
mod config;
mod demo;
mod dendrogram;
mod devices;
mod dry_run;
mod explain;
mod fit;
mod gates;
mod generate;
mod init;
mod inspect;
mod isolate;
mod levels;
mod long;
mod memory;
mod output;
mod plan;
mod progress;
mod reading;
mod rename;
mod score;
mod score_target;
mod sweep;
mod tree;
mod typical;
mod verify;

use args::{Cli, Command};
use config::Refusal;
use memory::Limit;
use output::Output;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    keep_panics();
    quiet_drivers();
    kohort::sys::keep_freed_memory();
    let json = std::env::args_os().any(|arg| arg == "--json");
    let parsed = panic::catch_unwind(|| config::parse(std::env::args_os().collect()));
    let cli = match parsed.unwrap_or_else(|_| Err(Error::Internal(last_panic()).into())) {
        Ok(cli) => cli,
        Err(refusal) => return refused(&refusal, Output::early(json)),
    };
    let output = Output::new(cli.command.talk());
    if let Some(path) = config::path() {
        output.detail(&format!("config: {}", kohort::error::escape(&path.to_string_lossy())));
    }
    let result = panic::catch_unwind(AssertUnwindSafe(|| run(&cli, output)));
    match result.unwrap_or_else(|_| Err(Error::Internal(last_panic()))) {
        Ok(code) => code,
        Err(error) => refused(&error.into(), output),
    }
}

/// What a fuzz target gives any bytes to, see `fuzz/`: they are read as a configuration file.
#[cfg(feature = "fuzzing")]
#[allow(
    dead_code,
    reason = "the program has no use for it; the fuzz target is compiled from the same files"
)]
pub(crate) fn fuzz_config(bytes: &[u8]) {
    config::fuzz(bytes);
}

/// Tells why there is nothing to run, or the help that was asked for.
fn refused(refusal: &Refusal, output: Output) -> ExitCode {
    match refusal {
        Refusal::Usage(error) => output.usage(error).into(),
        Refusal::Error(error) => {
            output.error(error);
            exit_code(error.kind()).into()
        }
    }
}

fn run(cli: &Cli, output: Output) -> Result<ExitCode> {
    match cli.command {
        // Nothing is half done there, and a self-test has no safe points.
        Command::Devices(_) => progress::exit_on_interrupt()?,
        _ => progress::stop_on_interrupt()?,
    }
    let limit = match cli.command.memory() {
        Some((args, beside)) => args.keep(beside)?,
        None => Limit::default(),
    };
    let code = dispatch(cli, &limit, output)?;
    limit.tell(output);
    Ok(code)
}

fn dispatch(cli: &Cli, limit: &Limit, output: Output) -> Result<ExitCode> {
    match &cli.command {
        Command::Fit(args) => fit::run(args, limit, output).map_err(|error| error.about(&args.data)),
        Command::Sweep(args) => sweep::run(args, limit, output).map_err(|error| error.about(&args.data)),
        Command::Score(args) => score::run(args, output).map_err(|error| error.about(&args.data)),
        Command::Explain(args) => explain::run(args, output).map_err(|error| error.about(&args.data)),
        Command::Tree(args) => tree::run(args, output),
        Command::Typical(args) => typical::run(args, output),
        Command::Rename(args) => rename::run(args, output),
        Command::Devices(_) => devices::run(output),
        Command::Generate(args) => generate::run(args, output),
        Command::Init(args) => init::run(args, &cli.source, output).map_err(|error| error.about(&args.look.data)),
        Command::Completions(args) => completions::run(args, output),
        Command::Config(args) => config::run(args, &cli.source, output),
        Command::Demo(args) => demo::run(args, output),
        Command::Inspect(args) => inspect::run(args, output).map_err(|error| error.about(&args.data)),
        Command::Verify(args) => verify::run(args, output).map_err(|error| error.about(&args.data)),
        Command::Bench(args) => bench::run(args, output).map_err(|error| error.about(&args.data)),
    }
}

/// Turns off Mesa's layer that sorts GPUs for desktops, unless it is in use: without a desktop it writes errors to
/// stderr, and the choice of a GPU is made here.
fn quiet_drivers() {
    if std::env::var_os("MESA_VK_DEVICE_SELECT").is_none() {
        // SAFETY: this thread is the only one so far.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// The exit code of a failure.
fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Internal => 1,
        ErrorKind::Input => 2,
        ErrorKind::Device => 3,
        ErrorKind::Gate => 4,
        ErrorKind::Mismatch => 5,
        ErrorKind::Interrupted => 130,
    }
}

/// The last panic of any thread, for [`last_panic`].
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps what a panic says instead of printing it: some are caught where they happen, as decoders' are, and become
/// an error about a file; the rest ends as an internal error.
fn keep_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, |place| format!(" ({}:{})", place.file(), place.line()));
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = kohort::error::escape(text.unwrap_or("a panic without a message"));
        let text: String = text.chars().take(300).collect();
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(text + &place);
    }));
}

fn last_panic() -> String {
    LAST_PANIC
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .unwrap_or_else(|| "a panic".into())
}
