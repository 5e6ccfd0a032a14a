//! `kohort demo`: accounts of a made-up vendor, and the commands that make segments of them, one after the other.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;

use kohort::artifact::{SweepRecord, check_output_file, write_atomic, write_rows};
use kohort::error::escape;
use kohort::workload::B2bAccounts;
use kohort::{Error, Result};

use super::args::{Cli, DemoArgs, TalkArgs};
use super::output::{Output, plural, seconds};
use super::plan;

/// With fewer accounts, groups are too small to be told of.
const LEAST_ROWS: usize = 300;

pub(crate) fn run(args: &DemoArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    if args.rows < LEAST_ROWS {
        return Err(Error::InvalidParam {
            param: "--rows",
            value: args.rows.to_string(),
            reason: format!("segments that are worth a look take {LEAST_ROWS} accounts at least"),
        });
    }
    let demo = Demo::new(args, output)?;
    let accounts = B2bAccounts::new(args.rows, args.seed)?;
    plan::check_folder(&args.out)?;
    if args.out.exists() && !args.overwrite {
        return Err(Error::OutputExists { path: args.out.clone() });
    }
    let data = args.out.join("accounts.parquet");
    std::fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    check_output_file(&data, args.overwrite)?;
    write_atomic(&data, args.overwrite, |out| {
        write_rows(out, &accounts, &["account_id", "contact_email"])
    })?;
    output.note(&format!(
        "{} of a made-up software vendor written to {}: who they are, how they use it, what they pay, who left",
        plural(args.rows as u64, "account"),
        escape(&data.to_string_lossy())
    ));
    demo.step(
        "what is in the columns, and what would be done with each",
        demo.inspect(),
    )?;
    demo.step("how many segments are there?", demo.sweep())?;
    let k = SweepRecord::load(&args.out.join("choice"))?.selection.sweep.decision.k;
    demo.step(
        "so many, each split again where its accounts fall into parts; outcomes are told, not used",
        demo.fit(k),
    )?;
    demo.step("which of them are alike?", demo.tree())?;
    let report = args.out.join("segments").join("report.html");
    output.note(&format!(
        "\ndone in {}. Now open {}",
        seconds(started.elapsed().as_secs_f64()),
        quoted(&report.to_string_lossy())
    ));
    output.note(&format!(
        "and try: {}\n         {}",
        told(&demo.explain()),
        told(&demo.verify())
    ));
    let commands = [demo.inspect(), demo.sweep(), demo.fit(k), demo.tree()];
    output.object(&json!({
        "out": args.out.to_string_lossy(),
        "n_rows": args.rows,
        "seed": args.seed,
        "k": k,
        "commands": commands.iter().map(|command| told(command)).collect::<Vec<_>>(),
        "report": report.to_string_lossy(),
        "elapsed_s": started.elapsed().as_secs_f64(),
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// What the commands have in common.
struct Demo<'d> {
    args: &'d DemoArgs,
    output: Output,
    /// The folder as it is typed.
    out: String,
}

impl<'d> Demo<'d> {
    fn new(args: &'d DemoArgs, output: Output) -> Result<Self> {
        let out = args.out.to_str().ok_or_else(|| Error::InvalidParam {
            param: "--out",
            value: args.out.to_string_lossy().into_owned(),
            reason: "is no text that a command could be shown with".into(),
        })?;
        Ok(Self {
            args,
            output,
            out: out.to_owned(),
        })
    }

    fn file(&self, name: &str) -> String {
        Path::new(&self.out).join(name).to_string_lossy().into_owned()
    }

    fn inspect(&self) -> Vec<String> {
        self.of_data("inspect", &[])
    }

    fn sweep(&self) -> Vec<String> {
        self.of_data("sweep", &["-k", "2..8", "--out", &self.file("choice")])
    }

    fn fit(&self, k: usize) -> Vec<String> {
        self.of_data(
            "fit",
            &["--levels", &format!("{k},auto"), "--out", &self.file("segments")],
        )
    }

    fn tree(&self) -> Vec<String> {
        ["tree".to_owned(), self.file("segments")].to_vec()
    }

    fn explain(&self) -> Vec<String> {
        [
            "explain".to_owned(),
            self.file("segments"),
            "--id".into(),
            "100042".into(),
        ]
        .to_vec()
    }

    fn verify(&self) -> Vec<String> {
        ["verify".to_owned(), self.file("segments")].to_vec()
    }

    /// A command on the accounts; with what was overwritten itself, it overwrites.
    fn of_data(&self, command: &str, more: &[&str]) -> Vec<String> {
        let data = self.file("accounts.parquet");
        let mut words = vec![command, &data, "--id", "account_id"];
        words.extend(["--outcome", "arr,churned", "--carry", "country"]);
        words.extend(more);
        if self.args.overwrite && more.contains(&"--out") {
            words.push("--overwrite");
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// Shows a command and runs it.
    fn step(&self, why: &str, words: Vec<String>) -> Result<()> {
        self.output.note(&format!("\n# {why}\n$ {}", told(&words)));
        let command = ["kohort".to_owned()].into_iter().chain(words).chain(self.talk());
        let cli =
            Cli::try_parse_from(command).map_err(|error| Error::Internal(format!("a step of the demo: {error}")))?;
        super::dispatch(&cli, &super::memory::Limit::default(), self.output.muted_where_json()).map(drop)
    }

    /// How the commands are to talk, as options.
    fn talk(&self) -> Vec<String> {
        let TalkArgs { quiet, verbose, .. } = self.args.talk;
        let flags = [(quiet, "--quiet"), (verbose, "--verbose")];
        let given = flags.into_iter().filter(|&(given, _)| given);
        given.map(|(_, flag)| flag.to_owned()).collect()
    }
}

/// A command as it is typed.
fn told(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("kohort {}", words.join(" "))
}

/// A word in quotes where a shell would take it for several or for something else.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@+".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", escape(word).replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let words = ["fit", "my data/a.parquet", "-k", "2..8", "it's"].map(str::to_owned);
        assert_eq!(told(&words), r"kohort fit 'my data/a.parquet' -k 2..8 'it'\''s'");
    }
}
