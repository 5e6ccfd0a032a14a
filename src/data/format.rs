//! Which format a file is of: its first bytes say it, or else its name.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::csv::{self, CsvFile};
use super::file::{FileBytes, Input, STDIN, refused};
use super::guard::guarded_read;
use super::ipc::{self, IpcPart};
use super::options::SourceOptions;
use super::parquet::ParquetPart;
use super::part::Part;
use super::slab::on_threads;
use super::stdin::{copy_of, spool};
use super::url::is_remote;
use crate::error::{Error, Result};

/// A format that tables are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    Parquet,
    Arrow,
    Csv,
}

/// Objects that are opened before they are looked at, and how many of them at a time.
const OBJECTS_AHEAD: usize = 64;
const OBJECTS_AT_A_TIME: usize = 16;

/// Endings of the names of data files.
const ENDINGS: [(&str, Format); 9] = [
    ("parquet", Format::Parquet),
    ("parq", Format::Parquet),
    ("pq", Format::Parquet),
    ("arrow", Format::Arrow),
    ("arrows", Format::Arrow),
    ("ipc", Format::Arrow),
    ("feather", Format::Arrow),
    ("csv", Format::Csv),
    ("tsv", Format::Csv),
];

impl Format {
    /// The format that a name promises.
    pub(crate) fn by_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?;
        let known = ENDINGS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known));
        known.map(|&(_, format)| format)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow",
            Self::Csv => "CSV",
        }
    }
}

/// What the first bytes of a file say.
enum Head {
    Parquet,
    ArrowFile,
    ArrowStream,
    /// Another format, which is not read, and what to do about it.
    Foreign(&'static str),
    Unknown {
        /// Whether they could be text.
        is_text: bool,
    },
}

fn head_of(bytes: &[u8]) -> Head {
    const GZIP: &str = "is compressed with gzip: unpack it, or pipe it in with `gzip -dc FILE | kohort ... -`";
    const ZSTD: &str = "is compressed with zstd: unpack it, or pipe it in with `zstd -dc FILE | kohort ... -`";
    const ZIP: &str = "is a zip archive or a spreadsheet: unpack it, or export it as CSV";
    const FEATHER: &str =
        "is of the first version of Feather, which is not supported: write it again as Arrow or Parquet";
    let foreign = [
        (&b"\x1f\x8b"[..], GZIP),
        (b"\x28\xb5\x2f\xfd", ZSTD),
        (b"PK\x03\x04", ZIP),
        (b"FEA1", FEATHER),
    ];
    if bytes.starts_with(b"PAR1") || bytes.starts_with(b"PARE") {
        Head::Parquet
    } else if bytes.starts_with(ipc::MAGIC) {
        Head::ArrowFile
    } else if bytes.starts_with(&ipc::CONTINUATION) {
        Head::ArrowStream
    } else if let Some((_, what)) = foreign.into_iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Head::Foreign(what)
    } else {
        Head::Unknown {
            is_text: !bytes.is_empty() && !bytes.contains(&0),
        }
    }
}

/// A file whose columns are known, or will be once all CSV files were looked at.
enum Opened {
    Part(Box<dyn Part>),
    Csv(CsvFile),
}

/// Opens files, each in its format.
///
/// # Errors
/// Those of opening a file of its format; [`Error::ColumnNotFound`] for types of columns that no CSV file has, and
/// [`Error::InvalidParam`] for types where there is no CSV file at all.
pub(crate) fn open_parts(paths: &[PathBuf], threads: usize, options: &SourceOptions) -> Result<Vec<Box<dyn Part>>> {
    let mut parts: Vec<Option<Box<dyn Part>>> = Vec::with_capacity(paths.len());
    let mut csv_files = Vec::new();
    for run in paths.chunks(OBJECTS_AHEAD) {
        for (path, remote) in run.iter().zip(remote_inputs(run)?) {
            match guarded_read(path, || open(path, remote, threads, options))? {
                Opened::Part(part) => parts.push(Some(part)),
                Opened::Csv(file) => {
                    csv_files.push(file);
                    parts.push(None);
                }
            }
        }
    }
    if csv_files.is_empty()
        && let Some((column, _)) = options.types.first()
    {
        return Err(Error::InvalidParam {
            param: "schema",
            value: column.clone(),
            reason: "is a type for a column of CSV files, and DATA has none; other formats have types of their own"
                .into(),
        });
    }
    let mut typed = csv::typed(csv_files, options)?.into_iter();
    let parts = parts.into_iter().map(|part| match part {
        Some(part) => Some(part),
        None => typed.next().map(|part| Box::new(part) as Box<dyn Part>),
    });
    let parts: Option<Vec<_>> = parts.collect();
    parts.ok_or_else(|| Error::Internal("a CSV file was lost".into()))
}

