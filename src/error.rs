//! The one error type: variants carry data, the message says what and where, [`Error::hint`] the next step.

use std::borrow::Cow;
use std::path::PathBuf;

/// A [`std::result::Result`] with kohort's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is; the command line turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage, or input that cannot be used.
    Input,
    /// A device, or memory, that was demanded is not there.
    Device,
    /// A demand that was made of the result is not met: too slow, for example.
    Gate,
    /// Two runs that must agree do not.
    Mismatch,
    /// The user asked to stop.
    Interrupted,
    /// An I/O failure or a defect of this program.
    Internal,
}

/// Everything that can go wrong, with the data needed to say so well.
///
/// No variant holds a cell value or an id: errors are logged, and personal data must not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", show_path(path))]
    Io {
        /// What was tried: `read`, `write`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it was refused.
        source: std::io::Error,
    },
    /// DATA names nothing that exists.
    #[error("no such file or folder: {}", show_path(path))]
    NotFound {
        /// What was named.
        path: PathBuf,
    },
    /// A folder or glob holds no data file.
    #[error("no data file matches {pattern}", pattern = escape(&told(pattern)))]
    NoFiles {
        /// The folder or glob.
        pattern: String,
    },
    /// A file that is not what it has to be, before any of it is decoded.
    #[error("{}: {reason}", show_path(path))]
    FileRefused {
        /// The file.
        path: PathBuf,
        /// Why it is refused.
        reason: String,
    },
    /// A file that breaks while it is decoded, or that says one thing and holds another.
    #[error(
        "{}: {}{}{reason}",
        show_path(path),
        opt_part("row group", row_group),
        opt_part("column", column)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The row group, from 0, where known.
        row_group: Option<usize>,
        /// The column, where known.
        column: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// DATA names an object, and this build reads files alone.
    #[error("{}: this build of kohort has no object stores", show_path(path))]
    NoObjectStores {
        /// What was named.
        path: PathBuf,
    },
    /// A request for an object failed.
    #[error("cannot read {}: {problem}", show_path(path))]
    ObjectUnread {
        /// The object, or the folder or bucket.
        path: PathBuf,
        /// What went wrong; nothing that a store or a server said stands in it.
        problem: String,
        /// What to do about it, where there is something.
        hint: Option<&'static str>,
    },
    /// A file changed between the first and the last look at it.
    #[error("{} changed while it was being read", show_path(path))]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// A file that a run read is not where it was.
    #[error("the run read {}, which is not there now", show_path(path))]
    InputGone {
        /// The file.
        path: PathBuf,
    },
    /// A file is not the one that a run read.
    #[error("{} is not the file that the run read: its bytes differ", show_path(path))]
    InputChanged {
        /// The file.
        path: PathBuf,
    },
    /// Files of one data set differ in their columns.
    #[error("{}: column {column:?} {problem}", show_path(path))]
    SchemaMismatch {
        /// The file that differs from the first.
        path: PathBuf,
        /// The column.
        column: String,
        /// How it differs, with both types where the type differs.
        problem: String,
    },
    /// A column that was asked for is not in the data.
    #[error("column {column:?} is not in the data")]
    ColumnNotFound {
        /// The name that was asked for.
        column: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// A column name stands twice in the data, so it names nothing.
    #[error("column {column:?} stands more than once in the data")]
    ColumnAmbiguous {
        /// The name.
        column: String,
    },
    /// A column asked for by name cannot be a feature (or id, or weight).
    #[error("column {column:?} cannot be used as {role}: {reason}")]
    ColumnUnusable {
        /// The column.
        column: String,
        /// `a feature`, `an id`, `the weight`.
        role: &'static str,
        /// Why.
        reason: String,
    },
    /// A column's type differs from the one the model was fitted on.
    #[error("column {column:?} is {found}, but the model was fitted on {expected}")]
    ColumnRetyped {
        /// The column.
        column: String,
        /// The type in the model.
        expected: String,
        /// The type in the data.
        found: String,
    },
    /// No column is left to cluster on.
    #[error("no column can be used as a feature{}", columns_and_reasons(ignored))]
    NoFeatures {
        /// Every column that is neither id nor weight, and why it cannot be used.
        ignored: Vec<(String, String)>,
    },
    /// The first centroids lack a feature.
    #[error("{path}the first centroids have no column {column:?}", path = opt_path(path))]
    InitColumnNotFound {
        /// The file, where they come from one.
        path: Option<PathBuf>,
        /// The feature.
        column: String,
        /// The columns of numbers that they have.
        available: Vec<String>,
    },
    /// First centroids that cannot be used.
    #[error("{path}not usable as first centroids: {reason}", path = opt_path(path))]
    InitInvalid {
        /// The file, where they come from one.
        path: Option<PathBuf>,
        /// Why.
        reason: String,
    },
    /// A value that has no place in arithmetic: infinite, or too large to square.
    #[error("{file}column {column:?}, row {row}: {problem}", file = opt_path(file))]
    BadValue {
        /// The file, where the data comes from one.
        file: Option<PathBuf>,
        /// The column.
        column: String,
        /// The row in that file (or in the data), from 1.
        row: usize,
        /// What is wrong with it, without the value.
        problem: &'static str,
    },
    /// A weight that is missing, negative or infinite.
    #[error("{file}weight column {column:?}, row {row}: {problem}", file = opt_path(file))]
    BadWeight {
        /// The file, where the data comes from one.
        file: Option<PathBuf>,
        /// The weight column.
        column: String,
        /// The row in that file (or in the data), from 1.
        row: usize,
        /// What is wrong with it, without the value.
        problem: &'static str,
    },
    /// Rows whose id is null.
    #[error("{count} of {n_rows} rows have no id: column {column:?} is null (first at row {first_row})")]
    NullIds {
        /// The id column.
        column: String,
        /// How many rows.
        count: usize,
        /// All rows.
        n_rows: usize,
        /// The first of them, from 1.
        first_row: usize,
    },
    /// Rows whose id an earlier row has already.
    #[error(
        "{count} of {n_rows} rows repeat the id of an earlier row (id column{}: {})",
        if columns.len() == 1 { "" } else { "s" },
        escape(&columns.join(", "))
    )]
    DuplicateIds {
        /// The id columns.
        columns: Vec<String>,
        /// How many rows repeat an id.
        count: usize,
        /// All rows.
        n_rows: usize,
    },
    /// No row has the id that was asked for, which is not told.
    #[error("none of {n_rows} rows has the id that was given ({})", id_columns(columns))]
    IdNotFound {
        /// The id columns; none where rows go by their number.
        columns: Vec<String>,
        /// All rows.
        n_rows: usize,
    },
    /// Several rows have the id that was asked for, which is not told.
    #[error("{count} rows have the id that was given ({})", id_columns(columns))]
    IdAmbiguous {
        /// The id columns.
        columns: Vec<String>,
        /// How many rows.
        count: usize,
    },
    /// Something is wrong with the data as a whole, see [`Error::about`].
    #[error("{}: {error}", name_data(data))]
    InData {
        /// DATA as it was given.
        data: Vec<String>,
        /// What is wrong.
        error: Box<Error>,
    },
    /// A filter of rows that cannot be read, or that does not fit the data.
    #[error("--where: {what}\n{shown}")]
    FilterInvalid {
        /// What is wrong.
        what: String,
        /// The filter around the place, without its values, and a line below with carets.
        shown: String,
        /// A column that is not there, and those that are.
        column: Option<(String, Vec<String>)>,
    },
    /// A filter of rows that none passes.
    #[error("--where keeps none of the {n_rows} rows")]
    NoRowsKept {
        /// All rows.
        n_rows: usize,
    },
    /// Data that is not what it has to be for a command to go on.
    #[error("{}", failed.join("\n"))]
    GatesNotMet {
        /// Each gate that was not passed, with the numbers.
        failed: Vec<String>,
    },
    /// The data has no rows.
    #[error("the data has no rows")]
    NoRows,
    /// More clusters than rows.
    #[error("{n_clusters} clusters asked for, but there are only {n_rows} rows{}", if *weighted { " with a positive weight" } else { "" })]
    TooFewRows {
        /// Rows that can be a centre.
        n_rows: usize,
        /// Clusters asked for.
        n_clusters: usize,
        /// Whether rows without weight were left out of the count.
        weighted: bool,
    },
    /// A parameter outside its range.
    #[error("{param} = {}: {}", escape(&told(value)), escape(reason))]
    InvalidParam {
        /// The parameter.
        param: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// A setting, in a configuration file or in the environment, that cannot be used.
    #[error("{}: {}{excerpt}", escape(place), escape(reason))]
    BadSetting {
        /// File, line and column, or the variable.
        place: String,
        /// What is wrong.
        reason: String,
        /// The line with the place marked, ready to be shown below the message; empty where there is none.
        excerpt: String,
        /// The next step, where there is one to name.
        hint: Option<String>,
    },
    /// The output is there already.
    #[error("{} exists already", show_path(path))]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// Another run is at work on the output.
    #[error(
        "{} is being written by another run of kohort{}",
        show_path(path),
        of_process(process)
    )]
    OutputBusy {
        /// The output.
        path: PathBuf,
        /// The process, where it is known.
        process: Option<u32>,
    },
    /// The folder that the output should stand in is not there.
    #[error("cannot write {}: there is no folder {}", show_path(path), show_path(folder))]
    OutputFolderMissing {
        /// The output.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// An output that would be in an object store.
    #[error(
        "{} cannot be the output: results are written to this machine's disks alone",
        show_path(path)
    )]
    OutputRemote {
        /// What was named.
        path: PathBuf,
    },
    /// What stands where the output should go may not be replaced, or is no place for one.
    #[error("{} cannot be the output: {reason}", show_path(path))]
    OutputForeign {
        /// The output.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A device that was demanded is not there.
    #[error("no usable GPU for --device {asked}: {reason}")]
    DeviceNotFound {
        /// What was asked for.
        asked: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// A device cannot hold what the job needs.
    #[error("{what} needs {needed}, the device allows {limit}")]
    DeviceLimit {
        /// What does not fit.
        what: &'static str,
        /// What is needed, in the limit's unit.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// A device failed in the middle of its work.
    #[error("the device failed: {reason}")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// A device gave what exact arithmetic on the host does not give.
    #[error("the device computes wrongly: {what}")]
    DeviceWrong {
        /// What was found.
        what: String,
    },
    /// The machine has no memory for something sized by the data.
    #[error("{what} needs {bytes} bytes of memory, which cannot be had")]
    OutOfMemory {
        /// What does not fit.
        what: String,
        /// How much it needs.
        bytes: u64,
    },
    /// A model or run file of a version this program does not know.
    #[error(
        "{}: version {found} of the format is not supported (this program reads {supported})",
        show_path(path)
    )]
    ArtifactVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version this program reads.
        supported: u64,
    },
    /// A model or run file that is damaged or not one of ours.
    #[error("{}: {reason}", show_path(path))]
    ArtifactInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What another process found wrong with a file.
    #[error("{message}")]
    FoundApart {
        /// What it is.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Whether the file is to blame, and not the system.
        is_about_input: bool,
    },
    /// A limit of memory that there is no disk for.
    #[error(
        "{needed} bytes do not fit in the memory of {limit} bytes, and the disk of {} has room for {free}",
        show_path(folder)
    )]
    NoRoomToSpill {
        /// Where they would go.
        folder: PathBuf,
        /// What does not fit.
        needed: u64,
        /// What the disk has left.
        free: u64,
        /// The limit.
        limit: u64,
    },
    /// A checkpoint that was not to be gone on from.
    #[error("{} exists already", show_path(path))]
    CheckpointExists {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint that another job left, or a damaged one.
    #[error("{} is {what}", show_path(path))]
    CheckpointUnusable {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// Two runs that must agree bit for bit do not.
    #[error("{what} differs: {expected} in the run, {found} now")]
    Mismatch {
        /// What differs.
        what: String,
        /// What the run says.
        expected: String,
        /// What came out now.
        found: String,
    },
    /// The user asked to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// A defect of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. }
            | Self::FileChanged { .. }
            | Self::ObjectUnread { .. }
            | Self::Internal(_)
            | Self::FoundApart {
                is_about_input: false, ..
            } => ErrorKind::Internal,
            Self::DeviceNotFound { .. }
            | Self::DeviceLimit { .. }
            | Self::DeviceLost { .. }
            | Self::OutOfMemory { .. }
            | Self::NoRoomToSpill { .. } => ErrorKind::Device,
            Self::GatesNotMet { .. } => ErrorKind::Gate,
            Self::Mismatch { .. } | Self::DeviceWrong { .. } => ErrorKind::Mismatch,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::InData { error, .. } => error.kind(),
            _ => ErrorKind::Input,
        }
    }

    /// The next step for whoever sees this error, where there is one to name.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoFiles { .. } => {
                "DATA takes Parquet, Arrow and CSV files, folders that hold them, globs such as 'data/*.parquet', and - \
                 for stdin"
                    .into()
            }
            Self::FilterInvalid {
                column: Some((column, available)),
                ..
            } => near_names(column, available),
            Self::FileRefused { reason, .. } if reason == NOT_REGULAR => {
                "data from a pipe is read as -: `... | kohort fit - -k 5`".into()
            }
            Self::InputGone { path } if path.as_os_str() == "-" => {
                "the data came from stdin: name a file with it after the run, or - to pipe it in again".into()
            }
            Self::NoObjectStores { .. } => "build it with them: `cargo build --release --features object-store`".into(),
            Self::ObjectUnread { hint, .. } => return hint.map(str::to_owned),
            Self::FileChanged { .. } => "wait until the file is complete, then run again".into(),
            Self::InputChanged { .. } => {
                "a run can only be made again from the same bytes: restore the file, or name its copy as DATA".into()
            }
            Self::SchemaMismatch { problem, .. } if problem == IS_MISSING || problem == NOT_IN_FIRST => {
                "with --absent-columns null it has no values where it is not there; else name only the files that belong \
                 together"
                    .into()
            }
            Self::SchemaMismatch { .. } => {
                "files of one data set need the same columns, of types that can be widened to one; name only the files \
                 that belong together"
                    .into()
            }
            Self::InputGone { .. } => "name the data after the run, where it is now".into(),
            Self::ColumnNotFound { column, available } | Self::InitColumnNotFound { column, available, .. } => {
                near_names(column, available)
            }
            Self::InitInvalid { .. } => {
                "--init takes a file with one row of numbers per segment and a column for each feature".into()
            }
            Self::ColumnAmbiguous { .. } => "rename one of the two columns where the file is written".into(),
            Self::ColumnUnusable { role: "the weight", .. } => {
                "--weight takes a column of numbers, none below 0 and one at least above".into()
            }
            Self::ColumnUnusable { role, .. } if *role == BY_COLUMN => "take segment, or a column of few values".into(),
            Self::ColumnUnusable { .. } => "leave it out of the columns named".into(),
            Self::ColumnRetyped { column, .. } => {
                format!("cast {column:?} back to the model's type, or fit a new model")
            }
            Self::NoFeatures { ignored } if ignored.iter().any(|(_, reason)| reason == NAME_TWICE) => {
                "rename one of the columns that share a name where the file is written".into()
            }
            Self::NoFeatures { ignored } if ignored.iter().any(|(_, reason)| reason.starts_with(LIKE_AN_ID)) => {
                "a column that only looks like an id can be named with --features".into()
            }
            Self::InData { error, .. } => return error.hint(),
            Self::NoFeatures { .. } => {
                "features are numbers, booleans, dates, times and text of a few levels, with more than one value".into()
            }
            Self::BadValue { column, .. } => format!(
                "repair the value, make it null (nulls are filled), or leave the column out with --exclude {column:?}"
            ),
            Self::BadWeight { .. } => "every row needs a weight of 0 or more: repair it, or drop those rows".into(),
            Self::NullIds { .. } => {
                "every row needs an id: leave those rows out with --on-null-id drop, or choose another --id".into()
            }
            Self::DuplicateIds { .. } => {
                "one row per id is needed: aggregate the rows first, take the first of each with --on-duplicate-id first, \
                 or name further id columns with --id"
                    .into()
            }
            Self::IdNotFound { columns, .. } if columns.is_empty() => "rows are numbered from 0".into(),
            Self::IdNotFound { .. } => "give the id as it stands in the data, or name the data that has it".into(),
            Self::IdAmbiguous { .. } => "one row per id is needed: aggregate the rows first".into(),
            Self::TooFewRows { n_rows, .. } => format!("ask for at most {n_rows} clusters with -k"),
            _ => return self.hint_beyond_data(),
        })
    }

    /// The same for what is not about the data: outputs, devices, artifacts.
    fn hint_beyond_data(&self) -> Option<String> {
        Some(match self {
            Self::BadSetting { hint, .. } | Self::FoundApart { hint, .. } => return hint.clone(),
            Self::OutputFolderMissing { .. } => "create the folder first, or give another --out".into(),
            Self::OutputRemote { .. } => "give a local --out, and copy what it holds when it is done".into(),
            Self::OutputExists { .. } => "give another --out, or replace it with --overwrite".into(),
            Self::OutputBusy { .. } => {
                "wait until that run has ended, or give another --out; one that was killed holds up nobody".into()
            }
            Self::OutputForeign { .. } => {
                "give another --out: --overwrite replaces only what kohort wrote itself".into()
            }
            Self::DeviceNotFound { .. } => {
                "`kohort devices` lists what there is; --device cpu gives the same segments".into()
            }
            Self::DeviceLimit { .. } | Self::DeviceLost { .. } => {
                "--device cpu gives the same segments without the device".into()
            }
            Self::DeviceWrong { .. } => {
                "--device cpu gives the right segments; do not use the device before its memory was tested".into()
            }
            Self::OutOfMemory { .. } => "take fewer columns with --features, or a machine with more memory".into(),
            Self::ArtifactVersion { .. } => "use the kohort version that wrote the file, or fit again".into(),
            Self::ArtifactInvalid { .. } => {
                "give a run directory; if this is one, its file is damaged or was edited: restore it, or fit again"
                    .into()
            }
            Self::NoRoomToSpill { .. } => {
                "allow more with --memory, give a larger disk with --spill-dir, or take fewer columns with --features"
                    .into()
            }
            Self::CheckpointExists { .. } => "go on from it with --resume, or remove it to begin anew".into(),
            Self::CheckpointUnusable { .. } => {
                "give the command that it was made with, or another --checkpoint, or remove it to begin anew".into()
            }
            Self::Internal(_) => "this is a defect of kohort: please report it".into(),
            _ => return None,
        })
    }

    /// This error with the name of the data before it, where it is about the data and does not say which.
    #[must_use]
    pub fn about(self, data: &[String]) -> Self {
        match self {
            Self::ColumnNotFound { .. }
            | Self::ColumnAmbiguous { .. }
            | Self::ColumnUnusable { .. }
            | Self::ColumnRetyped { .. }
            | Self::NoFeatures { .. }
            | Self::NullIds { .. }
            | Self::DuplicateIds { .. }
            | Self::GatesNotMet { .. }
            | Self::NoRows
            | Self::NoRowsKept { .. }
            | Self::TooFewRows { .. }
                if !data.is_empty() =>
            {
                Self::InData {
                    data: data.to_vec(),
                    error: Box::new(self),
                }
            }
            other => other,
        }
    }

    /// An I/O error of `action` on `path`, ready for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Why files with other columns do not belong together.
