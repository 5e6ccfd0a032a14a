//! Machine code as drivers write it: blocks of instructions, each of a kind, and where they lead.
//!
//! Two dialects are read: what Mesa's NAK writes for NVIDIA's instruction set, and LLVM's disassembler for AMD's.

use std::collections::HashMap;
use std::ops::AddAssign;

use serde::Serialize;

/// Instructions by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Multiply-adds of `f32`.
    pub fma: usize,
    /// Multiply-adds of matrices, a subgroup's.
    pub matrix: usize,
    /// Additions and products of `f32`.
    pub float: usize,
    /// The smaller or larger of two.
    pub min_max: usize,
    /// Comparisons.
    pub compare: usize,
    /// One of two by a condition.
    pub select: usize,
    /// From one type to another.
    pub convert: usize,
    /// Integers, bits, addresses.
    pub integer: usize,
    /// Copies, constants, special registers.
    pub moves: usize,
    /// What a subgroup does once, on the unit that has such: uniform registers, AMD's scalars and their loads.
    pub uniform: usize,
    /// Reads of workgroup memory.
    pub shared_reads: usize,
    /// Of these, vectors of 16 bytes.
    pub shared_vectors: usize,
    /// Writes to workgroup memory.
    pub shared_writes: usize,
    /// Atomics there.
    pub shared_atomics: usize,
    /// Reads of buffers.
    pub loads: usize,
    /// Of these, vectors of 16 bytes.
    pub vector_loads: usize,
    /// Writes to buffers.
    pub stores: usize,
    /// Atomics there.
    pub atomics: usize,
    /// Private memory: spills, and arrays that are no registers.
    pub scratch: usize,
    /// Branches, barriers, waits.
    pub control: usize,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> usize {
        let arithmetic = self.fma + self.matrix + self.float + self.min_max + self.compare + self.select + self.convert;
        let shared = self.shared_reads + self.shared_writes + self.shared_atomics;
        let memory = self.loads + self.stores + self.atomics + self.scratch;
        arithmetic + self.integer + self.moves + self.uniform + shared + memory + self.control
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.fma += other.fma;
        self.matrix += other.matrix;
        self.float += other.float;
        self.min_max += other.min_max;
        self.compare += other.compare;
        self.select += other.select;
        self.convert += other.convert;
        self.integer += other.integer;
        self.moves += other.moves;
        self.uniform += other.uniform;
        self.shared_reads += other.shared_reads;
        self.shared_vectors += other.shared_vectors;
        self.shared_writes += other.shared_writes;
        self.shared_atomics += other.shared_atomics;
        self.loads += other.loads;
        self.vector_loads += other.vector_loads;
        self.stores += other.stores;
        self.atomics += other.atomics;
        self.scratch += other.scratch;
        self.control += other.control;
    }
}

/// Instructions that run from the first to the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// What is in it.
    pub counts: Counts,
    /// The blocks that may come next.
    pub next: Vec<usize>,
}

/// The blocks of a text, in its order, or nothing if it is of neither dialect.
pub fn read(text: &str) -> Option<Vec<Block>> {
    if text.starts_with("block") {
        Some(nak(text))
    } else if text.lines().any(|line| line.trim_start().starts_with("s_endpgm")) {
        Some(amd(text))
    } else {
        None
    }
}

/// `block 7 L9 [5, 6] -> {`, instructions, `} -> [8, 9]`.
fn nak(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines() {
        if line.starts_with("block") {
            blocks.push(Block::default());
        } else if let (Some(block), Some(next)) = (blocks.last_mut(), line.strip_prefix("} -> [")) {
            let next = next.trim_end().trim_end_matches(']').split(", ");
            block.next = next.filter_map(|number| number.parse().ok()).collect();
        } else if let Some(block) = blocks.last_mut() {
            nak_instruction(line, &mut block.counts);
        }
    }
    blocks
}

