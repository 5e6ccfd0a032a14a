//! When bounds pay. A pass that keeps bounds and looks at the rows they do not clear gives the same answer as one that
//! looks at all rows; which is faster depends on how many rows they clear.

use super::Pruning;
use super::bounds::may_have_rivals;
use super::coarse::Rounding;
use super::groups;
use super::looks::{FirstLook, gather_cost, low_bits_cost, second_look_cost};
use super::task::Tally;
use crate::tiles::{BLOCK, row_words};

/// Where bounds do not pay, one run of blocks in so many keeps them, to tell when they would.
const SAMPLE: usize = 64;
/// Blocks in such a run: their bounds fill a page of memory.
const RUN: usize = 16;
/// Bounds of groups are first tried once a smaller share of the rows moves in a pass.
const GROUPS_FROM: f64 = 0.12;
/// The same where a coarse look costs half as much.
const GROUPS_FROM_COARSE: f64 = 0.03;

/// What a pass does about bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// Looks at every row, keeps no bounds.
    Plain,
    /// Looks at every row, keeps the bounds of a sample of the blocks.
    Watch,
    /// Passes over the rows that bounds clear. Where so many rows of a block need a look, all of it is done in place:
    /// gathering rows costs more.
    Prune { in_place_from: u32 },
    /// Measures rows against those groups of centroids only that bounds leave open. `all`: there are no bounds yet.
    Groups { all: bool },
}

impl Mode {
    /// Whether the block with this number keeps bounds of its rows.
    #[inline]
    pub(super) fn keeps_bounds(self, block: usize) -> bool {
        match self {
            Self::Plain | Self::Groups { .. } => false,
            Self::Watch => (block / RUN).is_multiple_of(SAMPLE),
            Self::Prune { .. } => true,
        }
    }
}

/// Chooses the mode of each pass by what came of the one before.
#[derive(Debug)]
pub(super) struct Policy {
    pruning: Pruning,
    mode: Mode,
    costs: Costs,
    /// Groups are tried once a smaller share of the rows moves.
    groups_from: f64,
    /// What a coarse look is here.
    look: FirstLook,
    /// Whole blocks get one first.
    coarse: bool,
    /// Rows that bounds do not clear get one: they are those that are hard to tell apart.
    coarse_if_open: bool,
    /// It is taken at low bits as well, where that is finer.
    finest: bool,
    shape: [usize; 2],
}

/// Where a coarse look leaves more than this share of the rows open, it is given up.
const MAX_UNSETTLED: f64 = 0.2;

