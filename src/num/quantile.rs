//! Exact quantiles by selection.

use super::widest::{Kernel, widest};

/// The quantile `q` (0 to 1) of `values`, which it reorders: linear between the two nearest ranks, as numpy's default.
///
/// Depends on the multiset of values alone.
///
/// # Panics
/// If there is no value, or `q` is outside 0 to 1.
#[must_use]
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    assert!(!values.is_empty() && (0.0..=1.0).contains(&q), "values, and a share");
    let (at, share) = rank(values.len(), q);
    let (_, &mut low, above) = values.select_nth_unstable_by(at, f64::total_cmp);
    if share == 0.0 {
        return low;
    }
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    between(low, high, share)
}

/// The quantile `q` of `n` values, at least one, the r-th smallest of which is `value_at(r)`: see [`quantile`].
pub(crate) fn quantile_of_ranks(n: usize, q: f64, mut value_at: impl FnMut(usize) -> f64) -> f64 {
    let (at, share) = rank(n, q);
    let low = value_at(at);
    if share == 0.0 {
        low
    } else {
        between(low, value_at((at + 1).min(n - 1)), share)
    }
}

/// The median of such values: see [`median`].
pub(crate) fn median_of_ranks(n: usize, mut value_at: impl FnMut(usize) -> f64) -> f64 {
    match n % 2 {
        1 => value_at(n / 2),
        _ => f64::midpoint(value_at(n / 2 - 1), value_at(n / 2)),
    }
}

/// The lower of the ranks next to a quantile of `n` values, and how far it lies above.
fn rank(n: usize, q: f64) -> (usize, f64) {
    let rank = q * (n - 1) as f64;
    (rank.floor() as usize, rank.fract())
}

/// From the nearer end, so that the result never leaves `[low, high]`.
fn between(low: f64, high: f64, share: f64) -> f64 {
    let gap = high - low;
    if share < 0.5 {
        low + gap * share
    } else {
        high - gap * (1.0 - share)
    }
}

/// The middle value, or the mean of the two middle ones; reorders `values`.
///
/// # Panics
/// If there is no value.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    assert!(n > 0, "values");
    let (below, &mut high, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return high;
    }
    let low = below.iter().copied().max_by(f64::total_cmp).unwrap_or(high);
    f64::midpoint(low, high)
}

/// What a profile says of the distribution of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Deciles {
    /// `quantile(0.01)`.
    pub(crate) p01: f64,
    /// `quantile(0.1)`.
    pub(crate) p10: f64,
    /// `median()`.
    pub(crate) median: f64,
    /// `quantile(0.9)`.
    pub(crate) p90: f64,
    /// `quantile(0.99)`.
    pub(crate) p99: f64,
}

impl Deciles {
    /// The ranks whose values decide, rising.
    fn ranks(n: usize) -> [usize; 10] {
        let [p01, p10, p90, p99] = [0.01, 0.1, 0.9, 0.99].map(|q| rank(n, q).0);
        let after = |at: usize| (at + 1).min(n - 1);
        let [a, b] = [(n - 1) / 2, n / 2];
        let mut ranks = [p01, after(p01), p10, after(p10), a, b, p90, after(p90), p99, after(p99)];
        ranks.sort_unstable();
        ranks
    }

    /// Of `n` values, at least one, the r-th smallest of which is `value_at(r)`.
    fn of_ranks(n: usize, mut value_at: impl FnMut(usize) -> f64) -> Self {
        let [p01, p10, p90, p99] = [0.01, 0.1, 0.9, 0.99].map(|q| quantile_of_ranks(n, q, &mut value_at));
        let median = median_of_ranks(n, value_at);
        Self {
            p01,
            p10,
            median,
            p90,
            p99,
        }
    }

    /// Of values, which are reordered; `None` where there are none.
    pub(crate) fn of<V: Cell>(values: &mut [V]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        select(values, 0, &Self::ranks(n));
        Some(Self::of_ranks(n, |rank| values[rank].value()))
    }
}

