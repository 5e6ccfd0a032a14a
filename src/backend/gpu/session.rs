//! Passes over a data set on the device.

use std::cell::RefCell;
use std::time::Instant;

use super::buffers::{PartBuffers, SharedBuffers, Staging};
use super::device::Device;
use super::layout::{SUM_WORDS, TotalsLayout, WORD};
use super::plan::{self, Dispatch, MAX_DISPATCH_WORK, Part, SOFTWARE_LOOPS, Shape};
use super::shaders::{Group, Kernel, Mode, Variant};
use crate::backend::gpu_types::{GpuOptions, MATRIX_UNITS_VARIABLE, MatrixUnits};
use crate::backend::lloyd::{EachIteration, LloydRule, LloydRun, largest_centroid_shift};
use crate::backend::{NO_CLUSTER, Pass, Session, TwoNearest};
use crate::error::{Error, Result};
use crate::grid::CENTROID_SCALE;
use crate::partial::ClusterPartial;
use crate::tiles::{BLOCK, Centroids, TileSet};

/// Size of a part unless another is asked for, in bytes.
const PART_BYTES: u64 = 1 << 30;
/// Dispatches of the largest size after which work is submitted, so that no submission runs into a watchdog.
pub(super) const SUBMISSION_DISPATCHES: u64 = 4;
/// Most clusters whose numbers, plus one, have 8 bits.
const MAX_PACKED_CLUSTERS: usize = 255;

/// A data set on the device.
pub(crate) struct GpuSession<'d> {
    pub(super) device: &'d Device,
    pub(super) data: &'d TileSet,
    max_clusters: usize,
    pub(super) parts: Vec<Part>,
    residence: Residence,
    /// Whether `labels` have 8 bits each.
    pub(super) packed: bool,
    /// One buffer per part: nearest cluster plus one.
    pub(super) labels: Vec<wgpu::Buffer>,
    /// Of each part's quads of rows, during a run: until when they keep their labels (`beside` in the shaders).
    pub(super) settled: Vec<wgpu::Buffer>,
    /// The centroids of the last pass, where `labels` are not those of it.
    pub(super) stale: Option<Centroids>,
    pub(super) shared: SharedBuffers,
    staging: Staging,
    /// Where [`Session::two_nearest`] writes, once it was called.
    ranked: Option<[wgpu::Buffer; 2]>,
    /// See [`GpuOptions::unproven`].
    unproven: bool,
    /// See [`GpuOptions::matrix_units`].
    matrix_units: MatrixUnits,
    /// What passes have run.
    kernels: RefCell<Vec<(Variant, Kernels)>>,
    /// The pass whose sums and labels are on the device, unless other sums are there.
    pub(super) standing: Option<Standing>,
}

/// A pass whose sums and labels are on the device, so that the next one can go on from there.
pub(super) struct Standing {
    pub(super) centroids: Centroids,
    /// Whether `settled` is of rows that were looked at on the way here.
    pub(super) settles: bool,
    /// How much nearer one centroid can have come to a row than another since then.
    pub(super) drift: f32,
    /// Whether the next pass is to read coarse values.
    pub(super) coarse: bool,
}

impl Standing {
    /// The same under other centroids: `grown` of `shaders/update.wgsl`.
    fn moved_to(&self, centroids: &Centroids) -> Self {
        let largest = largest_centroid_shift(&self.centroids, centroids);
        let shift = (largest as f64).sqrt() / CENTROID_SCALE as f64 * (1.0 + 1.0 / 1024.0);
        Self {
            centroids: centroids.clone(),
            settles: true,
            drift: ((f64::from(self.drift) + 2.0 * shift) * (1.0 + 1.0 / 1_048_576.0)) as f32,
            coarse: self.coarse,
        }
    }
}

/// Whether coarse values are to be read on, where they left so many rows in doubt. Such a row costs about 8 times as many
/// bytes as one that is read in order, where the low bits are a third of all, and the time of a thread that works alone.
pub(super) fn coarse_pays(n_left: u64, n_rows: usize) -> bool {
    n_left <= n_rows as u64 / 64
}

impl<'d> GpuSession<'d> {
    /// Takes hold of the data: what fits into `budget` bytes is uploaded and stays, the rest streams in each pass.
    pub(crate) fn open(
        device: &'d Device,
        data: &'d TileSet,
        max_clusters: usize,
        budget: u64,
        options: &GpuOptions,
    ) -> Result<Self> {
        let limits = &device.limits;
        let part_bytes = options
            .max_chunk_bytes
            .unwrap_or(PART_BYTES)
            .min(limits.max_buffer_size)
            .min(limits.max_storage_buffer_binding_size);
        let parts = plan::parts(data, part_bytes);
        let held = device.take_held(data.stamp());
        let workgroup_bytes = limits.max_compute_workgroup_storage_size as usize;
        let packed = max_clusters <= MAX_PACKED_CLUSTERS;
        let mode = Mode::Moves { packed, coarse: true };
        let variant = Variant::new(data.n_features(), max_clusters, data.weighted(), mode, workgroup_bytes);
        let shape = shape(device, &variant, max_clusters, 0);
        let centroid_quads = Kernel::most_quads(data.n_features(), max_clusters, workgroup_bytes);
        let side = matrix_side(device, data, max_clusters, options);
        let shared = SharedBuffers::new(device, &shape, centroid_quads, side, data.weighted(), &parts)?;
        let largest = parts.iter().map(|part| part.n_blocks).max().unwrap_or(0);
        let mut staging = Staging::new(device, PartBuffers::bytes(data, largest), options.threads)?;
        let labels = parts
            .iter()
            .map(|part| {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
                device.buffer("the labels", label_words(part, packed) as u64 * WORD, usage)
            })
            .collect::<Result<Vec<_>>>()?;
        let settled = parts
            .iter()
            .map(|part| {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
                device.buffer("what is known of labels", part.n_quads() as u64 * WORD, usage)
            })
            .collect::<Result<Vec<_>>>()?;
        let of_rows: u64 = labels.iter().chain(&settled).map(wgpu::Buffer::size).sum();
        let taken = shared.bytes() + of_rows;
        let room = budget.saturating_sub(taken);
        let residence = match held.filter(|held| held.parts == parts && held.residence.bytes(data, &parts) <= room) {
            Some(held) => held.residence,
            None => {
                let residence = Residence::new(device, data, &parts, room)?;
                for (part, buffers) in parts.iter().zip(&residence.resident) {
                    staging.upload(device, data, part, buffers)?;
                }
                residence
            }
        };
        device.wait(None)?;
        Ok(Self {
            device,
            data,
            max_clusters,
            parts,
            residence,
            packed,
            labels,
            settled,
            stale: None,
            shared,
            staging,
            ranked: None,
            unproven: options.unproven,
            matrix_units: options.matrix_units,
            kernels: RefCell::default(),
            standing: None,
        })
    }