impl Policy {
    /// `look`: how rows are looked at first.
    pub(super) fn new(pruning: Pruning, n_clusters: usize, n_features: usize, look: FirstLook) -> Self {
        let costs = Costs::new(n_clusters, n_features, [look; 2]);
        let coarse = look != FirstLook::Floats;
        Self {
            pruning,
            mode: match pruning {
                Pruning::Never => Mode::Plain,
                Pruning::Auto => Mode::Watch,
                Pruning::Always => costs.prune(),
            },
            costs,
            shape: [n_clusters, n_features],
            look,
            coarse,
            coarse_if_open: coarse,
            finest: true,
            groups_from: match pruning {
                Pruning::Always => 1.0,
                _ if coarse => GROUPS_FROM_COARSE,
                _ => GROUPS_FROM,
            },
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether bounds tell [rivals](super::bounds) apart.
    pub(super) fn has_rivals(&self) -> bool {
        self.costs.rivals
    }

    /// Whether the coming pass takes a coarse look first.
    pub(super) fn is_coarse(&self) -> bool {
        match self.mode {
            Mode::Prune { .. } => self.coarse && self.coarse_if_open,
            _ => self.coarse,
        }
    }

    /// Whether a pass that looks at all rows would.
    pub(super) fn is_coarse_of_all(&self) -> bool {
        self.coarse
    }

    /// Whether a coarse look may read the low bits.
    pub(super) fn is_finest(&self) -> bool {
        self.finest
    }

    /// The coming pass makes bounds of groups anew.
    pub(super) fn start_groups(&mut self) {
        self.mode = Mode::Groups { all: true };
    }

    /// Decides on the next pass, by what came of one with such a coarse look, or none.
    pub(super) fn learn(&mut self, tally: &Tally, n_rows: usize, rounding: Option<Rounding>) {
        let [k, d] = self.shape;
        if let Some(rounding) = rounding {
            let unsettled = tally.n_unsettled as f64 / tally.n_coarse.max(1) as f64;
            // Integers that are twice as fine leave half as many rows open.
            let by_high_bits = unsettled * rounding.fineness().max(1.0);
            let finest = by_high_bits * second_look_cost(k, d) > low_bits_cost(d);
            if finest && self.finest && unsettled > MAX_UNSETTLED {
                self.coarse_if_open = false;
                // Rows that bounds leave open say nothing of the others.
                self.coarse &= matches!(self.mode, Mode::Prune { .. });
                let of_all = if self.coarse { self.look } else { FirstLook::Floats };
                self.costs = Costs::new(k, d, [of_all, FirstLook::Floats]);
            }
            self.finest = finest;
        }
        let moved = tally.n_moved as f64 / n_rows as f64;
        self.mode = match self.mode {
            Mode::Plain => Mode::Plain,
            Mode::Groups { all: true } => Mode::Groups { all: false },
            Mode::Groups { all: false } => {
                let pairs = tally.n_pairs as f64 / n_rows as f64;
                if self.pruning == Pruning::Always || self.costs.groups_pay(pairs) {
                    Mode::Groups { all: false }
                } else {
                    self.groups_from = moved / 2.0;
                    Mode::Watch
                }
            }
            Mode::Watch | Mode::Prune { .. } if self.costs.has_groups() && moved < self.groups_from => {
                Mode::Groups { all: true }
            }
            mode if self.pruning == Pruning::Always || tally.n_watched == 0 => mode,
            mode => {
                let open = tally.n_unsafe as f64 / tally.n_watched as f64;
                self.costs.mode(open, matches!(mode, Mode::Prune { .. }))
            }
        };
    }
}

/// Estimated cycles of a pass per row, from the shape alone.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// A row among all rows of a block.
    in_place: f64,
    /// A row gathered from its block.
    gathered: f64,
    /// Keeping and checking a row's bound.
    bound: f64,
    /// Second-nearest centroids have bounds of their own, where groups do not do better.
    rivals: bool,
    /// Waiting for a row's cache lines, which nothing fetches ahead where rows are gathered.
    fetch: f64,
    /// A row against a group, and a row's part beside that; `None` where there are no groups.
    group: Option<[f64; 2]>,
}

impl Costs {
    /// The first look at whole blocks, and at rows that bounds leave open.
    fn new(n_clusters: usize, n_features: usize, [look, look_if_open]: [FirstLook; 2]) -> Self {
        let d = n_features as f64;
        let words = row_words(n_features) as f64;
        // Or what memory takes, of which a coarse look reads two thirds.
        let read = if look == FirstLook::Floats { 1.5 } else { 1.0 } * words;
        let in_place = look.cost(n_clusters, n_features).max(read) + 4.0;
        let group = groups::shape(n_clusters, n_features).and_then(|(n_groups, width)| {
            let pair = 1.1 * (width / groups::VECTOR) as f64 * d + 35.0;
            let row = 2.0 * n_groups as f64 + 80.0;
            // Well into a run a row is measured against a quarter of the groups.
            let late = row + 0.25 * n_groups as f64 * pair;
            (late < 0.9 * in_place).then_some([pair, row])
        });
        let rivals = group.is_none() && may_have_rivals(n_clusters, n_features);
        Self {
            in_place,
            gathered: look_if_open.cost(n_clusters, n_features) + 4.0 + gather_cost(n_features),
            bound: if rivals { 6.0 } else { 2.5 },
            rivals,
            fetch: 1.9 * words,
            group,
        }
    }

    fn has_groups(self) -> bool {
        self.group.is_some()
    }

    /// Whether measuring `n_pairs` groups per row was faster than measuring everything.
    fn groups_pay(self, n_pairs: f64) -> bool {
        self.group
            .is_some_and(|[pair, row]| n_pairs * pair + row < 0.95 * self.in_place)
    }

    fn prune(self) -> Mode {
        Mode::Prune {
            in_place_from: (BLOCK as f64 * self.in_place / self.gathered).ceil().min(BLOCK as f64) as u32,
        }
    }

