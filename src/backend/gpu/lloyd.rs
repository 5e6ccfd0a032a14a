//! A run of Lloyd's iterations without the host: many to a submission, each a pass, `update` and `decide`.
//!
//! The device moves the centroids in the host's integer arithmetic and ends the run by itself: what is left of a
//! submission then has no workgroups. The host hears of the iterations afterwards, from what they wrote down, and judges
//! the last one again. The first iteration is a submission of its own, as the limit for the centroids' shift follows
//! from its sums.

use std::time::Instant;

use wgpu::BufferUsages as Usage;

use super::clock::Clock;
use super::device::{Device, lost};
use super::layout::{self, CONTROL_WORDS, HistoryLayout, LoopParams, WORD};
use super::plan::{Dispatch, MAX_DISPATCH_WORK};
use super::session::{GpuSession, PassPlan, Recording, SUBMISSION_DISPATCHES, Standing, coarse_pays, pass};
use super::shaders::{Group, between_passes};
use crate::backend::lloyd::{
    EachIteration, LloydEnd, LloydRule, LloydRun, Reached, Verdict, by_passes, judge, largest_shift_within,
};
use crate::error::Result;
use crate::tiles::Centroids;

/// Most iterations between two words with the host, which can interrupt a run only there.
const MAX_BATCH: usize = 32;
/// Each batch is at most so many times as long as the one before.
const BATCH_GROWTH: usize = 4;
/// Most iterations of a batch that tells whether matrix units are faster.
const TRIAL_BATCH: usize = 2;
/// Largest buffer for what iterations write down, in bytes, beyond the first.
const MAX_HISTORY_BYTES: u64 = 16 << 20;
/// Words of `dispatch_args` per dispatch: three each for `assign` and `resolve`.
const ARG_WORDS: usize = 6;

impl GpuSession<'_> {
    /// [`Session::lloyd`](crate::backend::Session::lloyd).
    pub(super) fn run_lloyd(
        &mut self,
        start: &Centroids,
        rule: &LloydRule<'_>,
        each: &mut EachIteration<'_>,
    ) -> Result<LloydRun> {
        if !self.goes_on() {
            return by_passes(&mut |centroids| self.run_assign(centroids), start, None, rule, each);
        }
        if rule.count_moved {
            self.refresh_labels()?;
        }
        self.standing = None;
        let (plan, recording) = self.begin(start, self.label_mode())?;
        let mut iterations = Iterations::new(self, plan, recording)?;
        let (mut n_iter, mut batch) = (0, 1);
        loop {
            let most = match iterations.coarse && self.is_on_trial(start.n_clusters()) {
                true => TRIAL_BATCH,
                false => iterations.max_batch,
            };
            let n = batch.min(most).min(rule.max_iter - n_iter);
            let Batch {
                n_done,
                end,
                coarse,
                words,
            } = iterations.run(self, n)?;
            let is_new = iterations.plan.on_matrix_units && self.is_unconfirmed(start.n_clusters());
            let unconfirmed = (is_new && n_done > 0).then(|| iterations.iteration(self, &words, n_done - 1));
            if let Some((centroids, pass)) = &unconfirmed {
                self.confirm(centroids, &pass.partial)?;
            }
            for slot in 0..n_done {
                let (centroids, mut pass) = iterations.iteration(self, &words, slot);
                if coarse {
                    pass.n_unsettled = iterations.plan.totals.n_left(iterations.totals(&words, slot));
                }
                if !rule.count_moved {
                    pass.n_moved = 0;
                }
                let flow = each(&centroids, &pass)?;
                n_iter += 1;
                let is_last = slot + 1 == n_done;
                let ended = is_last && (end.is_some() || n_iter == rule.max_iter);
                if n_iter > 1 && flow.is_continue() && !ended {
                    continue;
                }
                let reached = Reached {
                    n_iter,
                    centroids,
                    pass,
                    flow,
                };
                match judge(rule, &reached) {
                    Verdict::Go(_) if ended => return Err(lost("it ended a run before its end")),
                    Verdict::Go(_) => {
                        iterations.limit = largest_shift_within((rule.shift_limit)(&reached.pass.partial));
                    }
                    Verdict::End(end, moved) => {
                        // The device may be further on.
                        self.stale = (!is_last).then(|| reached.centroids.clone());
                        self.standing = is_last.then(|| Standing {
                            centroids: reached.centroids.clone(),
                            settles: n_iter > 1,
                            drift: iterations.plan.totals.drift(iterations.totals(&words, slot)),
                            coarse: iterations.coarse,
                        });
                        return Ok(reached.into_run(end, moved));
                    }
                }
            }
            if end.is_some() || n_done < n {
                return Err(lost("it ended a run without a reason"));
            }
            if let Some((centroids, pass)) = unconfirmed {
                // The device has the centroids of another pass now, and begins where these iterations have led.
                self.standing = None;
                let (plan, recording) = self.begin(&pass.partial.centroids(&centroids), self.label_mode())?;
                let limit = iterations.limit;
                iterations = Iterations::new(self, plan, recording)?;
                iterations.limit = limit;
                batch = 1;
                continue;
            }
            batch = (batch * BATCH_GROWTH).min(MAX_BATCH);
        }
    }
}

