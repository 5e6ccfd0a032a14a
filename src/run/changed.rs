//! Whether a run that is there is the one that would come out now: the same bytes, the same settings, the same version.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::options_with;
use crate::artifact::{
    InitRecord, InputRecord, OptionsRecord, RunRecord, ScoreRecord, Selection, SourceRecord, SweepRecord, TableFormat,
};
use crate::data::{Known, SourceOptions, is_of_bytes};
use crate::error::{Result, escape};
use crate::fit::{FitOptions, InitChoice};
use crate::select::SweepOptions;

/// What a run would read now.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'r> {
    /// The files, in order.
    pub files: &'r [PathBuf],
    /// How they would become a table.
    pub options: &'r SourceOptions,
}

/// The first thing found that would be different now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Another version of the program made it: this one.
    Version(String),
    /// The settings differ: which of them.
    Settings(&'static str),
    /// The record does not tell all values of the filter, so it cannot be compared.
    FilterUntold,
    /// Another model.
    Model,
    /// So many files were read, and so many would be.
    NumberOfFiles(usize, usize),
    /// A file has other bytes, or its path gives other columns.
    File(PathBuf),
    /// A file of the output is not there.
    Incomplete(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "it was made by kohort {}", escape(version)),
            Self::Settings(which) => write!(f, "{which} is not what it was made with"),
            Self::FilterUntold => f.write_str("its record leaves out values of --where, which cannot be compared"),
            Self::Model => f.write_str("it was made with another model"),
            Self::NumberOfFiles(then, now) => write!(f, "it was made of {then} files, now there are {now}"),
            Self::File(path) => write!(f, "{} is not what it was made of", escape(&path.to_string_lossy())),
            Self::Incomplete(name) => write!(f, "{} is missing in it", escape(name)),
        }
    }
}

/// How a fit now would differ from a recorded one; `None` where it would give the same run. `select` is given where the
/// number of clusters is to be found.
///
/// Files are compared last, and only read, for their hashes, where all else is the same.
///
/// # Errors
/// Those of opening and reading files; [`crate::Error::Interrupted`].
pub fn difference_of_run(
    record: &RunRecord,
    now: &Reading<'_>,
    options: &FitOptions,
    select: Option<&SweepOptions>,
) -> Result<Option<Difference>> {
    let settings = || match (&record.selection, select) {
        (None, None) => settings(&record.options, options, true),
        (Some(then), Some(select)) if is_same_choice(then, select) => settings(&record.options, options, false),
        _ => Some(Difference::Settings("the number of segments")),
    };
    let then = Then {
        version: &record.kohort_version,
        source: &record.source,
        ids: &record.options.features.id,
        files: record.inputs.iter().map(InputRecord::known).collect(),
    };
    then.difference(now, settings)
}

/// How a sweep now would differ from a recorded one, as [`difference_of_run`].
///
/// # Errors
/// As [`difference_of_run`].
pub fn difference_of_sweep(
    record: &SweepRecord,
    now: &Reading<'_>,
    options: &FitOptions,
    select: &SweepOptions,
) -> Result<Option<Difference>> {
    let settings = || match is_same_choice(&record.selection, select) {
        true => settings(&record.options, options, false),
        false => Some(Difference::Settings("the numbers of segments to try")),
    };
    let then = Then {
        version: &record.kohort_version,
        source: &record.source,
        ids: &record.options.features.id,
        files: record.inputs.iter().map(InputRecord::known).collect(),
    };
    then.difference(now, settings)
}

/// What scoring is asked to do now.
#[derive(Debug, Clone)]
pub struct Scoring<'s> {
    /// The model, see [`crate::artifact::model_file::hash`].
    pub model_hash: &'s str,
    /// Its id columns.
    pub ids: &'s [String],
    /// The format of the output.
    pub table: TableFormat,
    /// As [`ScoreRecord::partition_by`].
    pub partition_by: Option<&'s str>,
    /// The names of the files of the output, sorted, where they are known beforehand.
    pub files: Option<Vec<String>>,
}

/// How scoring now would differ from a recorded one, as [`difference_of_run`].
///
/// # Errors
/// As [`difference_of_run`].
pub fn difference_of_score(
    record: &ScoreRecord,
    now: &Reading<'_>,
    scoring: &Scoring<'_>,
) -> Result<Option<Difference>> {
    let then = Then {
        version: &record.kohort_version,
        source: &record.source,
        ids: scoring.ids,
        files: record.inputs.iter().map(Known::from).collect(),
    };
    then.difference(now, || {
        if record.model_hash != scoring.model_hash {
            return Some(Difference::Model);
        }
        let is_same_spread = record.partition_by.as_deref() == scoring.partition_by
            && scoring.files.as_ref().is_none_or(|files| *files == record.files);
        first_different(&[
            ("--format", record.table == scoring.table),
            ("--partition-by", is_same_spread),
        ])
    })
}

