//! Which rows need not be looked at: a row keeps its centroid as long as the centroids have travelled less than the
//! margin by which all others were farther.
//!
//! One bound per row, as in Hamerly ("Making k-means even faster", 2010), in a form that is not touched while it holds:
//! let `R_k` add up, pass by pass, how far centroid `k` moved and how far the farthest-moving other one did. A row of
//! cluster `k` with margin `m` at a time when `R_k` was `r` is safe as long as `m + r > R_k`. That number is kept per
//! row, and for each block of 64 rows the least of the rows' margins against the largest step of any cluster, so that
//! a block whose every row is safe is passed over without a look. All roundings go to the safe side.
//!
//! One centroid that goes far, or two that go on exchanging rows, would wear down the bounds of all rows. So where the
//! data has features enough, the second-nearest centroid of a row, its rival, has a bound of its own: with `A_k`, how far
//! centroid `k` has moved in all, the row is safe from rival `j` as long as `m_j + a_k + a_j > A_k + A_j`. The margin of
//! the first bound is then that of the third-nearest, which is far larger (as in Drake and Hamerly, "Accelerated k-means
//! with adaptive distance bounds", 2012, with one bound).

use super::kernel::Kernels;
use super::lanes::Lanes;
use crate::grid::CENTROID_SCALE;
use crate::tiles::{BLOCK, Centroids};

/// The bound of a block whose rows have no valid bounds.
pub(super) const UNKNOWN: f32 = f32::NAN;

/// What a session remembers of its earlier passes.
pub(super) struct Bounds {
    /// `R_k` of each cluster, in grid units.
    travelled: Vec<f64>,
    /// `A_k` of each cluster, in grid units.
    own: Vec<f64>,
    /// Sum of the largest steps: no `R_k` grows by more.
    most_travelled: f64,
    /// `m + r` of each row.
    pub(super) rows: Vec<f32>,
    /// The same of each block against `most_travelled`; minus infinity where rows have to be checked, [`UNKNOWN`] where
    /// those of the rows are out of date.
    pub(super) blocks: Vec<f32>,
    /// There where single rivals are told apart.
    pub(super) rivals: Option<Rivals>,
}

/// What is known of each row and the centroid that was the second-nearest when it was looked at.
pub(super) struct Rivals {
    /// Its margin then, and how far both had travelled.
    pub(super) bounds: Vec<f32>,
    /// Its number.
    pub(super) clusters: Vec<u16>,
}

/// Bytes per row of [`Bounds`] with rivals, and of labels.
const RIVAL_BYTES: usize = 4 + 4 + 4 + 2;

/// Whether rivals can be told apart: where there are others beside them and bounds stay a small part of the data.
pub(super) fn may_have_rivals(n_clusters: usize, n_features: usize) -> bool {
    n_clusters > 2 && RIVAL_BYTES as f64 <= MEMORY_SHARE * (n_features * size_of::<f32>()) as f64
}

impl Bounds {
    pub(super) fn new(n_clusters: usize, n_rows: usize, rivals: bool) -> Self {
        Self {
            travelled: vec![0.0; n_clusters],
            own: vec![0.0; n_clusters],
            most_travelled: 0.0,
            // Lazily zeroed (as those of rivals): rows of unknown blocks are never read.
            rows: vec![0.0; n_rows],
            blocks: vec![UNKNOWN; n_rows.div_ceil(BLOCK)],
            rivals: rivals.then(|| Rivals {
                bounds: vec![0.0; n_rows],
                clusters: vec![0; n_rows],
            }),
        }
    }

    /// Follows the centroids, which went so far each, see [`steps`].
    pub(super) fn follow(&mut self, steps: &[f64]) {
        let (farthest, others) = two_largest(steps);
        for (k, travelled) in self.travelled.iter_mut().enumerate() {
            let other = if k == farthest { others } else { steps[farthest] };
            *travelled = (*travelled + steps[k] + other) * GROWTH;
        }
        for (own, step) in self.own.iter_mut().zip(steps) {
            *own = (*own + step) * GROWTH;
        }
        self.most_travelled = (self.most_travelled + steps[farthest] + others) * GROWTH;
    }

