//! Judges clusters on the device: the host's side of `shaders/silhouette.wgsl`.

use std::ops::Range;

use bytemuck::Zeroable;
use wgpu::BufferUsages as Usage;

use super::device::Device;
use super::layout::{Params, SUM_WORDS, WORD};
use super::plan::{MAX_DISPATCH_WORK, SOFTWARE_LOOPS};
use super::session::{GpuSession, Recording};
use super::shaders::{Group, THREADS, judging, judging_words};
use crate::backend::gpu_types::GpuOptions;
use crate::backend::silhouette::{ClusterScatter, Judge, Labelled, SILHOUETTE_BITS, Scatter, SilhouetteSums};
use crate::error::Result;
use crate::tiles::{MAX_WEIGHT, row_words};

/// Words of a cluster in the table that the kernels read.
const ENTRY_WORDS: usize = 8;
/// Sums of a cluster.
const SUMS: usize = 3;
/// Most rows of a thread: a workgroup has no more than 2^16.
const MAX_ROUNDS: usize = 64;
/// Threads that keep any GPU busy.
const MANY_THREADS: usize = 1 << 18;
/// Instructions of `silhouettes` for a value and a cluster, and for a row: of multiply-adds, which work is counted in, a
/// device does so many at a time.
const VALUE_WORK: usize = 24;
const ROW_WORK: usize = 2048;
/// Turns of loops that a row takes whatever its clusters: two or three quotients and two roots.
const ROW_LOOPS: usize = 176;
/// Sums of squared norms stay below 2 to this.
const NORM_BITS: u32 = 96;

/// Rows and their clusters on the device.
pub(super) struct GpuJudge<'d> {
    session: GpuSession<'d>,
    n_clusters: usize,
    /// Rows that a thread takes, and rows of a dispatch, at most.
    rounds: usize,
    dispatch_rows: usize,
    table: wgpu::Buffer,
    totals: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl<'d> GpuJudge<'d> {
    /// Sends what of the data is not there yet, and the labels. `None` where sums may not find room, or a software adapter
    /// would end loops.
    pub(super) fn open(
        device: &'d Device,
        rows: Labelled<'d>,
        budget: u64,
        options: &GpuOptions,
    ) -> Result<Option<Self>> {
        let Labelled {
            data,
            labels,
            n_clusters,
        } = rows;
        let (n, d) = (data.n_rows(), data.n_features());
        let weight = if data.weighted() { u64::from(MAX_WEIGHT) } else { 1 };
        let largest_norm = (d as u128) << 46;
        let fits = largest_norm * u128::from(weight) * (n as u128) < 1 << NORM_BITS;
        let workgroup_words = device.limits.max_compute_workgroup_storage_size as usize / WORD as usize;
        let loops = n_clusters * (d + 1) + ROW_LOOPS;
        if n == 0 || !fits || judging_words(n_clusters) > workgroup_words || (device.software && loops > SOFTWARE_LOOPS)
        {
            return Ok(None);
        }
        let most = if device.software {
            SOFTWARE_LOOPS / loops
        } else {
            MAX_ROUNDS
        };
        let rounds = n.div_ceil(MANY_THREADS).clamp(1, most.clamp(1, MAX_ROUNDS));
        let work = MAX_DISPATCH_WORK[usize::from(!device.discrete)] as usize / row_work(n_clusters, d);
        let groups = (work / (rounds * THREADS)).clamp(1, device.limits.max_compute_workgroups_per_dimension as usize);
        let mut session = GpuSession::open(device, data, n_clusters, budget, options)?;
        session.send_labels(labels)?;
        let totals_bytes = (SUM_WORDS * n_sums(n_clusters)) as u64 * WORD;
        let storage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        Ok(Some(Self {
            session,
            n_clusters,
            rounds,
            dispatch_rows: groups * rounds * THREADS,
            table: device.buffer("the clusters", ((ENTRY_WORDS + d) * n_clusters) as u64 * WORD, storage)?,
            totals: device.buffer("the sums of the clusters", totals_bytes, storage)?,
            readback: device.buffer("the results", totals_bytes, Usage::MAP_READ | Usage::COPY_DST)?,
        }))
    }

    /// Runs a kernel over `rows`, and gives its sums.
    fn run(&mut self, entry_point: &'static str, rows: &Range<usize>) -> Result<Vec<u128>> {
        let session = &self.session;
        let (device, data) = (session.device, session.data);
        let kernel = judging(entry_point, self.n_clusters, data.weighted(), session.packed);
        let pipeline = device.pipeline(kernel)?;
        let mut recording = Recording::new(device);
        recording.encoder.clear_buffer(&self.totals, 0, None);
        let mut first = 0;
        for part in 0..self.session.parts.len() {
            let own = first..first + self.session.parts[part].n_rows;
            first = own.end;
            let (start, end) = (rows.start.max(own.start), rows.end.min(own.end));
            let dispatches: Vec<Params> = (start..end)
                .step_by(self.dispatch_rows)
                .map(|row| self.params(row - own.start, self.dispatch_rows.min(end - row)))
                .collect();
            if dispatches.is_empty() {
                continue;
            }
            let buffers = self.session.part_buffers(part, &mut recording)?;
            for params in dispatches {
                let uniform = device.buffer(
                    "the parameters",
                    size_of::<Params>() as u64,
                    Usage::UNIFORM | Usage::COPY_DST,
                )?;
                device.queue.write_buffer(&uniform, 0, bytemuck::bytes_of(&params));
                let shared = &self.session.shared;
                // In the order of `layout::BINDINGS`.
                let resources = [
                    &uniform,
                    &buffers.tiles,
                    &buffers.weights,
                    &shared.centroids,
                    &shared.centroids_exact,
                    &self.session.labels[part],
                    &self.table,
                    &shared.doubtful,
                    &self.totals,
                ];
                let bindings = device.bind(Group::Pass, resources.map(wgpu::Buffer::as_entire_binding));
                {
                    let mut pass = recording.encoder.begin_compute_pass(&Default::default());
                    pass.set_pipeline(&pipeline);
                    pass.set_bind_group(0, &bindings, &[0]);
                    let groups = (params.n_rows as usize).div_ceil(self.rounds * THREADS);
                    pass.dispatch_workgroups(groups as u32, 1, 1);
                }
                let work = row_work(self.n_clusters, data.n_features()) as u64;
                recording.done(work * u64::from(params.n_rows));
            }
        }
        recording
            .encoder
            .copy_buffer_to_buffer(&self.totals, 0, &self.readback, 0, self.totals.size());
        recording.finish()?;
        let words = device.read_words(&self.readback, SUM_WORDS * n_sums(self.n_clusters), None)?;
        let sum = |words: &[u32]| words.iter().rev().fold(0, |sum, &word| (sum << 32) | u128::from(word));
        Ok(words.chunks_exact(SUM_WORDS).map(sum).collect())
    }

    fn params(&self, first_row: usize, n_rows: usize) -> Params {
        let n_features = self.session.data.n_features();
        let mut params = Params::zeroed();
        params.first_row = first_row as u32;
        params.n_rows = n_rows as u32;
        params.n_features = n_features as u32;
        params.n_clusters = self.n_clusters as u32;
        params.rounds = self.rounds as u32;
        params.row_words = row_words(n_features) as u32;
        params
    }
}

