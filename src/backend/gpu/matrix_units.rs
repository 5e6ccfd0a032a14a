//! Matrix units: whether a device has them, whether they add up as `certificate` takes them to, and whether they are faster.

use std::sync::{Mutex, PoisonError};

use wgpu::BufferUsages as Usage;

use super::device::Device;
use super::layout::{WORD, halves};
use super::shaders::{Group, MAX_MATRIX_FEATURES, probe};
use crate::error::Result;
use crate::rng::Rng;

/// What kernels for matrix units need of a device.
pub(super) const FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// Sides of matrices, the better one first.
const SIDES: [u32; 2] = [16, 8];

/// Rows and columns of the matrices that an adapter multiplies, by an entry of its list for just what kernels do: `f16` times
/// `f16`, added up as `f32`.
pub(super) fn side(adapter: &wgpu::Adapter) -> Option<usize> {
    if !adapter.features().contains(FEATURES) {
        return None;
    }
    let entries = adapter.cooperative_matrix_properties();
    side_of(&entries)
}

fn side_of(entries: &[wgpu::CooperativeMatrixProperties]) -> Option<usize> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let is_listed = |side: &u32| {
        entries.iter().any(|entry| {
            [entry.m_size, entry.n_size, entry.k_size] == [*side; 3] && (entry.ab_type, entry.cr_type) == (F16, F32)
        })
    };
    SIDES.into_iter().find(is_listed).map(|side| side as usize)
}

/// Matrices for `shaders/probe.wgsl`: two to be multiplied, and two whose product is added many times. Numbers are in
/// sixteenths, left ones by rows, right ones by columns.
struct Case {
    side: usize,
    operands: [Vec<i32>; 4],
    /// Whether these are high digits, whose sums have to be exact.
    exact: bool,
}

impl Case {
    /// How often the second product is added: with the first one, as many steps as the most features take.
    fn turns(side: usize) -> usize {
        MAX_MATRIX_FEATURES / side - 1
    }

    /// The cases for one size of matrix.
    fn all(side: usize) -> Vec<Self> {
        let n = side * side;
        let mut rng = Rng::new(side as u64, 8);
        let mut cases = Vec::new();
        let high = 256;
        for (left, right) in [(-128, -128), (-128, 127), (127, 127)] {
            let pair = || [vec![high * left; n], vec![high * right; n]];
            let [a, b] = pair();
            cases.push(Self::new([a.clone(), b.clone(), a, b], true));
        }
        // A large sum, and after it numbers of which it keeps the highest bit at least.
        let little = side as i32 / 2 - 1;
        for sign in [1, -1] {
            let large = [vec![-128 * high * sign; n], vec![-64; n]];
            let small = [vec![little * sign; n], vec![1; n]];
            let ([a, b], [c, d]) = (large, small);
            cases.push(Self::new([a, b, c, d], false));
        }
        for i in 0..6 {
            let mut digits = |scale| {
                (0..n)
                    .map(|_| scale * (rng.below(256) as i32 - 128))
                    .collect::<Vec<_>>()
            };
            cases.push(match i % 3 {
                0 => Self::new([digits(high), digits(high), digits(high), digits(high)], true),
                1 => Self::new([digits(high), digits(1), digits(1), digits(high)], false),
                _ => Self::new([digits(1), digits(high), digits(1), digits(1)], false),
            });
        }
        cases
    }

    fn new(operands: [Vec<i32>; 4], exact: bool) -> Self {
        let side = operands[0].len().isqrt();
        Self { side, operands, exact }
    }

    /// Whether an element of the result is what the proof takes it for: exact, or wrong by no more than half of what it
    /// allows, which is two roundings for each product, of the largest that can be summed up.
    fn allows(&self, row: usize, column: usize, result: f32) -> bool {
        let side = self.side;
        let product = |left: &[i32], right: &[i32]| -> [i64; 2] {
            let terms = left[row * side..][..side].iter().zip(&right[column * side..][..side]);
            terms.fold([0, 0], |[sum, all], (&a, &b)| {
                let term = i64::from(a) * i64::from(b);
                [sum + term, all + term.abs()]
            })
        };
        let [a, b, c, d] = &self.operands;
        let (first, other) = (product(a, b), product(c, d));
        let turns = Self::turns(side) as i64;
        let [sum, all] = [0, 1].map(|i| (first[i] + turns * other[i]) as f64 / 256.0);
        if self.exact {
            return f64::from(result) == sum;
        }
        let n_products = MAX_MATRIX_FEATURES as f64;
        (f64::from(result) - sum).abs() <= n_products * all / f64::from(1 << 23)
    }

    fn is_passed(&self, results: &[f32]) -> bool {
        let mut at = (0..self.side).flat_map(|row| (0..self.side).map(move |column| (row, column)));
        results.len() == self.side * self.side
            && results
                .iter()
                .all(|&result| at.next().is_some_and(|(row, column)| self.allows(row, column, result)))
    }
}

