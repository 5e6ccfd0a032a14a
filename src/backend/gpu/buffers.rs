//! The buffers of a session, and the way of the data into them.

use wgpu::{BufferUsages as Usage, WriteOnly};

use super::device::{Device, lost};
use super::layout::{self, DigitsLayout, Params, TotalsLayout, WORD};
use super::plan::{Part, Shape};
use crate::error::Result;
use crate::tiles::{BLOCK, Centroids, TileSet, row_bytes};

/// Largest staging buffer, in bytes.
pub(super) const MAX_STAGING_BYTES: u64 = 32 << 20;
/// Words that a thread copies at least.
const MIN_SHARE: usize = 4096;

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
                rows * row_bytes(data.n_features()),
                Usage::STORAGE | Usage::COPY_DST,
            )?,
            weights: device.buffer("a part of the weights", weights, Usage::STORAGE | Usage::COPY_DST)?,
        })
    }

    /// Bytes that [`PartBuffers::new`] takes.
    pub(crate) fn bytes(data: &TileSet, n_blocks: usize) -> u64 {
        let of_row = row_bytes(data.n_features()) + u64::from(data.weighted()) * WORD;
        (n_blocks * BLOCK) as u64 * of_row
    }
}

/// What all parts of a session share.
pub(crate) struct SharedBuffers {
    /// One [`Params`] per dispatch, `params_stride` bytes apart.
    pub(crate) params: wgpu::Buffer,
    pub(crate) params_stride: u64,
    pub(crate) centroids: wgpu::Buffer,
    pub(crate) centroids_exact: wgpu::Buffer,
    /// Where centroids' digits stand, on a device with matrix units.
    pub(crate) digits: Option<DigitsLayout>,
    pub(crate) doubtful: wgpu::Buffer,
    pub(crate) totals: wgpu::Buffer,
    /// Stands in for `beside` in a pass that needs nothing there.
    pub(crate) nothing_beside: wgpu::Buffer,
    /// Takes totals or labels back to the host.
    pub(crate) readback: wgpu::Buffer,
}

impl SharedBuffers {
    /// Buffers for passes over `parts` with up to `shape.n_clusters` clusters, which tiles pad to up to `centroid_quads`
    /// quads, and with room for the digits of matrices of `side` rows and columns.
    pub(crate) fn new(
        device: &Device,
        shape: &Shape,
        centroid_quads: usize,
        side: Option<usize>,
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
        let digits = side.map(|side| DigitsLayout {
            first_word: floats,
            side,
            steps: d.div_ceil(side),
        });
        let digit_words = digits.map_or(0, |digits| digits.n_words(k));
        let half_norms = if digits.is_some() { k } else { 0 };
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
            centroids: device.buffer("the centroids", (floats + digit_words) as u64 * WORD, input)?,
            centroids_exact: device.buffer("the centroids", (k * d + half_norms) as u64 * WORD, input)?,
            digits,
            doubtful: device.buffer("the rows in doubt", largest_part, Usage::STORAGE)?,
            totals: device.buffer("the sums of the clusters", totals_bytes, input | Usage::COPY_SRC)?,
            nothing_beside: device.buffer("nothing", WORD, Usage::STORAGE)?,
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

    /// Sends the centroids of a pass, before the submissions that follow; `digits` as well, if it reads these.
    pub(crate) fn write_centroids(&self, device: &Device, centroids: &Centroids, tile_quads: usize, digits: bool) {
        let queue = &device.queue;
        let floats = layout::centroid_floats(centroids, tile_quads);
        queue.write_buffer(&self.centroids, 0, bytemuck::cast_slice(&floats));
        queue.write_buffer(&self.centroids_exact, 0, bytemuck::cast_slice(centroids.values()));
        if let Some(layout) = self.digits.filter(|_| digits) {
            let (words, half_norms) = layout.digits(centroids);
            let at = layout.first_word as u64 * WORD;
            queue.write_buffer(&self.centroids, at, bytemuck::cast_slice(&words));
            let at = centroids.values().len() as u64 * WORD;
            queue.write_buffer(&self.centroids_exact, at, bytemuck::cast_slice(&half_norms));
        }
    }

    /// Sends the parameters of a pass, before the submissions that follow.
    pub(crate) fn write_params(&self, device: &Device, params: impl Iterator<Item = Params>) {
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
    /// Threads that fill them.
    threads: usize,
}

impl Staging {
    /// Staging for copies out of parts of up to `bytes` bytes.
    pub(crate) fn new(device: &Device, bytes: u64, threads: usize) -> Result<Self> {
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
            threads,
        })
    }

    /// Copies a part to the device, after everything submitted before.
    pub(crate) fn upload(&mut self, device: &Device, data: &TileSet, part: &Part, to: &PartBuffers) -> Result<()> {
        self.copy(device, part.words(data), &to.tiles)?;
        match part.weights(data) {
            Some(weights) => self.copy(device, weights, &to.weights),
            None => Ok(()),
        }
    }

    /// Copies words as they are, after everything submitted before.
    pub(super) fn copy(&mut self, device: &Device, words: &[u32], to: &wgpu::Buffer) -> Result<()> {
        let most = (self.slots[0].0.size() / WORD) as usize;
        for (i, piece) in words.chunks(most).enumerate() {
            let (slot, last_use) = &mut self.slots[self.next];
            self.next = 1 - self.next;
            device.map(slot, wgpu::MapMode::Write, last_use.take())?;
            let bytes = size_of_val(piece) as u64;
            let mut view = slot.get_mapped_range_mut(0..bytes).map_err(lost)?;
            fill(view.slice(..), piece, self.threads);
            drop(view);
            slot.unmap();
            let mut encoder = device.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(slot, 0, to, (i * most) as u64 * WORD, bytes);
            *last_use = Some(device.queue.submit([encoder.finish()]));
        }
        Ok(())
    }
}

/// Writes words with several threads.
fn fill(mut to: WriteOnly<'_, [u8]>, words: &[u32], threads: usize) {
    let share = words.len().div_ceil(threads.max(1)).max(MIN_SHARE);
    std::thread::scope(|scope| {
        let mut shares = words.chunks(share);
        // The last share is this thread's own.
        let own = shares.next_back();
        for words in shares {
            let (to_share, rest) = to.split_at(size_of_val(words));
            to = rest;
            let to_share = Share(to_share);
            scope.spawn(move || to_share.into_inner().copy_from_slice(bytemuck::cast_slice(words)));
        }
        to.copy_from_slice(bytemuck::cast_slice(own.unwrap_or_default()));
    });
}

/// Mapped memory that another thread is to write.
struct Share<'m>(WriteOnly<'m, [u8]>);

// SAFETY: it gives exclusive access to bytes, which any thread may write. wgpu says so of types of a known size alone.
unsafe impl Send for Share<'_> {}

impl<'m> Share<'m> {
    fn into_inner(self) -> WriteOnly<'m, [u8]> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_threads_writes_all_items_once() {
        let items: Vec<u32> = (0..3 * MIN_SHARE as u32 + 6).collect();
        for threads in [0, 1, 2, 3, 64] {
            for n in [0, 3, MIN_SHARE, MIN_SHARE + 1, items.len()] {
                let mut bytes = vec![0xff; 4 * n];
                fill(WriteOnly::from_mut(&mut bytes[..]), &items[..n], threads);
                let expected: Vec<u8> = items[..n].iter().flat_map(|item| item.to_le_bytes()).collect();
                assert_eq!(bytes, expected, "{threads} threads, {n} items");
            }
        }
    }
}
