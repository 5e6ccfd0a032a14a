//! A device held against the host while it works: a check against memory and arithmetic that fail in silence.
//!
//! - Whatever the labels, counts, weights and sums of all clusters add up to those of all rows, which the host finds once
//!   and holds against every pass. Data that was damaged on its way or in the device's memory, and sums that were, do not.
//! - Labels that name no cluster are none.
//! - Sums that judge clusters are asked for those of [`AUDITED_ROWS`] rows alone as well, which the host adds up too.
//! - Of [`AUDITED_ROWS`] rows, the host finds the nearest and the second-nearest cluster in exact integers.

use std::ops::Range;

use rayon::prelude::*;

use super::lloyd::{EachIteration, LloydRule, LloydRun};
use super::scalar::two_nearest;
use super::silhouette::{Judge, Labelled, ScalarJudge, Scatter, SilhouetteSums};
use super::{NO_CLUSTER, Pass, Session, TwoNearest};
use crate::error::{Error, Result};
use crate::partial::ClusterPartial;
use crate::rng::hash_key;
use crate::tiles::{Centroids, TileSet};

/// Rows whose clusters are found again each time that a device gives labels; all, where there are fewer. Of a device
/// that labels one row in 500 wrongly, 7 times in 8 one is among them; of one that labels one in 100 wrongly, always.
pub const AUDITED_ROWS: usize = 1024;
/// Rows that a thread takes at a time where all are looked at.
const RUN: usize = 1 << 16;

/// A session on a device that is held against the host.
pub(super) struct AuditedSession<'d> {
    session: Box<dyn Session + 'd>,
    data: &'d TileSet,
    /// The sums of all rows, as those of one cluster, once a pass was made.
    whole: Option<ClusterPartial>,
    /// Centroids of the labels that the session holds.
    labelled: Option<Centroids>,
    /// Times that labels were looked at: each time other rows are.
    n_audits: u64,
}

impl<'d> AuditedSession<'d> {
    /// `session` of `data`, held against the host.
    pub(super) fn new(session: Box<dyn Session + 'd>, data: &'d TileSet) -> Self {
        Self {
            session,
            data,
            whole: None,
            labelled: None,
            n_audits: 0,
        }
    }

    /// The sums of all rows.
    fn whole(&mut self) -> &ClusterPartial {
        self.whole.get_or_insert_with(|| ClusterPartial::of_all(self.data))
    }

    /// Looks at labels, and runners-up where there are any. How many rows were found again.
    fn audit(&mut self, centroids: &Centroids, labels: &[u32], runners_up: Option<&[u32]>) -> Result<u64> {
        self.n_audits += 1;
        check_names(labels, runners_up, centroids.n_clusters())?;
        let rows = sampled(self.data.n_rows(), self.n_audits);
        let n_wrong = rows
            .par_iter()
            .with_min_len(64)
            .filter(|&&row| {
                let mut x = vec![0; self.data.n_features()];
                self.data.read_row(row, &mut x);
                let (nearest, second) = two_nearest(&x, centroids);
                labels[row] != nearest || runners_up.is_some_and(|runners_up| runners_up[row] != second)
            })
            .count();
        if n_wrong > 0 {
            let n_rows = rows.len();
            return Err(wrong(format!(
                "{n_wrong} of {n_rows} rows that were checked have another cluster"
            )));
        }
        Ok(rows.len() as u64)
    }
}

impl Session for AuditedSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let pass = self.session.assign(centroids)?;
        check_sums(self.whole(), &pass)?;
        self.labelled = Some(centroids.clone());
        Ok(pass)
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        let labels = self.session.labels()?;
        if let Some(centroids) = self.labelled.take() {
            self.audit(&centroids, &labels, None)?;
            self.labelled = Some(centroids);
        }
        Ok(labels)
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        let nearest = self.session.two_nearest(centroids)?;
        let n_audited = self.audit(centroids, &nearest.labels, Some(&nearest.runners_up))?;
        Ok(TwoNearest { n_audited, ..nearest })
    }

    fn assign_two_nearest(&mut self, centroids: &Centroids) -> Result<(Pass, TwoNearest)> {
        self.labelled = None;
        let (pass, nearest) = self.session.assign_two_nearest(centroids)?;
        check_sums(self.whole(), &pass)?;
        let n_audited = self.audit(centroids, &nearest.labels, Some(&nearest.runners_up))?;
        Ok((pass, TwoNearest { n_audited, ..nearest }))
    }

    fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
        self.labelled = None;
        self.whole();
        let whole = self.whole.as_ref();
        let run = self.session.lloyd(start, rule, &mut |centroids, pass| {
            whole.map_or(Ok(()), |whole| check_sums(whole, pass))?;
            each(centroids, pass)
        })?;
        self.labelled = Some(run.centroids.clone());
        Ok(run)
    }

    fn notices(&mut self) -> Vec<String> {
        self.session.notices()
    }
}

/// Rows and clusters in the hands of a device that is held against the host.
pub(super) struct AuditedJudge<'d> {
    judge: Box<dyn Judge + 'd>,
    by_hand: ScalarJudge<'d>,
}

