//! The device's own clock: when spans of compute passes began and ended there.

use wgpu::BufferUsages as Usage;

use super::device::Device;
use super::layout::WORD;
use crate::error::Result;

/// Queries of a span: one where it begins, one where it ends.
const QUERIES: u32 = 2;
/// Words of a query.
const QUERY_WORDS: usize = 2;

/// Timestamps of some spans at a time.
pub(crate) struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl Clock {
    /// A clock for up to `n_spans` spans at a time; `None` where the device was not opened for it, or has none.
    pub(crate) fn new(device: &Device, n_spans: usize) -> Result<Option<Self>> {
        if !device.has_timestamps() {
            return Ok(None);
        }
        let count = QUERIES * n_spans as u32;
        let bytes = u64::from(count) * QUERY_WORDS as u64 * WORD;
        Ok(Some(Self {
            queries: device.query_set(count)?,
            resolved: device.buffer("the timestamps", bytes, Usage::QUERY_RESOLVE | Usage::COPY_SRC)?,
            readback: device.buffer("the timestamps", bytes, Usage::MAP_READ | Usage::COPY_DST)?,
        }))
    }

    /// What a compute pass that is the first, or the last, of a span writes.
    pub(crate) fn writes(&self, span: usize, first: bool, last: bool) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let query = QUERIES * span as u32;
        (first || last).then_some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: first.then_some(query),
            end_of_pass_write_index: last.then_some(query + 1),
        })
    }

    /// Records the way of the first `n_spans` spans to the host; all of them have been recorded.
    pub(crate) fn record(&self, encoder: &mut wgpu::CommandEncoder, n_spans: usize) {
        if n_spans > 0 {
            encoder.resolve_query_set(&self.queries, 0..QUERIES * n_spans as u32, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, self.resolved.size());
        }
    }

    /// Seconds of the first `n_spans` spans, once they have been submitted.
    pub(crate) fn read(&self, device: &Device, n_spans: usize) -> Result<Vec<f64>> {
        let n_words = QUERIES as usize * n_spans * QUERY_WORDS;
        let words = device.read_words(&self.readback, n_words, None)?;
        let tick_s = f64::from(device.queue.get_timestamp_period()) * 1e-9;
        Ok(seconds(&words, tick_s))
    }
}

/// Seconds of spans from their timestamps; 0 where a clock went back.
fn seconds(words: &[u32], tick_s: f64) -> Vec<f64> {
    let ticks = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    words
        .chunks_exact(QUERIES as usize * QUERY_WORDS)
        .map(|span| ticks(span[2], span[3]).saturating_sub(ticks(span[0], span[1])) as f64 * tick_s)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_become_seconds() {
        let words = [u32::MAX, 0, 4, 1, 7, 1, 6, 1];
        assert_eq!(seconds(&words, 2.0), [10.0, 0.0]);
    }
}