pub(crate) const IS_MISSING: &str = "is missing";
pub(crate) const NOT_IN_FIRST: &str = "is not in the first file";

/// What a column is used as that tells the files of an output apart.
pub(crate) const BY_COLUMN: &str = "the column to partition by";

/// Why a file that is none is refused.
pub(crate) const NOT_REGULAR: &str = "is not a regular file";

/// Why a column whose name another one has too is no feature.
pub(crate) const NAME_TWICE: &str = "its name stands twice";

/// How the reasons begin that a user may overrule by naming the column.
const LIKE_AN_ID: &str = "looks like an id";

/// Columns that [`Error::NoFeatures`] tells of.
const TOLD_COLUMNS: usize = 8;

/// `: "a" (is text), "b" (is constant) and 3 more`; the same column and reason are told once.
fn columns_and_reasons(ignored: &[(String, String)]) -> String {
    let mut told: Vec<String> = Vec::new();
    for (column, reason) in ignored {
        let text = format!("{column:?} ({reason})");
        if !told.contains(&text) {
            told.push(text);
        }
    }
    let more = told.len().saturating_sub(TOLD_COLUMNS);
    told.truncate(TOLD_COLUMNS);
    match (told.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", told.join(", ")),
        (false, more) => format!(": {} and {more} more", told.join(", ")),
    }
}

