//! A way out of local minima: move a centroid that is hardly missed to where it saves most, and keep what is better.
//!
//! k-means++ and Lloyd leave some groups with two centroids and some pairs of groups with one. A move takes one
//! centroid away and splits another cluster in two. What both would bring is estimated for every cluster (see
//! [`outlook`]). Moves that pay by these estimates are made all at once, then fewer, until the exact inertia falls. When
//! none is left, the most promising of the others are tried one by one, and after them some that are drawn: a short Lloyd
//! on the rows of the few clusters around, whose exact inertia decides. As no centroid outside moves, what a trial gains
//! there the whole clustering gains at least, and trials that share no cluster are kept together.
//!
//! Related: Fränti, "Efficiency of random swap clustering" (2018), which tries drawn moves on all rows; Fritzke,
//! "Breathing k-means" (2020), which makes many moves at a time. Estimates are in `f64` with a fixed order of operations,
//! so the same on every machine; what is kept and how much is tried follows from exact integers and the data's shape.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::Observer;
use super::lloyd::{Lloyd, Outcome, run};
use super::outlook::{Grouped, Outlook, outlook};
use crate::backend::{Backend, Session, TwoNearest};
use crate::error::{Error, Result};
use crate::partial::{ClusterPartial, sq_norms_of_labels};
use crate::rng::Rng;
use crate::tiles::{Centroids, RowKeys, TileSet};

/// Trials made before their outcomes are looked at.
const BATCH: usize = 16;
/// Most trials of a batch that take away the same centroid, or split the same cluster.
const SHARED: usize = 2;
/// Clusters next to each of the two of a move that take part in its trial.
const NEIGHBOURS: usize = 4;
/// Most iterations of a trial.
const TRIAL_ITER: usize = 60;
/// Most iterations over all rows between moves.
const SHORT_ITER: usize = 10;
/// In the end the centroids settle to this share of the tolerance: iterations on a sample are cheap.
const FINE: f64 = 0.01;
/// A move that costs more than so many times its gain, by the estimates, is not tried.
const HOPE: f64 = 4.0;
/// Trials of the most promising moves that may bring nothing, before moves are drawn.
const PROMISING: usize = 16;
/// Drawn moves that may bring nothing, before the search ends: as many as [`DRAWN_WORK`] allows, between these.
const DRAWN: (usize, usize) = (8, 64);
/// Rows times (features times clusters of a trial, and 64 for all that is done per row) of all drawn moves in a row.
const DRAWN_WORK: usize = 120_000_000;
/// A drawn move takes away one of so many centroids that are missed least.
const REMOVABLE: usize = 3;
/// Most trials of a search.
const TRIALS: usize = 300;
/// A gain below the inertia divided by `2^GAIN_BITS` is none: Lloyd would find as much by going on.
const GAIN_BITS: u32 = 13;
/// Bytes of a sample above which trials, each with a copy of its rows, are made one after the other.
const LARGE: usize = 1 << 26;
/// Streams of random numbers from here on, apart from those of restarts and splits.
const STREAM: u64 = 1 << 63;

/// Looks for better centroids on samples of a data set.
pub(super) struct Search<'s> {
    host: &'s dyn Backend,
    seed: u64,
    observer: &'s dyn Observer,
}

/// A centroid that is taken away, and a cluster that is split in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    removed: usize,
    split: usize,
    /// Where the centroid goes, if not to the second half of `split`: onto this row of it.
    row: Option<usize>,
}

/// A clustering, and what is known of its clusters.
struct State<'s> {
    job: &'s Lloyd<'s>,
    best: &'s Outcome,
    grouped: Grouped,
    outlooks: Vec<Outlook>,
    /// Gains below this are none.
    least_gain: u128,
    /// Per cluster, the sum of weight times squared norm of its rows.
    sq_norms: Vec<u128>,
}

/// What a move came to that lowers the inertia: new places for the centroids of the clusters around it.
struct Trial {
    clusters: Vec<usize>,
    centroids: Centroids,
}

impl<'s> Search<'s> {
    pub(super) fn new(host: &'s dyn Backend, seed: u64, observer: &'s dyn Observer) -> Self {
        Self { host, seed, observer }
    }