    /// The mode in which `unsafe_share` of the rows, as in the last pass, are dealt with fastest. Bounds that are
    /// `kept` already are not given up lightly.
    fn mode(self, unsafe_share: f64, kept: bool) -> Mode {
        let worth = if kept { 1.1 } else { 0.9 };
        // A cache line holds a feature of sixteen rows: a few rows touch most of them.
        let touched = 1.0 - (1.0 - unsafe_share).powi(16);
        let pruned = self.bound + unsafe_share * self.gathered + touched * self.fetch;
        if pruned < worth * self.in_place {
            self.prune()
        } else {
            Mode::Watch
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept_where_they_pay() {
        let (small, large) = (
            Costs::new(8, 8, [FirstLook::Floats; 2]),
            Costs::new(256, 64, [FirstLook::Floats; 2]),
        );
        assert_eq!(small.mode(1.0, false), Mode::Watch);
        assert_eq!(large.mode(1.0, false), Mode::Watch);
        assert!(matches!(small.mode(0.01, false), Mode::Prune { .. }));
        assert_eq!(
            small.mode(0.1, false),
            Mode::Watch,
            "most cache lines are touched all the same"
        );
        let barely = (0..100).map(|percent| f64::from(percent) / 100.0);
        let barely = barely
            .into_iter()
            .find(|&share| small.mode(share, false) == Mode::Watch)
            .unwrap();
        assert!(matches!(small.mode(barely, true), Mode::Prune { .. }), "what is kept");
        assert!(matches!(large.mode(0.6, false), Mode::Prune { in_place_from: 40..=64 }));
        assert!(Mode::Watch.keeps_bounds(0) && !Mode::Watch.keeps_bounds(16));
    }

    #[test]
    fn rows_that_are_hard_to_tell_apart_say_nothing_of_the_others() {
        let mut policy = Policy::new(Pruning::Always, 100, 32, FirstLook::Pairs);
        let hard = Tally {
            n_coarse: 100,
            n_unsettled: 50,
            n_watched: 1000,
            n_unsafe: 100,
            ..Tally::default()
        };
        policy.learn(&hard, 1000, Some(Rounding::Finer(2)));
        assert!(!policy.is_coarse() && policy.is_coarse_of_all());
    }

    #[test]
    fn low_bits_are_read_where_high_ones_leave_much_open() {
        let left = |n_unsettled| Tally {
            n_coarse: 1000,
            n_unsettled,
            ..Tally::default()
        };
        let mut policy = Policy::new(Pruning::Never, 16, 16, FirstLook::Pairs);
        policy.learn(&left(1), 1000, Some(Rounding::Finer(2)));
        assert!(policy.is_coarse() && !policy.is_finest());
        policy.learn(&left(100), 1000, Some(Rounding::High));
        assert!(policy.is_coarse() && policy.is_finest());
        policy.learn(&left(300), 1000, Some(Rounding::Finer(2)));
        assert!(!policy.is_coarse());
    }

    #[test]
    fn groups_are_tried_when_few_rows_move_and_left_when_they_do_not_pay() {
        let moved = |n_moved| Tally {
            n_moved,
            n_watched: 100,
            n_unsafe: 100,
            ..Tally::default()
        };
        let mut policy = Policy::new(Pruning::Auto, 256, 64, FirstLook::Floats);
        policy.learn(&moved(500), 1000, None);
        assert_eq!(policy.mode(), Mode::Watch);
        policy.learn(&moved(100), 1000, None);
        assert_eq!(policy.mode(), Mode::Groups { all: true });
        policy.learn(&moved(90), 1000, None);
        assert_eq!(policy.mode(), Mode::Groups { all: false });
        let pairs = |n_pairs| Tally { n_pairs, ..moved(80) };
        policy.learn(&pairs(4000), 1000, None);
        assert_eq!(policy.mode(), Mode::Groups { all: false });
        policy.learn(&pairs(16_000), 1000, None);
        assert_eq!(policy.mode(), Mode::Watch);
        policy.learn(&moved(70), 1000, None);
        assert_eq!(policy.mode(), Mode::Watch, "not again before fewer rows move");
    }
}
