//! The command line as typed: names, defaults, help. What it means is decided in [`super::plan`].

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use kohort::backend::choice::{DeviceRequest, DeviceRequests};
use kohort::cells::MIN_CELL;
use kohort::features::Instant;
use kohort::kmeans::MAX_CLUSTERS;
use kohort::nested::SegmentPath;

use super::completions::CompletionsArgs;
use super::config::{ConfigArgs, ConfigCommand, SourceArgs};
use super::init::InitArgs;
use super::isolate::DecodeArgs;

use super::gates::{ClipGateArgs, GateArgs};
use super::long::{CheckpointArgs, MaxTimeArgs};
use super::memory::MemoryArgs;
use super::reading::ReadArgs;

/// Customer segmentation with exact k-means: Parquet in, segments out, the same bits on every CPU and GPU.
#[derive(Debug, Parser)]
#[command(name = "kohort", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 no device or memory, \
                        4 a gate is not passed, 5 a verification differs, 99 nothing has changed (--if-changed), \
                        130 interrupted."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fit segments to the rows of Parquet files and write a run directory
    Fit(FitArgs),
    /// Look at every column: what is in it, and what a fit would do with it and why
    Inspect(InspectArgs),
    /// Write a kohort.toml that says what a fit would do with every column and why, to be edited
    Init(InitArgs),
    /// Fit every number of segments in a range, judge them, and say which to take and why
    Sweep(SweepArgs),
    /// Give rows their segment under a fitted model
    Score(ScoreArgs),
    /// Say why a row is in its segment, and the smallest change that would move it
    Explain(ExplainArgs),
    /// Show which segments of a run are alike, as a tree, and join them to coarser groups
    Tree(TreeArgs),
    /// Say what a typical customer of each segment is like; write who they are where that is asked for
    Typical(TypicalArgs),
    /// Name segments, and draw the reports of the run again
    Rename(RenameArgs),
    /// List the devices, what they can do, and which one would be taken
    Devices(DevicesArgs),
    /// Fit a run again and check that every bit is the same
    Verify(VerifyArgs),
    /// Time the stages of a fit on any device, against the machine's best and an earlier bench
    Bench(BenchArgs),
    /// Write synthetic accounts with known clusters, as many as you like
    Generate(GenerateArgs),
    /// See what files, variables and defaults say, and which of them
    Config(ConfigArgs),
    /// Print a script that completes commands and flags in your shell
    Completions(CompletionsArgs),
    /// Decode one file for another process, see [`super::isolate`]
    #[command(hide = true)]
    DecodeApart(DecodeArgs),
    /// Try it all on accounts of a made-up vendor: inspect, sweep, fit, tree and report
    Demo(DemoArgs),
}

impl Command {
    pub(crate) fn talk(&self) -> &TalkArgs {
        match self {
            Self::Fit(args) => &args.talk,
            Self::Inspect(args) => &args.talk,
            Self::Init(args) => &args.look.talk,
            Self::Sweep(args) => &args.talk,
            Self::Score(args) => &args.talk,
            Self::Explain(args) => &args.talk,
            Self::Tree(args) => &args.talk,
            Self::Typical(args) => &args.talk,
            Self::Rename(args) => &args.talk,
            Self::Devices(args) => &args.talk,
            Self::Verify(args) => &args.talk,
            Self::Bench(args) => &args.talk,
            Self::Generate(args) => &args.talk,
            Self::Completions(args) => &args.talk,
            Self::Config(args) => match &args.what {
                ConfigCommand::Show(args) => &args.talk,
            },
            Self::Demo(args) => &args.talk,
            Self::DecodeApart(args) => &args.talk,
        }
    }

    /// The limit of memory of commands that hold whole data sets, and their output.
    pub(crate) fn memory(&self) -> Option<(&MemoryArgs, Option<&Path>)> {
        match self {
            Self::Fit(args) => Some((&args.compute.memory, Some(&args.out))),
            Self::Sweep(args) => Some((&args.compute.memory, args.out.as_deref())),
            Self::Score(args) => Some((&args.compute.memory, Some(&args.out))),
            Self::Tree(args) => Some((&args.compute.memory, args.out.as_deref())),
            Self::Verify(args) => Some((&args.compute.memory, None)),
            _ => None,
        }
    }
}

const FIT_EXAMPLE: &str = "Example: kohort fit customers.parquet -k 5 --id customer_id --out segments

Lists are separated by commas, and every list option may be repeated. A comma inside a column name is written \\, \
and patterns take * and ? and [...].";