    /// Lloyd's iteration from `start`, and moves until none is found that helps; `draws`: drawn ones as well.
    pub(super) fn improve(&self, job: &Lloyd<'_>, start: Centroids, draws: bool) -> Result<Centroids> {
        let k = start.n_clusters();
        let mut session = self.host.open(job.data, k)?;
        let short = Lloyd {
            max_iter: job.max_iter.min(SHORT_ITER),
            ..*job
        };
        let mut best = self.run(&mut *session, &short, start)?;
        let mut trials_left = TRIALS;
        for round in 0.. {
            if best.inertia == 0 || k == 1 || trials_left == 0 {
                break;
            }
            let nearest = session.two_nearest(&best.centroids)?;
            let state = State::new(job, &best, nearest, self.seed, round);
            let mut next = self.together(&mut *session, &state, &mut trials_left)?;
            if next.is_none()
                && let Some(moved) = self.one_by_one(&state, round, draws, &mut trials_left)?
            {
                next = Some(self.run(&mut *session, &short, moved)?);
            }
            match next {
                Some(next) if next.inertia < best.inertia => best = next,
                _ => break,
            }
        }
        let fine = Lloyd {
            tol: job.tol * FINE,
            ..*job
        };
        Ok(self.run(&mut *session, &fine, best.centroids)?.centroids)
    }

    fn run(&self, session: &mut dyn Session, job: &Lloyd<'_>, start: Centroids) -> Result<Outcome> {
        run(session, job, start, &|_, _, _| (), self.observer)
    }

    /// Makes all moves that pay by their estimates, or the better half of them, or of these, until the inertia falls.
    fn together(
        &self,
        session: &mut dyn Session,
        state: &State<'_>,
        trials_left: &mut usize,
    ) -> Result<Option<Outcome>> {
        let target = state.best.inertia - state.least_gain;
        let job = Lloyd {
            max_iter: state.job.max_iter.min(SHORT_ITER),
            target: Some(target),
            ..*state.job
        };
        let mut moves = paying(&state.outlooks);
        while !moves.is_empty() && *trials_left > 0 {
            let mut moved = state.best.centroids.clone();
            for step in &moves {
                state.outlooks[step.split].apply(&mut moved, step.split, step.removed);
            }
            let outcome = self.run(session, &job, moved)?;
            *trials_left -= 1;
            if outcome.inertia < target {
                return Ok(Some(outcome));
            }
            moves.truncate(moves.len() / 2);
        }
        Ok(None)
    }

    /// Tries moves, batch by batch, until some help: the centroids after these. `None` where none does.
    fn one_by_one(
        &self,
        state: &State<'_>,
        round: u64,
        draws: bool,
        trials_left: &mut usize,
    ) -> Result<Option<Centroids>> {
        let mut tried = BTreeSet::new();
        while tried.len() < PROMISING {
            let batch = promising(&state.outlooks, &tried);
            if batch.is_empty() {
                break;
            }
            if let Some(moved) = self.batch(state, &batch, trials_left)? {
                return Ok(Some(moved));
            }
            tried.extend(batch);
        }
        if !draws {
            return Ok(None);
        }
        let mut drawn = Drawn::new(state, Rng::new(self.seed, STREAM + round));
        let mut left = drawn.number(state);
        while left > 0 {
            let batch = drawn.moves(left.min(BATCH));
            left -= batch.len();
            if let Some(moved) = self.batch(state, &batch, trials_left)? {
                return Ok(Some(moved));
            }
        }
        Ok(None)
    }

    /// Tries the moves of a batch, and gives the centroids after all that help and share no cluster with an earlier one.
    fn batch(&self, state: &State<'_>, batch: &[Move], trials_left: &mut usize) -> Result<Option<Centroids>> {
        let batch = &batch[..batch.len().min(*trials_left)];
        *trials_left -= batch.len();
        let attempt = |&step: &Move| self.attempt(state, step);
        let trials: Vec<Option<Trial>> = if state.job.data.bytes() > LARGE {
            batch.iter().map(attempt).collect::<Result<_>>()?
        } else {
            batch.par_iter().map(attempt).collect::<Result<_>>()?
        };
        let mut moved = state.best.centroids.clone();
        let mut touched = BTreeSet::new();
        for trial in trials.iter().flatten() {
            if trial.clusters.iter().all(|cluster| !touched.contains(cluster)) {
                for (place, &cluster) in trial.clusters.iter().enumerate() {
                    moved.row_mut(cluster).copy_from_slice(trial.centroids.row(place));
                    touched.insert(cluster);
                }
            }
        }
        Ok((!touched.is_empty()).then_some(moved))
    }