/// What a submission of some iterations gave.
struct Batch {
    /// Iterations done before the run ended, or all.
    n_done: usize,
    /// Why it ended.
    end: Option<LloydEnd>,
    /// Whether its passes read coarse values.
    coarse: bool,
    /// `history`.
    words: Vec<u32>,
}

/// All that iterations on the device need.
struct Iterations<'d> {
    device: &'d Device,
    /// The pass of the next iterations: of the first, which adds up all rows, or of others, which add those that move.
    plan: PassPlan,
    /// Whether these read coarse values.
    coarse: bool,
    history_layout: HistoryLayout,
    max_batch: usize,
    /// The largest shift at which the centroids rest.
    limit: Option<u128>,
    /// What was recorded before the first batch.
    recording: Option<Recording<'d>>,
    /// Bindings of the passes over each part, and of what is between passes.
    parts: Vec<wgpu::BindGroup>,
    between: wgpu::BindGroup,
    params: wgpu::Buffer,
    history: wgpu::Buffer,
    control: wgpu::Buffer,
    dispatch_args: wgpu::Buffer,
    readback: wgpu::Buffer,
    update: wgpu::ComputePipeline,
    decide: wgpu::ComputePipeline,
    /// Times each iteration of a batch.
    clock: Option<Clock>,
}

impl<'d> Iterations<'d> {
    fn new(session: &GpuSession<'d>, plan: PassPlan, mut recording: Recording<'d>) -> Result<Self> {
        let device = session.device;
        let history_layout = HistoryLayout { totals: plan.totals };
        let slot_bytes = history_layout.n_words() as u64 * WORD;
        let work: u64 = dispatches(&plan).map(|dispatch| dispatch.work).sum();
        let enough = 4 * SUBMISSION_DISPATCHES * MAX_DISPATCH_WORK[usize::from(!device.discrete)];
        let max_batch = (enough / work.max(1)).min(MAX_HISTORY_BYTES / slot_bytes);
        let max_batch = (max_batch as usize).clamp(1, MAX_BATCH);
        let storage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let history_bytes = max_batch as u64 * slot_bytes;
        let control_bytes = CONTROL_WORDS as u64 * WORD;
        let arg_bytes = (ARG_WORDS * dispatches(&plan).count()) as u64 * WORD;
        let params = device.buffer(
            "the parameters",
            size_of::<LoopParams>() as u64,
            Usage::UNIFORM | Usage::COPY_DST,
        )?;
        let history = device.buffer("the iterations", history_bytes, storage)?;
        let control = device.buffer("the state of a run", control_bytes, storage)?;
        let dispatch_args = device.buffer("the dispatches", arg_bytes, storage | Usage::INDIRECT)?;
        let readback = device.buffer(
            "the results",
            control_bytes + history_bytes,
            Usage::MAP_READ | Usage::COPY_DST,
        )?;
        let shared = &session.shared;
        // In the order of `layout::LOOP_BINDINGS`.
        let resources = [
            &params,
            &shared.totals,
            &shared.centroids,
            &shared.centroids_exact,
            &history,
            &control,
            &dispatch_args,
        ];
        let between = device.bind(Group::Iteration, resources.map(wgpu::Buffer::as_entire_binding));
        session.forget_settled(&mut recording);
        let parts = (0..session.parts.len())
            .map(|part| session.resident_bindings(part))
            .collect();
        Ok(Self {
            device,
            history_layout,
            max_batch,
            limit: None,
            recording: Some(recording),
            parts,
            between,
            update: device.pipeline(between_passes("update"))?,
            decide: device.pipeline(between_passes("decide"))?,
            coarse: true,
            plan,
            params,
            history,
            control,
            dispatch_args,
            readback,
            clock: Clock::new(device, max_batch)?,
        })
    }