#[derive(Debug, Args)]
#[command(after_help = FIT_EXAMPLE, group = ArgGroup::new("number").args(["n_clusters", "levels"]).required(true))]
pub(crate) struct FitArgs {
    /// Parquet, Arrow or CSV files, folders of them, globs such as 'data/*.parquet', and - for stdin
    #[arg(required = true, value_name = "DATA")]
    pub(crate) data: Vec<String>,

    /// Number of segments; auto or a range such as 2..8 tries them all and takes the one that `kohort sweep` would
    #[arg(short = 'k', long = "n-clusters", visible_alias = "k", value_name = "N|auto|A..B")]
    pub(crate) n_clusters: Option<NumberArg>,

    /// Segments of segments, as numbers from the first level down, such as 4,3 or auto,auto: every segment is split again
    /// on its own rows, with auto or a range only where the data speaks for it; 2,2,2 halves and halves again
    #[arg(long, value_name = "N|auto|A..B,...", value_delimiter = ',')]
    pub(crate) levels: Vec<NumberArg>,

    /// Write the run to this directory: report.html, report.md, profile.parquet, profile.json, assignments.parquet,
    /// model.json, run.json
    #[arg(long, value_name = "DIR", default_value = "kohort-run")]
    pub(crate) out: PathBuf,

    /// Replace the run directory if it is there already
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Show what the command would read and how much memory it would take, and end
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do nothing, with exit code 99, where the run that is there was made of the same bytes, with the same settings, by this
    /// version of kohort; else make it again in its place, as with --overwrite. Gates are not asked where nothing is done
    #[arg(long)]
    pub(crate) if_changed: bool,

    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) columns: ColumnArgs,

    #[command(flatten)]
    pub(crate) kmeans: KMeansArgs,

    /// Have this share of the rows, those farthest from their centroids, move no centroid: 1% or 0.01
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "K-means")]
    pub(crate) trim: Option<f64>,

    /// What becomes of rows far outside their segment
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "flag",
        help_heading = "Output"
    )]
    pub(crate) outliers: OutliersArg,

    #[command(flatten)]
    pub(crate) gates: GateArgs,

    #[command(flatten)]
    pub(crate) privacy: PrivacyArgs,

    #[command(flatten)]
    pub(crate) long: CheckpointArgs,

    #[command(flatten)]
    pub(crate) time: MaxTimeArgs,

    #[command(flatten)]
    pub(crate) compute: ComputeArgs,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

const SWEEP_EXAMPLE: &str = "Example: kohort sweep customers.parquet -k 2..12 --id customer_id --out choice

Every number of segments is fitted as `kohort fit` does it, bit for bit, on data that is prepared once. Silhouettes, \
Davies-Bouldin and Calinski-Harabasz indices are over all rows, with squared Euclidean distances; stability is the \
adjusted Rand index of the segments against those of 8 resamples of at most 8,192 rows; a segment stands apart where \
rows are fewer on the way to every other segment.";

#[derive(Debug, Args)]
#[command(after_help = SWEEP_EXAMPLE)]
pub(crate) struct SweepArgs {
    /// Parquet, Arrow or CSV files, folders of them, globs such as 'data/*.parquet', and - for stdin
    #[arg(required = true, value_name = "DATA")]
    pub(crate) data: Vec<String>,

    /// Numbers of segments to try, least and most
    #[arg(short = 'k', long = "n-clusters", visible_alias = "k", value_name = "A..B", default_value = "2..12", value_parser = a_range)]
    pub(crate) n_clusters: RangeInclusive<usize>,

    /// Write sweep.json and sweep.parquet to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the directory if it is there already
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,

    /// Show what the command would read and how much memory it would take, and end
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do nothing, with exit code 99, where the sweep that is there was made of the same bytes, with the same settings, by this
    /// version of kohort; else make it again in its place, as with --overwrite. Gates are not asked where nothing is done
    #[arg(long, requires = "out")]
    pub(crate) if_changed: bool,

    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) columns: ColumnArgs,

    #[command(flatten)]
    pub(crate) kmeans: KMeansArgs,

    #[command(flatten)]
    pub(crate) gates: GateArgs,

    #[command(flatten)]
    pub(crate) privacy: PrivacyArgs,

    #[command(flatten)]
    pub(crate) long: CheckpointArgs,

    #[command(flatten)]
    pub(crate) time: MaxTimeArgs,

    #[command(flatten)]
    pub(crate) compute: ComputeArgs,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Choice of the number of segments")]
pub(crate) struct ChoiceArgs {
    /// Numbers of segments that would be liked; the choice falls among them
    #[arg(long, value_name = "A..B", value_parser = a_range)]
    pub(crate) prefer: Option<RangeInclusive<usize>>,

