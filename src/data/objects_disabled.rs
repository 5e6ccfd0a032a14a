//! What stands in for object stores in a build without them: nothing can be opened.

use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::url::Address;
use crate::error::{Error, Result};

/// An object, of which there is none.
#[derive(Clone)]
pub(crate) struct Object(Infallible);

/// An object that is being read, of which there is none.
#[derive(Clone)]
pub(crate) struct Reading(Infallible);

/// Refuses what an address names.
///
/// # Errors
/// [`Error::NoObjectStores`].
pub(crate) fn expand(address: &Address) -> Result<Vec<PathBuf>> {
    let path = address.clean().into();
    Err(Error::NoObjectStores { path })
}

/// Nothing waits for a network.
pub fn stop_waiting_with(_stop: fn() -> Result<()>) {}

/// No URL is known.
#[must_use]
pub fn has_query(_path: &Path) -> bool {
    false
}

impl Object {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        Err(Error::NoObjectStores { path })
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn state(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn etag(&self) -> Option<&str> {
        match self.0 {}
    }

    pub(crate) fn sound(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn unchanged(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn stream(&self, _take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self.0 {}
    }
}

impl Reading {
    pub(crate) fn new(object: Object) -> Self {
        match object.0 {}
    }

    pub(crate) fn state(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn ahead(&self, _ranges: Vec<Range<u64>>) -> Self {
        match self.0 {}
    }

    pub(crate) fn bytes_at(&self, _range: Range<u64>) -> std::io::Result<Bytes> {
        match self.0 {}
    }
}