    /// Sends what a pass needs and clears its totals.
    pub(super) fn begin(&self, centroids: &Centroids, mode: Mode) -> Result<(PassPlan, Recording<'d>)> {
        let plan = self.send(centroids, mode)?;
        let mut recording = Recording::new(self.device);
        let encoder = &mut recording.encoder;
        encoder.clear_buffer(&self.shared.totals, 0, Some(plan.totals.n_words() as u64 * WORD));
        Ok((plan, recording))
    }

    /// Sends what a pass needs that goes on from the sums of the one before; `drift` since what is known of rows is known.
    fn begin_from(&self, centroids: &Centroids, mode: Mode, drift: f32) -> Result<(PassPlan, Recording<'d>)> {
        let plan = self.send(centroids, mode)?;
        let mut recording = Recording::new(self.device);
        let (totals, encoder) = (&self.shared.totals, &mut recording.encoder);
        let first_total = plan.totals.first_total() as u64;
        encoder.clear_buffer(totals, 0, Some((first_total - 1) * WORD));
        encoder.clear_buffer(totals, first_total * WORD, Some(SUM_WORDS as u64 * WORD));
        let queue = &self.device.queue;
        queue.write_buffer(totals, (first_total - 1) * WORD, bytemuck::bytes_of(&drift));
        Ok((plan, recording))
    }

    /// Sends the centroids and parameters of a pass.
    fn send(&self, centroids: &Centroids, mode: Mode) -> Result<PassPlan> {
        if centroids.n_clusters() > self.max_clusters || centroids.n_features() != self.data.n_features() {
            return Err(Error::Internal(format!(
                "{} centroids of {} features in a session for {} of {}",
                centroids.n_clusters(),
                centroids.n_features(),
                self.max_clusters,
                self.data.n_features()
            )));
        }
        let plan = PassPlan::new(self, centroids.n_clusters(), mode)?;
        self.shared
            .write_centroids(self.device, centroids, plan.tile_quads, plan.on_matrix_units);
        self.send_params(&plan);
        Ok(plan)
    }

    /// Sends the parameters of a pass.
    pub(super) fn send_params(&self, plan: &PassPlan) {
        let params = plan.dispatches.iter().flatten().map(|dispatch| dispatch.params);
        self.shared.write_params(self.device, params);
    }

    /// The buffers of a part; a part that is not resident is uploaded into one of the two that take turns.
    pub(super) fn part_buffers(&mut self, part: usize, recording: &mut Recording<'_>) -> Result<PartBuffers> {
        if let Some(buffers) = self.residence.resident.get(part) {
            return Ok(buffers.clone());
        }
        // The upload is submitted at once: what is recorded may still read the buffer it goes to.
        recording.submit();
        let buffers = self.residence.stream[part % 2].clone();
        self.staging
            .upload(self.device, self.data, &self.parts[part], &buffers)?;
        Ok(buffers)
    }

    /// Records the dispatches of one part.
    fn record(
        &mut self,
        plan: &PassPlan,
        recording: &mut Recording<'_>,
        part: usize,
        labels: &wgpu::Buffer,
        beside: &wgpu::Buffer,
    ) -> Result<()> {
        let buffers = self.part_buffers(part, recording)?;
        let bindings = self.bind_group(&buffers, labels, beside);
        for dispatch in &plan.dispatches[part] {
            {
                let mut pass = recording.encoder.begin_compute_pass(&Default::default());
                pass.set_bind_group(0, &bindings, &[self.params_offset(dispatch)]);
                pass.set_pipeline(&plan.kernels.assign);
                pass.dispatch_workgroups(dispatch.groups, 1, 1);
                if let Some(resolve) = &plan.kernels.resolve {
                    pass.set_pipeline(resolve);
                    pass.dispatch_workgroups(dispatch.params.resolve_groups, 1, 1);
                }
            }
            recording.done(dispatch.work);
        }
        Ok(())
    }