    /// Least share of the rows (or their weight) in a segment, such as 5% or 0.05; 0 allows any [default: 1%]
    #[arg(long, value_name = "SHARE", value_parser = a_share)]
    pub(crate) min_share: Option<f64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Columns")]
pub(crate) struct ColumnArgs {
    /// Columns that name a row; several make one compound id. Without it, rows are known by their number
    #[arg(long, value_name = "COLS")]
    pub(crate) id: Vec<Names>,

    /// Columns to cluster on, names or patterns [default: every usable column]
    #[arg(long, value_name = "COLS")]
    pub(crate) features: Vec<Names>,

    /// Columns to leave out, names or patterns
    #[arg(long, value_name = "COLS")]
    pub(crate) exclude: Vec<Names>,

    /// Columns to profile per segment and never to cluster on: what customers are worth, who left; names or patterns
    #[arg(long, value_name = "COLS")]
    pub(crate) outcome: Vec<Names>,

    /// Columns to copy into assignments.parquet, names or patterns; not clustered on unless --features names them
    #[arg(long, value_name = "COLS")]
    pub(crate) carry: Vec<Names>,

    /// Column that says how many rows a row counts for
    #[arg(long, value_name = "COL")]
    pub(crate) weight: Option<String>,

    /// How features are brought to one scale
    #[arg(long, value_enum, value_name = "HOW", default_value = "zscore")]
    pub(crate) scale: ScaleArg,

    #[command(flatten)]
    pub(crate) treatment: TreatmentArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Preparation")]
pub(crate) struct TreatmentArgs {
    /// Take logarithms, ln(1 + x), of: auto (columns whose skewness is above 2, and halved by it), none, or these columns
    #[arg(long, value_name = "auto|none|COLS", default_value = "auto")]
    pub(crate) log: Vec<Names>,

    /// Move values beyond this quantile, at either end of each column, to it: 1% or 0.01
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) clip: Option<f64>,

    /// What stands in for missing numbers: median, mean, indicator (median and a feature that says so), refuse, or a
    /// number; for all columns, or as COL=HOW for some [default: median]
    #[arg(long, value_name = "HOW|COL=HOW,...")]
    pub(crate) missing: Vec<Names>,

    /// Count the age of dates in days from here, 2024-12-31 [default: the newest date of each column]
    #[arg(long, value_name = "DATE", value_parser = a_day)]
    pub(crate) as_of: Option<Instant>,

    /// Columns of dates whose month takes part as well, December next to January
    #[arg(long, value_name = "COLS")]
    pub(crate) month: Vec<Names>,

    /// Columns of dates whose weekday takes part as well
    #[arg(long, value_name = "COLS")]
    pub(crate) weekday: Vec<Names>,

    /// How much columns (or blocks) count in squared distances
    #[arg(long, value_name = "COL=N,...")]
    pub(crate) weights: Vec<Names>,

    /// Columns that count as one together: usage='usage_*'; the columns of no block make up one more
    #[arg(long, value_name = "NAME=COLS")]
    pub(crate) block: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "K-means")]
pub(crate) struct KMeansArgs {
    /// First centroids: k-means++, random, or a Parquet file of N rows in original units with the features' columns
    #[arg(long, value_name = "HOW", default_value = "k-means++")]
    pub(crate) init: InitArg,

    /// Restarts of the seeding; the best is taken
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = at_least_one)]
    pub(crate) n_init: usize,

    /// Most iterations over all rows
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = at_least_one)]
    pub(crate) max_iter: usize,

    /// Stop when the squared shift of the centroids is at most this share of the mean variance; 0 goes on to the end
    #[arg(long, value_name = "SHARE", default_value_t = 1e-4, allow_negative_numbers = true, value_parser = tolerance)]
    pub(crate) tol: f64,

    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Privacy")]
pub(crate) struct PrivacyArgs {
    /// Tell nothing about fewer rows than this: numbers from 1 to N - 1, figures of so few rows, and what would give them
    /// away by subtracting; 1 tells all. Segments do not depend on it, and rows in Parquet files with ids are all there
    #[arg(long, value_name = "N", default_value_t = MIN_CELL, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) min_cell: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct ComputeArgs {
    /// auto, gpu, gpu:N (see `kohort devices`), several as gpu:N,M or gpu:all, or cpu; the segments are the same on all of
    /// them
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceRequest,

    /// Threads of the CPU [default: all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) threads: Option<usize>,

