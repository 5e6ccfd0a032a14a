//! One object: what it is, and its bytes by range.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use tokio::sync::Semaphore;

use super::ahead::Ahead;
use super::stores::{Problem, store_of};
use super::wait;
use crate::data::url::{Address, Scheme};
use crate::error::{Error, Result};

/// Requests for bytes at a time, of all threads.
const REQUESTS: usize = 16;
/// Bytes at the beginning and at the end of an object that are fetched when it is opened: what tells its format, and the
/// footer of most Parquet files.
const HEAD_BYTES: u64 = 512;
const TAIL_BYTES: u64 = 64 << 10;

static PERMITS: Semaphore = Semaphore::const_new(REQUESTS);

/// What tells one state of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    bytes: u64,
    /// Without quotes around it; with `W/` before it where equal ones do not mean equal bytes.
    etag: Option<String>,
    /// In whole seconds, as headers tell it.
    modified: i64,
}

impl Identity {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let bare = |etag: &String| etag.trim_matches('"').to_owned();
        Self {
            bytes: meta.size,
            etag: meta.e_tag.as_ref().map(bare).filter(|etag| !etag.is_empty()),
            modified: meta.last_modified.timestamp(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same_state = match (&self.etag, &other.etag) {
            (Some(etag), Some(other)) => etag == other,
            _ => self.modified == other.modified,
        };
        self.bytes == other.bytes && is_same_state
    }

    /// The ETag, where equal ones mean equal bytes.
    fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn check_known(&self) -> Result<(), Problem> {
        match self.etag.is_none() && self.modified == 0 {
            true => Err(Problem::NoIdentity),
            false => Ok(()),
        }
    }
}

/// What was listed, until it is opened; and the queries of URLs that were named.
static LISTED: Mutex<Option<HashMap<String, Identity>>> = Mutex::new(None);
static QUERIES: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

/// Keeps what an object was when it was listed: it must be the same when it is opened.
pub(super) fn keep_listed(clean: String, identity: Identity) {
    let mut listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
    listed.get_or_insert_default().insert(clean, identity);
}

/// Keeps the query of a URL for when it is opened, by its name without one.
pub(super) fn keep_query(address: &Address) {
    if let Some(query) = &address.query {
        let mut queries = QUERIES.lock().unwrap_or_else(PoisonError::into_inner);
        queries.get_or_insert_default().insert(address.clean(), query.clone());
    }
}

/// Whether a URL was named with a query, which its name does not tell.
#[must_use]
pub fn has_query(path: &FilePath) -> bool {
    let queries = QUERIES.lock().unwrap_or_else(PoisonError::into_inner);
    let name = path.to_str().unwrap_or_default();
    queries.as_ref().is_some_and(|queries| queries.contains_key(name))
}

/// The name of an object as its store has it.
pub(super) fn key_of(address: &Address) -> Result<Path> {
    let key = match address.scheme {
        Scheme::Http => Path::from_url_path(&address.key),
        _ => Path::parse(&address.key),
    };
    key.map_err(|_| Problem::NoName.of(&address.clean()))
}

/// An object as it was when it was first seen.
#[derive(Clone)]
pub(crate) struct Object(Arc<Inner>);

struct Inner {
    clean: String,
    store: Arc<dyn ObjectStore>,
    key: Path,
    identity: Identity,
    /// The first bytes, and the last ones with where they begin.
    head: Bytes,
    tail: (u64, Bytes),
    /// What went wrong first.
    failed: Mutex<Option<Problem>>,
}

impl Object {
    /// Looks at an object for the first time, and fetches its ends.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ObjectUnread`]; [`Error::FileChanged`] where it is not what was listed.
    pub(crate) fn open(path: &FilePath) -> Result<Self> {
        let name = path.to_str().unwrap_or_default();
        let mut address = Address::of(name)?.ok_or_else(|| Error::Internal("a path was opened as an object".into()))?;
        if address.query.is_none() {
            let queries = QUERIES.lock().unwrap_or_else(PoisonError::into_inner);
            address.query = queries.as_ref().and_then(|queries| queries.get(name).cloned());
        }
        let clean = address.clean();
        let (store, key) = (store_of(&address)?, key_of(&address)?);
        let listed = {
            let listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
            listed.as_ref().and_then(|listed| listed.get(&clean).cloned())
        };
        let identity = match listed {
            Some(identity) => identity,
            None => wait(head(&*store, &key))?.map_err(|problem| problem.of(&clean))?,
        };
        identity.check_known().map_err(|problem| problem.of(&clean))?;
        let mut object = Inner {
            clean,
            store,
            key,
            identity,
            head: Bytes::new(),
            tail: (0, Bytes::new()),
            failed: Mutex::new(None),
        };
        object.fetch_ends()?;
        let mut listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listed) = listed.as_mut() {
            listed.remove(&object.clean);
        }
        drop(listed);
        Ok(Self(Arc::new(object)))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.identity.bytes
    }

