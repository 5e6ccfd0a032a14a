//! Layer 0: how many rows may be told. What is written, printed or drawn about fewer than `--min-cell` rows is decided
//! here and nowhere else.
//!
//! Numbers of rows come in tables: segments by the categories of a column, with their totals. A cell of 1 to
//! `min_cell - 1` rows is withheld. What is left must not give it away: wherever a row or a column of the table, with its
//! total, has withheld cells, one of at least `2 min_cell` rows must be among two or more of them; else the smallest such
//! cell is withheld as well (the largest, where there is none), until nothing can be found by subtracting (complementary
//! cell suppression: L. Willenborg and T. de Waal, "Elements of Statistical Disclosure Control", 2001). What is withheld is
//! told as bounds, and these come from what is told alone.
//!
//! This keeps numbers from being read and subtracted. It is no proof against solving for them from means, quantiles
//! and shares together, or against holding two runs against each other.

use serde::{Deserialize, Serialize};

/// Fewer rows than this are not told, where nothing else is asked for: figures could be traced to single rows.
pub const MIN_CELL: u64 = 11;
/// How often bounds are brought closer at most.
const MOST_SWEEPS: usize = 20;

/// A number of rows as it is told: in JSON `450`, or `[1, 10]` for what is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Count {
    /// So many.
    Exact(u64),
    /// Withheld: at least the one, at most the other.
    Between(u64, u64),
}

impl From<u64> for Count {
    fn from(n: u64) -> Self {
        Self::Exact(n)
    }
}

impl Count {
    /// The number, where it is told.
    #[must_use]
    pub fn exact(self) -> Option<u64> {
        match self {
            Self::Exact(n) => Some(n),
            Self::Between(..) => None,
        }
    }

    /// The least and the most that it can be.
    #[must_use]
    pub fn bounds(self) -> [u64; 2] {
        match self {
            Self::Exact(n) => [n, n],
            Self::Between(low, high) => [low, high],
        }
    }

    /// The number, or the middle of its bounds: for drawings.
    #[must_use]
    pub fn about(self) -> u64 {
        let [low, high] = self.bounds();
        low + (high - low) / 2
    }

    /// What is left of it without `part`.
    #[must_use]
    pub fn minus(self, part: Self) -> Self {
        match (self, part) {
            (Self::Exact(n), Self::Exact(part)) => Self::Exact(n.saturating_sub(part)),
            _ => {
                let ([low, high], [least, most]) = (self.bounds(), part.bounds());
                Self::Between(low.saturating_sub(most), high.saturating_sub(least))
            }
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let ([low, high], [least, most]) = (self.bounds(), other.bounds());
        match self.exact().zip(other.exact()) {
            Some((a, b)) => Self::Exact(a.saturating_add(b)),
            None => Self::Between(low.saturating_add(least), high.saturating_add(most)),
        }
    }

    /// Least and greatest share of `of`; 0 of nothing.
    #[must_use]
    pub fn shares_of(self, of: Self) -> [f64; 2] {
        let ([low, high], [least, most]) = (self.bounds(), of.bounds());
        let share = |n: u64, of: u64| {
            if n == 0 {
                0.0
            } else {
                (n as f64 / of.max(1) as f64).min(1.0)
            }
        };
        [share(low, most), share(high, least)]
    }

    /// Its share of `of`, where both are told.
    #[must_use]
    pub fn share_of(self, of: Self) -> Option<f64> {
        let (n, of) = self.exact().zip(of.exact())?;
        Some(n as f64 / of.max(1) as f64)
    }

    /// Whether it can be one: for counts that were read.
    pub(crate) fn is_valid(self) -> bool {
        let [low, high] = self.bounds();
        low <= high
    }
}

/// The least number of rows that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinCell(u64);

impl Default for MinCell {
    fn default() -> Self {
        Self(MIN_CELL)
    }
}

/// A table of numbers of rows, as it may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldTable {
    /// Segments by categories.
    pub(crate) rows: Vec<Vec<Count>>,
    /// Per category, all segments together.
    pub(crate) all: Vec<Count>,
}