    /// The state of the travelled ways, for the tasks of a pass.
    pub(super) fn ways(&self) -> Ways {
        let rounded = |ways: &[f64], slack: f32| ways.iter().map(|&way| way as f32 * slack).collect();
        Ways {
            below: rounded(&self.travelled, 1.0 - F32_SLACK),
            above: rounded(&self.travelled, 1.0 + F32_SLACK),
            own_below: rounded(&self.own, 1.0 - F32_SLACK),
            own_above: rounded(&self.own, 1.0 + F32_SLACK),
            most_below: self.most_travelled as f32 * (1.0 - F32_SLACK),
            most_above: self.most_travelled as f32 * (1.0 + F32_SLACK),
        }
    }
}

/// How far each centroid went, in grid units, rounded upwards.
pub(super) fn steps(from: &Centroids, to: &Centroids, kernels: &Kernels) -> Vec<f64> {
    (0..to.n_clusters())
        .map(|k| (kernels.centroid_sq_dist)(from.row(k), to.row(k)).sqrt() * (GROWTH / CENTROID_SCALE as f64))
        .collect()
}

/// Bounds may take such a part of the data's memory, with the labels.
pub(super) const MEMORY_SHARE: f64 = 0.2;
/// Covers the roundings of distances between centroids and of their sums.
pub(super) const GROWTH: f64 = 1.0 + 1.0 / (1u64 << 28) as f64;
/// Covers a few roundings in `f32`.
const F32_SLACK: f32 = 1.0 / (1 << 21) as f32;

/// Index of the largest step, and the largest step of all others (0 if there are none).
fn two_largest(steps: &[f64]) -> (usize, f64) {
    let mut farthest = 0;
    let mut others = 0.0;
    for (k, &step) in steps.iter().enumerate().skip(1) {
        if step > steps[farthest] {
            others = steps[farthest];
            farthest = k;
        } else if step > others {
            others = step;
        }
    }
    (farthest, others)
}

/// The ways that centroids have travelled up to now, rounded both ways.
#[derive(Default)]
pub(super) struct Ways {
    below: Vec<f32>,
    above: Vec<f32>,
    own_below: Vec<f32>,
    own_above: Vec<f32>,
    most_below: f32,
    most_above: f32,
}

impl Ways {
    /// Whether the block with this bound needs no look.
    #[inline]
    pub(super) fn is_block_safe(&self, bound: f32) -> bool {
        bound > self.most_above
    }

    /// The rows (one bit each) of a block that need a look, and the least margin that any row has left.
    #[inline]
    pub(super) fn unsafe_rows(&self, bounds: &[f32], labels: &[u32], kernels: &Kernels) -> (u64, f32) {
        let (rows, least) = (kernels.unsafe_rows)(bounds, labels, &self.above);
        (rows, least * (1.0 - F32_SLACK))
    }

    /// [`Ways::unsafe_rows`] by the bounds against single rivals.
    #[inline]
    pub(super) fn unsafe_beside(
        &self,
        bounds: &[f32],
        labels: &[u32],
        rivals: &[u16],
        kernels: &Kernels,
    ) -> (u64, f32) {
        let (rows, least) = (kernels.unsafe_beside)(bounds, labels, rivals, &self.own_above);
        (rows, least * (1.0 - F32_SLACK))
    }

    /// [`Ways::rival_bound`] of the rows of a block; gives [`Ways::block_bound`] of it, as far as rivals go.
    pub(super) fn rival_bounds(
        &self,
        margins: &[f32],
        labels: &[u32],
        rivals: &[u16],
        bounds: &mut [f32],
        kernels: &Kernels,
    ) -> f32 {
        self.block_bound((kernels.rival_bounds)(margins, labels, rivals, &self.own_below, bounds))
    }

    /// The bound of a row whose rival is farther by `margin` now.
    #[inline]
    pub(super) fn rival_bound(&self, margin: f32, label: u32, rival: u16) -> f32 {
        row_bound(
            margin,
            self.own_below[label as usize] + self.own_below[usize::from(rival)],
        )
    }