    /// What tells its state from others, for another process.
    pub(crate) fn state(&self) -> String {
        let Identity { bytes, etag, modified } = &self.0.identity;
        match etag {
            Some(etag) => format!("{bytes}-{etag}"),
            None => format!("{bytes}-{modified}"),
        }
    }

    /// The ETag, where equal ones mean equal bytes.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.0.identity.strong()
    }

    /// Whether no request for it has failed so far. Every answer was held against what the object was at first, so that
    /// bytes of another never came through.
    ///
    /// # Errors
    /// That of the first request that failed; [`Error::FileChanged`] where the object was another.
    pub(crate) fn sound(&self) -> Result<()> {
        super::check_stop()?;
        match *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(problem) => Err(problem.of(&self.0.clean)),
            None => Ok(()),
        }
    }

    /// Asks the store whether it is still what it was.
    ///
    /// # Errors
    /// [`Error::FileChanged`]; those of the request.
    pub(crate) fn unchanged(&self) -> Result<()> {
        self.sound()?;
        let found = wait(head(&*self.0.store, &self.0.key))?;
        let found = found.map_err(|problem| match problem {
            Problem::Missing => Problem::Changed.of(&self.0.clean),
            other => other.of(&self.0.clean),
        })?;
        match self.0.identity.is_same(&found) {
            true => Ok(()),
            false => Err(Problem::Changed.of(&self.0.clean)),
        }
    }

    /// All bytes in order, as they come.
    ///
    /// # Errors
    /// Those of the request; whatever `take` returns.
    pub(crate) fn stream(&self, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let failed = |problem: Problem| problem.of(&self.0.clean);
        if self.bytes() == 0 {
            return Ok(());
        }
        let result = wait(self.0.get(None))?.map_err(failed)?;
        let mut stream = result.into_stream();
        let mut left = self.bytes();
        while let Some(block) = wait(stream.next())? {
            let block = block.map_err(|error| failed(Problem::told_by(&error)))?;
            left = left
                .checked_sub(block.len() as u64)
                .ok_or_else(|| failed(Problem::Changed))?;
            take(&block)?;
        }
        if left > 0 {
            Err(failed(Problem::CutShort))
        } else {
            Ok(())
        }
    }

    /// A request for bytes that runs by itself.
    pub(super) fn fetch(&self, range: Range<u64>) -> impl Future<Output = Result<Bytes, Problem>> + Send + 'static {
        let inner = Arc::clone(&self.0);
        async move { inner.fetch(range).await }
    }

    /// The bytes of a range that is at hand since the object was opened.
    fn at_hand(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, tail) = &self.0.tail;
        let within = |first: u64, bytes: &Bytes| {
            let from = usize::try_from(range.start.checked_sub(first)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(first)?).ok()?;
            (to <= bytes.len()).then(|| bytes.slice(from..to))
        };
        within(*start, tail).or_else(|| within(0, &self.0.head))
    }

    /// Keeps what went wrong, and makes it an error that readers pass on.
    pub(super) fn fail(&self, problem: Problem) -> std::io::Error {
        let mut failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = *failed.get_or_insert(problem);
        std::io::Error::other(problem.of(&self.0.clean).to_string())
    }
}