/// Puts the values of the given ranks (rising, counted from `first`) where sorting would put them.
fn select<V: Cell>(values: &mut [V], first: usize, ranks: &[usize]) {
    if ranks.is_empty() || values.len() < 2 {
        return;
    }
    let middle = ranks.len() / 2;
    let at = ranks[middle] - first;
    let (below, _, above) = values.select_nth_unstable_by(at, V::order);
    let lower = ranks.partition_point(|&rank| rank < ranks[middle]);
    let upper = ranks.partition_point(|&rank| rank <= ranks[middle]);
    select(below, first, &ranks[..lower]);
    select(above, first + at + 1, &ranks[upper..]);
}

/// A number in memory, never NaN.
pub(crate) trait Cell: Copy + Send + Sync {
    /// `v`, which this type holds without error.
    fn of(v: f64) -> Self;
    /// The number.
    fn value(self) -> f64;
    /// By size.
    fn order(&self, other: &Self) -> std::cmp::Ordering;
}

impl Cell for f32 {
    #[inline(always)]
    fn of(v: f64) -> Self {
        v as Self
    }
    #[inline(always)]
    fn value(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.total_cmp(other)
    }
}

impl Cell for f64 {
    #[inline(always)]
    fn of(v: f64) -> Self {
        v
    }
    #[inline(always)]
    fn value(self) -> f64 {
        self
    }
    #[inline(always)]
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.total_cmp(other)
    }
}

/// Number of [`Buckets`].
const BUCKETS: usize = 1 << 11;
/// Values whose buckets are found at a time.
const RUN: usize = 256;
/// Values that the buckets are made by.
const SAMPLE: usize = 1 << 12;

/// A cut of the numbers into intervals, all values of a bucket below all of the next one: what lies in the bucket of
/// a rank is all that has to be looked at to find its value. Where the cuts are decides about speed, never results.
pub(crate) struct Buckets {
    from: f64,
    per: f64,
    /// Some of the values, sorted.
    sample: Vec<f64>,
}

impl Buckets {
    /// Buckets of one width from about the smallest to about the largest of `n` values, without far outliers.
    pub(crate) fn of(n: usize, value_at: impl Fn(usize) -> f64) -> Self {
        let step = n.div_ceil(SAMPLE).max(1);
        let mut sample: Vec<f64> = (0..n).step_by(step).map(value_at).collect();
        sample.sort_unstable_by(f64::total_cmp);
        let cut = sample.len() / 200;
        let (from, to) = match sample.len() {
            0 => (0.0, 0.0),
            len => (sample[cut], sample[len - 1 - cut]),
        };
        let per = (BUCKETS - 1) as f64 / (to - from);
        let per = if per.is_finite() { per } else { 0.0 };
        Self { from, per, sample }
    }

    /// The bucket of `v`: never falling as `v` rises, since each step is a rounding of such a function.
    #[inline(always)]
    fn bucket(&self, v: f64) -> usize {
        /// Adding this leaves a number below 2^52, rounded to an integer, in the lower bits.
        const INTEGERS: f64 = (1u64 << 52) as f64;
        let at = (v - self.from) * self.per;
        let at = if at > 0.0 { at } else { 0.0 };
        let at = if at < (BUCKETS - 1) as f64 {
            at
        } else {
            (BUCKETS - 1) as f64
        };
        (at + INTEGERS).to_bits() as usize % BUCKETS
    }

    /// Hands on each value with its bucket.
    #[inline]
    fn each<V: Cell>(&self, values: &[V], mut consume: impl FnMut(V, usize)) {
        let mut found = [0u16; RUN];
        for run in values.chunks(RUN) {
            widest(Find {
                buckets: self,
                run,
                found: &mut found,
            });
            for (&v, &bucket) in run.iter().zip(&found) {
                consume(v, usize::from(bucket) % BUCKETS);
            }
        }
    }
}

/// The buckets of a run of values.
struct Find<'f, V> {
    buckets: &'f Buckets,
    run: &'f [V],
    found: &'f mut [u16; RUN],
}

impl<V: Cell> Kernel for Find<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (found, v) in self.found.iter_mut().zip(self.run) {
            *found = self.buckets.bucket(v.value()) as u16;
        }
    }
}

/// How many values lie in each bucket.
#[derive(Clone)]
pub(crate) struct Histogram(Vec<u64>);

impl Histogram {
    pub(crate) fn empty() -> Self {
        Self(vec![0; BUCKETS])
    }

