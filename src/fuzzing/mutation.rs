//! Seeded damage to bytes, the same on every machine.

/// Numbers that lengths and offsets are replaced by.
const EDGES: [u32; 6] = [0, 1, 0x7f, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// Mutations of some bytes, without end; splitmix64 draws them (G. Steele, D. Lea, C. Flood, OOPSLA 2014).
pub struct Mutations<'b> {
    bytes: &'b [u8],
    state: u64,
}

impl<'b> Mutations<'b> {
    /// Those that `seed` gives.
    #[must_use]
    pub fn new(bytes: &'b [u8], seed: u64) -> Self {
        Self { bytes, state: seed }
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is positive.
    fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    /// A place; half of them are near the end, where Parquet and Arrow keep what they say of themselves.
    fn place(&mut self, n: usize) -> usize {
        let near = self.below(2) == 0;
        let n_near = n.min(700);
        if near {
            n - 1 - self.below(n_near)
        } else {
            self.below(n)
        }
    }

    /// A stretch of `bytes`, of at most `most`.
    fn stretch(&mut self, bytes: &[u8], most: usize) -> std::ops::Range<usize> {
        let start = self.place(bytes.len());
        start..bytes.len().min(start + 1 + self.below(most))
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(self.draw() as u8);
            return;
        }
        match self.below(8) {
            0 => {
                let at = self.place(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            1 => {
                let at = self.place(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, self.draw() as u8][self.below(6)];
            }
            2 => {
                let from = self.stretch(bytes, 64);
                let to = self.place(bytes.len());
                let n = from.len().min(bytes.len() - to);
                bytes.copy_within(from.start..from.start + n, to);
            }
            3 => bytes.truncate(self.below(bytes.len())),
            4 => {
                let copied = self.stretch(bytes, 256);
                let copy = bytes[copied.clone()].to_vec();
                bytes.splice(copied.start..copied.start, copy);
            }
            5 => {
                let zeros = self.stretch(bytes, 256);
                bytes[zeros].fill(0);
            }
            6 => {
                let gone = self.stretch(bytes, 32);
                bytes.drain(gone);
            }
            _ => {
                let at = self.place(bytes.len());
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                bytes[at..].iter_mut().zip(edge).for_each(|(byte, edge)| *byte = edge);
            }
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.to_vec();
        for _ in 0..[1, 1, 1, 2, 4][self.below(5)] {
            self.change(&mut bytes);
        }
        Some(bytes)
    }
}