impl Inner {
    fn fetch_ends(&mut self) -> Result<()> {
        let bytes = self.identity.bytes;
        let tail = bytes.saturating_sub(TAIL_BYTES);
        let head = HEAD_BYTES.min(tail);
        let ends = async { tokio::join!(self.fetch(0..head), self.fetch(tail..bytes)) };
        let (first, last) = wait(ends)?;
        let failed = |problem: Problem| problem.of(&self.clean);
        (self.head, self.tail) = (first.map_err(failed)?, (tail, last.map_err(failed)?));
        Ok(())
    }

    async fn get(&self, range: Option<Range<u64>>) -> Result<object_store::GetResult, Problem> {
        // A weak ETag never matches.
        let if_match = self.identity.strong().map(|etag| format!("\"{etag}\""));
        let options = GetOptions::new()
            .with_range(range.map(GetRange::Bounded))
            .with_if_match(if_match);
        let result = self.store.get_opts(&self.key, options).await;
        let result = result.map_err(|error| match Problem::told_by(&error) {
            // It was there before.
            Problem::Missing => Problem::Changed,
            other => other,
        })?;
        match self.identity.is_same(&Identity::of(&result.meta)) {
            true => Ok(result),
            false => Err(Problem::Changed),
        }
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, Problem> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let len = usize::try_from(range.end - range.start).map_err(|_| Problem::NoMemory)?;
        let _permit = PERMITS.acquire().await.map_err(|_| Problem::Unexpected)?;
        let mut stream = self.get(Some(range)).await?.into_stream();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Problem::NoMemory)?;
        while let Some(block) = stream.next().await {
            let block = block.map_err(|error| Problem::told_by(&error))?;
            if block.len() > len - bytes.len() {
                return Err(Problem::Unexpected);
            }
            bytes.extend_from_slice(&block);
        }
        if bytes.len() < len {
            Err(Problem::CutShort)
        } else {
            Ok(bytes.into())
        }
    }
}

/// What an object is now.
pub(super) async fn head(store: &dyn ObjectStore, key: &Path) -> Result<Identity, Problem> {
    let options = GetOptions::new().with_head(true);
    let found = store.get_opts(key, options).await;
    found
        .map(|found| Identity::of(&found.meta))
        .map_err(|error| Problem::told_by(&error))
}

/// An object that is being read, with what of it is fetched ahead.
#[derive(Clone)]
pub(crate) struct Reading {
    object: Object,
    ahead: Option<Arc<Ahead>>,
}

impl Reading {
    pub(crate) fn new(object: Object) -> Self {
        Self { object, ahead: None }
    }

    /// [`Object::state`].
    pub(crate) fn state(&self) -> String {
        self.object.state()
    }

    /// The same, which fetches `ranges` before they are asked for.
    pub(crate) fn ahead(&self, ranges: Vec<Range<u64>>) -> Self {
        let ahead = Ahead::new(self.object.clone(), ranges);
        Self {
            object: self.object.clone(),
            ahead: Some(Arc::new(ahead)),
        }
    }

    /// The bytes of a range that lies in the object.
    pub(crate) fn bytes_at(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        if let Some(bytes) = self.object.at_hand(&range) {
            return Ok(bytes);
        }
        if let Some(bytes) = self.ahead.as_ref().and_then(|ahead| ahead.bytes_at(&range)) {
            return bytes;
        }
        let object = &self.object;
        match wait(object.0.fetch(range)) {
            Ok(fetched) => fetched.map_err(|problem| object.fail(problem)),
            Err(stopped) => Err(std::io::Error::other(stopped.to_string())),
        }
    }
}