    pub(crate) fn add<V: Cell>(&mut self, buckets: &Buckets, values: &[V]) {
        let counts: &mut [u64; BUCKETS] = self.0.as_mut_slice().try_into().expect("one count per bucket");
        buckets.each(values, |_, bucket| counts[bucket] += 1);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += b);
    }

    fn n(&self) -> usize {
        self.0.iter().sum::<u64>() as usize
    }
}

/// A bucket that holds some wanted rank, and its values.
#[derive(Clone)]
struct Bucket<V> {
    /// Values in the buckets before.
    before: usize,
    /// The value that is probably frequent, and how often it was met: columns that are mostly one value take no room.
    mode: Option<V>,
    n_mode: usize,
    /// The others.
    rest: Vec<V>,
}

impl<V: Cell> Bucket<V> {
    #[inline]
    fn push(&mut self, v: V) {
        if self.mode.is_some_and(|mode| mode.order(&v).is_eq()) {
            self.n_mode += 1;
        } else {
            self.rest.push(v);
        }
    }

    /// The value of a rank that lies in this bucket.
    fn value_at(&mut self, rank: usize) -> f64 {
        let at = rank - self.before;
        let Some(mode) = self.mode.filter(|_| self.n_mode > 0) else {
            return select_at(&mut self.rest, at);
        };
        let n_below = self.rest.iter().filter(|v| v.order(&mode).is_lt()).count();
        if at < n_below {
            select_at(&mut self.rest, at)
        } else if at < n_below + self.n_mode {
            mode.value()
        } else {
            select_at(&mut self.rest, at - self.n_mode)
        }
    }
}

fn select_at<V: Cell>(values: &mut [V], at: usize) -> f64 {
    values.select_nth_unstable_by(at, V::order).1.value()
}

/// Finds the [`Deciles`] of values that were counted in a [`Histogram`] and are now seen once more.
#[derive(Clone)]
pub(crate) struct Selection<V> {
    n: usize,
    wanted: Vec<Bucket<V>>,
    /// For each bucket its place among the wanted ones, from 1; 0 for all others.
    places: Vec<u8>,
}

impl<V: Cell> Selection<V> {
    pub(crate) fn new(buckets: &Buckets, counts: &Histogram) -> Self {
        let n = counts.n();
        let (mut wanted, mut places): (Vec<Bucket<V>>, _) = (Vec::new(), vec![0; BUCKETS]);
        let ranks = if n == 0 { Vec::new() } else { Deciles::ranks(n).to_vec() };
        let (mut index, mut before) = (0, 0);
        for rank in ranks {
            while before + counts.0[index] as usize <= rank {
                before += counts.0[index] as usize;
                index += 1;
            }
            if places[index] == 0 {
                wanted.push(Bucket {
                    before,
                    mode: most_frequent(buckets, index),
                    n_mode: 0,
                    rest: Vec::new(),
                });
                places[index] = wanted.len() as u8;
            }
        }
        Self { n, wanted, places }
    }

    /// Looks at values: those that were counted, each once, by this selection or one merged into it.
    pub(crate) fn add(&mut self, buckets: &Buckets, values: &[V]) {
        let places: &[u8; BUCKETS] = self.places.as_slice().try_into().expect("one place per bucket");
        buckets.each(values, |v, bucket| {
            let place = places[bucket];
            if place != 0 {
                self.wanted[usize::from(place) - 1].push(v);
            }
        });
    }

    /// [`Selection::add`] to this selection and to another one.
    pub(crate) fn add_with(&mut self, other: &mut Self, buckets: &Buckets, values: &[V]) {
        let mut places = [(0, 0); BUCKETS];
        for (places, both) in places.iter_mut().zip(self.places.iter().zip(&other.places)) {
            *places = (*both.0, *both.1);
        }
        buckets.each(values, |v, bucket| {
            let (own, others) = places[bucket];
            if own != 0 {
                self.wanted[usize::from(own) - 1].push(v);
            }
            if others != 0 {
                other.wanted[usize::from(others) - 1].push(v);
            }
        });
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (own, mut other) in self.wanted.iter_mut().zip(other.wanted) {
            own.n_mode += other.n_mode;
            own.rest.append(&mut other.rest);
        }
    }

    /// `None` where there are no values.
    pub(crate) fn deciles(mut self) -> Option<Deciles> {
        let value_at = |rank: usize| {
            let bucket = self.wanted.partition_point(|bucket| bucket.before <= rank) - 1;
            self.wanted[bucket].value_at(rank)
        };
        (self.n > 0).then(|| Deciles::of_ranks(self.n, value_at))
    }
}