impl MinCell {
    /// Tells numbers from `n` rows on; 0 and 1 tell all.
    #[must_use]
    pub fn new(n: u64) -> Self {
        Self(n.max(1))
    }

    /// The least number that is told.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// Whether figures of `n` rows may be told.
    #[must_use]
    pub fn tells_figures(self, n: u64) -> bool {
        n >= self.0
    }

    /// Whether `n` is a number of rows that must not be told.
    #[must_use]
    pub fn is_small(self, n: u64) -> bool {
        (1..self.0).contains(&n)
    }

    /// A number that stands in no table.
    #[must_use]
    pub fn told(self, n: u64) -> Count {
        if self.is_small(n) {
            Count::Between(1, self.0 - 1)
        } else {
            Count::Exact(n)
        }
    }

    /// `n` of `of` rows, of which the others are a cell too.
    #[must_use]
    pub fn told_of(self, n: u64, of: u64) -> Count {
        if self.is_small(of.saturating_sub(n)) {
            Count::Exact(of).minus(self.told(of - n))
        } else {
            self.told(n)
        }
    }

    /// Parts of a total that everybody knows.
    #[must_use]
    pub fn parts(self, parts: &[u64]) -> Vec<Count> {
        let total = Count::Exact(parts.iter().sum());
        let mut withheld: Vec<bool> = parts.iter().map(|&n| self.is_small(n)).collect();
        while let Some(more) = self.next(parts, &withheld, true) {
            withheld[more] = true;
        }
        let mut told: Vec<Count> = { parts.iter().zip(&withheld) }
            .map(|(&n, &withheld)| {
                if withheld {
                    self.first_bounds(n, total)
                } else {
                    Count::Exact(n)
                }
            })
            .collect();
        self.tighten(&mut told, total, parts);
        told
    }

    /// A table of segments by categories in which every row of the data is once; `totals` are the sizes of the segments
    /// as they are told, and that of all is known.
    pub(crate) fn table(self, rows: &[Vec<u64>], totals: &[Count]) -> ToldTable {
        self.table_with(rows, totals, &[])
    }

    /// One clustering by another: the sizes of both are told already. Nothing is told where these sizes would tell what
    /// has to be withheld.
    pub(crate) fn flow(self, rows: &[Vec<u64>], from: &[Count], to: &[Count]) -> Vec<Vec<Count>> {
        let mut told = self.table_with(rows, from, to);
        let needs_more = |(all, to): (&Count, &Count)| all.exact().is_none() && to.exact().is_some();
        if told.all.iter().zip(to).any(needs_more) {
            let nothing = |from: &Count| vec![Count::Between(0, from.bounds()[1]); to.len()];
            told.rows = from.iter().map(nothing).collect();
        }
        told.rows
    }