    fn bind_group(&self, part: &PartBuffers, labels: &wgpu::Buffer, beside: &wgpu::Buffer) -> wgpu::BindGroup {
        let shared = &self.shared;
        let params = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &shared.params,
            offset: 0,
            size: wgpu::BufferSize::new(size_of::<super::layout::Params>() as u64),
        });
        let resources = [
            params,
            part.tiles.as_entire_binding(),
            part.weights.as_entire_binding(),
            shared.centroids.as_entire_binding(),
            shared.centroids_exact.as_entire_binding(),
            labels.as_entire_binding(),
            beside.as_entire_binding(),
            shared.doubtful.as_entire_binding(),
            shared.totals.as_entire_binding(),
        ];
        self.device.bind(Group::Pass, resources)
    }

    /// The first words of a buffer, once everything recorded is done.
    fn read(&self, recording: &mut Recording<'_>, from: &wgpu::Buffer, n_words: usize) -> Result<Vec<u32>> {
        let bytes = n_words as u64 * WORD;
        recording
            .encoder
            .copy_buffer_to_buffer(from, 0, &self.shared.readback, 0, bytes);
        recording.finish()?;
        self.device.read_words(&self.shared.readback, n_words, None)
    }

    /// Where the parameters of a dispatch stand.
    pub(super) fn params_offset(&self, dispatch: &Dispatch) -> u32 {
        (dispatch.number as u64 * self.shared.params_stride) as u32
    }

    /// Whether all data stays on the device.
    fn is_resident(&self) -> bool {
        self.residence.stream.is_empty()
    }

    /// The bindings of a pass over a part that is resident.
    pub(super) fn resident_bindings(&self, part: usize) -> wgpu::BindGroup {
        self.bind_group(&self.residence.resident[part], &self.labels[part], &self.settled[part])
    }

    /// A pass that keeps labels.
    pub(super) fn label_mode(&self) -> Mode {
        Mode::Labels { packed: self.packed }
    }

    /// A pass after one that kept labels, from its sums.
    pub(super) fn move_mode(&self, coarse: bool) -> Mode {
        Mode::Moves {
            packed: self.packed,
            coarse,
        }
    }

    /// Sends labels to where those of passes are.
    pub(super) fn send_labels(&mut self, labels: &[u32]) -> Result<()> {
        self.standing = None;
        let mut first = 0;
        for (part, to) in self.parts.iter().zip(&self.labels) {
            let labels = &labels[first..first + part.n_rows];
            first += part.n_rows;
            let mut words = vec![0u32; label_words(part, self.packed)];
            if self.packed {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
                // Below 256, as they are packed.
                bytes
                    .iter_mut()
                    .zip(labels)
                    .for_each(|(to, &label)| *to = label as u8 + 1);
            } else {
                words.iter_mut().zip(labels).for_each(|(to, &label)| *to = label + 1);
            }
            self.staging.copy(self.device, &words, to)?;
        }
        Ok(())
    }

    /// Makes up for the labels that the last pass did not keep.
    pub(super) fn refresh_labels(&mut self) -> Result<()> {
        if let Some(centroids) = self.stale.take() {
            self.run_pass(&centroids)?;
        }
        Ok(())
    }

    /// A pass that adds up all rows.
    fn run_pass(&mut self, centroids: &Centroids) -> Result<Pass> {
        let begun = self.begin(centroids, self.label_mode())?;
        let beside = vec![self.shared.nothing_beside.clone(); self.parts.len()];
        let (pass, _) = self.run_begun(begun, &beside)?;
        self.standing = Some(Standing {
            centroids: centroids.clone(),
            settles: false,
            drift: 0.0,
            coarse: true,
        });
        Ok(pass)
    }

    /// A pass that goes on from the sums of another.
    fn run_moves(&mut self, before: Standing, centroids: &Centroids) -> Result<Pass> {
        let mut next = before.moved_to(centroids);
        let (plan, mut recording) = self.begin_from(centroids, self.move_mode(before.coarse), next.drift)?;
        if !before.settles {
            self.forget_settled(&mut recording);
        }
        let on_matrix_units = plan.on_matrix_units;
        let start = Instant::now();
        let (mut pass, n_left) = self.run_begun((plan, recording), &self.settled.clone())?;
        if before.coarse {
            let n_rows = self.data.n_rows() as u64;
            self.note_time(centroids.n_clusters(), on_matrix_units, pass.n_read, n_rows, start);
            pass.n_unsettled = n_left;
            next.coarse = coarse_pays(n_left, self.data.n_rows());
        }
        if on_matrix_units && self.is_unconfirmed(centroids.n_clusters()) {
            self.confirm(centroids, &pass.partial)?;
        }
        self.standing = Some(next);
        Ok(pass)
    }

    /// Whether no pass on matrix units for so many clusters was held against the lanes yet, and one can be: without proof
    /// both give what rounding leaves of the labels.
    pub(super) fn is_unconfirmed(&self, n_clusters: usize) -> bool {
        !self.unproven && !self.device.trials.is_confirmed([self.data.n_features(), n_clusters])
    }

    /// Holds the labels that are on the device, of all rows, and these sums against those of a pass on the lanes, and leaves
    /// that pass there.
    pub(super) fn confirm(&mut self, centroids: &Centroids, partial: &ClusterPartial) -> Result<()> {
        let on_lanes = self.run_pass(centroids)?;
        if on_lanes.n_moved > 0 || on_lanes.partial != *partial {
            let what = match on_lanes.n_moved {
                0 => "sums are others".to_owned(),
                n => format!("{n} rows have another cluster"),
            };
            return Err(Error::DeviceWrong {
                what: format!("{what} by its matrix units ({MATRIX_UNITS_VARIABLE}=never does without)"),
            });
        }
        self.device
            .trials
            .confirm([self.data.n_features(), centroids.n_clusters()]);
        Ok(())
    }

    /// Nothing is known of any quad before it was looked at: 0 is no drift, which it has to be above.
    pub(super) fn forget_settled(&self, recording: &mut Recording<'_>) {
        for buffer in &self.settled {
            recording.encoder.clear_buffer(buffer, 0, None);
        }
    }

    /// Makes a pass that was begun, and says how many rows `assign` left in doubt.
    fn run_begun(&mut self, begun: (PassPlan, Recording<'d>), beside: &[wgpu::Buffer]) -> Result<(Pass, u64)> {
        let (plan, mut recording) = begun;
        for (part, beside) in beside.iter().enumerate() {
            let labels = self.labels[part].clone();
            self.record(&plan, &mut recording, part, &labels, beside)?;
        }
        let words = self.read(&mut recording, &self.shared.totals, plan.totals.n_words())?;
        let pass = pass(&plan.totals, &words, self.data.n_rows());
        Ok((pass, plan.totals.n_left(&words)))
    }

    pub(super) fn run_assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        self.refresh_labels()?;
        let n_clusters = centroids.n_clusters();
        match self.standing.take() {
            Some(before) if before.centroids.n_clusters() == n_clusters && self.goes_on() => {
                self.run_moves(before, centroids)
            }
            _ => self.run_pass(centroids),
        }
    }

    /// Whether passes can go on from one another: where there are rows, and all of them stay on the device.
    pub(super) fn goes_on(&self) -> bool {
        self.is_resident() && self.data.n_rows() > 0
    }

    fn run_labels(&mut self) -> Result<Vec<u32>> {
        self.refresh_labels()?;
        let mut all = Vec::with_capacity(self.data.n_rows());
        let mut recording = Recording::new(self.device);
        for (part, labels) in self.parts.iter().zip(&self.labels) {
            let words = self.read(&mut recording, labels, label_words(part, self.packed))?;
            if self.packed {
                let labels = words.into_iter().flat_map(u32::to_le_bytes).take(part.n_rows);
                all.extend(clusters(labels.map(u32::from)));
            } else {
                all.extend(clusters(words));
            }
        }
        Ok(all)
    }

    fn run_two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        self.standing = None;
        let [nearest, second] = self.ranked_buffers()?;
        let (plan, mut recording) = self.begin(centroids, Mode::Ranked)?;
        let (mut labels, mut runners_up) = (Vec::new(), Vec::new());
        for part in 0..self.parts.len() {
            let n_rows = self.parts[part].n_rows;
            self.record(&plan, &mut recording, part, &nearest, &second)?;
            labels.extend(clusters(self.read(&mut recording, &nearest, n_rows)?));
            runners_up.extend(clusters(self.read(&mut recording, &second, n_rows)?));
        }
        let words = self.read(&mut recording, &self.shared.totals, plan.totals.first_total())?;
        Ok(TwoNearest {
            labels,
            runners_up,
            may_have_ties: true,
            n_doubtful: plan.totals.n_doubtful(&words),
            n_audited: 0,
        })
    }

    /// Buffers for the two nearest clusters of a part's rows.
    fn ranked_buffers(&mut self) -> Result<[wgpu::Buffer; 2]> {
        if let Some(buffers) = &self.ranked {
            return Ok(buffers.clone());
        }
        let rows = self.parts.iter().map(|part| part.n_rows).max().unwrap_or(0);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffer = || {
            self.device
                .buffer("the two nearest clusters", rows as u64 * WORD, usage)
        };
        Ok(self.ranked.insert([buffer()?, buffer()?]).clone())
    }
}

