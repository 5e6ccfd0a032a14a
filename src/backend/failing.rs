//! A backend that fails where a test wants it to, and what can be seen of a session: failures must not show in it.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::lloyd::{self, LloydEnd, LloydRule, LloydRun};
use super::scalar::ScalarBackend;
use super::{Backend, Pass, Session, TwoNearest};
use crate::error::{Error, Result};
use crate::tiles::{Centroids, TileSet};

/// Where a [`Failing`] backend fails, each time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum At {
    Open,
    Pass(usize),
    Labels,
    TwoNearest,
    /// Does not fail there, but loses a row.
    WrongPass(usize),
    /// Does not fail there, but gives every row to its second-nearest centroid.
    WrongNearest,
    /// In this pass, the first time alone.
    PassOnce(usize),
}

/// The scalar backend with a device that fails.
pub(super) struct Failing {
    at: At,
    error: fn() -> Error,
    has_failed: AtomicBool,
}

impl Failing {
    /// One whose device is lost there.
    pub(super) fn boxed(at: At) -> Box<dyn Backend> {
        Self::with(at, lost)
    }

    /// One that fails there with another error.
    pub(super) fn with(at: At, error: fn() -> Error) -> Box<dyn Backend> {
        Box::new(Self {
            at,
            error,
            has_failed: AtomicBool::new(false),
        })
    }

    fn check(&self, at: At) -> Result<()> {
        if self.at == at { Err((self.error)()) } else { Ok(()) }
    }
}

fn lost() -> Error {
    Error::DeviceLost {
        reason: "fell off the bus".into(),
    }
}

impl Backend for Failing {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn description(&self) -> String {
        "failing".into()
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        self.check(At::Open)?;
        let inner = ScalarBackend.open(data, max_clusters)?;
        Ok(Box::new(FailingSession {
            backend: self,
            inner,
            passes: 0,
        }))
    }
}

struct FailingSession<'d> {
    backend: &'d Failing,
    inner: Box<dyn Session + 'd>,
    passes: usize,
}

impl Session for FailingSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        self.backend.check(At::Pass(self.passes))?;
        if self.backend.at == At::PassOnce(self.passes) && !self.backend.has_failed.swap(true, Relaxed) {
            return Err((self.backend.error)());
        }
        self.passes += 1;
        let mut pass = self.inner.assign(centroids)?;
        if self.backend.at == At::WrongPass(self.passes - 1) {
            pass.partial.counts[0] -= 1;
        }
        Ok(pass)
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        self.backend.check(At::Labels)?;
        self.inner.labels()
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        self.backend.check(At::TwoNearest)?;
        let mut nearest = self.inner.two_nearest(centroids)?;
        if self.backend.at == At::WrongNearest {
            std::mem::swap(&mut nearest.labels, &mut nearest.runners_up);
        }
        Ok(nearest)
    }
}

/// The outcomes of three passes, the labels after each, the two nearest at the end, and the notices.
pub(super) type Seen = (Vec<Pass>, Vec<Vec<u32>>, TwoNearest, Vec<String>);

/// All that a user can see of a session.
pub(super) fn run(backend: &dyn Backend) -> Result<Seen> {
    let rows: Vec<f32> = (0..200).map(|i| (i * i % 97) as f32).collect();
    let data = TileSet::from_rows(&rows, 2, None, 1);
    let mut session = backend.open(&data, 3)?;
    let mut centroids = Centroids::on_rows(2, &[0, 0, 10, 5, 90, 90]);
    let (mut passes, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let pass = session.assign(&centroids)?;
        centroids = pass.partial.centroids(&centroids);
        passes.push(pass);
        labels.push(session.labels()?);
    }
    let two_nearest = TwoNearest {
        n_audited: 0,
        ..session.two_nearest(&centroids)?
    };
    Ok((passes, labels, two_nearest, session.notices()))
}

/// A pass, and one for labels and the two nearest after it.
pub(super) fn run_last(backend: &dyn Backend) -> (Pass, TwoNearest) {
    let rows: Vec<f32> = (0..200).map(|i| (i * i % 97) as f32).collect();
    let data = TileSet::from_rows(&rows, 2, None, 1);
    let start = Centroids::on_rows(2, &[0, 0, 10, 5, 90, 90]);
    let mut session = backend.open(&data, 3).unwrap();
    let next = session.assign(&start).unwrap().partial.centroids(&start);
    session.assign_two_nearest(&next).unwrap()
}

/// All that is heard of a run, its end and the labels.
pub(super) type RunSeen = (Vec<(Centroids, Pass)>, LloydRun, Vec<u32>);

/// A limit of the shift and iterations to hear of, for each way that a run of [`run_lloyd`] ends by, and what is seen of it.
pub(super) fn every_end() -> [((f64, usize), RunSeen); 3] {
    let (heard, ..) = run_lloyd(&ScalarBackend, -1.0, 99);
    let third_shift = lloyd::centroid_shift(&heard[2].0, &heard[3].0) as f64;
    [
        (-1.0, 99, LloydEnd::MaxIter),
        (third_shift, 99, LloydEnd::Rests),
        (-1.0, 3, LloydEnd::Stopped),
    ]
    .map(|(limit, stop_after, end)| {
        let expected = run_lloyd(&ScalarBackend, limit, stop_after);
        assert_eq!(expected.1.end, end);
        ((limit, stop_after), expected)
    })
}

/// A run of up to eight iterations.
pub(super) fn run_lloyd(backend: &dyn Backend, limit: f64, stop_after: usize) -> RunSeen {
    let rows: Vec<f32> = (0..400).map(|i| (i * i % 397) as f32).collect();
    let data = TileSet::from_rows(&rows, 2, None, 1);
    let start = Centroids::on_rows(2, &[0, 0, 10, 5, 90, 90, 200, 300]);
    let rule = LloydRule {
        max_iter: 8,
        shift_limit: &|_| limit,
        count_moved: true,
    };
    let mut heard = Vec::new();
    let mut session = backend.open(&data, 4).unwrap();
    let run = session.lloyd(&start, &rule, &mut |centroids, pass| {
        heard.push((centroids.clone(), pass.clone()));
        Ok(if heard.len() == stop_after {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    });
    (heard, run.unwrap(), session.labels().unwrap())
}
