//! The checkpoint of a long job: where its runs stand, in a file that is replaced as a whole.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Claim, json, write_atomic};
use crate::error::{Error, Result};
use crate::grid::{CENTROID_SCALE, MAX_FEATURES, MAX_GRID};
use crate::kmeans::{MAX_CLUSTERS, RunKey, Seeding, Standing, Standings};
use crate::tiles::Centroids;

const FORMAT: &str = "kohort-checkpoint";
const VERSION: u64 = 1;

/// A checkpoint as its file holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: String,
    version: u64,
    /// The program that made it: another may take other paths.
    kohort_version: String,
    /// What decides the result of the job: input files by their hashes, and options.
    job: Value,
    runs: Vec<RunRecord>,
}

/// Where one run stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunRecord {
    n_clusters: usize,
    n_features: usize,
    /// In decimal digits, see [`RunKey::total_sq_norm`].
    total_sq_norm: String,
    is_given: bool,
    max_iter: usize,
    n_iter: usize,
    seeding: Option<SeedingRecord>,
    work: [u64; 3],
    /// Row by row, in units of the grid's step over 2^8.
    centroids: Vec<i32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedingRecord {
    n_sample: usize,
    n_refined: Option<usize>,
    n_init: usize,
    best: usize,
}

impl RunRecord {
    fn new(run: &RunKey, standing: Standing) -> Self {
        Self {
            n_clusters: run.n_clusters,
            n_features: run.n_features,
            total_sq_norm: run.total_sq_norm.to_string(),
            is_given: run.is_given,
            max_iter: run.max_iter,
            n_iter: standing.n_iter,
            seeding: standing.seeding.map(|seeding| SeedingRecord {
                n_sample: seeding.n_sample,
                n_refined: seeding.n_refined,
                n_init: seeding.n_init,
                best: seeding.best,
            }),
            work: standing.work,
            centroids: standing.centroids.values().to_vec(),
        }
    }

    fn is_of(&self, run: &RunKey) -> bool {
        let (own, other) = (
            (self.n_clusters, self.n_features, self.is_given, self.max_iter),
            (run.n_clusters, run.n_features, run.is_given, run.max_iter),
        );
        own == other && self.total_sq_norm == run.total_sq_norm.to_string()
    }

    fn standing(&self) -> Standing {
        Standing {
            n_iter: self.n_iter,
            centroids: Centroids::new(self.n_features, self.centroids.clone()),
            seeding: self.seeding.as_ref().map(|seeding| Seeding {
                n_sample: seeding.n_sample,
                n_refined: seeding.n_refined,
                n_init: seeding.n_init,
                best: seeding.best,
            }),
            work: self.work,
        }
    }

    /// What is wrong with it, if anything is.
    fn problem(&self) -> Option<&'static str> {
        let most = MAX_GRID as i64 * CENTROID_SCALE;
        if !(1..=MAX_CLUSTERS).contains(&self.n_clusters) || !(1..=MAX_FEATURES).contains(&self.n_features) {
            Some("a number of clusters or features is out of range")
        } else if self.centroids.len() != self.n_clusters * self.n_features {
            Some("the centroids are not as many as there are clusters")
        } else if self.centroids.iter().any(|&c| i64::from(c).abs() > most) {
            Some("a centroid lies outside the grid")
        } else if self.n_iter >= self.max_iter {
            Some("more iterations were made than there may be")
        } else {
            None
        }
    }
}

/// Keeps where the runs of a job stand in a file, every so often.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    every: Duration,
    /// Whether the job is about to end before its time.
    is_ending: fn() -> bool,
    job: Value,
    state: Mutex<State>,
    _claim: Claim,
}

#[derive(Debug)]
struct State {
    runs: Vec<RunRecord>,
    written: Instant,
}

