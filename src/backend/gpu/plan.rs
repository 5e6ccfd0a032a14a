//! How a data set is cut: into parts, each in a buffer of its own, and the parts into dispatches. Pure arithmetic.

use super::layout::{LIST_WORDS, Params, WORD};
use crate::backend::certificate;
use crate::tiles::{BLOCK, TileSet, block_words, row_words};

/// Multiplications in one dispatch, on a GPU of its own and on any other: a small one (0.2 T/s) takes 10 ms, and still
/// ends before any watchdog bites when exact integers must decide all rows.
pub(crate) const MAX_DISPATCH_WORK: [u64; 2] = [1 << 35, 1 << 31];
/// Workgroups that keep any GPU busy: more than run at a time, each of which takes rounds until none are left.
const MAX_GROUPS: usize = 2048;
/// Times that all workgroups together take rounds, at least, where there are so many rounds: some are quicker than
/// others, and what one takes last, the others wait for.
const MIN_TAKES: usize = 4096;
/// Turns of loops after which Mesa's software adapter ends every loop of a thread, without a word: half of them.
pub(crate) const SOFTWARE_LOOPS: usize = 1 << 15;
/// Most rounds that a workgroup takes at a time.
const MAX_ROUNDS: usize = 8;

/// Rows in one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) chunk: usize,
    pub(crate) first_block: usize,
    pub(crate) n_blocks: usize,
    pub(crate) n_rows: usize,
}

impl Part {
    /// Quads of rows, absent ones included.
    pub(crate) fn n_quads(&self) -> usize {
        self.n_blocks * BLOCK / 4
    }

    /// The grid values as they stand in memory.
    pub(crate) fn words<'d>(&self, data: &'d TileSet) -> &'d [u32] {
        let block = block_words(data.n_features());
        &data.chunks()[self.chunk].words()[self.first_block * block..][..self.n_blocks * block]
    }

    /// The weights, where the data has any.
    pub(crate) fn weights<'d>(&self, data: &'d TileSet) -> Option<&'d [u32]> {
        let weights = data.chunks()[self.chunk].weights()?;
        Some(&weights[self.first_block * BLOCK..][..self.n_rows])
    }
}

/// The data as parts of at most `max_bytes` of values on the device, in row order.
pub(crate) fn parts(data: &TileSet, max_bytes: u64) -> Vec<Part> {
    let block_bytes = block_words(data.n_features()) as u64 * WORD;
    let max_blocks = (max_bytes / block_bytes).max(1) as usize;
    let mut parts = Vec::new();
    for (chunk, tiles) in data.chunks().iter().enumerate() {
        for first_block in (0..tiles.n_blocks()).step_by(max_blocks) {
            let n_blocks = max_blocks.min(tiles.n_blocks() - first_block);
            parts.push(Part {
                chunk,
                first_block,
                n_blocks,
                n_rows: (tiles.n_rows() - first_block * BLOCK).min(n_blocks * BLOCK),
            });
        }
    }
    parts
}

/// One dispatch of a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dispatch {
    pub(crate) params: Params,
    /// Its number in the pass.
    pub(crate) number: usize,
    /// Workgroups of `assign`.
    pub(crate) groups: u32,
    /// Multiplications, about.
    pub(crate) work: u64,
}

/// The shape of a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) n_features: usize,
    pub(crate) n_clusters: usize,
    /// Rows that a workgroup takes in one round.
    pub(crate) round_rows: usize,
    /// Most multiplications in one dispatch.
    pub(crate) max_work: u64,
    /// Most workgroups that the device takes in one dispatch.
    pub(crate) max_groups: usize,
    /// Most rounds of `assign` and rows in doubt that one workgroup sees to, where that is limited.
    pub(crate) max_per_group: Option<[usize; 2]>,
    /// Half-word of `centroids` where digits start.
    pub(crate) digits: u32,
}

impl Shape {
    /// Rows in one dispatch, a multiple of [`BLOCK`].
    pub(crate) fn dispatch_rows(&self) -> usize {
        let rows = (self.max_work / (self.n_features * self.n_clusters) as u64) as usize;
        let most = self.max_per_group.map_or(usize::MAX, |[rounds, doubtful]| {
            self.max_groups.saturating_mul(doubtful.min(rounds * self.round_rows))
        });
        (rows.min(most) / BLOCK).max(1) * BLOCK
    }

    /// How many dispatches a part takes.
    pub(crate) fn n_dispatches(&self, part: &Part) -> usize {
        part.n_rows.div_ceil(self.dispatch_rows())
    }