impl Judge for GpuJudge<'_> {
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>> {
        let device = self.session.device;
        let sums = device.guarded(|| self.run("norms", &rows))?;
        Ok((0..self.n_clusters).map(|cluster| sums[SUMS * cluster]).collect())
    }

    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums> {
        let device = self.session.device;
        let sums = device.guarded(|| {
            let entries = scatter.clusters.iter().flat_map(entry);
            let table: Vec<u32> = entries.chain(scatter.lacking.iter().map(|&lack| lack.into())).collect();
            let means = scatter.means.values();
            device.queue.write_buffer(&self.table, 0, bytemuck::cast_slice(&table));
            let exact = &self.session.shared.centroids_exact;
            device.queue.write_buffer(exact, 0, bytemuck::cast_slice(means));
            self.run("silhouettes", &rows)
        })?;
        // The device adds 1 to each silhouette.
        let without_one = |sum: u128, weight: u128| sum as i128 - ((weight as i128) << SILHOUETTE_BITS);
        let clusters = sums.chunks_exact(SUMS);
        let weight: u128 = clusters.clone().map(|of| of[2]).sum();
        Ok(SilhouetteSums {
            silhouettes: clusters.clone().map(|of| without_one(of[0], of[2])).collect(),
            simplified: without_one(sums[SUMS * self.n_clusters], weight),
            distances: clusters.map(|of| of[1]).collect(),
        })
    }
}

/// What a row takes, in multiply-adds.
fn row_work(n_clusters: usize, n_features: usize) -> usize {
    VALUE_WORK * n_clusters * n_features + ROW_WORK
}

/// Sums of all clusters, and the one of all rows.
fn n_sums(n_clusters: usize) -> usize {
    SUMS * n_clusters + 1
}

/// A cluster in the table.
fn entry(cluster: &ClusterScatter) -> [u32; ENTRY_WORDS] {
    let variance = [0, 32, 64].map(|shift| (cluster.variance >> shift) as u32);
    let without_itself = [0, 32].map(|shift| (cluster.without_itself >> shift) as u32);
    let flags = u32::from(cluster.is_alone) | u32::from(cluster.is_empty) << 1;
    let [low, middle, high] = variance;
    let [share, above] = without_itself;
    [
        low,
        middle,
        high,
        share,
        above,
        cluster.shift,
        flags,
        cluster.lacking_norm,
    ]
}
