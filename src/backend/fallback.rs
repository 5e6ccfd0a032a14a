//! A backend that opens its device again when that fails, then goes on with another backend, from the same centroids and
//! with the same results; where the device computes wrongly, the job is to be done again.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use super::audit::{AuditedJudge, AuditedSession};
use super::lloyd::{self, EachIteration, LloydRule, LloydRun, Reached};
use super::silhouette::{Judge, Labelled, Scatter, SilhouetteSums};
use super::{Backend, Pass, Session, TwoNearest};
use crate::error::{Error, ErrorKind, Result};
use crate::tiles::{Centroids, TileSet};

/// Runs on `primary` for as long as that works, opens it again, once, where its device was lost, then runs on `fallback`,
/// and says so in [`Session::notices`].
///
/// Only failures of the kind [`ErrorKind::Device`] are taken over; other errors pass through. What `primary` gives is
/// held against the host ([`super::audit`]). Once it has computed wrongly it is not used any more, in no session. Where
/// nothing of it was given away before, in any session, `fallback` does what failed; else that fails with
/// [`Error::DeviceWrong`], since nothing that came of the device can be trusted, and the whole job is to be done again.
pub struct FallbackBackend {
    primary: Box<dyn Backend>,
    fallback: Box<dyn Backend>,
    trust: Mutex<Trust>,
    /// Whether someone has what the primary gave.
    has_given: AtomicBool,
}

/// Whether the primary backend is to be used.
enum Trust {
    Trusted,
    /// It is not. With what there is to say of that, until a session has said it.
    Distrusted(Option<String>),
}

impl FallbackBackend {
    /// `primary` with `fallback` behind it.
    #[must_use]
    pub fn new(primary: Box<dyn Backend>, fallback: Box<dyn Backend>) -> Self {
        Self {
            primary,
            fallback,
            trust: Mutex::new(Trust::Trusted),
            has_given: AtomicBool::new(false),
        }
    }
}

impl Backend for FallbackBackend {
    fn name(&self) -> &'static str {
        self.primary.name()
    }

    fn description(&self) -> String {
        self.primary.description()
    }

    fn n_devices(&self) -> usize {
        self.primary.n_devices()
    }

    fn memory_budget(&self) -> Option<u64> {
        self.primary.memory_budget()
    }

    /// The primary's, held against the host, unless it is not trusted. The fallback has none: where the device is lost
    /// its error passes through.
    fn judge<'d>(&'d self, rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        if matches!(*self.trust(), Trust::Distrusted(_)) {
            return Ok(None);
        }
        let judge = self.primary.judge(rows)?;
        Ok(judge.map(|judge| {
            Box::new(FallbackJudge {
                judge: AuditedJudge::new(judge, rows),
                backend: self,
            }) as Box<dyn Judge + 'd>
        }))
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        let mut notices = Vec::new();
        let opened = match &mut *self.trust() {
            Trust::Trusted => None,
            Trust::Distrusted(notice) => {
                notices.extend(notice.take());
                Some((self.fallback.open(data, max_clusters)?, None))
            }
        };
        let (session, fallback) = match opened {
            Some(opened) => opened,
            None => match self.audited(data, max_clusters) {
                Err(error) if error.kind() == ErrorKind::Device => {
                    notices.push(self.notice(&error));
                    (self.fallback.open(data, max_clusters)?, None)
                }
                opened => (opened?, Some(self)),
            },
        };
        Ok(Box::new(FallbackSession {
            session,
            fallback,
            is_second: false,
            data,
            max_clusters,
            last: None,
            notices,
        }))
    }
}

impl FallbackBackend {
    fn notice(&self, error: &crate::Error) -> String {
        format!(
            "{error}; went on with {} ({}), which gives the same results",
            self.fallback.name(),
            self.fallback.description()
        )
    }

    /// A session of the primary's, held against the host.
    fn audited<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        let session = self.primary.open(data, max_clusters)?;
        Ok(Box::new(AuditedSession::new(session, data)))
    }

    fn trust(&self) -> std::sync::MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the primary backend no more.
    fn distrust(&self, error: &Error) {
        *self.trust() = Trust::Distrusted(Some(format!(
            "{error}; all that it had done was done again on {} ({}), and the segments are right; do not use the device \
             before its memory was tested",
            self.fallback.name(),
            self.fallback.description()
        )));
    }

    /// What there is to say of a session that goes on with the fallback.
    fn notice_of(&self, error: &Error) -> Option<String> {
        match &mut *self.trust() {
            Trust::Trusted => Some(self.notice(error)),
            Trust::Distrusted(notice) => notice.take(),
        }
    }
}