/// `@!p0 r4 p2 = iadd3 r3 c[0x2][0x0] rZ // delay=4`.
fn nak_instruction(line: &str, counts: &mut Counts) {
    let code = line.split("//").next().unwrap_or_default();
    let (to, code) = code.split_once(" = ").unwrap_or(("", code));
    let Some(name) = code.split_whitespace().find(|word| !word.starts_with('@')) else {
        return;
    };
    let first = to
        .split_whitespace()
        .find(|word| !word.starts_with('@'))
        .unwrap_or_default();
    let (op, width) = (
        name.split('.').next().unwrap_or_default(),
        name.rsplit('.').next().unwrap_or_default(),
    );
    let shared = name.contains(".shared");
    let vector = usize::from(width == "b128");
    match op {
        "ld" if name.contains(".local") => counts.scratch += 1,
        "st" if name.contains(".local") => counts.scratch += 1,
        "ld" if shared => {
            counts.shared_reads += 1;
            counts.shared_vectors += vector;
        }
        "ld" => {
            counts.loads += 1;
            counts.vector_loads += vector;
        }
        "st" if shared => counts.shared_writes += 1,
        "st" => counts.stores += 1,
        "atom" | "red" if shared => counts.shared_atomics += 1,
        "atom" | "red" => counts.atomics += 1,
        "bra" | "bsync" | "bssy" | "bclear" | "break" | "nop" | "exit" | "bar" | "membar" | "ccctl" | "warpsync"
        | "depbar" => counts.control += 1,
        _ if first.starts_with("ur") || first.starts_with("up") => counts.uniform += 1,
        "ffma" => counts.fma += 1,
        "hmma" => counts.matrix += 1,
        "fadd" | "fmul" => counts.float += 1,
        "fmnmx" | "imnmx" => counts.min_max += 1,
        "fsetp" | "isetp" | "fset" | "iset" => counts.compare += 1,
        "sel" | "fsel" => counts.select += 1,
        "f2i" | "i2f" | "f2f" => counts.convert += 1,
        "mov" | "s2r" | "cs2r" | "r2ur" | "ldc" | "swap" => counts.moves += 1,
        _ => counts.integer += 1,
    }
}

/// `BB7:`, then instructions, the last of them maybe branches to labels.
fn amd(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    let mut labels = HashMap::new();
    let mut jumps: Vec<(usize, String)> = Vec::new();
    // Whether the block just read goes on in the next.
    let mut goes_on = true;
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':').filter(|label| !label.contains(' ')) {
            let number = blocks.len();
            if goes_on && let Some(block) = blocks.last_mut() {
                block.next.push(number);
            }
            labels.insert(label.to_owned(), number);
            blocks.push(Block::default());
            goes_on = true;
            continue;
        }
        let Some(op) = line.split_whitespace().next() else {
            continue;
        };
        let number = blocks.len() - 1;
        if op.contains("branch") {
            let label = line.split_whitespace().nth(1).unwrap_or_default();
            jumps.push((number, label.to_owned()));
        }
        goes_on &= !matches!(op, "s_branch" | "s_endpgm");
        for part in line.split(" :: ") {
            let op = part.split_whitespace().next().unwrap_or_default();
            amd_instruction(op, &mut blocks[number].counts);
        }
    }
    for (from, label) in jumps {
        if let Some(&to) = labels.get(&label) {
            blocks[from].next.push(to);
        }
    }
    blocks
}