impl<'d> AuditedJudge<'d> {
    /// `judge`, which has these rows and clusters, held against the host.
    pub(super) fn new(judge: Box<dyn Judge + 'd>, rows: Labelled<'d>) -> Self {
        Self {
            judge,
            by_hand: ScalarJudge(rows),
        }
    }

    /// A stretch of `rows` that the host goes through as well.
    fn audited(&self, rows: &Range<usize>) -> Range<usize> {
        let n = rows.len().min(AUDITED_ROWS);
        let start = rows.start + (hash_key(1, rows.len() as u128) % (rows.len() - n + 1) as u64) as usize;
        start..start + n
    }
}

impl Judge for AuditedJudge<'_> {
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>> {
        let audited = self.audited(&rows);
        if self.judge.sq_norms(audited.clone())? != self.by_hand.sq_norms(audited)? {
            return Err(wrong("the norms of rows that were checked are others".into()));
        }
        self.judge.sq_norms(rows)
    }

    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums> {
        let audited = self.audited(&rows);
        if self.judge.silhouettes(scatter, audited.clone())? != self.by_hand.silhouettes(scatter, audited)? {
            return Err(wrong("the silhouettes of rows that were checked are others".into()));
        }
        self.judge.silhouettes(scatter, rows)
    }
}

/// Whether the clusters of a pass add up to all rows.
fn check_sums(whole: &ClusterPartial, pass: &Pass) -> Result<()> {
    let partial = &pass.partial;
    let mut found = ClusterPartial::zero(1, whole.n_features());
    // What was damaged may be as large as any number.
    let counts = partial.counts.iter().zip(&partial.cluster_weights);
    for (&count, &weight) in counts {
        found.counts[0] = found.counts[0].wrapping_add(count);
        found.cluster_weights[0] = found.cluster_weights[0].wrapping_add(weight);
    }
    for sums in partial.sums.chunks_exact(whole.n_features()) {
        for (total, &sum) in found.sums.iter_mut().zip(sums) {
            *total = total.wrapping_add(sum);
        }
    }
    let what = if found.counts != whole.counts {
        "rows"
    } else if found.cluster_weights != whole.cluster_weights {
        "weights"
    } else if found.sums != whole.sums {
        "sums"
    } else {
        return Ok(());
    };
    Err(wrong(format!(
        "the {what} of its clusters do not add up to those of the data"
    )))
}

/// Whether every label names a cluster, and every runner-up another one.
fn check_names(labels: &[u32], runners_up: Option<&[u32]>, n_clusters: usize) -> Result<()> {
    let is_cluster = |&label: &u32| (label as usize) < n_clusters;
    let are_named = labels.par_chunks(RUN).all(|labels| labels.iter().all(is_cluster));
    let are_others = runners_up.is_none_or(|runners_up| {
        let runs = labels.par_chunks(RUN).zip(runners_up.par_chunks(RUN));
        runs.all(|(labels, runners_up)| {
            let mut rows = labels.iter().zip(runners_up);
            match n_clusters {
                1 => rows.all(|(_, &runner_up)| runner_up == NO_CLUSTER),
                _ => rows.all(|(label, runner_up)| is_cluster(runner_up) && runner_up != label),
            }
        })
    });
    if are_named && are_others {
        return Ok(());
    }
    Err(wrong("a row has a cluster that there is not".into()))
}

/// The rows that are looked at the `n`-th time, in order: one of each of [`AUDITED_ROWS`] equal stretches, by its hash.
fn sampled(n_rows: usize, n: u64) -> Vec<usize> {
    let n_stretches = n_rows.min(AUDITED_ROWS);
    let row = |stretch: usize| {
        let [first, end] =
            [stretch, stretch + 1].map(|stretch| (stretch as u128 * n_rows as u128) / n_stretches as u128);
        (first + u128::from(hash_key(n, stretch as u128)) % (end - first)) as usize
    };
    (0..n_stretches).map(row).collect()
}