struct FallbackSession<'d> {
    session: Box<dyn Session + 'd>,
    /// Where the fallback comes from, until it is in use.
    fallback: Option<&'d FallbackBackend>,
    /// Whether the primary's device was lost before, and opened again.
    is_second: bool,
    data: &'d TileSet,
    max_clusters: usize,
    /// Centroids of the last pass that was done.
    last: Option<Centroids>,
    notices: Vec<String>,
}

impl FallbackSession<'_> {
    /// Makes a call, again on the fallback where the primary's device fails.
    fn run<T>(&mut self, call: impl Fn(&mut dyn Session) -> Result<T>) -> Result<T> {
        loop {
            match call(self.session.as_mut()) {
                Err(error) => self.take_over(error)?,
                done => {
                    self.give();
                    return done;
                }
            }
        }
    }

    /// Notes that someone gets what the primary gave, if it did.
    fn give(&self) {
        if let Some(backend) = self.fallback {
            backend.has_given.store(true, Relaxed);
        }
    }

    /// Goes on with a new session: on the primary, once, where its device was lost, else on the fallback. Fails where that
    /// is in use already, where no device has failed, and where one has computed wrongly and someone has what it gave.
    fn take_over(&mut self, error: Error) -> Result<()> {
        let is_wrong = matches!(error, Error::DeviceWrong { .. });
        if !is_wrong && error.kind() != ErrorKind::Device {
            return Err(error);
        }
        if matches!(error, Error::DeviceLost { .. }) && self.opens_again(&error) {
            return match self.replay() {
                Err(error) => self.take_over(error),
                done => done,
            };
        }
        let Some(backend) = self.fallback.take() else {
            return Err(error);
        };
        if is_wrong {
            backend.distrust(&error);
            if backend.has_given.load(Relaxed) {
                return Err(error);
            }
        }
        self.notices.append(&mut self.session.notices());
        self.notices.extend(backend.notice_of(&error));
        self.session = backend.fallback.open(self.data, self.max_clusters)?;
        self.replay()
    }

    /// Opens the primary again after its device was lost for the first time; whether there is one again.
    fn opens_again(&mut self, error: &Error) -> bool {
        let Some(backend) = self.fallback.filter(|_| !self.is_second) else {
            return false;
        };
        self.is_second = true;
        let (data, max_clusters) = (self.data, self.max_clusters);
        let Ok(session) = backend.audited(data, max_clusters) else {
            return false;
        };
        self.notices.append(&mut self.session.notices());
        self.notices
            .push(format!("{error}; opened {} again, and went on", backend.description()));
        self.session = session;
        true
    }

    /// Makes the pass before again: it gives the labels back, from which the next one counts the rows that moved.
    fn replay(&mut self) -> Result<()> {
        match &self.last {
            Some(centroids) => self.session.assign(centroids).map(drop),
            None => Ok(()),
        }
    }
}

impl Session for FallbackSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let pass = self.run(|session| session.assign(centroids))?;
        self.last = Some(centroids.clone());
        Ok(pass)
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        self.run(|session| session.labels())
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        self.run(|session| session.two_nearest(centroids))
    }

    fn assign_two_nearest(&mut self, centroids: &Centroids) -> Result<(Pass, TwoNearest)> {
        let given = self.run(|session| session.assign_two_nearest(centroids))?;
        self.last = None;
        Ok(given)
    }

    fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
        let mut reached: Option<Reached> = None;
        let run = loop {
            let from = reached.clone();
            let mut note = lloyd::noting(each, &mut reached);
            let session = &mut self.session;
            let run = match from {
                None => session.lloyd(start, rule, &mut note),
                from => lloyd::by_passes(&mut |centroids| session.assign(centroids), start, from, rule, &mut note),
            };
            drop(note);
            match run {
                Ok(run) => break run,
                Err(error) => {
                    if let Some(reached) = &reached {
                        self.last = Some(reached.centroids.clone());
                        self.give();
                    }
                    self.take_over(error)?;
                }
            }
        };
        self.last = Some(run.centroids.clone());
        self.give();
        Ok(run)
    }

    fn notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.append(&mut self.session.notices());
        notices
    }
}

/// The primary's judge: it puts the device out of use where that computes wrongly.
struct FallbackJudge<'d> {
    judge: AuditedJudge<'d>,
    backend: &'d FallbackBackend,
}