impl Checkpoint {
    /// The checkpoint of `job` (what decides its result; see [`crate::run::job_of`]) in the file `path`, written at most
    /// every so often, when runs begin, and when `is_ending` says so. With `resume`, runs go on from where the file says
    /// that they stand, if it is there.
    ///
    /// # Errors
    /// [`Error::CheckpointExists`] where the file is there and not to be resumed; [`Error::CheckpointUnusable`] where it is
    /// damaged, of another job or made by another version of this program; [`Error::OutputBusy`] where another run has it;
    /// those of an output file.
    pub fn open(path: &Path, job: Value, resume: bool, every: Duration, is_ending: fn() -> bool) -> Result<Self> {
        super::check_output_file(path, true)?;
        let claim = Claim::new(path)?;
        let exists = path.try_exists().map_err(Error::io("read", path))?;
        let runs = match (exists, resume) {
            (true, true) => read(path, &job)?,
            (true, false) => return Err(Error::CheckpointExists { path: path.to_owned() }),
            (false, _) => Vec::new(),
        };
        Ok(Self {
            path: path.to_owned(),
            every,
            is_ending,
            job,
            state: Mutex::new(State {
                runs,
                written: Instant::now(),
            }),
            _claim: claim,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs that go on, and the iterations that they have behind them.
    #[must_use]
    pub fn resumed(&self) -> (usize, usize) {
        let state = self.state();
        (state.runs.len(), state.runs.iter().map(|run| run.n_iter).sum())
    }

    /// Removes the file: the job is done.
    ///
    /// # Errors
    /// Those of the system.
    pub fn remove(self) -> Result<()> {
        self.forget()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standings for Checkpoint {
    fn standing(&self, run: &RunKey) -> Result<Option<Standing>> {
        let state = self.state();
        Ok(state.runs.iter().find(|kept| kept.is_of(run)).map(RunRecord::standing))
    }

    fn keep(&self, run: &RunKey, standing: &dyn Fn() -> Standing) -> Result<()> {
        let mut state = self.state();
        let place = state.runs.iter().position(|kept| kept.is_of(run));
        if place.is_some() && state.written.elapsed() < self.every && !(self.is_ending)() {
            return Ok(());
        }
        let record = RunRecord::new(run, standing());
        match place {
            Some(place) => state.runs[place] = record,
            None => state.runs.push(record),
        }
        let record = Record {
            format: FORMAT.into(),
            version: VERSION,
            kohort_version: env!("CARGO_PKG_VERSION").into(),
            job: self.job.clone(),
            runs: state.runs.clone(),
        };
        write_atomic(&self.path, true, |out| json::write(out, &record))?;
        state.written = Instant::now();
        Ok(())
    }

    fn forget(&self) -> Result<()> {
        self.state().runs.clear();
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }
}

/// The runs of a checkpoint, if it is one of `job`.
fn read(path: &Path, job: &Value) -> Result<Vec<RunRecord>> {
    let unusable = |what: String| Error::CheckpointUnusable {
        path: path.to_owned(),
        what,
    };
    let record: Record = json::read(path, FORMAT, VERSION).map_err(|error| match error {
        Error::ArtifactInvalid { reason, .. } => unusable(format!("not usable: {reason}")),
        other => other,
    })?;
    if record.kohort_version != env!("CARGO_PKG_VERSION") {
        return Err(unusable("made by another version of kohort".into()));
    }
    if record.job != *job {
        let differs = |key: &str| record.job.get(key) != job.get(key);
        let mut keys = job.as_object().into_iter().flat_map(|fields| fields.keys());
        return Err(unusable(match keys.find(|key| differs(key)) {
            Some(key) => format!("of a job with other {}", key.replace('_', " ")),
            None => "of another job".into(),
        }));
    }
    match record.runs.iter().find_map(RunRecord::problem) {
        Some(problem) => Err(unusable(format!("not usable: {problem}"))),
        None => Ok(record.runs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(n_clusters: usize) -> RunKey {
        RunKey {
            n_clusters,
            n_features: 2,
            total_sq_norm: 1 << 90,
            is_given: false,
            max_iter: 10,
        }
    }

    fn standing(n_clusters: usize, n_iter: usize) -> Standing {
        Standing {
            n_iter,
            centroids: Centroids::new(2, (0..2 * n_clusters as i32).collect()),
            seeding: Some(Seeding {
                n_sample: 100,
                n_refined: Some(800),
                n_init: 6,
                best: 3,
            }),
            work: [n_iter as u64, 7, 8],
        }
    }

    fn open(path: &Path, job: &Value, resume: bool) -> Result<Checkpoint> {
        Checkpoint::open(path, job.clone(), resume, Duration::ZERO, || false)
    }

    #[test]
    fn runs_stand_where_they_stood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.checkpoint");
        let job = json!({ "seed": 1, "input_files": ["a"] });
        let first = open(&path, &job, true).unwrap();
        assert_eq!(first.resumed(), (0, 0));
        assert_eq!(first.standing(&key(3)).unwrap(), None);
        first.keep(&key(3), &|| standing(3, 0)).unwrap();
        first.keep(&key(4), &|| standing(4, 2)).unwrap();
        first.keep(&key(3), &|| standing(3, 5)).unwrap();
        assert!(matches!(open(&path, &job, true), Err(Error::OutputBusy { .. })));
        drop(first);
        assert!(matches!(open(&path, &job, false), Err(Error::CheckpointExists { .. })));

        let second = open(&path, &job, true).unwrap();
        assert_eq!(second.resumed(), (2, 7));
        assert_eq!(second.standing(&key(3)).unwrap(), Some(standing(3, 5)));
        assert_eq!(second.standing(&key(4)).unwrap(), Some(standing(4, 2)));
        assert_eq!(second.standing(&key(5)).unwrap(), None);
        second.forget().unwrap();
        assert!(!path.exists() && second.standing(&key(3)).unwrap().is_none());
        second.keep(&key(3), &|| standing(3, 1)).unwrap();
        assert!(path.exists() && second.resumed() == (1, 1));
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn within_the_interval_only_new_runs_and_ends_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let rare = |is_ending: fn() -> bool| {
            Checkpoint::open(&path, Value::Null, true, Duration::from_secs(3600), is_ending).unwrap()
        };
        let seldom = rare(|| false);
        seldom.keep(&key(3), &|| standing(3, 0)).unwrap();
        seldom.keep(&key(3), &|| panic!("not due")).unwrap();
        drop(seldom);
        assert_eq!(rare(|| false).standing(&key(3)).unwrap(), Some(standing(3, 0)));
        rare(|| true).keep(&key(3), &|| standing(3, 4)).unwrap();
        assert_eq!(rare(|| false).standing(&key(3)).unwrap(), Some(standing(3, 4)));
    }

    #[test]
    fn checkpoints_of_other_jobs_and_damaged_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let job = json!({ "input_files": ["a"], "seed": 1 });
        open(&path, &job, true)
            .unwrap()
            .keep(&key(3), &|| standing(3, 5))
            .unwrap();
        let other = open(&path, &json!({ "input_files": ["b"], "seed": 1 }), true).unwrap_err();
        assert!(other.to_string().contains("other input files"), "{other}");
        let other = open(&path, &json!({ "input_files": ["a"], "seed": 2 }), true).unwrap_err();
        assert!(other.to_string().contains("other seed"), "{other}");
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("\"n_iter\": 5", "\"n_iter\": 10"),
            ("\"n_clusters\": 3", "\"n_clusters\": 4"),
            ("\"n_features\": 2", "\"n_features\": 0"),
            ("[0, 1, ", "[0, 2147483648, "),
            ("[0, 1, ", "[0, 2147483647, "),
            ("\"version\": 1", "\"version\": 2"),
            ("\"n_iter\"", "\"n_iters\""),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{from}");
            std::fs::write(&path, damaged).unwrap();
            assert!(open(&path, &job, true).is_err(), "{from} -> {to}");
        }
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(open(&path, &job, true), Err(Error::CheckpointUnusable { .. })));
    }
}
