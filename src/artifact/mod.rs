//! Layer 5: what a run leaves behind: the run directory and its files, written whole or not at all.

mod accounts;
mod assignments;
mod atomic;
mod checkpoint;
mod claim;
pub(crate) mod json;
mod levels_record;
pub mod model_file;
mod partition;
mod profile_record;
mod reasons;
mod rows_out;
mod run_record;
mod score_record;
mod source_record;
mod sweep_record;
mod tables;
mod text_table;
mod typical_ids;

pub use accounts::{AccountsOptions, AccountsOut, Written, write_accounts};
pub use assignments::{AssignmentTable, check_carried_columns, check_id_columns, check_path_column};
pub use atomic::{
    OutFile, RunDir, check_local, check_output_dir, check_output_file, check_output_parts, check_output_scored,
    check_output_sweep, write_atomic, write_stream,
};
pub use checkpoint::Checkpoint;
pub use claim::Claim;
pub use levels_record::{LevelsRecord, PartRecord, SplitRecord, Visited};
pub use partition::{MAX_PARTITIONS, PartitionBy, PartsWritten};
pub use profile_record::{Boundary, Neighbour, ProfileRecord};
pub use reasons::{check_reasons, write_reasons};
pub use rows_out::TableFormat;
pub use run_record::{
    ConfigRecord, DeviceRecord, InitRecord, InputRecord, OptionsRecord, RunRecord, SeedingRecord, SegmentRecord,
    StageRecord, TimeRecord,
};
pub use score_record::{Provenance, ScoreRecord};
pub use source_record::SourceRecord;
pub use sweep_record::{Selection, SweepRecord};
pub use tables::{write_profile, write_rows, write_sweep};
pub use typical_ids::write_typical_ids;

/// The files of a run directory.
pub mod names {
    /// The record of the run.
    pub const RUN: &str = "run.json";
    /// The model.
    pub const MODEL: &str = "model.json";
    /// Segment of every row.
    pub const ASSIGNMENTS: &str = "assignments.parquet";
    /// What each segment is like.
    pub const PROFILE: &str = "profile.parquet";
    /// What the reports are drawn from.
    pub const PROFILE_RECORD: &str = "profile.json";
    /// The run for people, as a page.
    pub const REPORT: &str = "report.html";
    /// The same in short.
    pub const REPORT_SHORT: &str = "report.md";
    /// Everything that a run directory may hold: only a folder with nothing else in it is ever replaced.
    pub const ALL: [&str; 7] = [RUN, MODEL, ASSIGNMENTS, PROFILE, PROFILE_RECORD, REPORT, REPORT_SHORT];

    /// The record of a sweep.
    pub const SWEEP: &str = "sweep.json";
    /// One row per number of clusters.
    pub const SWEEP_TABLE: &str = "sweep.parquet";
    /// Everything that the directory of a sweep may hold.
    pub const ALL_OF_SWEEP: [&str; 2] = [SWEEP, SWEEP_TABLE];

    /// The record of a folder of scored rows: data is never read from names that begin so.
    pub const SCORE: &str = "_kohort.json";

    /// File number `n` of a table in several files: `part-00000.parquet` and so on.
    #[must_use]
    pub fn part(n: usize) -> String {
        format!("part-{n:05}.parquet")
    }

    /// Whether [`part`] gives this name for a number of up to five digits.
    #[must_use]
    pub fn is_part(name: &str) -> bool {
        let number = name
            .strip_prefix("part-")
            .and_then(|rest| rest.strip_suffix(".parquet"));
        number.is_some_and(|number| number.len() == 5 && number.bytes().all(|digit| digit.is_ascii_digit()))
    }
}