    /// `told_all` are totals of categories as they are told elsewhere.
    fn table_with(self, rows: &[Vec<u64>], totals: &[Count], told_all: &[Count]) -> ToldTable {
        let n_categories = rows.first().map_or(0, Vec::len);
        let all: Vec<u64> = (0..n_categories).map(|c| rows.iter().map(|row| row[c]).sum()).collect();
        let sizes: Vec<u64> = rows.iter().map(|row| row.iter().sum()).collect();
        // Nothing is withheld where no row at all has a category: everybody knows.
        let withheld_of = |(row, &size): (&Vec<u64>, &u64)| -> Vec<bool> {
            let cells = row.iter().zip(&all);
            cells
                .map(|(&n, &all)| self.is_small(n) || (self.is_small(size) && all > 0))
                .collect()
        };
        let mut withheld: Vec<Vec<bool>> = rows.iter().zip(&sizes).map(withheld_of).collect();
        let mut all_withheld: Vec<bool> = all.iter().map(|&n| self.is_small(n)).collect();
        let untold = |(withheld, told): (&mut bool, &Count)| *withheld |= told.exact().is_none();
        all_withheld.iter_mut().zip(told_all).for_each(untold);
        let mut changed = true;
        while changed {
            changed = false;
            for ((row, withheld), (total, &size)) in rows.iter().zip(&mut withheld).zip(totals.iter().zip(&sizes)) {
                while !self.is_small(size)
                    && let Some(more) = self.next(row, withheld, total.exact().is_some())
                {
                    (withheld[more], changed) = (true, true);
                }
            }
            while let Some(more) = self.next(&all, &all_withheld, true) {
                (all_withheld[more], changed) = (true, true);
            }
            for category in 0..n_categories {
                if !all_withheld[category] && !any(&withheld, category) {
                    continue;
                }
                // What a segment has of one category alone is known by its size: withholding it hides nothing.
                let hides = |(row, &size): (&Vec<u64>, &u64)| if row[category] < size { row[category] } else { 0 };
                let hiding: Vec<u64> = rows.iter().zip(&sizes).map(hides).collect();
                let column: Vec<u64> = rows.iter().map(|row| row[category]).collect();
                let of_column: Vec<bool> = withheld.iter().map(|row| row[category]).collect();
                let must = match all_withheld[category] {
                    true => !of_column.contains(&true),
                    false => self.is_open(&column, &of_column),
                };
                match self.cover(&hiding, &of_column).filter(|_| must) {
                    Some(more) => withheld[more][category] = true,
                    // Nothing else is in the column: its total is the cell.
                    None if must && !all_withheld[category] => all_withheld[category] = true,
                    None => continue,
                }
                changed = true;
            }
        }
        let told = self.bounded(rows, totals, &all, &withheld, &all_withheld);
        if !gives_away(&told, totals, sizes.iter().sum()) {
            return told;
        }
        // Too little is left to hide among: nothing is told.
        let nothing = |of: Count| vec![Count::Between(0, of.bounds()[1]); n_categories];
        ToldTable {
            rows: totals.iter().map(|&total| nothing(total)).collect(),
            all: nothing(Count::Exact(sizes.iter().sum())),
        }
    }

    /// Whether a line with a known total has too little withheld: one cell would be found, and small ones alone have
    /// nothing to hide behind.
    fn is_open(self, line: &[u64], withheld: &[bool]) -> bool {
        let hidden = || {
            line.iter()
                .zip(withheld)
                .filter(|(_, withheld)| **withheld)
                .map(|(&n, _)| n)
        };
        match hidden().count() {
            0 => false,
            1 => true,
            _ => hidden().all(|n| n < 2 * self.0),
        }
    }

    /// The cell to withhold next: the smallest that small ones can hide behind, else the largest; ties go to the first.
    fn cover(self, line: &[u64], withheld: &[bool]) -> Option<usize> {
        let others = || (0..line.len()).filter(|&at| !withheld[at] && line[at] > 0);
        let large = others().filter(|&at| line[at] >= 2 * self.0);
        let smallest = large.reduce(|smallest, at| if line[at] < line[smallest] { at } else { smallest });
        smallest.or_else(|| others().reduce(|largest, at| if line[at] > line[largest] { at } else { largest }))
    }

    /// The cell of a line that has to be withheld next, if one has to and there is one. A line whose total
    /// is not told would tell it if it told all cells.
    fn next(self, line: &[u64], withheld: &[bool], total_is_told: bool) -> Option<usize> {
        let open = if total_is_told {
            self.is_open(line, withheld)
        } else {
            !withheld.contains(&true)
        };
        self.cover(line, withheld).filter(|_| open)
    }

    /// What is known of a withheld cell by the rule alone.
    fn first_bounds(self, n: u64, total: Count) -> Count {
        if n < self.0 {
            Count::Between(n.min(1), self.0 - 1)
        } else {
            Count::Between(self.0, total.bounds()[1].max(self.0))
        }
    }