impl Session for GpuSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        self.device.guarded(|| self.run_assign(centroids))
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        self.device.guarded(|| self.run_labels())
    }

    fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
        self.device.guarded(|| self.run_lloyd(start, rule, each))
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        self.device.guarded(|| self.run_two_nearest(centroids))
    }
}

/// Words of a part's kept labels.
fn label_words(part: &Part, packed: bool) -> usize {
    if packed { part.n_blocks * BLOCK / 4 } else { part.n_rows }
}

fn shape(device: &Device, variant: &Variant, n_clusters: usize, digits: u32) -> Shape {
    let max_per_group = device.software.then(|| {
        let turns = [
            variant.loops_per_round(n_clusters),
            variant.loops_per_doubtful_row(n_clusters),
        ];
        turns.map(|turns| (SOFTWARE_LOOPS / turns).max(1))
    });
    Shape {
        n_features: variant.n_features,
        n_clusters,
        round_rows: variant.kernel.round_rows(),
        max_work: MAX_DISPATCH_WORK[usize::from(!device.discrete)],
        max_groups: device.limits.max_compute_workgroups_per_dimension as usize,
        max_per_group,
        digits,
    }
}

/// Rows and columns of the matrices that passes may have the device multiply, where they might.
fn matrix_side(device: &Device, data: &TileSet, n_clusters: usize, options: &GpuOptions) -> Option<usize> {
    let d = data.n_features();
    let is_worth_it =
        options.matrix_units == MatrixUnits::Always || device.trials.may_tell([d, n_clusters], data.n_rows());
    if !is_worth_it {
        return None;
    }
    let side = device.matrix_side()?;
    let mode = Mode::Moves {
        packed: n_clusters <= MAX_PACKED_CLUSTERS,
        coarse: true,
    };
    let workgroup_bytes = device.limits.max_compute_workgroup_storage_size as usize;
    Variant::on_matrix_units(d, n_clusters, data.weighted(), mode, workgroup_bytes, side).map(|_| side)
}

/// Clusters as the device stores them, plus one, to clusters; 0 to [`NO_CLUSTER`].
fn clusters(words: impl IntoIterator<Item = u32>) -> impl Iterator<Item = u32> {
    const { assert!(NO_CLUSTER == 0u32.wrapping_sub(1)) }
    words.into_iter().map(|word| word.wrapping_sub(1))
}