    /// A short Lloyd on the rows of the clusters around a move; `None` where their inertia does not fall. It goes on from
    /// labels and sums that are known, as if a pass had found them.
    fn attempt(&self, state: &State<'_>, step: Move) -> Result<Option<Trial>> {
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let around = [step.removed, step.split].into_iter().flat_map(|cluster| {
            let next = state.outlooks[cluster].neighbours.iter().take(NEIGHBOURS).copied();
            std::iter::once(cluster).chain(next)
        });
        let clusters: Vec<usize> = around.collect::<BTreeSet<_>>().into_iter().collect();
        let before = state.best.centroids.reordered(&clusters);
        let start = state.moved(&before, &clusters, step);
        let total_sq_norm = clusters.iter().map(|&cluster| state.sq_norms[cluster]).sum();
        let partial = state.best.partial.reordered(&clusters);
        let target = partial.inertia(&before, total_sq_norm).saturating_sub(state.least_gain);
        let go = |data: &TileSet, keys: &RowKeys, labels: Vec<u32>| {
            let mut session = self.host.open(data, clusters.len())?;
            session.resume(&before, labels, partial)?;
            let job = Lloyd {
                data,
                keys,
                total_sq_norm,
                max_iter: state.job.max_iter.min(TRIAL_ITER),
                tol: state.job.tol,
                target: Some(target),
            };
            self.run(&mut *session, &job, start)
        };
        let after = if clusters.len() == state.sq_norms.len() {
            go(state.job.data, state.job.keys, state.grouped.labels().to_vec())?
        } else {
            let members = clusters.iter().flat_map(|&cluster| state.grouped.rows(cluster));
            let rows: Vec<usize> = members.map(|&row| row as usize).collect();
            let keys = RowKeys::Ids(rows.iter().map(|&row| state.job.keys.key(row)).collect());
            let labels = (0..).zip(&clusters);
            let labels = labels.flat_map(|(place, &cluster)| state.grouped.rows(cluster).iter().map(move |_| place));
            go(&state.job.data.gather(&rows), &keys, labels.collect())?
        };
        Ok((after.inertia < target).then_some(Trial {
            clusters,
            centroids: after.centroids,
        }))
    }
}

impl<'s> State<'s> {
    fn new(job: &'s Lloyd<'s>, best: &'s Outcome, nearest: TwoNearest, seed: u64, round: u64) -> Self {
        let k = best.centroids.n_clusters();
        let sq_norms = sq_norms_of_labels(job.data, &nearest.labels, k);
        // Trials go on from these sums.
        debug_assert_eq!(best.partial, ClusterPartial::of_labels(job.data, &nearest.labels, k));
        let grouped = Grouped::new(nearest, k);
        Self {
            outlooks: outlook(job.data, &best.centroids, &grouped, seed, round),
            least_gain: best.inertia >> GAIN_BITS,
            job,
            best,
            grouped,
            sq_norms,
        }
    }

    /// The centroids `before` of `clusters` after a move.
    fn moved(&self, before: &Centroids, clusters: &[usize], step: Move) -> Centroids {
        let place = |cluster| clusters.binary_search(&cluster).expect("takes part");
        let (split, removed) = (place(step.split), place(step.removed));
        let mut moved = before.clone();
        if let Some(row) = step.row {
            let mut x = vec![0; moved.n_features()];
            self.job.data.read_row(row, &mut x);
            let centre = Centroids::on_rows(x.len(), &x);
            moved.row_mut(removed).copy_from_slice(centre.row(0));
        } else {
            self.outlooks[step.split].apply(&mut moved, split, removed);
        }
        moved
    }
}

/// Clusters by a value, least first, ties to the lower index.
fn ranked(outlooks: &[Outlook], value: impl Fn(&Outlook) -> f64) -> Vec<usize> {
    let mut clusters: Vec<usize> = (0..outlooks.len()).collect();
    let value = |cluster: usize| value(&outlooks[cluster]);
    clusters.sort_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
    clusters
}

/// Moves that pay by their estimates and do not touch each other: the largest gains against the least costs, most
/// promising first.
fn paying(outlooks: &[Outlook]) -> Vec<Move> {
    let mut splits = ranked(outlooks, |outlook| -outlook.split_gain).into_iter();
    let mut touched = vec![false; outlooks.len()];
    let mut moves = Vec::new();
    for removed in ranked(outlooks, |outlook| outlook.removal_cost) {
        let taker = outlooks[removed].neighbours.first().copied().unwrap_or(removed);
        if touched[removed] || touched[taker] {
            continue;
        }
        let free = |&split: &usize| !touched[split] && split != removed && split != taker;
        let Some(split) = splits.by_ref().find(free) else { break };
        if outlooks[split].split_gain <= outlooks[removed].removal_cost {
            break;
        }
        [removed, taker, split]
            .into_iter()
            .for_each(|cluster| touched[cluster] = true);
        moves.push(Move {
            removed,
            split,
            row: None,
        });
    }
    moves
}

