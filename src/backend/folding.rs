//! A backend that goes over equal rows of a data set once, for all of them.

use std::sync::OnceLock;

use super::lloyd::{self, EachIteration, LloydRule, LloydRun};
use super::silhouette::{Judge, Labelled};
use super::{Backend, DeviceTime, Pass, Session, Sessions, TwoNearest};
use crate::error::Result;
use crate::partial::ClusterPartial;
use crate::sys::{kept_limit, spare_bytes};
use crate::tiles::{Centroids, Fold, TileSet};

/// When equal rows are folded. Changes nothing in any result but the diagnostic counts of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Folding {
    /// Never: every pass goes over every row.
    Never,
    /// Where it is faster, and there is memory to spare.
    #[default]
    Auto,
    /// Wherever rows have no weights, whatever it takes.
    Always,
}

/// Runs sessions of one data set on `inner`, with equal rows [folded](Fold) into one with a weight; those of other data are
/// `inner`'s own.
///
/// All that a session tells is told of all rows, but for the diagnostic counts of a pass (`n_doubtful`, `n_read`,
/// `n_unsettled`, `n_audited`), which are of the rows that were gone over.
pub struct FoldingBackend<'b> {
    inner: &'b dyn Backend,
    data: &'b TileSet,
    /// How many distinct rows are few enough.
    most: usize,
    /// `None` in here: there were more.
    fold: OnceLock<Option<Fold>>,
}

impl<'b> FoldingBackend<'b> {
    /// Looks at some rows of `data` to see whether folding it is likely to pay.
    #[must_use]
    pub fn new(inner: &'b dyn Backend, data: &'b TileSet, folding: Folding) -> Self {
        let most = match folding {
            Folding::Always if !data.weighted() => usize::MAX,
            Folding::Auto if Fold::is_likely(data) => {
                Fold::most_rows(data.n_rows(), data.n_features(), spare_bytes(kept_limit()))
            }
            _ => 0,
        };
        Self {
            inner,
            data,
            most,
            fold: OnceLock::new(),
        }
    }

    /// Whether the data is folded, or will be unless there turn out to be too many distinct rows.
    pub(crate) fn may_fold(&self) -> bool {
        self.most > 0 && self.fold.get().is_none_or(Option::is_some)
    }

    /// The folded data, found when first asked for, on the threads of the pool that asks.
    pub(crate) fn fold(&self) -> Option<&Fold> {
        if self.most == 0 {
            return None;
        }
        self.fold.get_or_init(|| Fold::new(self.data, self.most)).as_ref()
    }

    /// Rows that a pass over `data` goes over.
    #[must_use]
    pub fn n_pass_rows(&self) -> usize {
        self.fold().map_or(self.data.n_rows(), |fold| fold.tiles().n_rows())
    }

    /// The folded data, where `data` is what was folded.
    fn fold_of(&self, data: &TileSet) -> Option<&Fold> {
        if data.stamp() == self.data.stamp() {
            self.fold()
        } else {
            None
        }
    }
}

impl Backend for FoldingBackend<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn description(&self) -> String {
        self.inner.description()
    }

    fn n_devices(&self) -> usize {
        self.inner.n_devices()
    }

    fn memory_budget(&self) -> Option<u64> {
        self.inner.memory_budget()
    }

    fn judge<'d>(&'d self, rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        self.inner.judge(rows)
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        let Some(fold) = self.fold_of(data) else {
            return self.inner.open(data, max_clusters);
        };
        let session = self.inner.open(fold.tiles(), max_clusters)?;
        Ok(Box::new(FoldedSessions::new(Box::new(Alone(session)), fold, 1)))
    }

    fn open_shared<'d>(&'d self, data: &'d TileSet, n_runs: usize) -> Option<Box<dyn Sessions + 'd>> {
        let Some(fold) = self.fold_of(data) else {
            return self.inner.open_shared(data, n_runs);
        };
        let sessions = self.inner.open_shared(fold.tiles(), n_runs)?;
        Some(Box::new(FoldedSessions::new(sessions, fold, n_runs)))
    }

    fn take_device_time(&self) -> Option<DeviceTime> {
        self.inner.take_device_time()
    }
}