    /// The dispatches of one part, their lists numbered from `first_list` on.
    pub(crate) fn dispatches(&self, part: &Part, first_list: usize, first_total: usize) -> Vec<Dispatch> {
        let dispatch_rows = self.dispatch_rows();
        (0..part.n_rows)
            .step_by(dispatch_rows)
            .enumerate()
            .map(|(i, first_row)| {
                let n_rows = dispatch_rows.min(part.n_rows - first_row);
                let all_rounds = n_rows.div_ceil(self.round_rows);
                let rounds = (all_rounds / MIN_TAKES).clamp(1, MAX_ROUNDS);
                let rounds = self.max_per_group.map_or(rounds, |[most, _]| rounds.min(most));
                let takes = self.max_per_group.map(|[most, _]| most / rounds);
                let enough = takes.map_or(MAX_GROUPS, |takes| MAX_GROUPS.max(all_rounds.div_ceil(takes * rounds)));
                let enough_doubtful = self
                    .max_per_group
                    .map_or(MAX_GROUPS, |[_, most]| MAX_GROUPS.max(n_rows.div_ceil(most)));
                Dispatch {
                    params: Params {
                        first_row: first_row as u32,
                        n_rows: n_rows as u32,
                        n_features: self.n_features as u32,
                        n_clusters: self.n_clusters as u32,
                        rounds: rounds as u32,
                        max_takes: takes.map_or(u32::MAX, |takes| takes as u32),
                        resolve_groups: n_rows.min(enough_doubtful).min(self.max_groups) as u32,
                        list: (LIST_WORDS * (first_list + i)) as u32,
                        first_total: first_total as u32,
                        row_words: row_words(self.n_features) as u32,
                        factor: certificate::factor(self.n_features),
                        reach: certificate::coarse_reach(self.n_features),
                        digits: self.digits,
                    },
                    number: first_list + i,
                    groups: all_rounds.min(enough).min(self.max_groups) as u32,
                    work: (n_rows * self.n_features * self.n_clusters) as u64,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_row_once() {
        for chunk_bytes in [1, 3 * 64 * 2 * 4, usize::MAX] {
            let data = TileSet::zeros(1000, 2, true, chunk_bytes);
            for max_bytes in [1, 5 * 64 * 2 * 4, u64::MAX] {
                let parts = parts(&data, max_bytes);
                let mut next = 0;
                for part in &parts {
                    let first = data.chunks()[part.chunk].first_row() + part.first_block * BLOCK;
                    assert_eq!(first, next);
                    assert_eq!(part.weights(&data).unwrap().len(), part.n_rows);
                    assert_eq!(part.words(&data).len(), part.n_blocks * BLOCK * 2);
                    assert!(part.n_blocks == 1 || part.n_blocks * BLOCK * 2 * 4 <= max_bytes as usize);
                    next += part.n_rows;
                }
                assert_eq!(next, 1000);
            }
        }
    }

    #[test]
    fn dispatches_hold_every_row_once_and_stay_small() {
        let part = Part {
            chunk: 0,
            first_block: 0,
            n_blocks: 1 << 20,
            n_rows: (1 << 26) - 5,
        };
        let limits = [None, Some([100, 3]), Some([1, 1])];
        let shapes = [(1, 1), (16, 16), (100, 3000), (1 << 15, 1 << 15)];
        for ((n_features, n_clusters), max_per_group) in
            shapes.into_iter().flat_map(|shape| limits.map(|limit| (shape, limit)))
        {
            let shape = Shape {
                n_features,
                n_clusters,
                round_rows: 1024,
                max_work: MAX_DISPATCH_WORK[1],
                max_groups: 65_535,
                max_per_group,
                digits: 0,
            };
            let dispatches = shape.dispatches(&part, 7, 0);
            assert_eq!(dispatches.len(), shape.n_dispatches(&part));
            let mut next = 0;
            for (i, dispatch) in dispatches.iter().enumerate() {
                let params = dispatch.params;
                assert_eq!((params.first_row, params.list), (next, 4 * (7 + i as u32)));
                assert!(params.n_rows as usize <= shape.dispatch_rows());
                assert!(params.n_rows <= 64 || dispatch.work <= shape.max_work);
                let rounds = (params.n_rows as usize).div_ceil(shape.round_rows);
                if let Some([most, doubtful]) = max_per_group {
                    let takes = (params.max_takes * params.rounds) as usize;
                    assert!(takes <= most && takes * dispatch.groups as usize >= rounds);
                    assert!(params.n_rows as usize <= doubtful * params.resolve_groups as usize);
                } else {
                    assert!((1..=MAX_GROUPS as u32).contains(&dispatch.groups));
                }
                assert!((1..=MAX_ROUNDS as u32).contains(&params.rounds));
                next += params.n_rows;
            }
            assert_eq!(next as usize, part.n_rows);
        }
    }
}