    /// Closer bounds for the withheld cells of a line that are no small ones.
    fn tighten(self, told: &mut [Count], total: Count, exact: &[u64]) {
        let sums = told
            .iter()
            .map(|count| count.bounds())
            .fold([0u64; 2], |sums, [low, high]| {
                [sums[0].saturating_add(low), sums[1].saturating_add(high)]
            });
        let [least, most] = total.bounds();
        for (count, &n) in told.iter_mut().zip(exact) {
            let Count::Between(low, high) = *count else { continue };
            if n >= self.0 {
                let others = [sums[0] - low, sums[1].saturating_sub(high)];
                *count = Count::Between(
                    low.max(least.saturating_sub(others[1])),
                    high.min(most.saturating_sub(others[0])),
                );
            }
        }
    }

    fn bounded(
        self,
        rows: &[Vec<u64>],
        totals: &[Count],
        all: &[u64],
        withheld: &[Vec<bool>],
        all_withheld: &[bool],
    ) -> ToldTable {
        let n_rows = Count::Exact(all.iter().sum());
        let line = |line: &[u64], withheld: &[bool], total: Count| -> Vec<Count> {
            let is_small = self.is_small(line.iter().sum());
            let told = line
                .iter()
                .zip(withheld)
                .map(|(&n, &withheld)| match (withheld, is_small) {
                    (false, _) => Count::Exact(n),
                    (true, true) => Count::Between(0, self.0 - 1),
                    (true, false) => self.first_bounds(n, total),
                });
            told.collect()
        };
        let mut told = ToldTable {
            rows: { rows.iter().zip(withheld).zip(totals) }
                .map(|((row, withheld), &total)| line(row, withheld, total))
                .collect(),
            all: line(all, all_withheld, n_rows),
        };
        self.tighten(&mut told.all, n_rows, all);
        // Bounds of one line make those of others closer.
        for _ in 0..MOST_SWEEPS {
            let before = told.rows.clone();
            for ((told, &total), row) in told.rows.iter_mut().zip(totals).zip(rows) {
                self.tighten(told, total, row);
            }
            for (category, &total) in told.all.iter().enumerate() {
                if any(withheld, category) {
                    let mut column: Vec<Count> = told.rows.iter().map(|row| row[category]).collect();
                    let exact: Vec<u64> = rows.iter().map(|row| row[category]).collect();
                    self.tighten(&mut column, total, &exact);
                    told.rows
                        .iter_mut()
                        .zip(column)
                        .for_each(|(row, count)| row[category] = count);
                }
            }
            if told.rows == before {
                break;
            }
        }
        told
    }
}

/// Whether subtracting along the lines of a table, over and over, finds anything that is withheld.
fn gives_away(told: &ToldTable, totals: &[Count], n_rows: u64) -> bool {
    let n_unknown = |line: &mut dyn Iterator<Item = Count>| line.filter(|count| count.exact().is_none()).count();
    let is_one = |line: &mut dyn Iterator<Item = Count>| n_unknown(line) == 1;
    let of_row = |(row, &total): (&Vec<Count>, &Count)| is_one(&mut row.iter().copied().chain([total]));
    let of_column =
        |(category, &total): (usize, &Count)| is_one(&mut told.rows.iter().map(|row| row[category]).chain([total]));
    told.rows.iter().zip(totals).any(of_row)
        || told.all.iter().enumerate().any(of_column)
        || is_one(&mut told.all.iter().copied().chain([Count::Exact(n_rows)]))
}