    /// [`Ways::row_bound`] of the rows of a block; gives [`Ways::block_bound`] of it.
    pub(super) fn row_bounds(&self, margins: &[f32], labels: &[u32], bounds: &mut [f32], kernels: &Kernels) -> f32 {
        self.block_bound((kernels.row_bounds)(margins, labels, &self.below, bounds))
    }

    /// The bound of a row with the margin `margin` now.
    #[inline]
    pub(super) fn row_bound(&self, margin: f32, label: u32) -> f32 {
        row_bound(margin, self.below[label as usize])
    }

    /// The bound of a block with the least margin `margin` now.
    #[inline]
    pub(super) fn block_bound(&self, margin: f32) -> f32 {
        (margin + self.most_below) * (1.0 - F32_SLACK)
    }
}

#[inline(always)]
fn row_bound(margin: f32, way: f32) -> f32 {
    (margin + way) * (1.0 - F32_SLACK)
}

/// [`unsafe_rows`] of one instruction set: bounds, labels, ways.
pub(super) type UnsafeRows = fn(&[f32], &[u32], &[f32]) -> (u64, f32);

/// [`unsafe_beside`] of one instruction set: bounds, labels, rivals, ways.
pub(super) type UnsafeBeside = fn(&[f32], &[u32], &[u16], &[f32]) -> (u64, f32);

/// [`row_bounds`] of one instruction set: margins, labels, ways, bounds.
pub(super) type RowBounds = fn(&[f32], &[u32], &[f32], &mut [f32]) -> f32;

/// [`rival_bounds`] of one instruction set: margins, labels, rivals, ways, bounds.
pub(super) type RivalBounds = fn(&[f32], &[u32], &[u16], &[f32], &mut [f32]) -> f32;

/// Of up to 64 rows, those (one bit each) whose bounds are no larger than the ways of their clusters, and, where there are
/// none, the least difference. Labels are those of clusters that have a way.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn unsafe_rows<V: Lanes>(bounds: &[f32], labels: &[u32], ways: &[f32]) -> (u64, f32) {
    check_labels(labels, ways);
    // SAFETY: the caller's promise.
    let of_many = |at: usize| unsafe { V::gather(ways, &labels[at..]) };
    // SAFETY: the caller's promise.
    unsafe { within(bounds, of_many, |at| ways[labels[at] as usize]) }
}

/// The same for the ways of a row's cluster and of one rival together.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn unsafe_beside<V: Lanes>(
    bounds: &[f32],
    labels: &[u32],
    rivals: &[u16],
    ways: &[f32],
) -> (u64, f32) {
    check_labels(labels, ways);
    check_rivals(rivals, ways);
    // SAFETY: the caller's promise.
    let of_many = |at: usize| unsafe { V::gather(ways, &labels[at..]).add(V::gather_u16(ways, &rivals[at..])) };
    let of_one = |at: usize| ways[labels[at] as usize] + ways[usize::from(rivals[at])];
    // SAFETY: the caller's promise.
    unsafe { within(bounds, of_many, of_one) }
}

/// Rows with these bounds that are no larger than the way of the row, see [`unsafe_rows`].
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
unsafe fn within<V: Lanes>(bounds: &[f32], of_many: impl Fn(usize) -> V, of_one: impl Fn(usize) -> f32) -> (u64, f32) {
    let whole = bounds.len() / V::WIDTH * V::WIDTH;
    let (mut rows, mut least) = (0, f32::MAX);
    // SAFETY: the caller's promise.
    unsafe {
        let mut lesser = V::splat(f32::MAX);
        for at in (0..whole).step_by(V::WIDTH) {
            let left = V::load(&bounds[at..]).sub(of_many(at));
            let safe = left.gt_bits(V::splat(0.0));
            rows |= (!safe & ((1 << V::WIDTH) - 1)) << at;
            lesser = lesser.min(left);
        }
        if whole > 0 {
            least = lesser.least();
        }
    }
    for (at, &bound) in bounds.iter().enumerate().skip(whole) {
        let left = bound - of_one(at);
        rows |= u64::from(left <= 0.0) << at;
        least = least.min(left);
    }
    (rows, least)
}

