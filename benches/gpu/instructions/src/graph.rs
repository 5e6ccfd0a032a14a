//! Loops of a program, and the way that is usually taken through one.

use std::collections::BTreeSet;

use crate::text::{Block, Counts};

/// A loop: its blocks, the first of which is its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// Numbers of its blocks, inner loops' included.
    pub blocks: BTreeSet<usize>,
    /// The blocks from which it starts again.
    latches: Vec<usize>,
}

impl Loop {
    fn head(&self) -> usize {
        *self.blocks.first().expect("a loop has a head")
    }

    /// What one turn has, not counting inner loops.
    pub fn own(&self, blocks: &[Block], loops: &[Self]) -> Counts {
        let mut own = Counts::default();
        for &number in &self.blocks {
            if innermost(number, loops).is_some_and(|inner| inner.head() == self.head()) {
                own += blocks[number].counts;
            }
        }
        own
    }
}

/// All loops. Blocks are expected in an order in which only a loop's start is reached from behind.
pub fn loops(blocks: &[Block]) -> Vec<Loop> {
    let mut loops: Vec<Loop> = Vec::new();
    for (from, block) in blocks.iter().enumerate() {
        for &head in block.next.iter().filter(|&&to| to <= from) {
            let body = body(blocks, head, from);
            match loops.iter_mut().find(|known| known.head() == head) {
                Some(known) => {
                    known.blocks.extend(body);
                    known.latches.push(from);
                }
                None => loops.push(Loop {
                    blocks: body,
                    latches: vec![from],
                }),
            }
        }
    }
    loops
}

/// `head`, and the blocks from which `latch` is reached without it.
fn body(blocks: &[Block], head: usize, latch: usize) -> BTreeSet<usize> {
    let mut body = BTreeSet::from([head]);
    let mut left = vec![latch];
    while let Some(number) = left.pop() {
        if body.insert(number) {
            let before = blocks
                .iter()
                .enumerate()
                .filter(|(_, block)| block.next.contains(&number));
            left.extend(before.map(|(from, _)| from));
        }
    }
    body
}

/// The smallest loop that a block is in.
fn innermost(number: usize, loops: &[Loop]) -> Option<&Loop> {
    let around = loops.iter().filter(|candidate| candidate.blocks.contains(&number));
    around.min_by_key(|candidate| candidate.blocks.len())
}

/// The loop with the most multiply-adds of its own, of matrices or else of numbers: where rows are scored.
pub fn scoring<'a>(blocks: &[Block], loops: &'a [Loop]) -> Option<&'a Loop> {
    let work = |candidate: &Loop| {
        let own = candidate.own(blocks, loops);
        (own.matrix, own.fma)
    };
    let busiest = loops.iter().max_by_key(|candidate| work(candidate))?;
    (work(busiest) > (0, 0)).then_some(busiest)
}

/// The loop right around another one.
pub fn around<'a>(inner: &Loop, loops: &'a [Loop]) -> Option<&'a Loop> {
    let outer = loops
        .iter()
        .filter(|outer| outer.head() != inner.head() && outer.blocks.contains(&inner.head()));
    outer.min_by_key(|outer| outer.blocks.len())
}

/// One turn of a loop, not counting inner loops, by the way that passes as little as can be of what `rare` says is rare,
/// and else as many instructions as can be.
pub fn usual_turn(turn: &Loop, blocks: &[Block], loops: &[Loop], rare: impl Fn(&Counts) -> bool) -> Counts {
    let inner: Vec<&Loop> = loops
        .iter()
        .filter(|inner| around(inner, loops) == Some(turn))
        .collect();
    // An inner loop is one step, which costs nothing but is as rare as what is in it.
    let step = |number: usize| inner.iter().copied().find(|inner| inner.blocks.contains(&number));
    let is_rare = |number: usize| match step(number) {
        Some(inner) => inner.blocks.iter().any(|&block| rare(&blocks[block].counts)),
        None => rare(&blocks[number].counts),
    };
    // Per block, the best way to its end: rare blocks passed, instructions, their kinds.
    let mut ways: Vec<Option<(usize, usize, Counts)>> = vec![None; blocks.len()];
    let mut best: Option<(usize, usize, Counts)> = None;
    let better = |new: &(usize, usize, Counts), old: &Option<(usize, usize, Counts)>| {
        old.is_none_or(|old| new.0 < old.0 || (new.0 == old.0 && new.1 > old.1))
    };
    for &number in &turn.blocks {
        let collapsed = step(number);
        if collapsed.is_some_and(|inner| inner.head() != number) {
            continue;
        }
        let before = if number == turn.head() {
            Some((0, 0, Counts::default()))
        } else {
            ways[number]
        };
        let Some((mut passed, mut length, mut counts)) = before else {
            continue;
        };
        passed += usize::from(is_rare(number));
        if collapsed.is_none() {
            length += blocks[number].counts.total();
            counts += blocks[number].counts;
        }
        let way = (passed, length, counts);
        let members: Vec<usize> = match collapsed {
            Some(inner) => inner.blocks.iter().copied().collect(),
            None => vec![number],
        };
        if members.iter().any(|member| turn.latches.contains(member)) && better(&way, &best) {
            best = Some(way);
        }
        let next = members.iter().flat_map(|&member| &blocks[member].next);
        for &to in next.filter(|to| !members.contains(to) && turn.blocks.contains(to) && **to != turn.head()) {
            if better(&way, &ways[to]) {
                ways[to] = Some(way);
            }
        }
    }
    best.map(|(.., counts)| counts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(integer: usize, next: &[usize]) -> Block {
        let counts = Counts {
            integer,
            ..Counts::default()
        };
        Block {
            counts,
            next: next.to_vec(),
        }
    }

    /// A loop from 1 to 6; in it, one of 2 alone, then a choice of 3, 4 (long and rare) and nothing.
    fn program() -> Vec<Block> {
        let mut blocks = vec![
            block(1, &[1]),
            block(10, &[2]),
            block(100, &[2, 3]),
            block(1000, &[4, 5, 6]),
            block(20_000, &[6]),
            block(3_000, &[6]),
            block(100_000, &[1, 7]),
            block(1, &[]),
        ];
        blocks[2].counts.fma = 7;
        blocks[4].counts.atomics = 1;
        blocks
    }

    #[test]
    fn loops_are_found_one_in_the_other() {
        let blocks = program();
        let loops = loops(&blocks);
        let scoring = scoring(&blocks, &loops).unwrap();
        assert_eq!(scoring.blocks, BTreeSet::from([2]));
        assert_eq!(scoring.own(&blocks, &loops).total(), 107);
        let outer = around(scoring, &loops).unwrap();
        assert_eq!(outer.blocks, BTreeSet::from([1, 2, 3, 4, 5, 6]));
        assert_eq!(outer.own(&blocks, &loops).integer, 124_010);
        assert_eq!(around(outer, &loops), None);
    }

    #[test]
    fn the_usual_turn_passes_by_what_is_rare_and_inner_loops() {
        let blocks = program();
        let loops = loops(&blocks);
        let outer = around(scoring(&blocks, &loops).unwrap(), &loops).unwrap();
        let usual = usual_turn(outer, &blocks, &loops, |counts| counts.atomics > 0);
        assert_eq!((usual.integer, usual.atomics), (104_010, 0));
        let longest = usual_turn(outer, &blocks, &loops, |_| false);
        assert_eq!((longest.integer, longest.atomics), (121_010, 1));
    }
}