/// What all records have.
struct Then<'t> {
    version: &'t str,
    source: &'t SourceRecord,
    ids: &'t [String],
    files: Vec<Known<'t>>,
}

impl Then<'_> {
    fn difference(
        &self,
        now: &Reading<'_>,
        settings: impl FnOnce() -> Option<Difference>,
    ) -> Result<Option<Difference>> {
        if self.version != env!("CARGO_PKG_VERSION") {
            return Ok(Some(Difference::Version(self.version.to_owned())));
        }
        if let Some(difference) = settings().or_else(|| self.of_reading(now.options)) {
            return Ok(Some(difference));
        }
        if self.files.len() != now.files.len() {
            return Ok(Some(Difference::NumberOfFiles(self.files.len(), now.files.len())));
        }
        for (then, path) in self.files.iter().zip(now.files) {
            let is_same =
                columns_of(Path::new(then.path)).eq(columns_of(path)) && is_of_bytes(path, then, now.options.stop)?;
            if !is_same {
                return Ok(Some(Difference::File(path.clone())));
            }
        }
        Ok(None)
    }

    /// Everything that decides how files become a table, but for the columns that paths give.
    fn of_reading(&self, now: &SourceOptions) -> Option<Difference> {
        let Ok(then) = self.source.options(self.ids, None) else {
            return Some(Difference::FilterUntold);
        };
        let pairs = [
            ("--where", then.filter == now.filter),
            ("--on-duplicate-id", then.duplicate_ids == now.duplicate_ids),
            ("--on-null-id", then.null_ids == now.null_ids),
            ("--schema", then.types == now.types),
            ("--delimiter", then.delimiter == now.delimiter),
            ("--absent-columns", then.absent_columns == now.absent_columns),
        ];
        first_different(&pairs)
    }
}

/// The folders of a path that give columns: `year=2026`.
fn columns_of(path: &Path) -> impl Iterator<Item = Component<'_>> {
    let folders = path.parent().unwrap_or(Path::new("")).components();
    folders.filter(|folder| folder.as_os_str().as_encoded_bytes().contains(&b'='))
}