fn wrong(what: String) -> Error {
    Error::DeviceWrong { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::backend::scalar::ScalarBackend;

    /// What a device may do to its results.
    type Damage = fn(&mut Pass, &mut TwoNearest);

    /// The scalar backend on a device that does damage.
    struct Damaging<'d> {
        session: Box<dyn Session + 'd>,
        damage: Damage,
        seen: Option<(Pass, TwoNearest)>,
    }

    impl Session for Damaging<'_> {
        fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
            let (mut pass, mut nearest) = self.session.assign_two_nearest(centroids)?;
            (self.damage)(&mut pass, &mut nearest);
            self.seen = Some((pass.clone(), nearest));
            Ok(pass)
        }

        fn labels(&mut self) -> Result<Vec<u32>> {
            let (_, nearest) = self.seen.as_ref().expect("a pass was made");
            Ok(nearest.labels.clone())
        }

        fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
            let mut nearest = self.session.two_nearest(centroids)?;
            let mut pass = self.session.assign(centroids)?;
            (self.damage)(&mut pass, &mut nearest);
            Ok(nearest)
        }
    }

    fn data(n_rows: usize) -> TileSet {
        let rows: Vec<f32> = (0..2 * n_rows).map(|i| (i * i % 997) as f32).collect();
        let weights: Vec<u32> = (0..n_rows as u32).map(|row| row % 5).collect();
        TileSet::from_rows(&rows, 2, Some(&weights), 4096)
    }

    /// The first complaint of a session that makes a pass, gives its labels, iterates, and gives the two nearest.
    fn complaint(n_rows: usize, damage: Damage) -> [Option<String>; 4] {
        let data = data(n_rows);
        let centroids = Centroids::on_rows(2, &[0, 0, 500, 400, 900, 990]);
        let open = || {
            let (session, seen) = (ScalarBackend.open(&data, 3).unwrap(), None);
            AuditedSession::new(Box::new(Damaging { session, damage, seen }), &data)
        };
        let rule = LloydRule {
            max_iter: 3,
            shift_limit: &|_| -1.0,
            count_moved: true,
        };
        let mut go_on = |_: &Centroids, _: &Pass| Ok(std::ops::ControlFlow::Continue(()));
        let mut session = open();
        let pass = session.assign(&centroids).map(drop);
        let labels = session.labels().map(drop);
        let run = open().lloyd(&centroids, &rule, &mut go_on).map(drop);
        let nearest = open().two_nearest(&centroids).map(drop);
        [pass, labels, run, nearest].map(|outcome| outcome.err().map(|error| error.to_string()))
    }

    #[test]
    fn what_is_right_passes() {
        for n_rows in [1, 500, AUDITED_ROWS, 5000] {
            assert_eq!(complaint(n_rows, |_, _| ()), [const { None }; 4], "{n_rows}");
        }
    }

    #[test]
    fn every_damaged_sum_is_found_wherever_passes_are_made() {
        let damages: [(Damage, &str); 5] = [
            (|pass, _| pass.partial.counts[1] += 1, "rows"),
            (|pass, _| pass.partial.counts[2] = u64::MAX, "rows"),
            (|pass, _| pass.partial.cluster_weights[0] ^= 1 << 40, "weights"),
            (|pass, _| pass.partial.sums[5] -= 1, "sums"),
            (|pass, _| pass.partial.sums[0] = i128::MIN, "sums"),
        ];
        for (damage, what) in damages {
            let [pass, labels, run, nearest] = complaint(3000, damage);
            let expected =
                format!("the device computes wrongly: the {what} of its clusters do not add up to those of the data");
            assert_eq!((pass, run), (Some(expected.clone()), Some(expected)));
            // Labels are right, and none were heard of after a pass that failed.
            assert_eq!((labels, nearest), (None, None));
        }
    }

    #[test]
    fn labels_that_are_wrong_or_none_are_found() {
        let no_cluster = Some("the device computes wrongly: a row has a cluster that there is not".to_owned());
        // A single one that names nothing, wherever it stands.
        let [pass, labels, _, nearest] = complaint(3000, |_, nearest| nearest.labels[2999] = 3);
        assert_eq!((pass, labels, nearest), (None, no_cluster.clone(), no_cluster.clone()));
        let [.., nearest] = complaint(3000, |_, nearest| nearest.runners_up[17] = NO_CLUSTER);
        assert_eq!(nearest, no_cluster);
        let [.., nearest] = complaint(3000, |_, nearest| nearest.runners_up[17] = nearest.labels[17]);
        assert_eq!(nearest, no_cluster);
        // Every fiftieth is wrong.
        let swap: Damage = |_, nearest| {
            for row in (0..nearest.labels.len()).step_by(50) {
                std::mem::swap(&mut nearest.labels[row], &mut nearest.runners_up[row]);
            }
        };
        let [pass, labels, _, nearest] = complaint(30_000, swap);
        assert_eq!(pass, None);
        for wrong in [labels, nearest] {
            let wrong = wrong.unwrap();
            assert!(
                wrong.ends_with(" of 1024 rows that were checked have another cluster"),
                "{wrong}"
            );
            let n_wrong: usize = wrong.split(' ').nth(4).unwrap().parse().unwrap();
            assert!((5..60).contains(&n_wrong), "{wrong}");
        }
        // The runner-up alone.
        let third: Damage = |_, nearest| {
            let runners_up = nearest.runners_up.iter_mut().zip(&nearest.labels);
            runners_up.for_each(|(runner_up, label)| *runner_up = 3 - *runner_up - *label);
        };
        let [_, labels, _, nearest] = complaint(100, third);
        assert!(labels.is_none() && nearest.unwrap().contains("100 of 100 rows"));
    }

    #[test]
    fn rows_are_spread_over_the_data_and_others_each_time() {
        for n_rows in [0, 1, 1000, AUDITED_ROWS, 1_000_003] {
            let rows = sampled(n_rows, 1);
            assert_eq!(rows.len(), n_rows.min(AUDITED_ROWS));
            assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|&row| row < n_rows));
            let stretch = n_rows / rows.len().max(1) + 1;
            assert!(rows.windows(2).all(|pair| pair[1] - pair[0] < 2 * stretch));
        }
        assert_ne!(sampled(1_000_003, 1), sampled(1_000_003, 2));
    }
}
