//! [`super::coarse`] on processors without a matrix unit that is known here.

/// None are asked for.
pub(super) struct Digits;

impl Digits {
    pub(super) fn new(_pairs: &[i32], _n_pairs: usize, _half_sq_norms: &[i32]) -> Self {
        Self
    }
}

/// Nothing is kept.
#[derive(Default)]
pub(super) struct MatrixRows;