    /// Largest piece of data that is worked on at a time, in bytes
    #[arg(long, value_name = "BYTES", hide = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) chunk_bytes: Option<usize>,

    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
}

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct TalkArgs {
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,

    /// Say nothing on stderr but warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more on stderr: adapters, seconds per stage
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// How progress is shown on stderr; auto is bar on a terminal, else none
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    pub(crate) progress: ProgressArg,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: kohort inspect customers.parquet --id customer_id

Medians, skewness and far values are good to 3 %, numbers of different values to 2 %, whatever the number of rows.")]
pub(crate) struct InspectArgs {
    /// Parquet, Arrow or CSV files, folders of them, globs such as 'data/*.parquet', and - for stdin
    #[arg(required = true, value_name = "DATA")]
    pub(crate) data: Vec<String>,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) columns: ColumnArgs,

    /// Threads of the CPU [default: all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) threads: Option<usize>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

const SCORE_EXAMPLE: &str = "Examples:
  kohort score segments new_customers.parquet --out scored.parquet
  kohort score segments customers/ --out scored --partition-by file
  kohort score segments new_customers.csv -o - | head

In CSV, texts that a spreadsheet would take for formulas (they begin with =, +, - or @, and are no numbers) get a ' before \
them, and a warning tells how many; Parquet and JSON lines have them as they are.";

#[derive(Debug, Args)]
#[command(after_help = SCORE_EXAMPLE)]
pub(crate) struct ScoreArgs {
    /// A run directory, or its model.json
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,

    /// Files, folders, globs, and - for stdin, with the columns that the model was fitted on
    #[arg(required = true, value_name = "DATA")]
    pub(crate) data: Vec<String>,

    /// Write the assignments to this file, or with --partition-by to this folder; - is stdout
    #[arg(short, long, value_name = "PATH")]
    pub(crate) out: PathBuf,

    /// Parquet, CSV with a header, or one JSON object per line [default: what the name of the file says (.csv, .jsonl),
    /// else parquet; csv on stdout]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<FormatArg>,

    /// Write a folder: file makes one file of each file of DATA, under the same name; segment, or any column, makes one of
    /// each value, in folders such as segment=3 (Hive's), at most 1000
    #[arg(long, value_name = "file|COLUMN")]
    pub(crate) partition_by: Option<String>,

    /// Replace the file, or the folder that an earlier scoring wrote, if it is there already
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Do nothing, with exit code 99, where what is there was made of the same bytes, with the same model and settings, by this
    /// version of kohort; else make it again in its place, as with --overwrite. Gates are not asked where nothing is done
    #[arg(long)]
    pub(crate) if_changed: bool,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) gates: GateArgs,

    #[command(flatten)]
    pub(crate) clip_gate: ClipGateArgs,

    #[command(flatten)]
    pub(crate) privacy: PrivacyArgs,

    #[command(flatten)]
    pub(crate) compute: ComputeArgs,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

const EXPLAIN_EXAMPLE: &str = "Examples:
  kohort explain segments --id 17850
  kohort explain segments --all --out reasons.parquet

A column speaks for the segment by its part of the difference of the squared distances to the runner-up and to the \
segment. The smallest change is that of one column alone, in units of the scaled features; it is held against all \
segments. Whether it can be made is for you to say.";

#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLE)]
pub(crate) struct ExplainArgs {
    /// A run directory, or a model.json together with DATA
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// Files, folders, globs, and - for stdin that hold the row [default: the files of the run, if unchanged]
    #[arg(value_name = "DATA")]
    pub(crate) data: Vec<String>,

    /// The id of the row, as it stands in the data; once for each id column. A row number, from 0, where there is none
    #[arg(
        long,
        value_name = "VALUE",
        allow_hyphen_values = true,
        required_unless_present = "all"
    )]
    pub(crate) id: Vec<String>,

    /// Explain every row
    #[arg(long, requires = "out", conflicts_with = "id")]
    pub(crate) all: bool,

    /// Write the explanations of all rows to this Parquet file
    #[arg(long, value_name = "FILE", requires = "all", conflicts_with = "id")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the file if it is there already
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    /// Threads of the CPU [default: all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) threads: Option<usize>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

const TREE_EXAMPLE: &str = "Examples:
  kohort tree segments
  kohort tree segments --cut 3
  kohort tree segments --drill 2 -k 3 --out deeper

Ward's criterion: those two groups are joined whose union gives up least of the scatter that lies between them, from the \
exact sums of all rows. With --drill the run is made again from its data, with one segment more that is split, and \
written to --out; its other segments stay as they are.";

#[derive(Debug, Args)]
#[command(after_help = TREE_EXAMPLE)]
pub(crate) struct TreeArgs {
    /// A run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// Tell the groups there are where the tree has so many branches
    #[arg(long, value_name = "N", value_parser = n_clusters)]
    pub(crate) cut: Option<usize>,

