//! What the data has to be like for a command to go on: exit code 4 where it is not.

use clap::Args;

use kohort::data::BatchSource;
use kohort::features::{FeatureColumn, count_missing};
use kohort::{Error, Result};

use super::args::a_share;
use super::output::{count, percent};

#[derive(Debug, Args)]
#[command(next_help_heading = "Gates (exit code 4 where the data does not pass)")]
pub(crate) struct GateArgs {
    /// Least number of rows, after --where
    #[arg(long, value_name = "N")]
    pub(crate) min_rows: Option<usize>,

    /// Largest share of rows without a value in any column that is, or could be, clustered on: 20% or 0.2
    #[arg(long, value_name = "SHARE", value_parser = a_share)]
    pub(crate) max_null_share: Option<f64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Gates (exit code 4 where the data does not pass)")]
pub(crate) struct ClipGateArgs {
    /// Largest share of values that are far outside the data of the fit: 0.1% or 0.001
    #[arg(long, value_name = "SHARE", value_parser = a_share)]
    pub(crate) max_clip_share: Option<f64>,
}

impl GateArgs {
    /// Holds the data against the gates; all that it does not pass are told.
    ///
    /// # Errors
    /// [`Error::GatesNotMet`], and those of reading.
    pub(crate) fn check(&self, source: &dyn BatchSource, columns: &[FeatureColumn]) -> Result<()> {
        let n_rows = source.n_rows() as u64;
        let mut failed = Vec::new();
        if let Some(least) = self.min_rows.filter(|&least| source.n_rows() < least) {
            failed.push(format!(
                "--min-rows {}: there are {}",
                count(least as u64),
                count(n_rows)
            ));
        }
        if let Some(most) = self.max_null_share.filter(|_| n_rows > 0) {
            for (column, n_missing) in columns.iter().zip(count_missing(source, columns)?) {
                if n_missing as f64 / n_rows as f64 > most {
                    let name = source.schema().field(column.index()).name();
                    let share = percent(n_missing as f64 / n_rows as f64);
                    let of = format!("{share} of the rows ({} of {})", count(n_missing), count(n_rows));
                    failed.push(format!(
                        "--max-null-share {}: column {name:?} has no value in {of}",
                        percent(most)
                    ));
                }
            }
        }
        met(failed)
    }
}

impl ClipGateArgs {
    /// Holds the values that had to be moved to the edge of what the model knows against the gate.
    ///
    /// # Errors
    /// [`Error::GatesNotMet`].
    pub(crate) fn check(&self, n_clipped: u64, n_values: u64) -> Result<()> {
        let share = n_clipped as f64 / n_values.max(1) as f64;
        let failed = self.max_clip_share.filter(|&most| share > most).map(|most| {
            let of = format!("{} of {}", count(n_clipped), count(n_values));
            format!(
                "--max-clip-share {}: {} of the values are far outside the data of the fit ({of})",
                percent(most),
                percent(share)
            )
        });
        met(failed.into_iter().collect())
    }
}

fn met(failed: Vec<String>) -> Result<()> {
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::GatesNotMet { failed })
    }
}