fn amd_instruction(op: &str, counts: &mut Counts) {
    let op = op.trim_end_matches("_e32").trim_end_matches("_e64");
    let has = |parts: &[&str]| parts.iter().any(|part| op.contains(part));
    let vector = usize::from(has(&["b128", "dwordx4", "x4"]));
    if op.starts_with("s_") {
        let waits = [
            "s_wait",
            "s_delay",
            "s_nop",
            "s_clause",
            "s_barrier",
            "s_endpgm",
            "branch",
            "s_code_end",
        ];
        match has(&waits) {
            true => counts.control += 1,
            false => counts.uniform += 1,
        }
    } else if op.starts_with("ds_") {
        if has(&["load", "read"]) {
            counts.shared_reads += 1;
            counts.shared_vectors += vector;
        } else if has(&["store", "write"]) {
            counts.shared_writes += 1;
        } else {
            counts.shared_atomics += 1;
        }
    } else if op.starts_with("scratch_") {
        counts.scratch += 1;
    } else if has(&["buffer_", "global_", "flat_"]) {
        if has(&["atomic"]) {
            counts.atomics += 1;
        } else if has(&["store"]) {
            counts.stores += 1;
        } else if has(&["load"]) {
            counts.loads += 1;
            counts.vector_loads += vector;
        } else {
            counts.control += 1; // caches
        }
    } else if has(&["_wmma", "_mfma"]) {
        counts.matrix += 1;
    } else if has(&["_fma", "_mac_f32", "_mad_f32"]) {
        counts.fma += 1;
    } else if has(&["_cndmask"]) {
        counts.select += 1;
    } else if has(&["_cmp"]) {
        counts.compare += 1;
    } else if has(&["_min", "_max", "_med3"]) {
        counts.min_max += 1;
    } else if has(&["_cvt"]) {
        counts.convert += 1;
    } else if has(&["_mov", "lane"]) {
        counts.moves += 1;
    } else if has(&["_add_f32", "_sub_f32", "_subrev_f32", "_mul_f32"]) {
        counts.float += 1;
    } else {
        counts.integer += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naks_text_is_read() {
        let text = "\
block.u 0 L3 [] -> {
      r0        = s2r sr[0x21]                                      // delay=1 wr:0
      ur1       = iadd3 ur0 0x3ff rZ                                // delay=2 wt=000010
      p2        = fsetp.lt.ftz r83 r79                              // delay=2
@!p0              bra pT L8                                         // delay=1
} -> [1, 2]
block 1 L5 [0] -> {
      r84..86   = ld.shared.strong.cta.b64 [r83+0x8908], pT         // delay=1
      r84..88   = ld.shared.strong.cta.b128 [r83+0x8910], pT        // delay=1
@p1   r3        = ld.global.a64.constant.b32 [r4..6], p2            // delay=1
      r4 p2     = iadd3 r3 c[0x2][0x0] rZ                           // delay=1
                  st.local.b32 [r4] r3                              // delay=1
      r83       = ffma.ftz -r62 r88 r84                             // delay=1
      r76..80   = hmma.m16n8k16.f32 r80..84 r64..66 r76..80         // delay=1 wt=000001 wr:0
} -> [0]
block 2 L8 [0] -> {
                  atom.add.u32.shared.strong.cta [r71] r72          // delay=1
} -> []
";
        let blocks = read(text).unwrap();
        let next: Vec<_> = blocks.iter().map(|block| block.next.clone()).collect();
        assert_eq!(next, [vec![1, 2], vec![0], vec![]]);
        let first = Counts {
            moves: 1,
            uniform: 1,
            compare: 1,
            control: 1,
            ..Counts::default()
        };
        assert_eq!(blocks[0].counts, first);
        let second = Counts {
            shared_reads: 2,
            shared_vectors: 1,
            loads: 1,
            integer: 1,
            scratch: 1,
            fma: 1,
            matrix: 1,
            ..Counts::default()
        };
        assert_eq!(blocks[1].counts, second);
        assert_eq!(second.total(), 7);
        assert_eq!(blocks[2].counts.shared_atomics, 1);
    }

    #[test]
    fn amds_text_is_read() {
        let text = "\
BB0:
\ts_load_b64 s[0:1], s[2:3], null ; f4040001 f8000000
\tv_dual_fmac_f32 v0, v1, v2 :: v_dual_mov_b32 v3, 0 ; c8120000
\ts_cbranch_execz BB2 ; bfa50001
BB1:
\tds_load_b128 v[0:3], v4 offset:16 ; dbfc0010
\tv_cmp_gt_f32_e32 vcc, v0, v1 ; 7c080300
\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7] ; cc404000
\tds_add_u32 v0, v1 ; d8000000
\ts_branch BB0 ; bfa0fff0
BB2:
\ts_endpgm ; bfb00000
";
        let blocks = read(text).unwrap();
        let next: Vec<_> = blocks.iter().map(|block| block.next.clone()).collect();
        assert_eq!(next, [vec![1], vec![2, 3], vec![1], vec![]]);
        assert_eq!(
            (blocks[1].counts.fma, blocks[1].counts.moves, blocks[1].counts.uniform),
            (1, 1, 1)
        );
        let third = Counts {
            shared_reads: 1,
            shared_vectors: 1,
            compare: 1,
            matrix: 1,
            shared_atomics: 1,
            control: 1,
            ..Counts::default()
        };
        assert_eq!(blocks[2].counts, third);
        assert_eq!(read("nothing of this kind"), None);
    }
}