    /// Split this segment on its own rows: 2, or 2.1 in a run with several levels
    #[arg(long, value_name = "PATH", requires_all = ["n_clusters", "out"], conflicts_with = "cut", help_heading = "Drill")]
    pub(crate) drill: Option<SegmentPath>,

    /// Number of its segments; auto or a range leaves it whole unless the data speaks for one of them
    #[arg(
        short = 'k',
        long = "n-clusters",
        visible_alias = "k",
        value_name = "N|auto|A..B",
        requires = "drill",
        help_heading = "Drill"
    )]
    pub(crate) n_clusters: Option<NumberArg>,

    /// The filter of the run, where its record leaves values out
    #[arg(long = "where", value_name = "EXPR", requires = "drill", help_heading = "Drill")]
    pub(crate) filter: Option<String>,

    /// Write the deeper run to this directory
    #[arg(long, value_name = "DIR", requires = "drill", help_heading = "Drill")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the run directory if it is there already
    #[arg(long, requires = "out", help_heading = "Drill")]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) compute: ComputeArgs,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: kohort typical segments --ids typical.parquet

Values are those in the middle of the 11 rows nearest to each segment's centre, to three digits, so that no single \
customer's are told. Without --ids nothing is said of who they are.")]
pub(crate) struct TypicalArgs {
    /// A run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// Write segment, rank, id and distance of the most typical rows to this Parquet file
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: Option<PathBuf>,

    /// So many rows of each segment
    #[arg(short = 'n', long = "rows", value_name = "N", default_value_t = 11, requires = "ids", value_parser = at_least_one)]
    pub(crate) n: usize,

    /// Replace the file if it is there already
    #[arg(long, requires = "ids")]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: kohort rename segments 1='Loyal customers' 2=Lapsed

run.json, model.json and both reports have the new names afterwards, or nothing has changed.")]
pub(crate) struct RenameArgs {
    /// A run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// A segment's number, or the name it has, and its new name
    #[arg(value_name = "SEGMENT=NAME", required_unless_present = "file")]
    pub(crate) names: Vec<String>,

    /// A file with one SEGMENT=NAME a line; lines that begin with # are not read
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: kohort devices --json")]
pub(crate) struct DevicesArgs {
    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: kohort verify segments --device cpu")]
pub(crate) struct VerifyArgs {
    /// A run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// Where the data is now [default: where the run read it]
    #[arg(value_name = "DATA")]
    pub(crate) data: Vec<String>,

    /// The filter of the run, where its record leaves values out
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,

    #[command(flatten)]
    pub(crate) compute: ComputeArgs,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

const BENCH_EXAMPLE: &str = "Examples:
  kohort bench --shape A,C --device cpu,gpu
  kohort bench --rows 1M,10M --features 16 --clusters 4,16,64
  kohort bench customers.parquet -k 8 --exclude customer_id --json > before.json
  kohort bench customers.parquet -k 8 --exclude customer_id --against before.json

Shapes: A 1M x 8 k=8, B 1M x 16 k=64, C 5M x 16 k=16, D 1M x 64 k=256, E 200k x 128 k=1024, F 10M x 32 k=100; \
gpu-grid is 1M, 10M and 100M rows x 4 to 32 features x 4 to 64 clusters.";

#[derive(Debug, Args)]
#[command(after_help = BENCH_EXAMPLE)]
pub(crate) struct BenchArgs {
    /// Parquet files, folders of them, and globs [default: rows generated in memory]
    #[arg(value_name = "DATA", requires = "clusters", conflicts_with_all = ["shape", "rows"])]
    pub(crate) data: Vec<String>,

    /// Sizes by name: A to F, gpu-grid, or a list of them [default: A]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = ["rows", "clusters", "features"])]
    pub(crate) shape: Vec<String>,

    /// Numbers of rows to generate, such as 200k or 10M [default: 1M]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = some_rows)]
    pub(crate) rows: Vec<usize>,

    /// Numbers of features to generate [default: 16]; with DATA, the columns to cluster on, names or patterns
    #[arg(long, value_name = "N,...|COLS")]
    pub(crate) features: Vec<Names>,

    /// Numbers of clusters [default: 16]
    #[arg(short = 'k', long, visible_alias = "k", value_name = "N,...", value_delimiter = ',', value_parser = n_clusters)]
    pub(crate) clusters: Vec<usize>,

    /// With DATA, columns to leave out, names or patterns
    #[arg(long, value_name = "COLS", requires = "data")]
    pub(crate) exclude: Vec<Names>,