/// The objects among some files, opened many at a time, since each takes as long as an answer is on its way. An object that
/// cannot be opened is left for its turn, so that the first of them is told of.
fn remote_inputs(paths: &[PathBuf]) -> Result<Vec<Option<(Input, FileBytes)>>> {
    let n = paths.iter().filter(|path| is_remote(path)).count();
    let opened: Vec<Mutex<Option<_>>> = paths.iter().map(|_| Mutex::new(None)).collect();
    if n > 1 {
        on_threads(OBJECTS_AT_A_TIME, paths.len(), &|_, at| {
            if is_remote(&paths[at])
                && let Ok(input) = Input::open(&paths[at])
            {
                *opened[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
            }
            Ok(())
        })?;
    }
    let taken = |slot: Mutex<Option<_>>| slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(opened.into_iter().map(taken).collect())
}

fn open(path: &Path, remote: Option<(Input, FileBytes)>, threads: usize, options: &SourceOptions) -> Result<Opened> {
    let is_stdin = path.as_os_str() == STDIN;
    let (input, source) = match (remote, is_stdin) {
        (Some(opened), _) => opened,
        (None, true) => {
            let input = spool(options.stop)?;
            let source = input.reopen()?;
            (input, source)
        }
        (None, false) => Input::open(path)?,
    };
    if let Some(decoded) = options.decoded.iter().find(|decoded| decoded.path == path) {
        source.check_state(path, &decoded.state)?;
    }
    let opened = open_input(input.clone(), &source, threads, options);
    // What went wrong with a request is told, not what came of it.
    opened.or_else(|error| input.unchanged().and(Err(error)))
}

fn open_input(input: Input, source: &FileBytes, threads: usize, options: &SourceOptions) -> Result<Opened> {
    let path = input.path.clone();
    let path = path.as_path();
    let is_stdin = path.as_os_str() == STDIN;
    let n = source.bytes().min(512) as usize;
    let head = source.exactly(0, n).map_err(Error::io("read", path))?;
    // These are read back and forth.
    let at_hand = || {
        let input = input.clone().at_hand(copy_of)?;
        let source = input.reopen()?;
        Ok((input, source))
    };
    let arrow = |is_file| {
        let (input, source) = at_hand()?;
        IpcPart::open(input, &source, is_file).map(|part| Opened::Part(Box::new(part)))
    };
    let csv = || {
        let (input, source) = at_hand()?;
        CsvFile::open(input, &source, threads, options).map(Opened::Csv)
    };
    match (head_of(&head), Format::by_name(path)) {
        (Head::ArrowFile, _) => arrow(true),
        (Head::ArrowStream, _) => arrow(false),
        // The gate says best what a Parquet file lacks.
        (Head::Parquet, _) | (_, Some(Format::Parquet)) => {
            parquet(input.clone(), source, options.filter.is_some() || options.statistics)
        }
        (Head::Foreign(what), _) => Err(refused(path, what)),
        (Head::Unknown { .. }, Some(Format::Arrow)) => {
            let what = "is not an Arrow file: it begins neither with ARROW1 nor as a stream does";
            Err(refused(path, if head.is_empty() { "is empty" } else { what }))
        }
        (Head::Unknown { .. }, Some(Format::Csv)) => csv(),
        (Head::Unknown { is_text: true }, None) if is_stdin || is_named_text(path) => csv(),
        (Head::Unknown { .. }, None) => Err(refused(path, unknown(&head, is_stdin))),
    }
}

fn unknown(head: &[u8], is_stdin: bool) -> &'static str {
    match (head.is_empty(), is_stdin) {
        (true, true) => "gave no data",
        (true, false) => "is empty",
        (false, true) => "gave neither Parquet nor Arrow nor CSV: its first bytes are of none of them",
        (false, false) => {
            "is neither a Parquet nor an Arrow file by its first bytes, nor CSV by its name (.csv, .tsv, .txt)"
        }
    }
}

fn is_named_text(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("txt"))
}

fn parquet(input: Input, source: &FileBytes, with_statistics: bool) -> Result<Opened> {
    ParquetPart::open(input, source, with_statistics).map(|part| Opened::Part(Box::new(part)))
}