/// The next moves to try: the best estimates first, none that was tried, no cluster in too many of them.
fn promising(outlooks: &[Outlook], tried: &BTreeSet<Move>) -> Vec<Move> {
    const MOST: usize = 64;
    let (gain, cost) = (
        |cluster: usize| outlooks[cluster].split_gain,
        |cluster: usize| outlooks[cluster].removal_cost,
    );
    let splits = ranked(outlooks, |outlook| -outlook.split_gain);
    let removals = ranked(outlooks, |outlook| outlook.removal_cost);
    let mut moves: Vec<(f64, Move)> = Vec::new();
    for &split in splits.iter().take(MOST) {
        for &removed in removals.iter().take(MOST) {
            let step = Move {
                removed,
                split,
                row: None,
            };
            if removed != split && cost(removed) < HOPE * gain(split) && !tried.contains(&step) {
                moves.push((gain(split) - cost(removed), step));
            }
        }
    }
    moves.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let (mut removed, mut split) = (vec![0; outlooks.len()], vec![0; outlooks.len()]);
    moves.retain(|(_, step)| {
        let free = removed[step.removed] < SHARED && split[step.split] < SHARED;
        removed[step.removed] += usize::from(free);
        split[step.split] += usize::from(free);
        free
    });
    moves.into_iter().take(BATCH).map(|(_, step)| step).collect()
}

/// Moves drawn at random: a centroid that is hardly missed onto a row, in proportion to the rows' errors.
struct Drawn<'s> {
    grouped: &'s Grouped,
    /// Weighted squared distances of the rows to their centroids, added up row by row.
    cumulative: Vec<u128>,
    /// Centroids that may be taken away.
    removable: Vec<usize>,
    rng: Rng,
}

impl<'s> Drawn<'s> {
    fn new(state: &'s State<'_>, rng: Rng) -> Self {
        let (data, centroids) = (state.job.data, &state.best.centroids);
        let error = |x: &mut Vec<i32>, row: usize| {
            data.read_row(row, x);
            let sq_dist = centroids.sq_dist(x, state.grouped.label(row));
            sq_dist * u128::from(data.weight(row))
        };
        let mut cumulative: Vec<u128> = (0..data.n_rows())
            .into_par_iter()
            .with_min_len(1 << 10)
            .map_init(|| vec![0; data.n_features()], error)
            .collect();
        let mut sum = 0;
        cumulative.iter_mut().for_each(|error| {
            sum += *error;
            *error = sum;
        });
        let gains = state.outlooks.iter().map(|outlook| outlook.split_gain);
        let most = gains.fold(0.0, f64::max);
        let mut removable = ranked(&state.outlooks, |outlook| outlook.removal_cost);
        removable.truncate(REMOVABLE);
        removable.retain(|&cluster| state.outlooks[cluster].removal_cost < HOPE * most);
        Self {
            grouped: &state.grouped,
            cumulative,
            removable,
            rng,
        }
    }

    /// How many moves may be drawn.
    fn number(&self, state: &State<'_>) -> usize {
        let taking_part = state.outlooks.len().min(2 + 2 * NEIGHBOURS);
        let per_row = state.job.data.n_features() * taking_part + 64;
        let number = DRAWN_WORK / (state.job.data.n_rows() * per_row).max(1);
        if self.removable.is_empty() || self.cumulative.last() == Some(&0) {
            0
        } else {
            number.clamp(DRAWN.0, DRAWN.1)
        }
    }

    fn moves(&mut self, n: usize) -> Vec<Move> {
        let total = self.cumulative.last().copied().unwrap_or(0);
        (0..n)
            .map(|_| {
                let removed = self.removable[self.rng.below(self.removable.len() as u128) as usize];
                let drawn = self.rng.below(total);
                let row = self.cumulative.partition_point(|&sum| sum <= drawn);
                Move {
                    removed,
                    split: self.grouped.label(row),
                    row: Some(row),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::scalar::ScalarBackend;
    use crate::tiles::TileSet;

    /// Three groups; two centroids start in the first, so that Lloyd alone never finds the third.
    #[test]
    fn a_move_leaves_a_local_minimum() {
        let rows: Vec<f32> = [0.0, 1_000.0, 1_100.0]
            .iter()
            .flat_map(|&c| (0..20).map(move |i| c + i as f32))
            .collect();
        let data = TileSet::from_rows(&rows, 1, None, usize::MAX);
        let job = Lloyd {
            data: &data,
            keys: &RowKeys::RowNumber,
            total_sq_norm: data.weighted_sq_norm(),
            max_iter: 50,
            tol: 0.0,
            target: None,
        };
        let start = Centroids::on_rows(1, &[0, 19, 1_050]);
        let mut session = ScalarBackend.open(&data, 3).unwrap();
        let stuck = run(&mut *session, &job, start.clone(), &|_, _, _| (), &()).unwrap();
        let found = Search::new(&ScalarBackend, 0, &()).improve(&job, start, true).unwrap();
        let found = run(&mut *session, &job, found, &|_, _, _| (), &()).unwrap();
        assert!(
            found.inertia < stuck.inertia / 10,
            "{} from {}",
            found.inertia,
            stuck.inertia
        );
    }
}