impl FallbackJudge<'_> {
    fn run<T>(&mut self, call: impl FnOnce(&mut AuditedJudge<'_>) -> Result<T>) -> Result<T> {
        let done = call(&mut self.judge);
        match &done {
            Ok(_) => self.backend.has_given.store(true, Relaxed),
            Err(error @ Error::DeviceWrong { .. }) => self.backend.distrust(error),
            Err(_) => {}
        }
        done
    }
}

impl Judge for FallbackJudge<'_> {
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>> {
        self.run(|judge| judge.sq_norms(rows))
    }

    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums> {
        self.run(|judge| judge.silhouettes(scatter, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::failing::{At, Failing, every_end, run, run_last, run_lloyd};
    use crate::backend::scalar::ScalarBackend;

    const OPENED_AGAIN: &str = "the device failed: fell off the bus; opened failing again, and went on";

    #[test]
    fn a_failure_anywhere_changes_nothing_but_the_notices() {
        let (passes, labels, two_nearest, none) = run(&ScalarBackend).unwrap();
        assert!(none.is_empty() && passes[1].n_moved > 0 && passes[1].n_moved < 100);
        let places = [
            At::Open,
            At::Pass(0),
            At::Pass(1),
            At::Pass(2),
            At::Labels,
            At::TwoNearest,
        ];
        for at in places {
            let backend = FallbackBackend::new(Failing::boxed(at), Box::new(ScalarBackend));
            let found = run(&backend).unwrap();
            assert_eq!(
                (&found.0, &found.1, &found.2),
                (&passes, &labels, &two_nearest),
                "{at:?}"
            );
            let notice = "the device failed: fell off the bus; went on with scalar (scalar reference, 1 thread), \
                          which gives the same results";
            let expected = match at {
                At::Open => vec![notice],
                // A new session has fewer passes to make.
                At::Pass(2) => vec![OPENED_AGAIN],
                _ => vec![OPENED_AGAIN, notice],
            };
            assert_eq!(found.3, expected, "{at:?}");
        }
        // What fails once is opened again, and goes on.
        for pass in 0..3 {
            let backend = FallbackBackend::new(Failing::boxed(At::PassOnce(pass)), Box::new(ScalarBackend));
            let found = run(&backend).unwrap();
            assert_eq!(
                (&found.0, &found.1, &found.2),
                (&passes, &labels, &two_nearest),
                "{pass}"
            );
            assert_eq!(found.3, [OPENED_AGAIN], "{pass}");
        }
        let backend = FallbackBackend::new(Failing::boxed(At::Pass(9)), Box::new(ScalarBackend));
        assert!(run(&backend).unwrap().3.is_empty());
    }

    #[test]
    fn a_run_is_taken_over_wherever_the_device_fails() {
        for ((limit, stop_after), expected) in every_end() {
            let end = expected.1.end;
            for pass in 0..=expected.0.len() {
                let backend = FallbackBackend::new(Failing::boxed(At::Pass(pass)), Box::new(ScalarBackend));
                assert_eq!(run_lloyd(&backend, limit, stop_after), expected, "{end:?}, pass {pass}");
                let backend = FallbackBackend::new(Failing::boxed(At::PassOnce(pass)), Box::new(ScalarBackend));
                assert_eq!(
                    run_lloyd(&backend, limit, stop_after),
                    expected,
                    "{end:?}, pass {pass}, once"
                );
            }
        }
    }

    const WRONG: &str = "all that it had done was done again on scalar (scalar reference, 1 thread), and the segments are \
                         right; do not use the device before its memory was tested";

    #[test]
    fn a_device_that_computes_wrongly_is_used_no_more() {
        let (passes, labels, two_nearest, _) = run(&ScalarBackend).unwrap();
        // Before anything of it was given away, the session goes on.
        let backend = FallbackBackend::new(Failing::boxed(At::WrongPass(0)), Box::new(ScalarBackend));
        let found = run(&backend).unwrap();
        assert_eq!((&found.0, &found.1, &found.2), (&passes, &labels, &two_nearest));
        let sums = "the device computes wrongly: the rows of its clusters do not add up to those of the data";
        assert_eq!(found.3, [format!("{sums}; {WRONG}")]);
        // After that it does not; the next one is another device's, and says so once.
        for at in [At::WrongPass(1), At::WrongPass(2), At::WrongNearest] {
            let backend = FallbackBackend::new(Failing::boxed(at), Box::new(ScalarBackend));
            assert!(matches!(run(&backend), Err(Error::DeviceWrong { .. })), "{at:?}");
            let found = run(&backend).unwrap();
            assert_eq!(
                (&found.0, &found.1, &found.2),
                (&passes, &labels, &two_nearest),
                "{at:?}"
            );
            assert!(
                found.3.len() == 1 && found.3[0].ends_with(WRONG),
                "{at:?}: {:?}",
                found.3
            );
            assert!(run(&backend).unwrap().3.is_empty());
        }
    }

    #[test]
    fn a_run_after_one_that_a_device_computed_wrongly_is_right() {
        use crate::kmeans::{self, KMeansParams};

        let rows: Vec<f32> = (0..4000).map(|i| (i * i % 3989) as f32).collect();
        let data = TileSet::from_rows(&rows, 2, None, 4096);
        let fit = |backend: &dyn Backend| {
            let keys = crate::tiles::RowKeys::RowNumber;
            let start = Centroids::on_rows(2, &[0, 0, 10, 5, 90, 90, 200, 300, 1000, 5]);
            let params = KMeansParams {
                init: kmeans::Init::Centroids(start),
                ..KMeansParams::new(5)
            };
            kmeans::fit(backend, &ScalarBackend, &data, &keys, &params, 1.0, &())
        };
        let expected = fit(&ScalarBackend).unwrap();
        assert!(expected.n_iter > 3 && expected.nearest.n_audited == 0);
        let right = FallbackBackend::new(Failing::boxed(At::Pass(999)), Box::new(ScalarBackend));
        assert_eq!(
            fit(&right).unwrap().nearest.n_audited,
            super::super::audit::AUDITED_ROWS as u64
        );
        for at in [At::WrongPass(0), At::WrongPass(3), At::WrongNearest] {
            let backend = FallbackBackend::new(Failing::boxed(at), Box::new(ScalarBackend));
            let found = match at {
                At::WrongPass(0) => fit(&backend).unwrap(),
                _ => {
                    assert!(matches!(fit(&backend), Err(Error::DeviceWrong { .. })), "{at:?}");
                    fit(&backend).unwrap()
                }
            };
            assert_eq!(
                (
                    &found.centroids,
                    &found.nearest,
                    &found.partial,
                    found.inertia,
                    found.n_iter
                ),
                (
                    &expected.centroids,
                    &expected.nearest,
                    &expected.partial,
                    expected.inertia,
                    expected.n_iter
                ),
                "{at:?}"
            );
            assert!(
                found.notices.len() == 1 && found.notices[0].ends_with(WRONG),
                "{at:?}: {:?}",
                found.notices
            );
            assert!(fit(&backend).unwrap().notices.is_empty());
        }
    }

    #[test]
    fn rows_moved_in_the_last_pass_are_counted_from_the_one_before() {
        let expected = run_last(&ScalarBackend);
        assert!(expected.0.n_moved < 100);
        let backend = FallbackBackend::new(Failing::boxed(At::TwoNearest), Box::new(ScalarBackend));
        let (pass, mut nearest) = run_last(&backend);
        nearest.n_audited = 0;
        assert_eq!((pass, nearest), expected);
    }

    #[test]
    fn without_the_replay_rows_moved_would_be_counted_wrong() {
        // The planted fault: a fallback that starts afresh sees every row move in its first pass.
        let (passes, ..) = run(&ScalarBackend).unwrap();
        let rows: Vec<f32> = (0..200).map(|i| (i * i % 97) as f32).collect();
        let data = TileSet::from_rows(&rows, 2, None, 1);
        let centroids = passes[0]
            .partial
            .centroids(&Centroids::on_rows(2, &[0, 0, 10, 5, 90, 90]));
        let afresh = ScalarBackend.open(&data, 3).unwrap().assign(&centroids).unwrap();
        assert_eq!(afresh.partial, passes[1].partial);
        assert_ne!(afresh, passes[1]);
    }

    #[test]
    fn other_errors_and_a_second_failure_pass_through() {
        let defect = Failing::with(At::Pass(1), || Error::Internal("a defect".into()));
        let backend = FallbackBackend::new(defect, Box::new(ScalarBackend));
        assert!(matches!(run(&backend), Err(Error::Internal(_))));
        let backend = FallbackBackend::new(Failing::boxed(At::Pass(1)), Failing::boxed(At::Labels));
        assert!(matches!(run(&backend), Err(Error::DeviceLost { .. })));
    }
}