fn first_different(pairs: &[(&'static str, bool)]) -> Option<Difference> {
    let different = pairs.iter().find(|(_, is_same)| !is_same);
    different.map(|&(which, _)| Difference::Settings(which))
}

/// Whether the number of clusters would be chosen from the same, by the same rules.
fn is_same_choice(then: &Selection, now: &SweepOptions) -> bool {
    let now = Selection::new(now, then.sweep.clone());
    (then.k, then.prefer, then.min_share) == (now.k, now.prefer, now.min_share)
}

/// What differs in the settings of a fit; the number of clusters counts where it is `fixed`.
fn settings(then: &OptionsRecord, now: &FitOptions, fixed: bool) -> Option<Difference> {
    let now_record = options_with(now, then.init.clone());
    let is_same_init = match (&then.init, &now.init) {
        (InitRecord::KMeansPlusPlus, InitChoice::KMeansPlusPlus) | (InitRecord::Random, InitChoice::Random) => true,
        (InitRecord::Centroids { columns, rows, .. }, InitChoice::Centroids(now)) => {
            // The record has the columns that are features alone.
            let places: Option<Vec<usize>> = { columns.iter() }
                .map(|column| now.columns.iter().position(|other| other == column))
                .collect();
            let of_row = |row: &Vec<f64>, places: &[usize]| -> Vec<f64> { places.iter().map(|&at| row[at]).collect() };
            places.is_some_and(|places| now.rows.iter().map(|row| of_row(row, &places)).eq(rows.iter().cloned()))
        }
        _ => false,
    };
    let pairs = [
        ("the number of segments", !fixed || then.n_clusters == now.n_clusters),
        ("--levels", then.levels == now_record.levels),
        ("what is done with the columns", then.features == now_record.features),
        ("--init", is_same_init),
        ("--min-cell", then.min_cell == now_record.min_cell),
        (
            "a setting of k-means",
            OptionsRecord {
                n_clusters: then.n_clusters,
                ..now_record
            } == *then,
        ),
    ];
    first_different(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Filter;
    use crate::error::Error;

    fn recorded(options: &FitOptions) -> OptionsRecord {
        options_with(options, InitRecord::KMeansPlusPlus)
    }

    #[test]
    fn every_setting_counts() {
        let base = FitOptions::new(3);
        let then = recorded(&base);
        assert_eq!(settings(&then, &base, true), None);
        let mut irrelevant = base.clone();
        (irrelevant.threads, irrelevant.chunk_bytes) = (7, 12345);
        assert_eq!(settings(&then, &irrelevant, true), None);
        let differs = |which: &'static str, change: &dyn Fn(&mut FitOptions)| {
            let mut now = base.clone();
            change(&mut now);
            assert_eq!(settings(&then, &now, true), Some(Difference::Settings(which)));
        };
        differs("the number of segments", &|now| now.n_clusters = 4);
        differs("what is done with the columns", &|now| {
            now.features.id = vec!["a".into()]
        });
        differs("--init", &|now| now.init = InitChoice::Random);
        differs("--min-cell", &|now| now.min_cell = crate::cells::MinCell::new(1));
        for change in [
            &|now: &mut FitOptions| now.seed = 1,
            &|now: &mut FitOptions| now.tol = 0.5,
            &|now: &mut FitOptions| now.n_init = 2,
            &|now: &mut FitOptions| now.max_iter = 2,
            &|now: &mut FitOptions| now.trim = 0.1,
            &|now: &mut FitOptions| now.unassign_outliers = true,
        ] as [&dyn Fn(&mut FitOptions); 6]
        {
            differs("a setting of k-means", change);
        }
        let mut other = base.clone();
        other.n_clusters = 5;
        assert_eq!(settings(&then, &other, false), None);
    }

    #[test]
    fn given_centroids_are_compared_by_the_columns_that_are_features() {
        let mut base = FitOptions::new(2);
        let given = |columns: &[&str], rows: &[&[f64]]| {
            InitChoice::Centroids(crate::fit::InitCentroids {
                path: None,
                columns: columns.iter().map(|&name| name.to_owned()).collect(),
                rows: rows.iter().map(|row| row.to_vec()).collect(),
            })
        };
        let init = InitRecord::Centroids {
            path: None,
            columns: vec!["b".into()],
            rows: vec![vec![2.0], vec![4.0]],
        };
        let then = options_with(&base, init);
        for (columns, rows, is_same) in [
            (&["a", "b"][..], [&[1.0, 2.0][..], &[f64::NAN, 4.0]], true),
            (&["b"], [&[2.0], &[4.0]], true),
            (&["b"], [&[2.0], &[4.5]], false),
            (&["a"], [&[2.0], &[4.0]], false),
        ] {
            base.init = given(columns, &rows);
            assert_eq!(settings(&then, &base, true).is_none(), is_same, "{columns:?}");
        }
    }

    #[test]
    fn files_are_compared_by_their_bytes_and_by_the_columns_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for year in ["year=2025", "year=2026", "other"] {
            std::fs::create_dir(path(year)).unwrap();
            std::fs::write(path(year).join("a.csv"), "a\n1\n").unwrap();
        }
        std::fs::write(path("other/b.csv"), "a\n2\n").unwrap();
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(b"a\n1\n"));
        fn known_by<'k>(path: &'k str, hash: &'k str) -> Known<'k> {
            Known {
                path,
                bytes: 4,
                xxh3_128: Some(hash),
                etag: None,
            }
        }
        let difference = |then_path: &str, source: SourceRecord, now_path: &str, options: &SourceOptions| {
            let path_then = path(then_path);
            let then = Then {
                version: env!("CARGO_PKG_VERSION"),
                source: &source,
                ids: &[],
                files: vec![known_by(path_then.to_str().unwrap(), &hash)],
            };
            let now = Reading {
                files: &[path(now_path)],
                options,
            };
            then.difference(&now, || None).unwrap()
        };
        let plain = SourceOptions::default();
        let none = SourceRecord::default;
        assert_eq!(difference("year=2025/a.csv", none(), "year=2025/a.csv", &plain), None);
        assert_eq!(
            difference("gone.csv", none(), "other/a.csv", &plain),
            None,
            "the name is no matter"
        );
        for other in ["year=2026/a.csv", "other/a.csv"] {
            let found = difference("year=2025/a.csv", none(), other, &plain);
            assert_eq!(found, Some(Difference::File(path(other))));
        }
        let found = difference("other/a.csv", none(), "other/b.csv", &plain);
        assert_eq!(
            found,
            Some(Difference::File(path("other/b.csv"))),
            "other bytes of the same length"
        );
        let filter = |text: &str| SourceRecord {
            filter: Some(text.into()),
            ..none()
        };
        let asked = SourceOptions {
            filter: Some(Filter::new("a > 1").unwrap()),
            ..SourceOptions::default()
        };
        assert_eq!(difference("x", filter("a > 1"), "other/a.csv", &asked), None);
        let found = difference("x", filter("a > 1"), "other/a.csv", &plain);
        assert_eq!(found, Some(Difference::Settings("--where")));
        let found = difference("x", filter("a = ?"), "other/a.csv", &asked);
        assert_eq!(found, Some(Difference::FilterUntold));
        assert!(matches!(
            is_of_bytes(&path("gone"), &known_by("gone", &hash), None),
            Err(Error::NotFound { .. })
        ));
    }
}
