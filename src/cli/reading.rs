//! How DATA is read, as typed and as built.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use kohort::artifact::{InputRecord, RunRecord};
use kohort::data::{
    AbsentColumns, DecodedFile, DuplicateIds, FileSource, Filter, NullIds, RowsKept, SourceOptions, expand, is_remote,
    type_of,
};
use kohort::model::Model;
use kohort::{Error, Result};

use super::args::Names;
use super::output::{Output, count, plural, some_of};
use super::progress::check_interrupt;

#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadArgs {
    /// Rows to take, such as "age >= 18 and plan in ('basic', 'pro') and ended is null"
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,

    /// Types of columns of CSV files, where the one that all their cells allow is not meant: zip=text,since=date
    #[arg(long, value_name = "COL=TYPE,...")]
    pub(crate) schema: Vec<Names>,

    /// What separates the fields of CSV files: a character, or tab [default: told from the first line]
    #[arg(long, value_name = "CHAR", value_parser = a_delimiter)]
    pub(crate) delimiter: Option<u8>,

    /// What becomes of a column that some files do not have
    #[arg(long, value_enum, value_name = "HOW", default_value = "refuse")]
    pub(crate) absent_columns: AbsentArg,

    /// What becomes of rows whose id an earlier row has
    #[arg(long, value_enum, value_name = "HOW", default_value = "error")]
    pub(crate) on_duplicate_id: DuplicateArg,

    /// What becomes of rows without an id
    #[arg(long, value_enum, value_name = "HOW", default_value = "error")]
    pub(crate) on_null_id: NullArg,

    /// Decode each file in a process of its own first, with limits: one that makes a decoder crash is refused
    #[arg(long)]
    pub(crate) isolate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AbsentArg {
    /// The files are refused
    Refuse,
    /// It has no values in those files
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DuplicateArg {
    /// The data is refused
    Error,
    /// The first row of each id is taken, in order of files and rows
    First,
    /// All are taken
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NullArg {
    /// The data is refused
    Error,
    /// They are left out
    Drop,
}

/// One character of one byte, or its name.
pub(super) fn a_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n.-+".contains(byte) => Ok(*byte),
        _ => Err("expected one character such as ; or |, or tab".into()),
    }
}

impl ReadArgs {
    /// What the library is told; `ids` are the columns that tell rows apart.
    pub(crate) fn options(&self, ids: &[String]) -> Result<SourceOptions> {
        let types = Names::flatten(&self.schema).into_iter().map(|entry| {
            let (column, name) = entry.rsplit_once('=').ok_or_else(|| Error::InvalidParam {
                param: "schema",
                value: entry.clone(),
                reason: "is a column, =, and a type: zip=text".into(),
            })?;
            Ok((column.to_owned(), type_of(name)?))
        });
        Ok(SourceOptions {
            filter: self.filter.as_deref().map(Filter::new).transpose()?,
            types: types.collect::<Result<_>>()?,
            delimiter: self.delimiter,
            absent_columns: match self.absent_columns {
                AbsentArg::Refuse => AbsentColumns::Refuse,
                AbsentArg::Null => AbsentColumns::Null,
            },
            ids: ids.to_vec(),
            duplicate_ids: match self.on_duplicate_id {
                DuplicateArg::Error => DuplicateIds::Error,
                DuplicateArg::First => DuplicateIds::First,
                DuplicateArg::Keep => DuplicateIds::Keep,
            },
            null_ids: match self.on_null_id {
                NullArg::Error => NullIds::Error,
                NullArg::Drop => NullIds::Drop,
            },
            ..SourceOptions::default()
        })
    }

    /// The same for data that a model is to be applied to.
    pub(crate) fn options_for(&self, model: &Model) -> Result<SourceOptions> {
        Ok(SourceOptions {
            likely_types: model.preparation.likely_types(),
            ..self.options(&model.id_columns)?
        })
    }
}