/// Whether a device adds up products of matrices of `side` rows and columns as the proof takes it to.
pub(super) fn adds_up(device: &Device, side: usize) -> Result<bool> {
    let cases = Case::all(side);
    let words: Vec<u32> = cases
        .iter()
        .flat_map(|case| &case.operands)
        .flat_map(|matrix| matrix.chunks_exact(2))
        .map(|pair| halves(pair[0] as f32 / 16.0, pair[1] as f32 / 16.0))
        .collect();
    let n_results = cases.len() * side * side;
    let bytes = n_results as u64 * WORD;
    let input = Usage::STORAGE | Usage::COPY_DST;
    let operands = device.buffer("matrices", words.len() as u64 * WORD, input)?;
    let results = device.buffer("their products", bytes, Usage::STORAGE | Usage::COPY_SRC)?;
    let readback = device.buffer("their products", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
    let pipeline = device.pipeline(probe(side, Case::turns(side)))?;
    let bindings = device.bind(Group::Probe, [&operands, &results].map(wgpu::Buffer::as_entire_binding));
    device.queue.write_buffer(&operands, 0, bytemuck::cast_slice(&words));
    let mut encoder = device.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_bind_group(0, &bindings, &[]);
        pass.set_pipeline(&pipeline);
        pass.dispatch_workgroups(cases.len() as u32, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&results, 0, &readback, 0, bytes);
    let submission = device.queue.submit([encoder.finish()]);
    let words = device.read_words(&readback, n_results, Some(submission))?;
    let results: Vec<f32> = words.into_iter().map(f32::from_bits).collect();
    let mut results = results.chunks_exact(side * side);
    Ok(cases
        .iter()
        .all(|case| results.next().is_some_and(|of_case| case.is_passed(of_case))))
}

/// Multiply-adds of a pass from which on its time says which kernel is faster: a fraction of a millisecond.
const TELLING_WORK: u64 = 1 << 32;
/// Fewest features and clusters that are tried: below, what comes before and after the products takes longer than these
/// (benches/gpu/NOTES.md).
const PROMISING: [usize; 2] = [24, 32];

/// Which kernel was faster, for each shape, features and clusters, that a device has seen, and whether it was right. Both give
/// the same labels and sums, so that passes of real jobs tell the time; a single one, after the first on matrix units, is made
/// to see that they do.
pub(super) struct Trials {
    /// Multiply-adds of a pass that tells.
    pub(super) least_work: u64,
    seen: Mutex<Vec<([usize; 2], Trial)>>,
    /// Shapes for which a pass on matrix units gave the labels and sums of the lanes.
    confirmed: Mutex<Vec<[usize; 2]>>,
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            least_work: TELLING_WORK,
            seen: Mutex::default(),
            confirmed: Mutex::default(),
        }
    }
}

/// Seconds per row that was looked at: on the lanes for `f32`, and on matrix units.
#[derive(Debug, Clone, Copy, Default)]
struct Trial([Option<f64>; 2]);

impl Trials {
    /// Whether passes over so many rows of a shape are worth a trial, and tell.
    pub(super) fn may_tell(&self, [n_features, n_clusters]: [usize; 2], n_rows: usize) -> bool {
        let is_promising = n_features >= PROMISING[0] && n_clusters >= PROMISING[1];
        is_promising && (n_features * n_clusters) as u64 * n_rows as u64 >= self.least_work
    }

    /// Whether the next pass over so many rows of a shape goes to the matrix units.
    pub(super) fn choose(&self, shape: [usize; 2], n_rows: usize) -> bool {
        match self.of(shape).0 {
            [Some(lanes), Some(matrices)] => matrices < lanes,
            _ if !self.may_tell(shape, n_rows) => false,
            [lanes, _] => lanes.is_some(),
        }
    }

    /// Whether the next passes are to tell.
    pub(super) fn is_open(&self, shape: [usize; 2], n_rows: usize) -> bool {
        self.may_tell(shape, n_rows) && self.of(shape).0.contains(&None)
    }

    /// Notes what passes took that looked at `n_read` of `n_rows` rows.
    pub(super) fn note(&self, shape: [usize; 2], on_matrix_units: bool, n_read: u64, n_rows: u64, seconds: f64) {
        if !self.may_tell(shape, n_rows as usize) || n_read < n_rows / 2 {
            return;
        }
        let mut trials = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let at = trials.iter().position(|&(known, _)| known == shape).unwrap_or_else(|| {
            trials.push((shape, Trial::default()));
            trials.len() - 1
        });
        trials[at].1.0[usize::from(on_matrix_units)].get_or_insert(seconds / n_read as f64);
    }

    /// Whether labels and sums for a shape were seen to be right.
    pub(super) fn is_confirmed(&self, shape: [usize; 2]) -> bool {
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.contains(&shape)
    }