/// What was given as DATA, in short.
fn name_data(data: &[String]) -> String {
    match data {
        [one] => escape(&told(one)),
        [first, rest @ ..] => format!("{} and {} more", escape(&told(first)), rest.len()),
        [] => "the data".into(),
    }
}

/// "did you mean" for a name that is not among `available`.
fn near_names(column: &str, available: &[String]) -> String {
    let mut near: Vec<(f64, &String)> = available
        .iter()
        .map(|name| (strsim::jaro_winkler(&column.to_lowercase(), &name.to_lowercase()), name))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let close: Vec<String> = near
        .iter()
        .filter(|(score, _)| *score > 0.75)
        .take(3)
        .map(|(_, name)| format!("{name:?}"))
        .collect();
    if close.is_empty() {
        let mut names: Vec<String> = available.iter().take(12).map(|name| format!("{name:?}")).collect();
        if available.len() > 12 {
            names.push(format!("and {} more", available.len() - 12));
        }
        format!("the columns are {}", names.join(", "))
    } else {
        format!("did you mean {}?", close.join(" or "))
    }
}

fn show_path(path: &std::path::Path) -> String {
    escape(&told(&path.to_string_lossy()))
}

/// A text without the parts of a URL that may be secret: user and password, and what follows `?` where that is a query.
#[must_use]
pub fn told(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.into();
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        return text.into();
    }
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, key) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        // In Azure's URLs the container stands there.
        Some((user, host)) if scheme.starts_with("abfs") && !user.contains([':', '@']) => format!("{user}@{host}"),
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    // Elsewhere `?` may stand for a character in a glob.
    let is_query = |after: &str| {
        let name = after.split_once('=').map_or("", |(name, _)| name);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.%".contains(&b);
        scheme.to_ascii_lowercase().starts_with("http") || (!name.is_empty() && name.bytes().all(is_name))
    };
    let queries = key.match_indices('?').map(|(at, _)| at);
    let end = { queries }.find(|&at| is_query(&key[at + 1..])).unwrap_or(key.len());
    let authority = authority.split_once('?').map_or(authority.as_str(), |(host, _)| host);
    format!("{scheme}://{authority}{}", &key[..end]).into()
}