    /// How features are brought to one scale
    #[arg(long, value_enum, value_name = "HOW", default_value = "zscore")]
    pub(crate) scale: ScaleArg,

    /// First centroids: rows (of the data, by hash: nothing is seeded), k-means++, random, or a Parquet file of rows
    #[arg(long, value_name = "HOW", default_value = "rows")]
    pub(crate) init: BenchInitArg,

    /// Restarts of the seeding
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) n_init: usize,

    /// Iterations: exactly so many, unless --tol or convergence ends them
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    pub(crate) iters: usize,

    /// As in a fit; 0 goes on until no centroid moves
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true, value_parser = tolerance)]
    pub(crate) tol: f64,

    /// Seed of the rows that are generated and of the first centroids
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Times that every stage runs: the first counts as cold, the others as warm
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) rounds: usize,

    /// Do not measure what the CPU and GPUs could do at best
    #[arg(long)]
    pub(crate) no_ceilings: bool,

    /// Also time a GPU's iterations without the proof of labels: what being exact costs
    #[arg(long)]
    pub(crate) cost_of_proof: bool,

    /// Compare with the --json output of an earlier bench; exit code 4 when slower, 5 when the labels differ
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,

    /// Iterations and labels may take less than so many times the earlier seconds (the fastest runs of both)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.1, value_parser = factor)]
    pub(crate) slower_than: f64,

    /// As in `kohort fit`, or several of that: every case runs on each. A number belongs to the gpu before it: cpu,gpu:0,1
    /// is the CPU, and two GPUs together
    #[arg(long, value_name = "DEVICES", default_value = "cpu", help_heading = "Device")]
    pub(crate) device: Vec<DeviceRequests>,

    /// Threads of the CPU [default: all]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Device",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024)
    )]
    pub(crate) threads: Option<usize>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

const GENERATE_HELP: &str = "Example: kohort generate --rows 10M --features 32 --clusters 100 --out accounts.parquet

Columns: account_id, f01, f02, ... (float32), c01, ... (text, with --categorical), and truth, the cluster that a row \
was drawn from (-1 for outliers): leave it out of a fit with --exclude truth. Rows depend on the seed, the shape and \
their number alone; the files are the same for any number of threads.

Counts may be written 5000, 10_000, 200k, 1M, 2.5M or 1B.";

#[derive(Debug, Args)]
#[command(after_help = GENERATE_HELP)]
pub(crate) struct GenerateArgs {
    /// Number of rows
    #[arg(long, value_name = "N", value_parser = a_count)]
    pub(crate) rows: usize,

    /// Number of features
    #[arg(long, value_name = "N", default_value = "16", value_parser = a_count)]
    pub(crate) features: usize,

    /// Number of clusters; the largest has more than 20 times the rows of the smallest
    #[arg(long, value_name = "N", default_value = "8", value_parser = a_count)]
    pub(crate) clusters: usize,

    /// Write to this Parquet file; with --files, to this folder
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,

    /// Replace what was written there earlier
    #[arg(long)]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) kind: AccountKindArgs,

    /// Write a folder with N files, part-00000.parquet and so on
    #[arg(long, value_name = "N", value_parser = a_count, help_heading = "Files")]
    pub(crate) files: Option<usize>,

    /// Rows in a row group [default: 32 MiB of numbers, but 16,384 to 1,048,576 rows]
    #[arg(long, value_name = "ROWS", value_parser = a_count, help_heading = "Files")]
    pub(crate) row_group: Option<usize>,

    /// Compression of the files
    #[arg(
        long,
        value_enum,
        value_name = "CODEC",
        default_value = "snappy",
        help_heading = "Files"
    )]
    pub(crate) codec: CodecArg,

    /// Threads of the CPU [default: all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024), help_heading = "Files")]
    pub(crate) threads: Option<usize>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: kohort demo --out try

Accounts depend on seed and row number alone. Every command is shown as you would type it.")]
pub(crate) struct DemoArgs {
    /// Write accounts, choice and segments to this directory
    #[arg(long, value_name = "DIR", default_value = "kohort-demo")]
    pub(crate) out: PathBuf,

    /// Replace what an earlier demo wrote there
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Number of accounts
    #[arg(long, value_name = "N", default_value = "10k", value_parser = some_rows)]
    pub(crate) rows: usize,

    /// Seed of the accounts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// Where the first centroids of a bench come from, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BenchInitArg {
    Rows,
    AsInAFit(InitArg),
}

impl FromStr for BenchInitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rows" => Ok(Self::Rows),
            _ => match text.parse() {
                Ok(init) => Ok(Self::AsInAFit(init)),
                Err(_) => Err("expected rows, k-means++, random or a .parquet file".into()),
            },
        }
    }
}