/// The value that a bucket holds most often among those of the sample.
fn most_frequent<V: Cell>(buckets: &Buckets, index: usize) -> Option<V> {
    let start = buckets.sample.partition_point(|&v| buckets.bucket(v) < index);
    let end = buckets.sample.partition_point(|&v| buckets.bucket(v) <= index);
    let groups = buckets.sample[start..end].chunk_by(|a, b| a.total_cmp(b).is_eq());
    groups.max_by_key(|group| group.len()).map(|group| V::of(group[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let values = [7.0, 1.0, 3.0, 2.0, 10.0, 4.0];
        for (q, expected) in [(0.0, 1.0), (0.25, 2.25), (0.5, 3.5), (0.75, 6.25), (1.0, 10.0)] {
            assert_eq!(quantile(&mut values.clone(), q), expected, "q = {q}");
        }
        assert_eq!(quantile(&mut [5.0], 0.3), 5.0);
    }

    /// Values of many shapes: smooth, offset, with far outliers, few different ones, mostly one, all the same.
    fn shapes(n: usize) -> Vec<Vec<f64>> {
        let mut rng = crate::rng::Rng::new(7, 0);
        let mut uniform = move || rng.below(1 << 24) as f64 / f64::from(1 << 24) - 0.5;
        let mut draw = |shape: &dyn Fn(f64) -> f64| (0..n).map(|_| shape(uniform())).collect::<Vec<f64>>();
        vec![
            draw(&|u| u),
            draw(&|u| 1e6 + u),
            draw(&|u| (u * 40.0).exp()),
            draw(&|u| (u * 7.0).round() + 0.0),
            draw(&|u| if u < 0.4 { 0.0 } else { u }),
            draw(&|u| if u < 0.45 { 3.0 } else { u * 1e12 }),
            draw(&|_| -2.5),
        ]
    }

    fn selected<V: Cell>(values: &[f64], parts: usize) -> Option<Deciles> {
        let cells: Vec<V> = values.iter().map(|&v| V::of(v)).collect();
        let buckets = Buckets::of(cells.len(), |at| cells[at].value());
        let mut counts = Histogram::empty();
        let parts: Vec<&[V]> = cells.chunks(cells.len().div_ceil(parts).max(1)).collect();
        for part in &parts {
            let mut own = Histogram::empty();
            own.add(&buckets, part);
            counts.merge(&own);
        }
        let mut selection = Selection::<V>::new(&buckets, &counts);
        let mut merged = selection.clone();
        for part in parts {
            let (mut own, mut others) = (selection.clone(), Selection::new(&buckets, &counts));
            own.add_with(&mut others, &buckets, part);
            selection.add(&buckets, part);
            assert_eq!(own.wanted[0].rest.len(), selection.wanted[0].rest.len());
            merged.merge(others);
        }
        let deciles = selection.deciles();
        assert_eq!(merged.deciles(), deciles);
        deciles
    }

    #[test]
    fn selections_are_those_of_the_plain_way() {
        for n in [1, 2, 3, 10, 11, 500, 20_001] {
            for (shape, values) in shapes(n).into_iter().enumerate() {
                let values: Vec<f64> = values.into_iter().map(|v| f64::from(v as f32)).collect();
                let mut scratch = values.clone();
                let plain = Some(Deciles {
                    p01: quantile(&mut scratch, 0.01),
                    p10: quantile(&mut scratch, 0.1),
                    median: median(&mut scratch),
                    p90: quantile(&mut scratch, 0.9),
                    p99: quantile(&mut scratch, 0.99),
                });
                assert_eq!(Deciles::of(&mut scratch), plain, "n = {n}, shape {shape}");
                assert_eq!(selected::<f64>(&values, 3), plain, "n = {n}, shape {shape}");
                assert_eq!(selected::<f32>(&values, 1), plain, "n = {n}, shape {shape}");
                if n > 10 && shape == 0 {
                    assert_ne!(selected::<f64>(&values[1..], 3), plain, "a value left out is seen");
                }
            }
        }
        assert_eq!((Deciles::of::<f64>(&mut []), selected::<f64>(&[], 1)), (None, None));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [-1.0]), -1.0);
    }
}
