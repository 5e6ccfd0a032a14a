//! A run of Lloyd's iterations as a backend makes it: pass by pass, or as a whole where the data stays on a device.

use std::ops::ControlFlow;

use super::Pass;
use crate::error::Result;
use crate::partial::ClusterPartial;
use crate::tiles::Centroids;

/// When a run ends, beyond "no centroid moves".
#[derive(Clone, Copy)]
pub struct LloydRule<'r> {
    /// Most iterations; at least one.
    pub max_iter: usize,
    /// The largest squared shift of all centroids together, in centroid units squared, at which they count as resting.
    /// Depends on the data alone: the partial of every pass gives the same.
    pub shift_limit: &'r dyn Fn(&ClusterPartial) -> f64,
    /// Whether [`Pass::n_moved`] is asked for; else it is 0, which may save a pass the labels.
    pub count_moved: bool,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LloydEnd {
    /// No centroid moved.
    Converged,
    /// The centroids moved no more than the limit.
    Rests,
    /// The most iterations were made.
    MaxIter,
    /// A cluster has no weight: what becomes of it is not for a backend to say.
    EmptyCluster,
    /// Whoever heard of the iterations asked for it.
    Stopped,
}

/// Where a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LloydRun {
    /// The centroids of the last iteration.
    pub centroids: Centroids,
    /// Its pass.
    pub pass: Pass,
    /// Why it ended.
    pub end: LloydEnd,
    /// After [`LloydEnd::Rests`] and [`LloydEnd::MaxIter`]: where the centroids went then. Rows are not labelled by these.
    pub moved: Option<Centroids>,
}

/// Hears of every iteration: its centroids and its pass. May end the run.
pub type EachIteration<'e> = dyn FnMut(&Centroids, &Pass) -> Result<ControlFlow<()>> + 'e;

/// The last iteration of a run, where it is to go on elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    /// Iterations so far.
    pub(crate) n_iter: usize,
    /// Centroids of the last one.
    pub(crate) centroids: Centroids,
    /// Its pass.
    pub(crate) pass: Pass,
    /// What was said of it.
    pub(crate) flow: ControlFlow<()>,
}

impl Reached {
    /// The run that ends here.
    pub(crate) fn into_run(self, end: LloydEnd, moved: Option<Centroids>) -> LloydRun {
        LloydRun {
            centroids: self.centroids,
            pass: self.pass,
            end,
            moved,
        }
    }
}

/// `each`, which also notes the iteration that it heard of last, counted on from the one in `reached`.
pub(crate) fn noting<'r>(
    each: &'r mut EachIteration<'_>,
    reached: &'r mut Option<Reached>,
) -> impl FnMut(&Centroids, &Pass) -> Result<ControlFlow<()>> + 'r {
    move |centroids, pass| {
        let flow = each(centroids, pass)?;
        *reached = Some(Reached {
            n_iter: reached.as_ref().map_or(0, |before| before.n_iter) + 1,
            centroids: centroids.clone(),
            pass: pass.clone(),
            flow,
        });
        Ok(flow)
    }
}

/// The run on passes: the meaning of [`Session::lloyd`](super::Session::lloyd). Goes on from `reached`, else from
/// `start`.
pub(crate) fn by_passes(
    assign: &mut dyn FnMut(&Centroids) -> Result<Pass>,
    start: &Centroids,
    mut reached: Option<Reached>,
    rule: &LloydRule<'_>,
    each: &mut EachIteration<'_>,
) -> Result<LloydRun> {
    let mut n_iter = reached.as_ref().map_or(0, |reached| reached.n_iter);
    let mut centroids = start.clone();
    loop {
        let iteration = match reached.take() {
            Some(reached) => reached,
            None => {
                let pass = assign(&centroids)?;
                let flow = each(&centroids, &pass)?;
                n_iter += 1;
                Reached {
                    n_iter,
                    centroids,
                    pass,
                    flow,
                }
            }
        };
        match judge(rule, &iteration) {
            Verdict::Go(next) => centroids = next,
            Verdict::End(end, moved) => return Ok(iteration.into_run(end, moved)),
        }
    }
}

/// What follows from an iteration.
pub(crate) enum Verdict {
    /// Another one, from these centroids.
    Go(Centroids),
    /// Nothing. Where the centroids went, if they still moved.
    End(LloydEnd, Option<Centroids>),
}

/// Whether a run ends with an iteration.
pub(crate) fn judge(rule: &LloydRule<'_>, iteration: &Reached) -> Verdict {
    let partial = &iteration.pass.partial;
    if partial.empty_clusters().next().is_some() {
        return Verdict::End(LloydEnd::EmptyCluster, None);
    }
    let next = partial.centroids(&iteration.centroids);
    if next == iteration.centroids {
        return Verdict::End(LloydEnd::Converged, None);
    }
    if iteration.flow.is_break() {
        return Verdict::End(LloydEnd::Stopped, None);
    }
    if centroid_shift(&iteration.centroids, &next) as f64 <= (rule.shift_limit)(partial) {
        return Verdict::End(LloydEnd::Rests, Some(next));
    }
    if iteration.n_iter >= rule.max_iter {
        return Verdict::End(LloydEnd::MaxIter, Some(next));
    }
    Verdict::Go(next)
}

/// Squared distance between two sets of centroids, summed, in centroid units squared: below 2^96.
pub(crate) fn centroid_shift(a: &Centroids, b: &Centroids) -> u128 {
    sq_shift(a.values(), b.values())
}

/// The largest squared distance that one centroid of `a` has to its like in `b`.
#[cfg(feature = "gpu")] // only devices keep account of it
pub(crate) fn largest_centroid_shift(a: &Centroids, b: &Centroids) -> u128 {
    let d = a.n_features();
    let pairs = a.values().chunks(d).zip(b.values().chunks(d));
    pairs.map(|(a, b)| sq_shift(a, b)).max().unwrap_or(0)
}

fn sq_shift(a: &[i32], b: &[i32]) -> u128 {
    let squares = a.iter().zip(b).map(|(&a, &b)| u128::from(a.abs_diff(b)).pow(2));
    squares.sum()
}

/// The largest shift below 2^96 that, as `f64`, is not above `limit`; `None` where none is.
#[cfg(any(feature = "gpu", test))] // only devices that end runs by themselves need it
pub(crate) fn largest_shift_within(limit: f64) -> Option<u128> {
    let within = |shift: u128| shift as f64 <= limit;
    if !within(0) {
        return None;
    }
    // Conversion keeps the order: bit by bit, from the highest.
    let largest = (0..96).rev().fold(0, |shift: u128, bit| {
        let higher = shift | 1 << bit;
        if within(higher) { higher } else { shift }
    });
    Some(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_integers_without_a_change() {
        assert_eq!(largest_shift_within(-1.0), None);
        assert_eq!(largest_shift_within(f64::NAN), None);
        assert_eq!(largest_shift_within(0.0), Some(0));
        assert_eq!(largest_shift_within(0.99), Some(0));
        assert_eq!(largest_shift_within(f64::INFINITY), Some((1 << 96) - 1));
        for limit in [1.0, 7.5, 1e9 + 0.5, 9_007_199_254_740_993e3, 1.5e25] {
            let shift = largest_shift_within(limit).unwrap();
            assert!(shift as f64 <= limit && (shift + 1) as f64 > limit, "{limit}");
        }
    }
}