    /// Runs up to `n` iterations, and says how far they came.
    fn run(&mut self, session: &GpuSession<'d>, n: usize) -> Result<Batch> {
        let first = self.recording.take();
        let is_first = first.is_some();
        if !is_first {
            self.plan = session.plan_moves(self.plan.totals.n_clusters, self.coarse)?;
            session.send_params(&self.plan);
        }
        self.write_params(session);
        let start = Instant::now();
        let mut recording = first.unwrap_or_else(|| Recording::new(self.device));
        recording.encoder.clear_buffer(&self.control, 0, None);
        for slot in 0..n {
            self.record(session, &mut recording, slot);
        }
        let slot_words = self.history_layout.n_words();
        let history_bytes = (n * slot_words) as u64 * WORD;
        let control_bytes = self.control.size();
        let encoder = &mut recording.encoder;
        encoder.copy_buffer_to_buffer(&self.control, 0, &self.readback, 0, control_bytes);
        encoder.copy_buffer_to_buffer(&self.history, 0, &self.readback, control_bytes, history_bytes);
        if let Some(clock) = &self.clock {
            clock.record(encoder, n);
        }
        recording.finish()?;
        let mut words = self
            .device
            .read_words(&self.readback, CONTROL_WORDS + n * slot_words, None)?;
        let (n_done, end) = layout::control(&words);
        words.drain(..CONTROL_WORDS);
        if n_done > n {
            return Err(lost("it did more iterations than it was asked for"));
        }
        let coarse = self.coarse && !is_first;
        if coarse && n_done == n {
            let passed_over = (0..n).map(|slot| self.plan.totals.n_passed_over(self.totals(&words, slot)));
            let n_rows = (n * session.data.n_rows()) as u64;
            let n_read = n_rows - passed_over.sum::<u64>();
            let (k, on_matrix_units) = (self.plan.totals.n_clusters, self.plan.on_matrix_units);
            session.note_time(k, on_matrix_units, n_read, n_rows, start);
        }
        if let Some(clock) = &self.clock {
            let times = clock.read(self.device, n)?;
            self.device.add_time(&times[..n_done], self.plan.on_matrix_units);
        }
        if coarse && n_done > 0 {
            let n_left = self.plan.totals.n_left(self.totals(&words, n_done - 1));
            self.coarse = coarse_pays(n_left, session.data.n_rows());
        }
        Ok(Batch {
            n_done,
            end,
            coarse,
            words,
        })
    }