/// A session as several, of which there is one.
struct Alone<'d>(Box<dyn Session + 'd>);

impl Sessions for Alone<'_> {
    fn session(&mut self, _run: usize) -> &mut dyn Session {
        &mut *self.0
    }

    fn assign(&mut self, sets: &[Option<&Centroids>]) -> Result<Vec<Option<Pass>>> {
        let passes = sets.iter().map(|set| set.map(|set| self.0.assign(set)).transpose());
        passes.collect()
    }
}

/// Labels of the distinct rows before a pass.
#[derive(Clone)]
enum Before {
    /// There are none.
    Nothing,
    /// The session holds them.
    Held,
    /// These.
    Known(Vec<u32>),
}

/// Sessions on folded data; as a session, that of the run which was asked for last.
struct FoldedSessions<'d> {
    sessions: Box<dyn Sessions + 'd>,
    fold: &'d Fold,
    /// For each run.
    before: Vec<Before>,
    run: usize,
}

impl<'d> FoldedSessions<'d> {
    fn new(sessions: Box<dyn Sessions + 'd>, fold: &'d Fold, n_runs: usize) -> Self {
        Self {
            sessions,
            fold,
            before: vec![Before::Nothing; n_runs],
            run: 0,
        }
    }

    fn inner(&mut self) -> &mut dyn Session {
        self.sessions.session(self.run)
    }

    /// The labels before the next pass of the run; all rows move where there are none.
    fn take_before(&mut self) -> Result<Option<Vec<u32>>> {
        match std::mem::replace(&mut self.before[self.run], Before::Nothing) {
            Before::Nothing => Ok(None),
            Before::Held => self.inner().labels().map(Some),
            Before::Known(labels) => Ok(Some(labels)),
        }
    }

    /// The pass as one over all rows, with the labels before and after it.
    fn told(&self, pass: Pass, before: Option<&[u32]>, after: &[u32]) -> Pass {
        let n_moved = match before {
            Some(before) => self.fold.n_different(before, after),
            None => self.fold.places().len() as u64,
        };
        Pass {
            partial: of_all_rows(&pass.partial),
            n_moved,
            ..pass
        }
    }
}

/// Sums of all rows from those of the distinct ones: a row without a weight weighs 1.
fn of_all_rows(distinct: &ClusterPartial) -> ClusterPartial {
    let mut partial = distinct.clone();
    partial.counts.clone_from(&partial.cluster_weights);
    partial
}

/// The clusters of all rows, from those of the distinct ones.
fn unfolded(fold: &Fold, nearest: &TwoNearest) -> TwoNearest {
    TwoNearest {
        labels: fold.unfolded(&nearest.labels),
        runners_up: fold.unfolded(&nearest.runners_up),
        ..*nearest
    }
}

impl Sessions for FoldedSessions<'_> {
    fn session(&mut self, run: usize) -> &mut dyn Session {
        self.run = run;
        self
    }

    fn assign(&mut self, sets: &[Option<&Centroids>]) -> Result<Vec<Option<Pass>>> {
        let mut before = vec![None; sets.len()];
        for (run, _) in sets.iter().enumerate().filter(|(_, set)| set.is_some()) {
            self.run = run;
            before[run] = self.take_before()?;
        }
        let mut passes = self.sessions.assign(sets)?;
        for (run, pass) in passes.iter_mut().enumerate() {
            if let Some(made) = pass.take() {
                self.run = run;
                let labels = self.inner().labels()?;
                *pass = Some(self.told(made, before[run].as_deref(), &labels));
                self.before[run] = Before::Known(labels);
            }
        }
        Ok(passes)
    }
}

