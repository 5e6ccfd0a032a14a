//! How many words a row has.

/// Words of the high bits of a row.
pub(crate) fn n_pairs(n_features: usize) -> usize {
    n_features.div_ceil(2)
}

/// Words of a row: at most one per feature, three for four of them.
pub(crate) fn row_words(n_features: usize) -> usize {
    n_pairs(n_features) + (n_features & !1).div_ceil(4)
}
