//! Which rows need not be looked at: a row keeps its centroid as long as the centroids have travelled less than the
//! margin by which all others were farther.
//!
//! One bound per row, as in Hamerly ("Making k-means even faster", 2010), in a form that is not touched while it holds:
//! let `R_k` add up, pass by pass, how far centroid `k` moved and how far the farthest-moving other one did. A row of
//! cluster `k` with margin `m` at a time when `R_k` was `r` is safe as long as `m + r > R_k`. That number is kept per
//! row, and for each block of 64 rows the least of the rows' margins against the largest step of any cluster, so that
//! a block whose every row is safe is passed over without a look. All roundings go to the safe side.

use super::kernel::Kernels;
use super::lanes::Lanes;
use crate::grid::CENTROID_SCALE;
use crate::tiles::Centroids;

/// The bound of a block whose rows have no valid bounds.
pub(super) const UNKNOWN: f32 = f32::NAN;

/// What a session remembers of its earlier passes.
pub(super) struct Bounds {
    /// `R_k` of each cluster, in grid units.
    travelled: Vec<f64>,
    /// Sum of the largest steps: no `R_k` grows by more.
    most_travelled: f64,
    /// `m + r` of each row.
    pub(super) rows: Vec<f32>,
    /// The same of each block against `most_travelled`; minus infinity where rows have to be checked, [`UNKNOWN`] where
    /// those of the rows are out of date.
    pub(super) blocks: Vec<f32>,
}

impl Bounds {
    pub(super) fn new(n_clusters: usize, n_rows: usize, n_blocks: usize) -> Self {
        Self {
            travelled: vec![0.0; n_clusters],
            most_travelled: 0.0,
            // Lazily zeroed: rows of unknown blocks are never read.
            rows: vec![0.0; n_rows],
            blocks: vec![UNKNOWN; n_blocks],
        }
    }

    /// Follows the centroids, which went so far each, see [`steps`].
    pub(super) fn follow(&mut self, steps: &[f64]) {
        let (farthest, others) = two_largest(steps);
        for (k, travelled) in self.travelled.iter_mut().enumerate() {
            let other = if k == farthest { others } else { steps[farthest] };
            *travelled = (*travelled + steps[k] + other) * GROWTH;
        }
        self.most_travelled = (self.most_travelled + steps[farthest] + others) * GROWTH;
    }

    /// The state of the travelled ways, for the tasks of a pass.
    pub(super) fn ways(&self) -> Ways {
        Ways {
            below: self
                .travelled
                .iter()
                .map(|&way| way as f32 * (1.0 - F32_SLACK))
                .collect(),
            above: self
                .travelled
                .iter()
                .map(|&way| way as f32 * (1.0 + F32_SLACK))
                .collect(),
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

/// [`row_bounds`] of one instruction set: margins, labels, ways, bounds.
pub(super) type RowBounds = fn(&[f32], &[u32], &[f32], &mut [f32]) -> f32;

/// Of up to 64 rows, those (one bit each) whose bounds are no larger than the ways of their clusters, and, where there are
/// none, the least difference. Labels are those of clusters that have a way.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn unsafe_rows<V: Lanes>(bounds: &[f32], labels: &[u32], ways: &[f32]) -> (u64, f32) {
    debug_assert!(
        labels.iter().all(|&label| (label as usize) < ways.len()),
        "labels of clusters"
    );
    let whole = bounds.len() / V::WIDTH * V::WIDTH;
    let (mut rows, mut least) = (0, f32::MAX);
    // SAFETY: the caller's promise; labels are those of clusters.
    unsafe {
        let mut lesser = V::splat(f32::MAX);
        for at in (0..whole).step_by(V::WIDTH) {
            let left = V::load(&bounds[at..]).sub(V::gather(ways, &labels[at..]));
            let safe = left.gt_bits(V::splat(0.0));
            rows |= (!safe & ((1 << V::WIDTH) - 1)) << at;
            lesser = lesser.min(left);
        }
        if whole > 0 {
            least = lesser.least();
        }
    }
    for (at, (&bound, &label)) in bounds.iter().zip(labels).enumerate().skip(whole) {
        let left = bound - ways[label as usize];
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
    debug_assert!(
        labels.iter().all(|&label| (label as usize) < ways.len()),
        "labels of clusters"
    );
    let whole = bounds.len() / V::WIDTH * V::WIDTH;
    let mut least = f32::MAX;
    // SAFETY: the caller's promise; labels are those of clusters.
    unsafe {
        let mut lesser = V::splat(f32::MAX);
        for at in (0..whole).step_by(V::WIDTH) {
            let margins = V::load(&margins[at..]);
            lesser = lesser.min(margins);
            let sum = margins.add(V::gather(ways, &labels[at..]));
            sum.mul(V::splat(1.0 - F32_SLACK)).store(&mut bounds[at..]);
        }
        if whole > 0 {
            least = lesser.least();
        }
    }
    let rest = bounds.iter_mut().zip(margins).zip(labels).skip(whole);
    for ((bound, &margin), &label) in rest {
        *bound = row_bound(margin, ways[label as usize]);
        least = least.min(margin);
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;
    use crate::backend::scalar::two_nearest;
    use crate::rng::Rng;

    /// Random rows in two dimensions, centroids that move three times. How many rows were called safe, and for how many
    /// of these the label changed all the same. `share` of the ways is taken into account.
    fn called_safe(share: f64) -> (usize, usize) {
        let kernels = kernel::available()[0];
        let mut rng = Rng::new(5, 0);
        let (mut safe, mut wrong) = (0, 0);
        for _ in 0..40 {
            let mut number = |width: u128| rng.below(width) as i32 - width as i32 / 2;
            let rows: Vec<[i32; 2]> = (0..64).map(|_| [number(20_000), number(20_000)]).collect();
            let first: Vec<i32> = (0..12).map(|_| 256 * number(20_000)).collect();
            let mut centroids = Centroids::new(2, first);
            let labels: Vec<u32> = rows.iter().map(|x| two_nearest(x, &centroids).0).collect();
            let mut bounds = Bounds::new(centroids.n_clusters(), rows.len(), 1);
            let margin = |x: &[i32; 2]| {
                let (best, second) = two_nearest(x, &centroids);
                let distance = |cluster: u32| (centroids.sq_dist(x, cluster as usize) as f64).sqrt() / 256.0;
                ((distance(second) - distance(best)) * (1.0 - 1e-6)) as f32
            };
            let ways = bounds.ways();
            let kept: Vec<f32> = rows
                .iter()
                .zip(&labels)
                .map(|(x, &label)| ways.row_bound(margin(x), label))
                .collect();
            for _ in 0..3 {
                let moved = centroids.values().iter().map(|&c| c + 256 * number(900)).collect();
                let moved = Centroids::new(2, moved);
                bounds.follow(&steps(&centroids, &moved, &kernels));
                centroids = moved;
                bounds.travelled.iter_mut().for_each(|way| *way *= share);
                let (open, _) = bounds.ways().unsafe_rows(&kept, &labels, &kernels);
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
        let (safe, wrong) = called_safe(1.0);
        assert_eq!(wrong, 0);
        assert!(safe > 3000, "only {safe} safe: the test proves little");
    }

    #[test]
    fn ways_that_are_too_short_are_found_out() {
        assert!(called_safe(0.2).1 > 0);
    }
}