    /// Notes that they were.
    pub(super) fn confirm(&self, shape: [usize; 2]) {
        self.confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(shape);
    }

    fn of(&self, shape: [usize; 2]) -> Trial {
        let trials = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = trials.iter().find(|&&(known, _)| known == shape);
        found.map_or_else(Trial::default, |&(_, trial)| trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_entry_is_needed() {
        use wgpu::CooperativeScalarType::{F16, F32};
        let entry = |[m_size, n_size, k_size]: [u32; 3], ab_type, cr_type| wgpu::CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        };
        let others = [
            entry([16, 16, 16], F16, F16),
            entry([16, 8, 16], F16, F32),
            entry([8, 8, 8], F32, F32),
        ];
        assert_eq!(side_of(&others), None);
        let small = entry([8; 3], F16, F32);
        assert_eq!(side_of(&[&others[..], &[small]].concat()), Some(8));
        assert_eq!(side_of(&[small, entry([16; 3], F16, F32)]), Some(16));
    }

    /// What a unit gives for a case that adds up `group` products and the sum so far at a time, each cut off at the last of
    /// `bits` bits of the largest.
    fn simulated(case: &Case, group: usize, bits: i32, transposed: bool) -> Vec<f32> {
        let side = case.side;
        let cut = |x: f64, largest: f64| {
            let unit = (largest.abs().log2().floor() as i32 + 1 - bits) as f64;
            (x / unit.exp2()).trunc() * unit.exp2()
        };
        let mut results = Vec::new();
        for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
            let (row, column) = if transposed { (column, row) } else { (row, column) };
            let mut sum = 0.0;
            for turn in 0..=Case::turns(side) {
                let which = if turn == 0 { 0 } else { 2 };
                let (left, right) = (&case.operands[which], &case.operands[which + 1]);
                let products: Vec<f64> = (0..side)
                    .map(|i| f64::from(left[row * side + i]) * f64::from(right[column * side + i]) / 256.0)
                    .collect();
                for products in products.chunks(group) {
                    let largest = products.iter().fold(f64::abs(sum), |most, x| most.max(x.abs()));
                    if largest > 0.0 {
                        let all: f64 = products.iter().map(|&x| cut(x, largest)).sum::<f64>() + cut(sum, largest);
                        sum = if all == 0.0 { 0.0 } else { cut(all, all) };
                    }
                }
            }
            results.push(sum as f32);
        }
        results
    }

    #[test]
    fn units_that_add_up_worse_than_the_proof_allows_are_found_out() {
        for side in [8, 16] {
            let passes = |group, bits, transposed| {
                let passed = |case: &Case| case.is_passed(&simulated(case, group, bits, transposed));
                Case::all(side).iter().all(passed)
            };
            for group in [1, 4, 8] {
                assert!(passes(group, 24, false) && passes(group, 26, false), "{side}, {group}");
                assert!(!passes(group, 23, false), "{side}, {group}");
                assert!(
                    !passes(group, 14, false) && !passes(group, 11, false),
                    "{side}, {group}"
                );
                assert!(!passes(group, 24, true), "{side}, {group}");
            }
            let case = &Case::all(side)[0];
            let mut results = simulated(case, 4, 24, false);
            assert!(case.is_passed(&results) && !case.is_passed(&results[1..]));
            results[side + 1] += 512.0;
            assert!(!case.is_passed(&results));
        }
    }

    #[test]
    fn passes_on_both_kinds_of_units_tell_which_is_faster() {
        let (shape, n_rows) = ([32, 64], 10_000_000);
        let next = |trials: &Trials| (trials.is_open(shape, n_rows), trials.choose(shape, n_rows));
        for (seconds, chosen) in [(0.5, true), (2.0, false)] {
            let trials = Trials::default();
            assert_eq!(next(&trials), (true, false));
            // Most rows were passed over, or there are few: that says nothing.
            trials.note(shape, false, 1_000_000, n_rows as u64, 1e-9);
            trials.note(shape, false, 1000, 1000, 1e-9);
            assert_eq!(next(&trials), (true, false));
            trials.note(shape, false, n_rows as u64, n_rows as u64, 1.0);
            assert_eq!(next(&trials), (true, true));
            trials.note(shape, true, n_rows as u64, n_rows as u64, seconds);
            assert_eq!(next(&trials), (false, chosen));
            // The first word counts, for this shape and for small data as well.
            trials.note(shape, true, n_rows as u64, n_rows as u64, 1.0 / seconds);
            assert_eq!((next(&trials), trials.choose(shape, 10)), ((false, chosen), chosen));
            assert!(!trials.choose([32, 65], n_rows) && !trials.is_open([32, 65], 1000));
            assert!(!trials.is_open([16, 64], n_rows) && !trials.is_open([64, 16], n_rows));
        }
    }
}