/// A pass from its totals.
pub(super) fn pass(totals: &TotalsLayout, words: &[u32], n_rows: usize) -> Pass {
    let mut partial = ClusterPartial::zero(totals.n_clusters, totals.n_features);
    for cluster in 0..totals.n_clusters {
        let (count, weight, sums) = totals.cluster(words, cluster);
        partial.counts[cluster] = count;
        partial.cluster_weights[cluster] = weight;
        let to = cluster * totals.n_features;
        for (to, sum) in partial.sums[to..].iter_mut().zip(sums) {
            *to = sum;
        }
    }
    Pass {
        partial,
        n_moved: totals.n_moved(words),
        n_doubtful: totals.n_doubtful(words),
        n_read: n_rows as u64 - totals.n_passed_over(words),
        n_unsettled: 0,
    }
}

/// The kernels of a pass.
#[derive(Clone)]
pub(super) struct Kernels {
    pub(super) assign: wgpu::ComputePipeline,
    /// None where labels need no proof.
    pub(super) resolve: Option<wgpu::ComputePipeline>,
}

/// What a pass runs.
pub(super) struct PassPlan {
    /// Per part.
    pub(super) dispatches: Vec<Vec<Dispatch>>,
    pub(super) totals: TotalsLayout,
    tile_quads: usize,
    pub(super) on_matrix_units: bool,
    pub(super) kernels: Kernels,
}

impl GpuSession<'_> {
    /// The variant for a pass, and how its dispatches are made.
    fn variant(&self, n_clusters: usize, mode: Mode) -> (Variant, Shape) {
        let workgroup_bytes = self.device.limits.max_compute_workgroup_storage_size as usize;
        let (d, weighted) = (self.data.n_features(), self.data.weighted());
        let variant = Variant {
            unproven: self.unproven,
            ..Variant::new(d, n_clusters, weighted, mode, workgroup_bytes)
        };
        let shape_of = |variant: &Variant, digits| shape(self.device, variant, n_clusters, digits);
        let on_lanes = shape_of(&variant, 0);
        let Some(digits) = self.shared.digits.filter(|_| self.prefers_matrix_units(n_clusters)) else {
            return (variant, on_lanes);
        };
        let on_units = Variant::on_matrix_units(d, n_clusters, weighted, mode, workgroup_bytes, digits.side)
            .map(|variant| Variant {
                unproven: self.unproven,
                ..variant
            })
            .map(|variant| (variant, shape_of(&variant, 2 * digits.first_word as u32)))
            // Passes go on from one another, and have to keep to the same dispatches.
            .filter(|(_, shape)| shape.dispatch_rows() == on_lanes.dispatch_rows());
        on_units.unwrap_or((variant, on_lanes))
    }

    /// Whether passes of coarse values are to go to matrix units, where they can.
    fn prefers_matrix_units(&self, n_clusters: usize) -> bool {
        match self.matrix_units {
            MatrixUnits::Always => true,
            MatrixUnits::Never => false,
            MatrixUnits::IfFaster => {
                let shape = [self.data.n_features(), n_clusters];
                self.device.trials.choose(shape, self.data.n_rows())
            }
        }
    }

    /// Whether the next passes are to tell if matrix units are faster.
    pub(super) fn is_on_trial(&self, n_clusters: usize) -> bool {
        let shape = [self.data.n_features(), n_clusters];
        self.matrix_units == MatrixUnits::IfFaster
            && self.shared.digits.is_some()
            && self.device.trials.is_open(shape, self.data.n_rows())
    }

    /// Notes what passes of coarse values took that had `n_rows` rows in all, and looked at `n_read`.
    pub(super) fn note_time(&self, n_clusters: usize, on_matrix_units: bool, n_read: u64, n_rows: u64, start: Instant) {
        let shape = [self.data.n_features(), n_clusters];
        let seconds = start.elapsed().as_secs_f64();
        self.device.trials.note(shape, on_matrix_units, n_read, n_rows, seconds);
    }

    /// The plan of a pass after one that kept labels, from its sums.
    pub(super) fn plan_moves(&self, n_clusters: usize, coarse: bool) -> Result<PassPlan> {
        PassPlan::new(self, n_clusters, self.move_mode(coarse))
    }

    /// The kernels of a variant; their text is made once, as every pass made alone asks for them.
    fn kernels(&self, variant: Variant) -> Result<Kernels> {
        let known = self
            .kernels
            .borrow()
            .iter()
            .find(|(known, _)| *known == variant)
            .map(|(_, kernels)| kernels.clone());
        if let Some(kernels) = known {
            return Ok(kernels);
        }
        let kernels = Kernels {
            assign: self.device.pipeline(variant.assign())?,
            resolve: match self.unproven {
                true => None,
                false => Some(self.device.pipeline(variant.resolve())?),
            },
        };
        self.kernels.borrow_mut().push((variant, kernels.clone()));
        Ok(kernels)
    }
}

impl PassPlan {
    fn new(session: &GpuSession<'_>, n_clusters: usize, mode: Mode) -> Result<Self> {
        let data = session.data;
        let (variant, shape) = session.variant(n_clusters, mode);
        let totals = TotalsLayout {
            n_lists: session.parts.iter().map(|part| shape.n_dispatches(part)).sum(),
            n_clusters,
            n_features: data.n_features(),
            weighted: data.weighted(),
        };
        let mut first_list = 0;
        let dispatches = session
            .parts
            .iter()
            .map(|part| {
                let dispatches = shape.dispatches(part, first_list, totals.first_total());
                first_list += dispatches.len();
                dispatches
            })
            .collect();
        Ok(Self {
            dispatches,
            totals,
            tile_quads: variant.kernel.tile_quads(),
            on_matrix_units: matches!(variant.kernel, Kernel::Matrix { .. }),
            kernels: session.kernels(variant)?,
        })
    }
}