/// A date, or a date and time.
fn a_day(text: &str) -> Result<Instant, String> {
    let wrong = |_| "expected a date such as 2024-12-31, or a date and time such as 2024-12-31T18:00:00".to_owned();
    text.parse().map_err(wrong)
}

/// A share, such as 0.01 or 1%.
fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    share
        .ok()
        .filter(|share| *share > 0.0 && *share < 0.5)
        .ok_or_else(|| "expected a share above 0 and below 0.5, such as 1% or 0.01".to_owned())
}

fn some_rows(text: &str) -> Result<usize, String> {
    match a_count(text)? {
        0 => Err("expected at least one row".into()),
        n => Ok(n),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text
        .parse()
        .ok()
        .filter(|factor: &f64| factor.is_finite() && *factor > 0.0);
    factor.ok_or_else(|| "expected a number above 0".to_owned())
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Rows")]
pub(crate) struct AccountKindArgs {
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Share of feature cells that are null
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) missing: f64,

    /// Share of rows thrown far off
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) outliers: f64,

    /// Added to every value, in standard deviations of the noise
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) offset: f64,

    /// Number of text columns that go with the cluster
    #[arg(long, value_name = "N", default_value = "0", value_parser = a_count)]
    pub(crate) categorical: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecArg {
    None,
    Snappy,
    Zstd,
    Lz4,
    Gzip,
    Brotli,
}

/// A whole number such as 5000, 10_000, 200k, 2.5M or 1B.
fn a_count(text: &str) -> Result<usize, String> {
    let wrong = || "expected a whole number such as 5000, 10_000, 200k, 2.5M or 1B".to_owned();
    let (number, zeros) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 3),
        Some('m' | 'M') => (&text[..text.len() - 1], 6),
        Some('b' | 'B' | 'g' | 'G') => (&text[..text.len() - 1], 9),
        _ => (text, 0),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = part.trim_end_matches('0');
    if part.len() > zeros || !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: String = whole.chars().filter(|&c| c != '_').chain(part.chars()).collect();
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits = digits + &"0".repeat(zeros - part.len());
    digits.parse().map_err(|_| "the number is too large".to_owned())
}

/// A number of segments, or how it is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NumberArg {
    Fixed(usize),
    Auto,
    Within(RangeInclusive<usize>),
}

impl FromStr for NumberArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ if text.contains("..") => a_range(text).map(Self::Within),
            _ => n_clusters(text).map(Self::Fixed),
        }
    }
}

/// `2..12`: both ends belong to it.
fn a_range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let wrong = || format!("expected a range such as 2..12, from 1 to {MAX_CLUSTERS}");
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let range = n_clusters(least).map_err(|_| wrong())?..=n_clusters(most).map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

/// `5%` or `0.05`.
pub(super) fn a_share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1, or 0% to 100%".to_owned())
}

