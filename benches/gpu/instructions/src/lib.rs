//! Counting in the text of machine code: instructions by kind, loops, and the way once around a loop.

pub mod graph;
pub mod text;
