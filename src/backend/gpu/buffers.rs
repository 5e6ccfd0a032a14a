//! The buffers of a session, and the way of the data into them.

use wgpu::{BufferUsages as Usage, WriteOnly};

use super::device::{Device, lost};
use super::layout::{self, Params, TotalsLayout, WORD, row_words};
use super::plan::{Part, Shape};
use crate::error::Result;
use crate::tiles::{BLOCK, Centroids, TileSet};

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
                rows * row_words(data.n_features()) as u64 * WORD,
                Usage::STORAGE | Usage::COPY_DST,
            )?,
            weights: device.buffer("a part of the weights", weights, Usage::STORAGE | Usage::COPY_DST)?,
        })
    }

    /// Bytes that [`PartBuffers::new`] takes.
    pub(crate) fn bytes(data: &TileSet, n_blocks: usize) -> u64 {
        let words = row_words(data.n_features()) + usize::from(data.weighted());
        (n_blocks * BLOCK * words) as u64 * WORD
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
    /// Stands in for `beside` in a pass that needs nothing there.
    pub(crate) nothing_beside: wgpu::Buffer,
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
        self.copy_values(device, part.values(data), data.n_features(), &to.tiles)?;
        match part.weights(data) {
            Some(weights) => self.copy(device, weights, &to.weights),
            None => Ok(()),
        }
    }

    /// Copies blocks of the host's values, in the device's layout.
    fn copy_values(&mut self, device: &Device, values: &[f32], n_features: usize, to: &wgpu::Buffer) -> Result<()> {
        let (from_block, to_block) = (n_features * BLOCK, row_words(n_features) * BLOCK);
        let threads = self.threads;
        let blocks = self.slot_words() / to_block;
        let pieces = values.chunks(blocks * from_block);
        pieces.enumerate().try_for_each(|(i, piece)| {
            let n_words = piece.len() / from_block * to_block;
            self.send(device, n_words, to, i * blocks * to_block, |view| {
                fill(view, piece, threads, [from_block, to_block], |values, mut to| {
                    let mut words = vec![0; to_block];
                    for (i, block) in values.chunks_exact(from_block).enumerate() {
                        layout::block_words(block, &mut words);
                        let bytes: &[u8] = bytemuck::cast_slice(&words);
                        to.slice(i * bytes.len()..(i + 1) * bytes.len()).copy_from_slice(bytes);
                    }
                });
            })
        })
    }

    /// Copies words as they are.
    fn copy(&mut self, device: &Device, words: &[u32], to: &wgpu::Buffer) -> Result<()> {
        let (threads, most) = (self.threads, self.slot_words());
        words.chunks(most).enumerate().try_for_each(|(i, piece)| {
            self.send(device, piece.len(), to, i * most, |view| {
                fill(view, piece, threads, [1, 1], |words, mut to| {
                    to.copy_from_slice(bytemuck::cast_slice(words));
                });
            })
        })
    }

    /// Words that fit into a slot.
    fn slot_words(&self) -> usize {
        (self.slots[0].0.size() / WORD) as usize
    }

    /// Sends words that `write` writes to a buffer, from its word `first` on.
    fn send(
        &mut self,
        device: &Device,
        n_words: usize,
        to: &wgpu::Buffer,
        first: usize,
        write: impl FnOnce(WriteOnly<'_, [u8]>),
    ) -> Result<()> {
        let (slot, last_use) = &mut self.slots[self.next];
        self.next = 1 - self.next;
        device.map(slot, wgpu::MapMode::Write, last_use.take())?;
        let bytes = n_words as u64 * WORD;
        let mut view = slot.get_mapped_range_mut(0..bytes).map_err(lost)?;
        write(view.slice(..));
        drop(view);
        slot.unmap();
        let mut encoder = device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(slot, 0, to, first as u64 * WORD, bytes);
        *last_use = Some(device.queue.submit([encoder.finish()]));
        Ok(())
    }
}

/// Writes what comes of `items` with several threads: `write` is given whole units of them, of `units[0]` items each, and
/// the memory of the `units[1]` words that each of these becomes.
fn fill<T: Sync>(
    mut to: WriteOnly<'_, [u8]>,
    items: &[T],
    threads: usize,
    units: [usize; 2],
    write: impl Fn(&[T], WriteOnly<'_, [u8]>) + Sync,
) {
    let [from_unit, to_unit] = units;
    let share = (items.len() / from_unit)
        .div_ceil(threads.max(1))
        .max(MIN_SHARE.div_ceil(to_unit));
    let write = &write;
    std::thread::scope(|scope| {
        let mut shares = items.chunks(share * from_unit);
        // The last share is this thread's own.
        let own = shares.next_back();
        for items in shares {
            let (to_share, rest) = to.split_at(share * to_unit * WORD as usize);
            to = rest;
            let to_share = Share(to_share);
            scope.spawn(move || write(items, to_share.into_inner()));
        }
        write(own.unwrap_or_default(), to);
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
        for (threads, unit) in [0, 1, 2, 3, 64]
            .into_iter()
            .flat_map(|threads| [(threads, 1), (threads, 3)])
        {
            for n in [0, 3, MIN_SHARE / 3 * 3, MIN_SHARE / 3 * 3 + 3, items.len()] {
                // Of each unit, its first item alone.
                let mut bytes = vec![0xff; 4 * n / unit];
                fill(
                    WriteOnly::from_mut(&mut bytes[..]),
                    &items[..n],
                    threads,
                    [unit, 1],
                    |items, mut to| {
                        let words: Vec<u32> = items.iter().step_by(unit).copied().collect();
                        to.copy_from_slice(bytemuck::cast_slice(&words));
                    },
                );
                let expected: Vec<u8> = items[..n]
                    .iter()
                    .step_by(unit)
                    .flat_map(|item| item.to_le_bytes())
                    .collect();
                assert_eq!(bytes, expected, "{threads} threads, {n} items");
            }
        }
    }
}