/// The bounds of rows with these margins now, see [`Ways::row_bound`]. Gives the least margin, or any below 0 where there
/// are such.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn row_bounds<V: Lanes>(margins: &[f32], labels: &[u32], ways: &[f32], bounds: &mut [f32]) -> f32 {
    check_labels(labels, ways);
    // SAFETY: the caller's promise.
    let of_many = |at: usize| unsafe { V::gather(ways, &labels[at..]) };
    // SAFETY: the caller's promise.
    unsafe { beyond(margins, of_many, |at| ways[labels[at] as usize], bounds) }
}

/// The same for the ways of a row's cluster and of one rival together.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn rival_bounds<V: Lanes>(
    margins: &[f32],
    labels: &[u32],
    rivals: &[u16],
    ways: &[f32],
    bounds: &mut [f32],
) -> f32 {
    check_labels(labels, ways);
    check_rivals(rivals, ways);
    // SAFETY: the caller's promise.
    let of_many = |at: usize| unsafe { V::gather(ways, &labels[at..]).add(V::gather_u16(ways, &rivals[at..])) };
    let of_one = |at: usize| ways[labels[at] as usize] + ways[usize::from(rivals[at])];
    // SAFETY: the caller's promise.
    unsafe { beyond(margins, of_many, of_one, bounds) }
}

/// Bounds of rows with these margins beyond the way of each row, see [`row_bounds`].
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
unsafe fn beyond<V: Lanes>(
    margins: &[f32],
    of_many: impl Fn(usize) -> V,
    of_one: impl Fn(usize) -> f32,
    bounds: &mut [f32],
) -> f32 {
    let whole = bounds.len() / V::WIDTH * V::WIDTH;
    let mut least = f32::MAX;
    // SAFETY: the caller's promise.
    unsafe {
        let mut lesser = V::splat(f32::MAX);
        for at in (0..whole).step_by(V::WIDTH) {
            let margins = V::load(&margins[at..]);
            lesser = lesser.min(margins);
            let sum = margins.add(of_many(at));
            sum.mul(V::splat(1.0 - F32_SLACK)).store(&mut bounds[at..]);
        }
        if whole > 0 {
            least = lesser.least();
        }
    }
    for (at, (bound, &margin)) in bounds.iter_mut().zip(margins).enumerate().skip(whole) {
        *bound = row_bound(margin, of_one(at));
        least = least.min(margin);
    }
    least
}

fn check_labels(labels: &[u32], ways: &[f32]) {
    debug_assert!(
        labels.iter().all(|&label| (label as usize) < ways.len()),
        "labels of clusters"
    );
}