impl Session for FoldedSessions<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let before = self.take_before()?;
        let pass = self.inner().assign(centroids)?;
        let labels = self.inner().labels()?;
        let pass = self.told(pass, before.as_deref(), &labels);
        self.before[self.run] = Before::Known(labels);
        Ok(pass)
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        let labels = self.inner().labels()?;
        Ok(self.fold.unfolded(&labels))
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        let nearest = self.inner().two_nearest(centroids)?;
        Ok(unfolded(self.fold, &nearest))
    }

    fn assign_two_nearest(&mut self, centroids: &Centroids) -> Result<(Pass, TwoNearest)> {
        let before = self.take_before()?;
        let (pass, nearest) = self.inner().assign_two_nearest(centroids)?;
        let pass = self.told(pass, before.as_deref(), &nearest.labels);
        Ok((pass, unfolded(self.fold, &nearest)))
    }

    fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
        if rule.count_moved {
            // Labels can only be held against each other between passes.
            let mut assign = |centroids: &Centroids| Session::assign(self, centroids);
            return lloyd::by_passes(&mut assign, start, None, rule, each);
        }
        let told = |pass: &Pass| Pass {
            partial: of_all_rows(&pass.partial),
            n_moved: 0,
            ..*pass
        };
        let rule = LloydRule {
            shift_limit: &|partial| (rule.shift_limit)(&of_all_rows(partial)),
            ..*rule
        };
        let run = self
            .inner()
            .lloyd(start, &rule, &mut |centroids, pass| each(centroids, &told(pass)))?;
        self.before[self.run] = Before::Held;
        Ok(LloydRun {
            pass: told(&run.pass),
            ..run
        })
    }

    fn notices(&mut self) -> Vec<String> {
        self.inner().notices()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Mutex;

    use super::*;
    use crate::backend::NO_CLUSTER;
    use crate::backend::cpu::CpuBackend;
    use crate::backend::failing::{At, Failing};
    use crate::backend::fallback::FallbackBackend;
    use crate::backend::joint::JointBackend;
    use crate::backend::lloyd::LloydEnd;
    use crate::backend::scalar::ScalarBackend;
    use crate::error::Error;
    use crate::rng::mix64;

    /// 900 rows, 25 of them distinct.
    fn data() -> TileSet {
        let row = |i| [mix64(i) % 5, mix64(i + 900) % 9 / 2];
        let rows: Vec<f32> = (0..900).flat_map(row).map(|x| x as f32).collect();
        TileSet::from_rows(&rows, 2, None, 2048)
    }

    fn start() -> Centroids {
        Centroids::on_rows(2, &[0, 0, 1, 3, 4, 4])
    }

    /// All that a user can see of a session, but for the diagnostics.
    #[derive(Debug, Clone, PartialEq)]
    struct Seen {
        passes: Vec<Pass>,
        labels: Vec<Vec<u32>>,
        nearest: Vec<(Vec<u32>, Vec<u32>)>,
        end: LloydEnd,
        moved: Option<Centroids>,
    }

    fn bare(pass: &Pass) -> Pass {
        Pass {
            n_doubtful: 0,
            n_read: 0,
            n_unsettled: 0,
            ..pass.clone()
        }
    }

    fn look(session: &mut dyn Session) -> Result<Seen> {
        let mut centroids = start();
        let (mut passes, mut labels, mut nearest) = (Vec::new(), Vec::new(), Vec::new());
        let both = |found: TwoNearest| (found.labels, found.runners_up);
        for _ in 0..3 {
            let pass = session.assign(&centroids)?;
            centroids = pass.partial.centroids(&centroids);
            passes.push(bare(&pass));
            labels.push(session.labels()?);
            nearest.push(both(session.two_nearest(&centroids)?));
        }
        let mut ended = None;
        for (count_moved, max_iter) in [(true, 9), (false, 2), (false, 9)] {
            let rule = LloydRule {
                max_iter,
                shift_limit: &|partial| {
                    if partial.counts == partial.cluster_weights {
                        -1.0
                    } else {
                        f64::MAX
                    }
                },
                count_moved,
            };
            let run = session.lloyd(&start(), &rule, &mut |_, pass| {
                let n_moved = if count_moved { pass.n_moved } else { 0 };
                passes.push(Pass { n_moved, ..bare(pass) });
                Ok(ControlFlow::Continue(()))
            })?;
            labels.push(session.labels()?);
            passes.push(Pass {
                n_moved: 0,
                ..bare(&run.pass)
            });
            // Moves are counted from the last pass of the run.
            passes.push(bare(&session.assign(&start())?));
            ended = Some((run.end, run.moved));
        }
        let (pass, last) = session.assign_two_nearest(&centroids)?;
        passes.push(bare(&pass));
        nearest.push(both(last));
        // One cluster has no runner-up.
        let alone = Centroids::on_rows(2, &[2, 2]);
        nearest.push(both(session.two_nearest(&alone)?));
        assert!(
            nearest
                .last()
                .is_some_and(|(_, second)| second.iter().all(|&c| c == NO_CLUSTER))
        );
        let (end, moved) = ended.expect("a run was made");
        Ok(Seen {
            passes,
            labels,
            nearest,
            end,
            moved,
        })
    }

    fn expected() -> Seen {
        look(&mut *ScalarBackend.open(&data(), 3).unwrap()).unwrap()
    }

    #[test]
    fn a_session_on_distinct_rows_tells_of_all_rows() {
        let expected = expected();
        assert!(
            expected
                .passes
                .iter()
                .skip(1)
                .any(|pass| (1..900).contains(&pass.n_moved))
        );
        let cpu = CpuBackend::new(2).unwrap();
        let scalar = || Box::new(ScalarBackend) as Box<dyn Backend>;
        let joint = JointBackend::new((0..3).map(|n| (n.to_string(), scalar())).collect(), 0);
        let backends: [&dyn Backend; 3] = [&ScalarBackend, &cpu, &joint];
        for backend in backends {
            let data = data();
            let folding = FoldingBackend::new(backend, &data, Folding::Always);
            assert_eq!(folding.n_pass_rows(), 25);
            let found = look(&mut *folding.open(&data, 3).unwrap()).unwrap();
            assert_eq!(found, expected, "{}", backend.description());
        }
    }

    #[test]
    fn runs_that_share_their_passes_are_told_apart() {
        let (data, cpu) = (data(), CpuBackend::new(2).unwrap());
        let folding = FoldingBackend::new(&cpu, &data, Folding::Always);
        let mut shared = folding.open_shared(&data, 3).unwrap();
        let mut alone: Vec<_> = (0..3).map(|_| ScalarBackend.open(&data, 3).unwrap()).collect();
        let others = Centroids::on_rows(2, &[4, 0, 0, 4]);
        let (first, second) = (start(), start().reordered(&[2, 0, 1]));
        for sets in [
            [Some(&first), Some(&others), None],
            [Some(&second), None, Some(&others)],
            [None, Some(&others), Some(&first)],
        ] {
            let passes = shared.assign(&sets).unwrap();
            for (run, (pass, set)) in passes.into_iter().zip(sets).enumerate() {
                let expected = set.map(|set| bare(&alone[run].assign(set).unwrap()));
                assert_eq!(pass.map(|pass| bare(&pass)), expected, "run {run}");
                if set.is_some() {
                    assert_eq!(
                        shared.session(run).labels().unwrap(),
                        alone[run].labels().unwrap(),
                        "run {run}"
                    );
                }
            }
        }
        assert_eq!(look(shared.session(1)).unwrap().labels, expected().labels);
        assert!(
            FoldingBackend::new(&ScalarBackend, &data, Folding::Always)
                .open_shared(&data, 2)
                .is_none()
        );
    }

    #[test]
    fn what_is_not_translated_is_seen() {
        // The planted faults: sessions on the distinct rows that tell of these.
        let (data, expected) = (data(), expected());
        let fold = Fold::new(&data, usize::MAX).unwrap();
        let found = look(&mut *ScalarBackend.open(fold.tiles(), 3).unwrap()).unwrap();
        assert!(found != expected);
        let unfold = |values: &Vec<u32>| fold.unfolded(values);
        let labels: Vec<_> = found.labels.iter().map(unfold).collect();
        let nearest: Vec<_> = { found.nearest.iter() }.map(|(a, b)| (unfold(a), unfold(b))).collect();
        let rows_alone = Seen {
            labels,
            nearest,
            ..found
        };
        assert_eq!(
            (&rows_alone.labels[0], &rows_alone.nearest),
            (&expected.labels[0], &expected.nearest)
        );
        assert!(rows_alone.passes[0].partial.sums == expected.passes[0].partial.sums);
        assert!(rows_alone != expected, "counts and moves are of the distinct rows");
    }

    /// What the inner backend is opened on.
    struct Noting(Mutex<Vec<usize>>);

    impl Backend for Noting {
        fn name(&self) -> &'static str {
            "noting"
        }

        fn description(&self) -> String {
            "noting".into()
        }

        fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
            self.0.lock().unwrap().push(data.n_rows());
            ScalarBackend.open(data, max_clusters)
        }
    }

    #[test]
    fn other_data_and_data_that_is_not_to_be_folded_go_to_the_inner_backend() {
        let opened = |data: &TileSet, other: &TileSet, folding| {
            let noting = Noting(Mutex::new(Vec::new()));
            let backend = FoldingBackend::new(&noting, data, folding);
            backend.open(data, 1).unwrap();
            backend.open(other, 1).unwrap();
            drop(backend);
            noting.0.into_inner().unwrap()
        };
        let (data, other) = (data(), data().gather(&(0..70).collect::<Vec<_>>()));
        assert_eq!(opened(&data, &other, Folding::Always), [25, 70]);
        assert_eq!(opened(&data, &other, Folding::Never), [900, 70]);
        // As many values as these, but others.
        assert_eq!(opened(&data, &data.clone(), Folding::Always), [25, 900]);
        // So few rows are not worth a look.
        assert_eq!(opened(&data, &other, Folding::Auto), [900, 70]);
        let mut weighted = data.clone();
        weighted.try_weigh().unwrap();
        assert_eq!(opened(&weighted, &other, Folding::Always), [900, 70]);
        let many = TileSet::zeros(1 << 17, 2, false, usize::MAX);
        assert_eq!(opened(&many, &other, Folding::Auto), [2, 70]);
        let deceiving = crate::tiles::deceiving(1 << 18);
        assert_eq!(opened(&deceiving, &other, Folding::Auto), [1 << 18, 70]);
    }

    #[test]
    fn devices_that_fail_below_are_heard_of_and_change_nothing() {
        let (data, expected) = (data(), expected());
        let failing = FallbackBackend::new(Failing::boxed(At::Pass(1)), Box::new(ScalarBackend));
        let folding = FoldingBackend::new(&failing, &data, Folding::Always);
        let mut session = folding.open(&data, 3).unwrap();
        assert_eq!(look(&mut *session).unwrap(), expected);
        let notices = session.notices();
        assert!(
            notices
                .last()
                .is_some_and(|notice| notice.contains("went on with scalar")),
            "{notices:?}"
        );
        let alone = Failing::boxed(At::Pass(1));
        let folding = FoldingBackend::new(&*alone, &data, Folding::Always);
        let failed = look(&mut *folding.open(&data, 3).unwrap());
        assert!(matches!(failed, Err(Error::DeviceLost { .. })));
    }
}