/// The files that a run read, where they are now.
pub(crate) fn recorded_files(record: &RunRecord) -> Result<Vec<PathBuf>> {
    let files: Vec<PathBuf> = record.inputs.iter().map(InputRecord::locate).collect();
    match files.iter().find(|path| !is_remote(path) && !path.exists()) {
        Some(gone) => Err(Error::InputGone { path: gone.clone() }),
        None => Ok(files),
    }
}

/// Files read as a run read its own, if they are those byte for byte; `filter` is what the run was asked for, where its
/// record leaves values out, and `decoded` are those that were decoded apart.
pub(crate) fn open_again(
    record: &RunRecord,
    files: &[PathBuf],
    filter: Option<&str>,
    decoded: Vec<DecodedFile>,
    threads: usize,
    output: Output,
) -> Result<FileSource> {
    let filter = filter.map(Filter::new).transpose()?;
    let options = SourceOptions {
        decoded,
        ..record.source.options(&record.options.features.id, filter)?
    };
    let source = open_files(files, options, threads, output)?;
    check_inputs(&record.inputs, &inputs(&source)?)?;
    Ok(source)
}

/// Refuses data that is not byte for byte what the run read.
fn check_inputs(expected: &[InputRecord], found: &[InputRecord]) -> Result<()> {
    if expected.len() != found.len() {
        return Err(Error::InvalidParam {
            param: "DATA",
            value: format!("of {}", plural(found.len() as u64, "file")),
            reason: format!(
                "the run read {} ({})",
                plural(expected.len() as u64, "file"),
                some_of(expected.iter().map(|input| input.path.as_str()))
            ),
        });
    }
    for (old, new) in expected.iter().zip(found) {
        let path = || Path::new(&new.path).to_owned();
        match old.known().is_same(&new.known()) {
            Some(true) => {}
            Some(false) => return Err(Error::InputChanged { path: path() }),
            None => {
                return Err(Error::FileRefused {
                    path: path(),
                    reason: format!(
                        "cannot be held against what the run read: of {} its ETag alone is known; name that object",
                        old.path
                    ),
                });
            }
        }
    }
    Ok(())
}

/// What DATA names, as one table.
pub(crate) fn open(data: &[String], options: SourceOptions, threads: usize, output: Output) -> Result<FileSource> {
    open_files(&expand(data)?, options, threads, output)
}

/// The same of files that were found before.
fn open_files(files: &[PathBuf], options: SourceOptions, threads: usize, output: Output) -> Result<FileSource> {
    let is_filtered = options.filter.is_some();
    let options = SourceOptions {
        stop: Some(check_interrupt),
        ..options
    };
    let source = FileSource::open_with(files, threads, options)?;
    if let Some(text) = kept_text(source.kept(), is_filtered) {
        output.note(&text);
    }
    Ok(source)
}

/// What a record keeps of the input files.
pub(super) fn inputs(source: &FileSource) -> Result<Vec<InputRecord>> {
    let files = source.fingerprints()?;
    Ok(files.iter().map(InputRecord::new).collect())
}

/// What was left out, where something could have been.
fn kept_text(kept: RowsKept, is_filtered: bool) -> Option<String> {
    let mut parts = Vec::new();
    if is_filtered {
        parts.push(format!(
            "--where keeps {} of {}",
            count(kept.n_wanted as u64),
            plural(kept.n_rows as u64, "row")
        ));
    }
    if kept.n_passed_over > 0 {
        let pieces = plural(kept.n_pieces as u64, "piece");
        parts.push(format!(
            "{} of {pieces} passed over unread",
            count(kept.n_passed_over as u64)
        ));
    }
    if kept.n_without_id > 0 {
        parts.push(format!(
            "{} without an id left out",
            plural(kept.n_without_id as u64, "row")
        ));
    }
    if kept.n_repeated > 0 {
        let rows = plural(kept.n_repeated as u64, "row");
        parts.push(format!("{rows} with the id of an earlier row left out"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}