    fn write_params(&self, session: &GpuSession<'d>) {
        let totals = &self.plan.totals;
        let limit = self.limit.unwrap_or(0);
        let args: Vec<u32> = dispatches(&self.plan)
            .flat_map(|dispatch| [dispatch.groups, 1, 1, dispatch.params.resolve_groups, 1, 1])
            .collect();
        let digits = session.shared.digits;
        let params = LoopParams {
            n_features: totals.n_features as u32,
            n_clusters: totals.n_clusters as u32,
            width: totals.width() as u32,
            first_total: totals.first_total() as u32,
            groups: self.update_groups(),
            arg_words: args.len() as u32,
            slot_words: self.history_layout.n_words() as u32,
            limited: u32::from(self.limit.is_some()),
            limit_low: limit as u32,
            limit_mid: (limit >> 32) as u32,
            limit_high: (limit >> 64) as u32,
            digits: digits.map_or(0, |digits| digits.first_word as u32),
            steps: digits.map_or(0, |digits| digits.steps as u32),
            side: digits.map_or(0, |digits| digits.side as u32),
        };
        let queue = &self.device.queue;
        queue.write_buffer(&self.params, 0, bytemuck::bytes_of(&params));
        queue.write_buffer(&self.dispatch_args, 0, bytemuck::cast_slice(&args));
    }

    fn update_groups(&self) -> u32 {
        let most = self.device.limits.max_compute_workgroups_per_dimension;
        (self.plan.totals.n_clusters as u32).min(most)
    }

    /// Records one iteration, the one that writes to `slot`.
    fn record(&self, session: &GpuSession<'d>, recording: &mut Recording<'d>, slot: usize) {
        let kernels = &self.plan.kernels;
        for (bindings, dispatches) in self.parts.iter().zip(&self.plan.dispatches) {
            for dispatch in dispatches {
                let args = (ARG_WORDS * dispatch.number) as u64 * WORD;
                {
                    let is_first = dispatch.number == 0;
                    let mut pass = recording.encoder.begin_compute_pass(&self.timed(slot, is_first, false));
                    pass.set_bind_group(0, bindings, &[session.params_offset(dispatch)]);
                    pass.set_pipeline(&kernels.assign);
                    pass.dispatch_workgroups_indirect(&self.dispatch_args, args);
                    if let Some(resolve) = &kernels.resolve {
                        pass.set_pipeline(resolve);
                        pass.dispatch_workgroups_indirect(&self.dispatch_args, args + 3 * WORD);
                    }
                }
                recording.done(dispatch.work);
            }
        }
        self.record_between(recording, slot);
    }

    /// A compute pass, which may be the first or the last of the iteration that writes to `slot`.
    fn timed(&self, slot: usize, is_first: bool, is_last: bool) -> wgpu::ComputePassDescriptor<'_> {
        wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: self
                .clock
                .as_ref()
                .and_then(|clock| clock.writes(slot, is_first, is_last)),
        }
    }

    /// Records what happens between two passes.
    fn record_between(&self, recording: &mut Recording<'d>, slot: usize) {
        let mut pass = recording.encoder.begin_compute_pass(&self.timed(slot, false, true));
        pass.set_bind_group(0, &self.between, &[]);
        pass.set_pipeline(&self.update);
        pass.dispatch_workgroups(self.update_groups(), 1, 1);
        pass.set_pipeline(&self.decide);
        pass.dispatch_workgroups(1, 1, 1);
    }

    /// What an iteration of a batch wrote down.
    fn written<'w>(&self, words: &'w [u32], slot: usize) -> &'w [u32] {
        let n = self.history_layout.n_words();
        &words[slot * n..(slot + 1) * n]
    }

    /// The totals of an iteration of a batch.
    fn totals<'w>(&self, words: &'w [u32], slot: usize) -> &'w [u32] {
        self.history_layout.totals_of(self.written(words, slot))
    }

    /// The centroids and the pass of an iteration of a batch.
    fn iteration(&self, session: &GpuSession<'d>, words: &[u32], slot: usize) -> (Centroids, crate::backend::Pass) {
        let (centroids, totals) = self.history_layout.split(self.written(words, slot));
        (centroids, pass(&self.plan.totals, totals, session.data.n_rows()))
    }
}

