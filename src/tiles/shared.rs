//! Numbers that stand in memory once, however many data sets hold them.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

/// A run of numbers that copies and parts of it share. Who writes to it has it alone, or takes a copy of all of it.
#[derive(Debug, Clone)]
pub(super) struct Shared<T> {
    all: Arc<Vec<T>>,
    range: Range<usize>,
}

impl<T> Shared<T> {
    /// The numbers `range`, counted in here, without a copy.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "numbers past the end"
        );
        Self {
            all: Arc::clone(&self.all),
            range: self.range.start + range.start..self.range.start + range.end,
        }
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(all: Vec<T>) -> Self {
        let range = 0..all.len();
        Self {
            all: Arc::new(all),
            range,
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.range.clone()]
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut Arc::make_mut(&mut self.all)[self.range.clone()]
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