/// Which parts stay on the device: the first ones.
#[derive(Default)]
struct Residence {
    resident: Vec<PartBuffers>,
    /// Two buffers that the other parts take in turn; none where all parts stay.
    stream: Vec<PartBuffers>,
}

/// What stays on the device after a session, for the next one on the same data: the runs of a sweep.
pub(super) struct Held {
    /// See [`TileSet::stamp`].
    pub(super) stamp: u64,
    parts: Vec<Part>,
    residence: Residence,
}

impl Drop for GpuSession<'_> {
    fn drop(&mut self) {
        self.device.hold(Held {
            stamp: self.data.stamp(),
            parts: std::mem::take(&mut self.parts),
            residence: std::mem::take(&mut self.residence),
        });
    }
}

impl Residence {
    /// Bytes on the device.
    fn bytes(&self, data: &TileSet, parts: &[Part]) -> u64 {
        let bytes = |part: &Part| PartBuffers::bytes(data, part.n_blocks);
        let largest = parts.iter().map(|part| part.n_blocks).max().unwrap_or(0);
        let resident: u64 = parts.iter().take(self.resident.len()).map(bytes).sum();
        resident + self.stream.len() as u64 * PartBuffers::bytes(data, largest)
    }

    /// As much as fits into `budget` bytes, or less where the device has less.
    fn new(device: &Device, data: &TileSet, parts: &[Part], mut budget: u64) -> Result<Self> {
        loop {
            match Self::within(device, data, parts, budget) {
                Err(Error::OutOfMemory { .. }) if budget > 0 => budget /= 2,
                done => return done,
            }
        }
    }

    fn within(device: &Device, data: &TileSet, parts: &[Part], budget: u64) -> Result<Self> {
        let bytes = |part: &Part| PartBuffers::bytes(data, part.n_blocks);
        let all: u64 = parts.iter().map(bytes).sum();
        let largest = parts.iter().map(|part| part.n_blocks).max().unwrap_or(0);
        let (mut room, n_stream) = if all <= budget {
            (budget, 0)
        } else {
            (budget.saturating_sub(2 * PartBuffers::bytes(data, largest)), 2)
        };
        let stream = (0..n_stream)
            .map(|_| PartBuffers::new(device, data, largest))
            .collect::<Result<Vec<_>>>()?;
        let mut resident = Vec::new();
        for part in parts {
            let Some(left) = room.checked_sub(bytes(part)) else {
                break;
            };
            room = left;
            resident.push(PartBuffers::new(device, data, part.n_blocks)?);
        }
        debug_assert!(n_stream > 0 || resident.len() == parts.len());
        Ok(Self { resident, stream })
    }
}

/// Work for the device, submitted in pieces that a watchdog bears.
pub(super) struct Recording<'d> {
    device: &'d Device,
    pub(super) encoder: wgpu::CommandEncoder,
    work: u64,
    submissions: Vec<wgpu::SubmissionIndex>,
}

impl<'d> Recording<'d> {
    pub(super) fn new(device: &'d Device) -> Self {
        Self {
            device,
            encoder: encoder(device),
            work: 0,
            submissions: Vec::new(),
        }
    }

    /// Notes that work was recorded, and submits where it is enough.
    pub(super) fn done(&mut self, work: u64) {
        self.work += work;
        if self.work >= SUBMISSION_DISPATCHES * MAX_DISPATCH_WORK[usize::from(!self.device.discrete)] {
            self.submit();
        }
    }

    fn submit(&mut self) {
        let recorded = std::mem::replace(&mut self.encoder, encoder(self.device));
        self.submissions.push(self.device.queue.submit([recorded.finish()]));
        self.work = 0;
    }

    /// Submits what is left and waits for all of it, one submission after the other.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.submit();
        self.submissions
            .drain(..)
            .try_for_each(|submission| self.device.wait(Some(submission)))
    }
}

