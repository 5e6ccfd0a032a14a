//! Layer 2.