fn check_rivals(rivals: &[u16], ways: &[f32]) {
    debug_assert!(
        rivals.iter().all(|&rival| usize::from(rival) < ways.len()),
        "rivals are clusters"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;
    use crate::backend::scalar::two_nearest;
    use crate::rng::Rng;

    /// Random rows in two dimensions, centroids that move three times. How many rows were called safe, and for how many
    /// of these the label changed all the same. `share` of the ways is taken into account: of those beside single rivals,
    /// where they are told apart, else of all.
    fn called_safe(share: f64, rivals: bool) -> (usize, usize) {
        let kernels = kernel::available()[0];
        let mut rng = Rng::new(5, 0);
        let (mut safe, mut wrong) = (0, 0);
        for _ in 0..40 {
            let mut number = |width: u128| rng.below(width) as i32 - width as i32 / 2;
            let rows: Vec<[i32; 2]> = (0..64).map(|_| [number(20_000), number(20_000)]).collect();
            let first: Vec<i32> = (0..12).map(|_| 256 * number(20_000)).collect();
            let mut centroids = Centroids::new(2, first);
            let labels: Vec<u32> = rows.iter().map(|x| two_nearest(x, &centroids).0).collect();
            let mut bounds = Bounds::new(centroids.n_clusters(), rows.len(), true);
            // The runner-up, and the margins of it and of the others.
            let found = |x: &[i32; 2], label: u32| {
                let distance = |cluster: usize| (centroids.sq_dist(x, cluster) as f64).sqrt() / 256.0;
                let own = distance(label as usize);
                let mut others: Vec<(f64, u16)> = (0..centroids.n_clusters())
                    .filter(|&cluster| cluster != label as usize)
                    .map(|cluster| (distance(cluster), cluster as u16))
                    .collect();
                others.sort_by(|a, b| a.0.total_cmp(&b.0));
                let margin = |place: usize| ((others[place].0 - own) * (1.0 - 1e-6)) as f32;
                (others[0].1, margin(0), margin(usize::from(rivals)))
            };
            let ways = bounds.ways();
            let found: Vec<_> = rows.iter().zip(&labels).map(|(x, &label)| found(x, label)).collect();
            let rival: Vec<u16> = found.iter().map(|found| found.0).collect();
            let of_rivals: Vec<f32> = found.iter().map(|found| found.1).collect();
            let of_rest: Vec<f32> = found.iter().map(|found| found.2).collect();
            let (mut kept, mut beside) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
            ways.row_bounds(&of_rest, &labels, &mut kept, &kernels);
            ways.rival_bounds(&of_rivals, &labels, &rival, &mut beside, &kernels);
            for (row, &label) in labels.iter().enumerate() {
                assert_eq!(kept[row], ways.row_bound(of_rest[row], label));
                assert_eq!(beside[row], ways.rival_bound(of_rivals[row], label, rival[row]));
            }
            for _ in 0..3 {
                let moved = centroids.values().iter().map(|&c| c + 256 * number(900)).collect();
                let moved = Centroids::new(2, moved);
                bounds.follow(&steps(&centroids, &moved, &kernels));
                centroids = moved;
                let less = if rivals { &mut bounds.own } else { &mut bounds.travelled };
                less.iter_mut().for_each(|way| *way *= share);
                let ways = bounds.ways();
                let (mut open, _) = ways.unsafe_rows(&kept, &labels, &kernels);
                if rivals {
                    open |= ways.unsafe_beside(&beside, &labels, &rival, &kernels).0;
                }
                for (row, x) in rows.iter().enumerate().filter(|(row, _)| open >> row & 1 == 0) {
                    safe += 1;
                    wrong += usize::from(two_nearest(x, &centroids).0 != labels[row]);
                }
            }
        }
        (safe, wrong)
    }

    #[test]
    fn rows_called_safe_keep_their_labels() {
        let [(alone, wrong_alone), (told_apart, wrong)] = [false, true].map(|rivals| called_safe(1.0, rivals));
        assert_eq!((wrong_alone, wrong), (0, 0));
        assert!(alone > 3000, "only {alone} safe: the test proves little");
        assert!(told_apart > alone, "{told_apart} {alone}: rivals bring nothing");
    }

    #[test]
    fn ways_that_are_too_short_are_found_out() {
        assert!(called_safe(0.2, false).1 > 0);
        assert!(called_safe(0.2, true).1 > 0);
    }

    #[test]
    fn every_instruction_set_finds_the_same_rows() {
        for n_rows in [1, 3, 17, 64] {
            let labels: Vec<u32> = (0..n_rows).map(|row| row as u32 * 7 % 11).collect();
            let rivals: Vec<u16> = (0..n_rows).map(|row| (row as u16 * 5 + 1) % 11).collect();
            let ways: Vec<f32> = (0..11).map(|k| 3.0 + 0.5 * k as f32).collect();
            let bounds: Vec<f32> = (0..n_rows).map(|row| 6.0 + (row * 13 % 9) as f32).collect();
            let open = |row: &usize| bounds[*row] <= ways[labels[*row] as usize] + ways[usize::from(rivals[*row])];
            let expected = (0..n_rows).filter(open).fold(0u64, |rows, row| rows | 1 << row);
            for kernels in kernel::available() {
                let (rows, _) = (kernels.unsafe_beside)(&bounds, &labels, &rivals, &ways);
                assert_eq!(rows, expected, "{n_rows} rows on {}", kernels.name);
            }
        }
    }
}