fn encoder(device: &Device) -> wgpu::CommandEncoder {
    device.device.create_command_encoder(&Default::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_streams() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return; // tests/gpu_parity.rs says so, or fails where a GPU is demanded
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let data = TileSet::zeros(10 * BLOCK, 3, true, usize::MAX);
        let parts = plan::parts(&data, 1);
        let part = PartBuffers::bytes(&data, 1);
        for (budget, shape) in [(0, (0, 2)), (10 * part - 1, (7, 2)), (10 * part, (10, 0))] {
            let residence = Residence::within(&device, &data, &parts, budget).unwrap();
            assert_eq!((residence.resident.len(), residence.stream.len()), shape, "{budget}");
        }
    }

    /// Changes the values of the one feature of whole blocks where they lie on the device.
    fn overwrite(session: &GpuSession<'_>, values: &[f32]) {
        let damaged = TileSet::from_rows(values, 1, None, usize::MAX);
        let tiles = &session.residence.resident[0].tiles;
        session
            .device
            .queue
            .write_buffer(tiles, 0, bytemuck::cast_slice(damaged.chunks()[0].words()));
    }

    /// What is wrong in a device's memory is heard of: a value, which damages sums, and rows that changed places, which
    /// damages labels alone.
    #[test]
    fn damage_in_the_memory_of_the_device_is_found() {
        use crate::backend::audit::AuditedSession;

        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let values: Vec<f32> = (0..10 * BLOCK).map(|row| (row % 97) as f32).collect();
        let data = TileSet::from_rows(&values, 1, None, usize::MAX);
        let centroids = Centroids::on_rows(1, &[10, 50, 90]);
        let complaint = |damaged: &[(usize, f32)]| {
            // A copy, of which nothing is on the device yet.
            let data = data.clone();
            let session = GpuSession::open(&device, &data, 3, 1 << 20, &GpuOptions::default()).unwrap();
            let mut on_device = values.clone();
            for &(row, value) in damaged {
                on_device[row] = value;
            }
            overwrite(&session, &on_device);
            let mut session = AuditedSession::new(Box::new(session), &data);
            let nearest = session.two_nearest(&centroids).map(drop);
            [session.assign(&centroids).map(drop), nearest].map(|outcome| outcome.err().map(|error| error.to_string()))
        };
        let wrong = |what: &str| Some(format!("the device computes wrongly: {what}"));
        assert_eq!(complaint(&[]), [None, None]);
        let sums = wrong("the sums of its clusters do not add up to those of the data");
        let labels = wrong("2 of 640 rows that were checked have another cluster");
        assert_eq!(complaint(&[(300, values[300] + 1.0)]), [sums, None]);
        assert_eq!(complaint(&[(10, values[90]), (90, values[10])]), [None, labels]);
    }

    #[test]
    fn rows_that_move_change_sums_to_those_of_a_new_pass() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let edge = crate::grid::MAX_GRID;
        // Slots for four replicas down to one, and none; whole rows and parts of them in workgroup memory; wide labels.
        for (n_rows, d, k, weighted) in [
            (20_000, 2, 9, false),
            (20_000, 2, 9, true),
            (3000, 7, 120, false),
            (3000, 7, 200, true),
            (3000, 7, 500, false),
            (1000, 40, 5, true),
            (200, 400, 3, false),
        ] {
            // Most rows at the upper edge, where sums are the largest, the others anywhere.
            let mut rng = crate::rng::Rng::new(3, 0);
            let values: Vec<f32> = (0..n_rows * d)
                .map(|i| {
                    if i / d % 10 == 0 {
                        rng.below(1 << 24) as i32 - edge
                    } else {
                        edge
                    }
                    .min(edge) as f32
                })
                .collect();
            let weights = vec![crate::tiles::MAX_WEIGHT; n_rows];
            let data = TileSet::from_rows(&values, d, weighted.then_some(&weights), usize::MAX);
            let mut there: Vec<i32> = (0..k * d).map(|_| rng.below(1 << 24) as i32 - (1 << 23) + 1).collect();
            there[..d].fill(edge);
            let back: Vec<i32> = there.chunks_exact(d).rev().flatten().copied().collect();
            let [there, back] = [there, back].map(|values| Centroids::on_rows(d, &values));
            let open = || GpuSession::open(&device, &data, k, 1 << 30, &GpuOptions::default()).unwrap();
            let (mut session, mut other) = (open(), open());
            session.run_pass(&there).unwrap();
            for (centroids, n_moved, coarse) in [
                (&back, n_rows, false),
                (&back, 0, true),
                (&there, n_rows, true),
                (&there, 0, false),
            ] {
                session.standing.as_mut().unwrap().coarse = coarse;
                let moved = session.run_assign(centroids).unwrap();
                let expected = other.run_pass(centroids).unwrap();
                assert_eq!(moved.partial, expected.partial, "{n_rows} x {d}, {k}");
                let in_the_middle = if k % 2 == 1 { expected.partial.counts[k / 2] } else { 0 };
                assert_eq!(moved.n_moved, (n_rows as u64 - in_the_middle).min(n_moved as u64));
                assert_eq!(session.run_labels().unwrap(), other.run_labels().unwrap());
            }
        }
    }

    #[test]
    fn labels_of_matrix_units_are_held_against_the_lanes() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let values: Vec<f32> = (0..10 * BLOCK).map(|row| (row % 97) as f32).collect();
        let data = TileSet::from_rows(&values, 1, None, usize::MAX);
        let mut session = GpuSession::open(&device, &data, 3, 1 << 20, &GpuOptions::default()).unwrap();
        let centroids = Centroids::on_rows(1, &[10, 50, 90]);
        let partial = session.run_pass(&centroids).unwrap().partial;
        assert!(session.is_unconfirmed(3));
        let unproven = GpuOptions {
            unproven: true,
            ..GpuOptions::default()
        };
        let without_proof = GpuSession::open(&device, &data, 3, 1 << 20, &unproven).unwrap();
        assert!(!without_proof.is_unconfirmed(3));
        // Damage that neither sums nor labels alone show: two rows in each other's clusters, and a sum.
        let mut labels = session.run_labels().unwrap();
        labels.swap(10, 90);
        session.send_labels(&labels).unwrap();
        let error = session.confirm(&centroids, &partial).unwrap_err();
        assert!(matches!(error, Error::DeviceWrong { .. }), "{error}");
        assert!(error.to_string().contains(": 2 rows have another cluster"), "{error}");
        let mut wrong = partial.clone();
        wrong.sums[1] += 1;
        let error = session.confirm(&centroids, &wrong).unwrap_err();
        assert!(
            error.to_string().contains(": sums are others") && session.is_unconfirmed(3),
            "{error}"
        );
        // What the lanes gave is there now.
        session.confirm(&centroids, &partial).unwrap();
        assert!(!session.is_unconfirmed(3) && session.is_unconfirmed(2));
        labels.swap(10, 90);
        assert_eq!(session.run_labels().unwrap(), labels);
    }

    #[test]
    fn data_is_uploaded_once_for_all_sessions() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let values: Vec<f32> = (0..10 * BLOCK).map(|row| (row % 97) as f32).collect();
        let mut data = TileSet::from_rows(&values, 1, None, usize::MAX);
        let sum = |data: &TileSet, n_clusters: usize, mark: Option<f32>| {
            let options = GpuOptions::default();
            let mut session = GpuSession::open(&device, data, n_clusters, 1 << 20, &options).unwrap();
            let centroids = Centroids::on_rows(1, &vec![7; n_clusters]);
            let pass = session.assign(&centroids).unwrap();
            if let Some(mark) = mark {
                let mut on_device = values.clone();
                on_device[0] = mark;
                overwrite(&session, &on_device);
            }
            pass.partial.sums.iter().sum::<i128>()
        };
        let expected: i128 = values.iter().map(|&v| v as i128).sum();
        // A mark on the device alone shows in the next session, and in none on other data, or on changed data.
        assert_eq!(sum(&data, 2, Some(1000.0)), expected);
        assert_eq!(sum(&data, 40, None), expected + 1000);
        assert_eq!(sum(&data.clone(), 2, Some(1000.0)), expected);
        assert_eq!(sum(&data, 2, Some(1000.0)), expected);
        data.fill_rows(1, &[vec![values[1] + 3.0]]);
        assert_eq!(sum(&data, 2, None), expected + 3);
        // What was in use together stays together, until something else comes.
        let other = data.clone();
        let in_use = GpuSession::open(&device, &data, 2, 1 << 20, &GpuOptions::default()).unwrap();
        assert_eq!(sum(&other, 2, Some(1000.0)), expected + 3);
        drop(in_use);
        assert_eq!(sum(&data, 2, None), expected + 3);
        assert_eq!(sum(&other, 2, None), expected + 1000);
        assert_eq!(sum(&data.clone(), 2, None), expected + 3);
        assert_eq!(sum(&other, 2, None), expected + 3);
    }

    #[test]
    fn a_device_that_is_gone_is_an_error_and_no_panic() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let data = TileSet::zeros(100, 3, false, usize::MAX);
        let centroids = Centroids::on_rows(3, &[0; 6]);
        let mut session = GpuSession::open(&device, &data, 2, 1 << 20, &GpuOptions::default()).unwrap();
        session.assign(&centroids).unwrap();
        device.device.destroy();
        for _ in 0..2 {
            let error = session.assign(&centroids).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Device, "{error}");
        }
        assert_eq!(session.labels().unwrap_err().kind(), crate::ErrorKind::Device);
        let error = session.two_nearest(&centroids).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Device, "{error}");
    }

    #[test]
    fn a_submission_that_hangs_is_given_up() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let mut device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        device.timeout = std::time::Duration::from_millis(1);
        let device = device;
        let data = TileSet::zeros(200_000, 16, false, usize::MAX);
        // The upload, or else the first pass, takes longer than that.
        let outcome = GpuSession::open(&device, &data, 64, 1 << 30, &GpuOptions::default())
            .and_then(|mut session| session.assign(&Centroids::on_rows(16, &[1; 16 * 64])));
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Device);
        assert_eq!(error.to_string(), "the device failed: it gave no answer in 0.001 s");
    }

    #[test]
    fn memory_that_is_refused_is_an_error_and_smaller_parts_work() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let mut device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let data = TileSet::zeros(10 * BLOCK, 3, false, usize::MAX);
        let all = PartBuffers::bytes(&data, 10);
        let options = |max_chunk_bytes| GpuOptions {
            max_chunk_bytes: Some(max_chunk_bytes),
            ..GpuOptions::default()
        };
        device.no_memory_from = Some(all);
        let error = GpuSession::open(&device, &data, 2, 1 << 20, &options(all))
            .err()
            .unwrap();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        let centroids = Centroids::on_rows(3, &[0; 6]);
        let pass = |options| {
            let mut session = GpuSession::open(&device, &data, 2, 1 << 20, &options)?;
            session.assign(&centroids)
        };
        assert_eq!(pass(options(all / 2)).unwrap().partial.counts, [640, 0]);
    }

    #[test]
    fn memory_refused_once_halves_what_is_taken_and_the_rest_streams() {
        use std::sync::atomic::Ordering::Relaxed;

        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let mut device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let data = TileSet::zeros(16 * BLOCK, 3, false, usize::MAX);
        let part = PartBuffers::bytes(&data, 1);
        let parts = plan::parts(&data, part);
        let shape = |device: &Device, nth| {
            device.refuse_nth.store(nth, Relaxed);
            let residence = Residence::new(device, &data, &parts, 16 * part)?;
            assert_eq!(device.refuse_nth.load(Relaxed), 0);
            Ok::<_, Error>((residence.resident.len(), residence.stream.len()))
        };
        // A part takes two buffers. Of eight parts that are left, two take turns.
        assert_eq!(shape(&device, 0).unwrap(), (16, 0));
        for nth in [1, 2, 21, 32] {
            assert_eq!(shape(&device, nth).unwrap(), (6, 2), "{nth}");
        }
        device.no_memory_from = Some(part);
        assert!(matches!(shape(&device, 0), Err(Error::OutOfMemory { .. })));
    }

    #[test]
    fn a_panic_in_the_driver_is_a_lost_device() {
        let Ok(adapter) = super::super::adapter::choose(&crate::backend::gpu::GpuSelection::Any) else {
            return;
        };
        let device = Device::open(&adapter, &GpuOptions::default()).unwrap();
        let error = device.guarded(|| -> Result<()> { panic!("the  parent device\nis lost") });
        assert_eq!(
            error.unwrap_err().to_string(),
            "the device failed: the parent device is lost"
        );
    }
}