fn any(withheld: &[Vec<bool>], category: usize) -> bool {
    withheld.iter().any(|row| row[category])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use Count::{Between, Exact};

    #[test]
    fn sizes_are_told_but_for_the_small_and_the_largest() {
        let min_cell = MinCell::default();
        assert_eq!(
            min_cell.parts(&[1610, 1404, 5]),
            [Exact(1610), Between(1399, 1408), Between(1, 10)]
        );
        assert_eq!(min_cell.parts(&[30, 11, 0]), [Exact(30), Exact(11), Exact(0)]);
        // 10 and 10 would be found as the only numbers that are 20 together.
        assert_eq!(
            min_cell.parts(&[40, 10, 10]),
            [Between(40, 58), Between(1, 10), Between(1, 10)]
        );
        assert_eq!(
            min_cell.parts(&[40, 21, 3]),
            [Between(33, 42), Exact(21), Between(1, 10)]
        );
        assert_eq!(MinCell::new(0).parts(&[40, 4, 3]), [Exact(40), Exact(4), Exact(3)]);
        assert_eq!(min_cell.told_of(395, 400), Between(390, 399));
        assert_eq!((min_cell.told(0), min_cell.told(11)), (Exact(0), Exact(11)));
    }

    /// The cells of a table that adding and subtracting along its lines, over and over, finds.
    fn found(told: &ToldTable, totals: &[Count]) -> usize {
        let n_rows: u64 = told_total(told, totals);
        let (mut rows, mut all, mut totals) = (told.rows.clone(), told.all.clone(), totals.to_vec());
        let mut n_found = 0;
        loop {
            let mut news = 0;
            for (row, total) in rows.iter_mut().zip(&mut totals) {
                news += solve(row.iter_mut().collect(), total);
            }
            news += solve(all.iter_mut().collect(), &mut Exact(n_rows));
            for (category, total) in all.iter_mut().enumerate() {
                news += solve(rows.iter_mut().map(|row| &mut row[category]).collect(), total);
            }
            news += solve(totals.iter_mut().collect(), &mut Exact(n_rows));
            if news == 0 {
                return n_found;
            }
            n_found += news;
        }
    }

    fn told_total(told: &ToldTable, totals: &[Count]) -> u64 {
        // Known to everybody; only tests have to find it.
        let exact = |counts: &[Count]| counts.iter().map(|count| count.exact()).sum::<Option<u64>>();
        exact(totals).or_else(|| exact(&told.all)).unwrap_or(u64::MAX)
    }

    /// Finds the one unknown of `parts` and their total.
    fn solve(mut parts: Vec<&mut Count>, total: &mut Count) -> usize {
        let known: u64 = parts.iter().filter_map(|count| count.exact()).sum();
        let unknown: Vec<usize> = (0..parts.len()).filter(|&at| parts[at].exact().is_none()).collect();
        match (unknown[..].as_ref(), total.exact()) {
            (&[], None) => *total = Exact(known),
            (&[at], Some(total)) if total != u64::MAX => *parts[at] = Exact(total - known),
            _ => return 0,
        }
        1
    }

    #[test]
    fn nothing_withheld_is_found_by_subtracting() {
        let mut rng = Rng::new(4, 0);
        let (mut n_withheld, mut planted) = (0, 0);
        for case in 0..400 {
            let (n_segments, n_categories) = (1 + rng.below(6) as usize, 2 + rng.below(6) as usize);
            let scale = [4, 20, 60, 400][case % 4];
            let rows: Vec<Vec<u64>> = (0..n_segments)
                .map(|_| {
                    let of_segment = 1 + rng.below(scale);
                    let of_one = rng.below(4) == 0;
                    (0..n_categories)
                        .map(|at| {
                            if of_one && at > 0 {
                                0
                            } else {
                                rng.below(of_segment + 1) as u64
                            }
                        })
                        .collect()
                })
                .collect();
            let sizes: Vec<u64> = rows.iter().map(|row| row.iter().sum()).collect();
            let min_cell = MinCell::default();
            let totals = min_cell.parts(&sizes);
            let told = min_cell.table(&rows, &totals);
            let is_told = |n: u64, count: Count| {
                let [low, high] = count.bounds();
                low <= n && n <= high && (count.exact().is_none() || !min_cell.is_small(n))
            };
            for (row, (told, &size)) in rows.iter().zip(told.rows.iter().zip(&sizes)) {
                for (category, (&n, &count)) in row.iter().zip(told).enumerate() {
                    assert!(is_told(n, count), "{n} {count:?}");
                    let is_empty = rows.iter().all(|row| row[category] == 0);
                    n_withheld += usize::from(count.exact().is_none() && min_cell.is_small(n));
                    assert!(!min_cell.is_small(size) || is_empty || count.exact().is_none());
                }
            }
            for (category, &count) in told.all.iter().enumerate() {
                assert!(is_told(rows.iter().map(|row| row[category]).sum(), count));
            }
            let n_rows: u64 = sizes.iter().sum();
            if n_rows >= MIN_CELL {
                assert_eq!(found(&told, &totals), 0, "{rows:?} {told:?} {totals:?}");
            }
            // Planted fault: what was withheld for the sake of another cell is told after all.
            let mut fault = told.clone();
            for (row, told) in rows.iter().zip(&mut fault.rows) {
                for (&n, count) in row.iter().zip(told) {
                    if !min_cell.is_small(n) && n > 0 {
                        *count = Exact(n);
                    }
                }
            }
            planted += found(&fault, &totals);
        }
        assert!(n_withheld > 500 && planted > 50, "{n_withheld} {planted}");
    }

    #[test]
    fn flows_do_not_tell_the_sizes_of_either_side() {
        let min_cell = MinCell::default();
        let rows = vec![vec![300, 0, 0], vec![0, 100, 5]];
        let (from, to) = (min_cell.parts(&[300, 105]), min_cell.parts(&[300, 100, 5]));
        assert_eq!(to, [Exact(300), Between(95, 104), Between(1, 10)]);
        let told = min_cell.flow(&rows, &from, &to);
        assert_eq!(
            told,
            [
                [Exact(300), Exact(0), Exact(0)],
                [Exact(0), Between(95, 104), Between(1, 10)]
            ]
        );
        // A segment that goes on as it is tells its size on the other side.
        let rows = vec![vec![100, 0, 0], vec![0, 300, 5]];
        let (from, to) = (min_cell.parts(&[100, 305]), min_cell.parts(&[100, 300, 5]));
        let told = min_cell.flow(&rows, &from, &to);
        assert!(told.iter().flatten().all(|cell| cell.exact().is_none()), "{told:?}");
        let plain = min_cell.flow(
            &[vec![30, 0], vec![0, 50]],
            &[Exact(30), Exact(50)],
            &[Exact(30), Exact(50)],
        );
        assert_eq!(plain, [[Exact(30), Exact(0)], [Exact(0), Exact(50)]]);
    }

    #[test]
    fn a_segment_of_one_kind_hides_nothing() {
        let rows = vec![vec![300, 0], vec![5, 100]];
        let told = MinCell::default().table(&rows, &[Exact(300), Exact(105)]);
        assert_eq!(told.rows[0], [Exact(300), Exact(0)]);
        assert!(
            told.rows[1]
                .iter()
                .chain(&told.all)
                .all(|count| count.exact().is_none()),
            "{told:?}"
        );
        assert_eq!(found(&told, &[Exact(300), Exact(105)]), 0);
    }

    #[test]
    fn bounds_come_from_what_is_told() {
        let rows = vec![vec![500, 90, 7], vec![300, 200, 100]];
        let totals = [Exact(597), Exact(600)];
        let told = MinCell::default().table(&rows, &totals);
        assert_eq!(told.rows[0], [Exact(500), Between(87, 96), Between(1, 10)]);
        assert_eq!(told.all, [Exact(800), Exact(290), Exact(107)]);
        // The columns of both take a cell of the other segment with them.
        assert_eq!(told.rows[1], [Exact(300), Between(194, 203), Between(97, 106)]);
        assert_eq!(told.rows[0][2].shares_of(totals[0]), [1.0 / 597.0, 10.0 / 597.0]);
        assert_eq!(told.rows[0][0].share_of(totals[0]), Some(500.0 / 597.0));
        assert_eq!(serde_json::to_string(&told.rows[0]).unwrap(), "[500,[87,96],[1,10]]");
        let back: Vec<Count> = serde_json::from_str("[500,[87,96],[1,10]]").unwrap();
        assert_eq!(back, told.rows[0]);
    }
}
