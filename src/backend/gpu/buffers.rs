//! The buffers of a session, and the way of the data into them.

use std::ops::Range;

use wgpu::BufferUsages as Usage;

use super::device::{Device, lost};
use super::layout::{self, Params, TotalsLayout, WORD};
use super::plan::{Part, Shape};
use crate::error::Result;
use crate::tiles::{BLOCK, Centroids, TileSet};

/// Largest staging buffer, in bytes.
const MAX_STAGING_BYTES: u64 = 32 << 20;

/// The values and weights of one part on the device.
#[derive(Clone)]
pub(crate) struct PartBuffers {
    pub(crate) tiles: wgpu::Buffer,
    pub(crate) weights: wgpu::Buffer,
}

impl PartBuffers {
    /// Buffers for parts of up to `n_blocks` blocks, filled later.
    pub(crate) fn new(device: &Device, data: &TileSet, n_blocks: usize) -> Result<Self> {
        let rows = (n_blocks * BLOCK) as u64;
        let weights = if data.weighted() { rows * WORD } else { WORD };
        Ok(Self {
            tiles: device.buffer(
                "a part of the data",
                rows * WORD * data.n_features() as u64,
                Usage::STORAGE | Usage::COPY_DST,
            )?,
            weights: device.buffer("a part of the weights", weights, Usage::STORAGE | Usage::COPY_DST)?,
        })
    }

    /// Bytes that [`PartBuffers::new`] takes.
    pub(crate) fn bytes(data: &TileSet, n_blocks: usize) -> u64 {
        (n_blocks * BLOCK * (data.n_features() + usize::from(data.weighted()))) as u64 * WORD
    }
}

/// What all parts of a session share.
pub(crate) struct SharedBuffers {
    /// One [`Params`] per dispatch, `params_stride` bytes apart.
    pub(crate) params: wgpu::Buffer,
    pub(crate) params_stride: u64,
    pub(crate) centroids: wgpu::Buffer,
    pub(crate) centroids_exact: wgpu::Buffer,
    pub(crate) doubtful: wgpu::Buffer,
    pub(crate) totals: wgpu::Buffer,
    /// Stands in for `labels` and for `runners_up` where these are not asked for.
    pub(crate) no_labels: wgpu::Buffer,
    /// Takes totals or labels back to the host.
    pub(crate) readback: wgpu::Buffer,
}

impl SharedBuffers {
    /// Buffers for passes over `parts` with up to `shape.n_clusters` clusters, which tiles pad to up to `centroid_quads`
    /// quads.
    pub(crate) fn new(
        device: &Device,
        shape: &Shape,
        centroid_quads: usize,
        weighted: bool,
        parts: &[Part],
    ) -> Result<Self> {
        let (k, d) = (shape.n_clusters, shape.n_features);
        let n_dispatches: usize = parts.iter().map(|part| shape.n_dispatches(part)).sum();
        let totals = TotalsLayout {
            n_lists: n_dispatches,
            n_clusters: k,
            n_features: d,
            weighted,
        };
        let totals_bytes = totals.n_words() as u64 * WORD;
        let params_stride =
            (size_of::<Params>() as u64).next_multiple_of(u64::from(device.limits.min_uniform_buffer_offset_alignment));
        let floats = 4 * centroid_quads * (d + 1);
        // With fewer clusters a dispatch may hold more rows: the list has room for a whole part.
        let part_bytes = |part: &Part| (part.n_blocks * BLOCK) as u64 * WORD;
        let largest_part = parts.iter().map(part_bytes).max().unwrap_or(0);
        let input = Usage::STORAGE | Usage::COPY_DST;
        Ok(Self {
            params: device.buffer(
                "the parameters",
                n_dispatches as u64 * params_stride,
                Usage::UNIFORM | Usage::COPY_DST,
            )?,
            params_stride,
            centroids: device.buffer("the centroids", floats as u64 * WORD, input)?,
            centroids_exact: device.buffer("the centroids", (k * d) as u64 * WORD, input)?,
            doubtful: device.buffer("the rows in doubt", largest_part, Usage::STORAGE)?,
            totals: device.buffer("the sums of the clusters", totals_bytes, input | Usage::COPY_SRC)?,
            no_labels: device.buffer("no labels", WORD, Usage::STORAGE)?,
            readback: device.buffer(
                "the results",
                totals_bytes.max(largest_part),
                Usage::MAP_READ | Usage::COPY_DST,
            )?,
        })
    }

    /// Bytes of it all on the device.
    pub(crate) fn bytes(&self) -> u64 {
        [
            &self.params,
            &self.centroids,
            &self.centroids_exact,
            &self.doubtful,
            &self.totals,
        ]
        .iter()
        .map(|buffer| buffer.size())
        .sum()
    }

    /// Sends the centroids and the parameters of a pass, before the submissions that follow.
    pub(crate) fn write_pass(
        &self,
        device: &Device,
        centroids: &Centroids,
        tile_quads: usize,
        params: impl Iterator<Item = Params>,
    ) {
        let floats = layout::centroid_floats(centroids, tile_quads);
        device
            .queue
            .write_buffer(&self.centroids, 0, bytemuck::cast_slice(&floats));
        device
            .queue
            .write_buffer(&self.centroids_exact, 0, bytemuck::cast_slice(centroids.values()));
        let mut bytes = Vec::new();
        for params in params {
            bytes.extend_from_slice(bytemuck::bytes_of(&params));
            bytes.resize(bytes.len().next_multiple_of(self.params_stride as usize), 0);
        }
        device.queue.write_buffer(&self.params, 0, &bytes);
    }
}

/// Two host buffers in turn: the host fills one while the device copies from the other.
pub(crate) struct Staging {
    slots: [(wgpu::Buffer, Option<wgpu::SubmissionIndex>); 2],
    next: usize,
}

impl Staging {
    /// Staging for copies out of parts of up to `bytes` bytes.
    pub(crate) fn new(device: &Device, bytes: u64) -> Result<Self> {
        let slot = || {
            let usage = Usage::MAP_WRITE | Usage::COPY_SRC;
            Ok((
                device.buffer("the staging memory", bytes.min(MAX_STAGING_BYTES), usage)?,
                None,
            ))
        };
        Ok(Self {
            slots: [slot()?, slot()?],
            next: 0,
        })
    }

    /// Copies a part to the device, after everything submitted before.
    pub(crate) fn upload(&mut self, device: &Device, data: &TileSet, part: &Part, to: &PartBuffers) -> Result<()> {
        self.copy(device, bytemuck::cast_slice(part.values(data)), &to.tiles)?;
        if let Some(weights) = part.weights(data) {
            self.copy(device, bytemuck::cast_slice(weights), &to.weights)?;
        }
        Ok(())
    }

    fn copy(&mut self, device: &Device, bytes: &[u8], to: &wgpu::Buffer) -> Result<()> {
        let step = self.slots[0].0.size() as usize;
        for (i, piece) in bytes.chunks(step).enumerate() {
            let (slot, last_use) = &mut self.slots[self.next];
            self.next = 1 - self.next;
            device.map(slot, wgpu::MapMode::Write, last_use.take())?;
            let range: Range<u64> = 0..piece.len() as u64;
            slot.get_mapped_range_mut(range.clone())
                .map_err(lost)?
                .copy_from_slice(piece);
            slot.unmap();
            let mut encoder = device.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(slot, 0, to, (i * step) as u64, range.end);
            *last_use = Some(device.queue.submit([encoder.finish()]));
        }
        Ok(())
    }
}