/// Which columns hold the id.
fn id_columns(columns: &[String]) -> String {
    match columns {
        [] => "row number".into(),
        columns => format!(
            "id column{} {}",
            if columns.len() == 1 { "" } else { "s" },
            escape(&columns.join(", "))
        ),
    }
}

fn of_process(process: &Option<u32>) -> String {
    process.map(|id| format!(" (process {id})")).unwrap_or_default()
}

fn opt_path(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map(|path| format!("{}: ", show_path(path)))
        .unwrap_or_default()
}

fn opt_part(what: &str, value: &Option<impl std::fmt::Debug>) -> String {
    value
        .as_ref()
        .map(|value| format!("{what} {value:?}: "))
        .unwrap_or_default()
}

/// A text from outside with control and bidirectional characters shown escaped, so that it cannot drive a terminal.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Characters that turn the direction of writing, and those that end a line without being control characters.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode())
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_offered() {
        let available = vec!["recency_days".to_owned(), "n_orders".to_owned()];
        let error = Error::ColumnNotFound {
            column: "recency_day".into(),
            available,
        };
        assert_eq!(error.hint().unwrap(), "did you mean \"recency_days\"?");
    }

    #[test]
    fn what_was_ignored_is_told_briefly_and_once() {
        let ignored = |n: usize| Error::NoFeatures {
            ignored: (0..n).map(|i| (format!("c{}", i / 2), "is text".into())).collect(),
        };
        assert_eq!(ignored(0).to_string(), "no column can be used as a feature");
        assert_eq!(
            ignored(3).to_string(),
            "no column can be used as a feature: \"c0\" (is text), \"c1\" (is text)"
        );
        assert!(ignored(40).to_string().ends_with("\"c7\" (is text) and 12 more"));
    }

    #[test]
    fn an_error_about_the_data_names_it_once() {
        let about = |error: Error, data: &[&str]| {
            let data: Vec<String> = data.iter().map(|&name| name.to_owned()).collect();
            error.about(&data)
        };
        let error = about(about(Error::NoRows, &["a\n.parquet"]), &["b"]);
        assert_eq!(error.to_string(), "a\\n.parquet: the data has no rows");
        let few = Error::TooFewRows {
            n_rows: 2,
            n_clusters: 3,
            weighted: false,
        };
        let (kind, hint) = (few.kind(), few.hint());
        let error = about(few, &["a", "b", "c"]);
        assert_eq!((error.kind(), error.hint()), (kind, hint));
        assert!(error.to_string().starts_with("a and 2 more: 3 clusters asked for"));
        assert_eq!(about(Error::NoRows, &[]).to_string(), Error::NoRows.to_string());
        assert_eq!(
            about(Error::Interrupted, &["a"]).to_string(),
            Error::Interrupted.to_string()
        );
    }

    #[test]
    fn what_may_be_secret_in_a_url_is_not_told() {
        for (text, expected) in [
            ("https://u:p@h:1/a/b.parquet?sig=x&y", "https://h:1/a/b.parquet"),
            ("https://h?sig=x", "https://h"),
            ("HTTP://h/a?b", "HTTP://h/a"),
            ("s3://k:s@b/a?X-Amz-Signature=x", "s3://b/a"),
            ("s3://b/dt=?/part-?.parquet", "s3://b/dt=?/part-?.parquet"),
            (
                "abfss://c@a.dfs.core.windows.net/x",
                "abfss://c@a.dfs.core.windows.net/x",
            ),
            ("abfss://c:s@a/x", "abfss://a/x"),
            ("a/b?c=d", "a/b?c=d"),
            ("a b://c?d=e", "a b://c?d=e"),
        ] {
            assert_eq!(told(text), expected);
        }
        let error = Error::NoFiles {
            pattern: "https://h/a?sig=x".into(),
        };
        assert_eq!(error.to_string(), "no data file matches https://h/a");
    }

    #[test]
    fn no_character_that_moves_others_is_left() {
        let moving = [
            '\u{0}'..='\u{1f}',
            '\u{7f}'..='\u{9f}',
            '\u{2028}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
        ];
        for c in moving.into_iter().flatten().chain(['\u{61c}', '\u{200e}', '\u{200f}']) {
            let shown = escape(&format!("a{c}b"));
            assert!(shown.starts_with("a\\") && shown.is_ascii(), "{shown:?}");
        }
        let harmless = "é \u{5d0} 客 \u{1f3f4}\u{200d}\u{2620}";
        assert_eq!(escape(harmless), harmless);
    }

    #[test]
    fn control_characters_in_a_path_are_shown_not_sent() {
        let error = Error::NotFound {
            path: "a\u{1b}[31m\nb".into(),
        };
        assert_eq!(error.to_string(), "no such file or folder: a\\u{1b}[31m\\nb");
    }
}