fn n_clusters(text: &str) -> Result<usize, String> {
    let n = text.parse().ok().filter(|n| (1..=MAX_CLUSTERS).contains(n));
    n.ok_or_else(|| format!("expected a whole number from 1 to {MAX_CLUSTERS}"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let n = text.parse().ok().filter(|&n| n > 0);
    n.ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

fn tolerance(text: &str) -> Result<f64, String> {
    let tol = text.parse().ok().filter(|tol: &f64| tol.is_finite() && *tol >= 0.0);
    tol.ok_or_else(|| "expected a number of at least 0".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScaleArg {
    /// Subtract the mean, divide by the standard deviation
    Zscore,
    /// Subtract the median, divide by the interquartile range
    Robust,
    /// From 0 to 1
    Minmax,
    /// Ranks in place of values, then as zscore: only order counts, and nothing is an outlier
    Rank,
    /// As they are
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutliersArg {
    /// They have an outlier_score above 1
    Flag,
    /// They get no segment as well: not in assignments.parquet, nor in any figure of one
    Unassign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    Parquet,
    Csv,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// Bars on a terminal, else nothing
    Auto,
    /// Bars
    Bar,
    /// A line now and then
    Plain,
    /// One JSON object per line
    Json,
    /// Nothing
    None,
}

/// Where the first centroids come from, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InitArg {
    KMeansPlusPlus,
    Random,
    File(PathBuf),
}

impl FromStr for InitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "k-means++" => Ok(Self::KMeansPlusPlus),
            "random" => Ok(Self::Random),
            _ if text.ends_with(".parquet") => Ok(Self::File(text.into())),
            _ => Err("expected k-means++, random or a .parquet file".into()),
        }
    }
}

/// One comma-separated list of names; `\,` is a comma inside a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// All names of a repeated option, in order.
    pub(crate) fn flatten(lists: &[Self]) -> Vec<String> {
        lists.iter().flat_map(|list| list.0.iter().cloned()).collect()
    }
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if chars.peek() == Some(&',') => names.last_mut().expect("never empty").extend(chars.next()),
                ',' => names.push(String::new()),
                c => names.last_mut().expect("never empty").push(c),
            }
        }
        if names.iter().any(String::is_empty) {
            return Err("a name in the list is empty".into());
        }
        Ok(Self(names))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn fit(line: &str) -> FitArgs {
        match parse(line).unwrap().command {
            Command::Fit(args) => args,
            other => panic!("not a fit: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn k_has_three_spellings() {
        for k in ["-k 5", "-k5", "--k 5", "--n-clusters=5"] {
            let args = fit(&format!("kohort fit a.parquet {k}"));
            assert_eq!(args.n_clusters, Some(NumberArg::Fixed(5)));
        }
    }

    #[test]
    fn lists_split_at_commas_that_are_not_escaped_and_options_repeat() {
        let args = fit(r"kohort fit a -k 2 --features a,b\,c,usage_* --features d --id x,y");
        assert_eq!(Names::flatten(&args.columns.features), ["a", "b,c", "usage_*", "d"]);
        assert_eq!(Names::flatten(&args.columns.id), ["x", "y"]);
        assert!(parse("kohort fit a -k 2 --features a,,b").is_err());
    }

    #[test]
    fn numbers_of_segments_can_be_left_to_a_sweep() {
        assert_eq!(fit("kohort fit a -k auto").n_clusters, Some(NumberArg::Auto));
        let levels = [NumberArg::Fixed(4), NumberArg::Auto, NumberArg::Within(2..=3)];
        assert_eq!(fit("kohort fit a --levels 4,auto,2..3").levels, levels);
        let args = fit("kohort fit a -k 3..7 --prefer 4 --min-share 2.5%");
        assert_eq!(args.n_clusters, Some(NumberArg::Within(3..=7)));
        assert_eq!((args.choice.prefer, args.choice.min_share), (Some(4..=4), Some(0.025)));
        assert_eq!((a_share("0.1"), a_share("100%")), (Ok(0.1), Ok(1.0)));
        for wrong in ["1.5", "101%", "-1%", "nan", "%", ""] {
            assert!(a_share(wrong).is_err(), "{wrong}");
        }
        for wrong in ["5..2", "..", "2..", "0..3", "2...4", "2-4", "2..99999"] {
            assert!(a_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_are_written_as_people_do() {
        let good = [
            ("0", 0),
            ("5000", 5000),
            ("10_000", 10_000),
            ("200k", 200_000),
            ("1M", 1_000_000),
            ("2.5M", 2_500_000),
            ("2.50m", 2_500_000),
            ("1B", 1_000_000_000),
            ("1.0", 1),
        ];
        for (text, value) in good {
            assert_eq!(a_count(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "+1",
            "1.5",
            "1.2345k",
            "1e6",
            ".5M",
            "_1",
            "1 M",
            "M1",
            "1.-5k",
            "99999999999B",
            "é",
        ] {
            assert!(a_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let args = fit("kohort fit a -k 4").kmeans;
        let params = kohort::kmeans::KMeansParams::new(4);
        assert_eq!(
            (args.n_init, args.max_iter, args.seed),
            (params.n_init, params.max_iter, params.seed)
        );
        assert_eq!(args.tol.to_bits(), params.tol.to_bits());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "kohort fit -k 2",
            "kohort fit a",
            "kohort fit a -k many",
            "kohort fit a -k 2 --levels 2,3",
            "kohort fit a --levels 2,,3",
            "kohort tree r --drill 2 --out o",
            "kohort tree r --drill 2 -k 3",
            "kohort tree r --drill 02 -k 3 --out o",
            "kohort tree r -k 3",
            "kohort fit a -k 0",
            "kohort fit a -k 65537",
            "kohort fit a -k 4..2",
            "kohort sweep a -k auto",
            "kohort sweep a --overwrite",
            "kohort fit a -k 2 --n-init 0",
            "kohort fit a -k 2 --max-iter 0",
            "kohort fit a -k 2 --tol -1",
            "kohort fit a -k 2 --tol nan",
            "kohort fit a -k 2 --tol inf",
            "kohort fit a -k 2 -q -v",
            "kohort fit a -k 2 --device tpu",
            "kohort fit a -k 2 --init best",
            "kohort fit a -k 2 --scale log",
            "kohort fit a -k 2 --threads 0",
            "kohort score m a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