fn dispatches(plan: &PassPlan) -> impl Iterator<Item = &Dispatch> {
    plan.dispatches.iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::{GpuOptions, GpuSelection, MatrixUnits};
    use crate::backend::lloyd::centroid_shift;
    use crate::grid::MAX_GRID;
    use crate::partial::ClusterPartial;
    use crate::rng::Rng;
    use crate::tiles::TileSet;

    /// Totals that no data of a testable size has: of clusters with up to 2^47 rows and a weight of up to 2^56, their
    /// values at the edges of the grid or anywhere; means just below, on and above the half of a centroid unit.
    fn extreme_partial(k: usize, d: usize, weighted: bool) -> ClusterPartial {
        let mut rng = Rng::new(11, u64::from(weighted));
        let mut partial = ClusterPartial::zero(k, d);
        let edge = i128::from(MAX_GRID);
        for cluster in 0..k {
            let most = if weighted { 56 } else { 40 };
            let weight = 1 + rng.below(1 << (1 + cluster as u32 % most)) as u64;
            partial.cluster_weights[cluster] = weight;
            partial.counts[cluster] = if weighted { 1 + weight / 3 } else { weight };
            let w = i128::from(weight);
            for (j, sum) in partial.sums[cluster * d..(cluster + 1) * d].iter_mut().enumerate() {
                let anywhere = rng.below((2 * edge * w + 1) as u128) as i128 - edge * w;
                // (2 m + 1) W / 512: half-way between two centroid units, where that is an integer.
                let half_way = (2 * (rng.below(1 << 24) as i128 - (1 << 23)) + 1) * w / 512;
                *sum = [anywhere, edge * w, -edge * w, half_way, half_way - 1, half_way + 1][j % 6];
            }
        }
        partial
    }

    /// The words of `totals` for a partial.
    fn total_words(layout: &layout::TotalsLayout, partial: &ClusterPartial) -> Vec<u32> {
        let mut sums = vec![0i128];
        for cluster in 0..layout.n_clusters {
            let weight = i128::from(partial.cluster_weights[cluster]);
            sums.extend(partial.sums_of(cluster).iter().map(|sum| sum + (weight << 23)));
            sums.push(i128::from(partial.counts[cluster]));
            if layout.weighted {
                sums.push(weight);
            }
        }
        let words = sums.iter().flat_map(|sum| [0, 32, 64].map(|bits| (sum >> bits) as u32));
        std::iter::repeat_n(0, layout.first_total()).chain(words).collect()
    }

    #[test]
    fn means_and_shifts_of_extreme_sums_are_those_of_the_host() {
        let Ok(adapter) = super::super::adapter::choose(&GpuSelection::Any) else {
            return; // tests/gpu_parity.rs says so, or fails where a GPU is demanded
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let (k, d) = (130, 7);
        for weighted in [false, true] {
            let data = TileSet::zeros(1, d, weighted, usize::MAX);
            let session = GpuSession::open(&device, &data, k, 1 << 20, &GpuOptions::default()).unwrap();
            let edges: Vec<i32> = (0..k * d).map(|i| [-MAX_GRID, MAX_GRID][i % 2]).collect();
            let start = Centroids::on_rows(d, &edges);
            let partial = extreme_partial(k, d, weighted);
            let next = partial.centroids(&start);
            let shift = centroid_shift(&start, &next);
            for (limit, end) in [
                (None, (2, Some(LloydEnd::Converged))),
                (Some(shift - 1), (2, Some(LloydEnd::Converged))),
                (Some(shift), (1, Some(LloydEnd::Rests))),
            ] {
                let (plan, recording) = session.begin(&start, session.label_mode()).unwrap();
                let mut iterations = Iterations::new(&session, plan, recording).unwrap();
                iterations.limit = limit;
                let mut recording = iterations.recording.take().unwrap();
                recording.finish().unwrap();
                let totals = total_words(&iterations.plan.totals, &partial);
                let queue = &device.queue;
                queue.write_buffer(&session.shared.totals, 0, bytemuck::cast_slice(&totals));
                // A run of no iterations writes the parameters and clears the state.
                iterations.run(&session, 0).unwrap();
                let mut recording = Recording::new(&device);
                // Twice: what the second one finds are the centroids that the first one left, and the same sums.
                iterations.record_between(&mut recording, 0);
                iterations.record_between(&mut recording, 1);
                let n_words = iterations.history_layout.n_words();
                let (from, to) = (&iterations.control, &iterations.readback);
                let encoder = &mut recording.encoder;
                encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
                encoder.copy_buffer_to_buffer(&iterations.history, 0, to, from.size(), 2 * n_words as u64 * WORD);
                recording.finish().unwrap();
                let words = device.read_words(to, CONTROL_WORDS + 2 * n_words, None).unwrap();
                assert_eq!(layout::control(&words), end, "{limit:?}");
                let (first, second) = words[CONTROL_WORDS..].split_at(n_words);
                let (used, found) = iterations.history_layout.split(first);
                assert_eq!((used, found), (start.clone(), &totals[..]));
                if end.0 == 2 {
                    assert_eq!(iterations.history_layout.split(second).0, next);
                }
            }
        }
    }

    #[test]
    fn matrix_units_are_tried_by_a_run() {
        let Ok(adapter) = super::super::adapter::choose(&GpuSelection::Any) else {
            return;
        };
        let options = |matrix_units| GpuOptions {
            matrix_units,
            ..GpuOptions::default()
        };
        // As on a GPU, and as if the data were large.
        let mut device = Device::open(&adapter, &options(MatrixUnits::Always)).unwrap();
        device.trials.least_work = 0;
        if device.matrix_side().is_none() {
            return; // as tests/gpu_parity.rs says, or fails where they are demanded
        }
        let (n_rows, d, k) = (900, 24, 32);
        let mut rng = Rng::new(2, 7);
        let mut value = || (rng.below(1 << 20) as i32 - (1 << 19)) as f32;
        let values: Vec<f32> = (0..n_rows * d).map(|_| value()).collect();
        let data = TileSet::from_rows(&values, d, None, usize::MAX);
        let start: Vec<i32> = values[..k * d].iter().map(|&x| x as i32).collect();
        let start = Centroids::on_rows(d, &start);
        let run = |matrix_units| {
            let mut session = GpuSession::open(&device, &data, k, 1 << 30, &options(matrix_units)).unwrap();
            let mut on_matrix_units = Vec::new();
            let mut each = |_: &Centroids, _: &crate::backend::Pass| Ok(std::ops::ControlFlow::Continue(()));
            for max_iter in [1, 2, 3, 4, 5, 9] {
                let rule = LloydRule {
                    max_iter,
                    shift_limit: &|_| -1.0,
                    count_moved: true,
                };
                let run = session.run_lloyd(&start, &rule, &mut each).unwrap();
                on_matrix_units.push((session.plan_moves(k, true).unwrap().on_matrix_units, run.centroids));
            }
            let labels = crate::backend::Session::labels(&mut session).unwrap();
            (
                on_matrix_units.into_iter().unzip::<bool, Centroids, Vec<_>, Vec<_>>(),
                labels,
            )
        };
        let ((tried, centroids), labels) = run(MatrixUnits::IfFaster);
        // One iteration on the lanes comes first, then two on matrix units; after that the faster ones have them.
        assert_eq!(tried[..2], [false, true]);
        assert!(!device.trials.is_open([d, k], n_rows));
        let ((never, expected), expected_labels) = run(MatrixUnits::Never);
        assert_eq!(never, [false; 6]);
        assert!(centroids == expected && labels == expected_labels);
    }
}
