//! Ranges of an object fetched before they are asked for: few requests for what lies close together, several at a time,
//! and a bounded number of bytes in memory.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::object::Object;
use super::stores::Problem;
use super::{runtime, wait};

/// Bytes that one reader holds, about: as much as this is fetched at once and kept until the reader is done. Of more,
/// each range is fetched piece by piece.
const HELD_BYTES: u64 = 64 << 20;
/// Ranges with no more than this between them are fetched as one.
const GAP_BYTES: u64 = 256 << 10;
/// Bytes of a request.
const MAX_PIECE: u64 = 8 << 20;
const MIN_PIECE: u64 = 128 << 10;

/// What is fetched ahead for one reader.
pub(super) struct Ahead {
    object: Object,
    spans: Mutex<Vec<Span>>,
    /// Whether all is fetched at once, and kept.
    is_whole: bool,
}

/// A range in pieces of one length, but for the last.
struct Span {
    range: Range<u64>,
    step: u64,
    pieces: Vec<Piece>,
}

enum Piece {
    Wanted,
    Coming(JoinHandle<Result<Bytes, Problem>>),
    Here(Bytes),
}

impl Ahead {
    pub(super) fn new(object: Object, ranges: Vec<Range<u64>>) -> Self {
        let (ranges, step) = plan(ranges);
        let is_whole = ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= HELD_BYTES;
        let span = |range: Range<u64>| {
            let n = (range.end - range.start).div_ceil(step) as usize;
            let pieces = std::iter::repeat_with(|| Piece::Wanted).take(n).collect();
            Span { range, step, pieces }
        };
        let mut spans: Vec<Span> = ranges.into_iter().map(span).collect();
        if is_whole {
            for span in &mut spans {
                (0..span.pieces.len()).for_each(|at| span.ask_for(at, &object));
            }
        }
        Self {
            object,
            spans: Mutex::new(spans),
            is_whole,
        }
    }

    /// The bytes of a range; `None` where it is not among those that are fetched ahead.
    pub(super) fn bytes_at(&self, range: &Range<u64>) -> Option<std::io::Result<Bytes>> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let after = spans.partition_point(|span| span.range.start <= range.start);
        let span = { spans[..after].iter_mut().rev() }.find(|span| range.end <= span.range.end)?;
        if range.is_empty() {
            return Some(Ok(Bytes::new()));
        }
        Some(span.bytes_at(range, &self.object, self.is_whole))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let spans = self.spans.get_mut().unwrap_or_else(PoisonError::into_inner);
        for piece in spans.iter_mut().flat_map(|span| &mut span.pieces) {
            if let Piece::Coming(request) = piece {
                request.abort();
            }
        }
    }
}

/// The ranges to fetch, sorted, and the bytes of a request.
fn plan(mut ranges: Vec<Range<u64>>) -> (Vec<Range<u64>>, u64) {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in &ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => last.end = last.end.max(range.end),
            _ => merged.push(range.clone()),
        }
    }
    let total = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
    if total(&merged) <= HELD_BYTES {
        return (merged, MAX_PIECE);
    }
    let step = HELD_BYTES / (2 * ranges.len() as u64);
    (ranges, step.clamp(MIN_PIECE, MAX_PIECE))
}

impl Span {
    fn ask_for(&mut self, at: usize, object: &Object) {
        if let (Some(piece @ Piece::Wanted), Ok(runtime)) = (self.pieces.get_mut(at), runtime()) {
            let start = self.range.start + at as u64 * self.step;
            let end = self.range.end.min(start + self.step);
            *piece = Piece::Coming(runtime.spawn(object.fetch(start..end)));
        }
    }

    fn bytes_at(&mut self, range: &Range<u64>, object: &Object, is_whole: bool) -> std::io::Result<Bytes> {
        let first = ((range.start - self.range.start) / self.step) as usize;
        let last = ((range.end - 1 - self.range.start) / self.step) as usize;
        if !is_whole {
            // Readers go forward, and look back by a page at most: what lies before is not asked for again.
            let passed = first.saturating_sub(1);
            self.pieces[..passed].iter_mut().for_each(|piece| {
                if let Piece::Here(_) = piece {
                    *piece = Piece::Wanted;
                }
            });
        }
        (first..=last + 1).for_each(|at| self.ask_for(at, object));
        if first == last {
            let from = (range.start - self.range.start - first as u64 * self.step) as usize;
            let to = from + (range.end - range.start) as usize;
            return Ok(self.here(first, object)?.slice(from..to));
        }
        let len = (range.end - range.start) as usize;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| object.fail(Problem::NoMemory))?;
        for at in first..=last {
            let start = self.range.start + at as u64 * self.step;
            let piece = self.here(at, object)?;
            let from = range.start.saturating_sub(start) as usize;
            let to = piece.len().min((range.end - start) as usize);
            bytes.extend_from_slice(&piece[from..to]);
        }
        Ok(bytes.into())
    }

    /// The bytes of a piece, once they are there.
    fn here(&mut self, at: usize, object: &Object) -> std::io::Result<Bytes> {
        let piece = &mut self.pieces[at];
        if let Piece::Coming(request) = piece {
            let ended = wait(&mut *request).map_err(|stopped| std::io::Error::other(stopped.to_string()))?;
            match ended {
                Ok(Ok(bytes)) => *piece = Piece::Here(bytes),
                Ok(Err(problem)) => {
                    *piece = Piece::Wanted;
                    return Err(object.fail(problem));
                }
                Err(_) => {
                    *piece = Piece::Wanted;
                    return Err(object.fail(Problem::Unexpected));
                }
            }
        }
        match piece {
            Piece::Here(bytes) => Ok(bytes.clone()),
            // Requests that cannot even be started.
            _ => Err(object.fail(Problem::Unexpected)),
        }
    }
}
