//! What a URL names, as a list of objects: one, all below a folder, or those that a glob matches. The rules are those for
//! files.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use futures_util::StreamExt;
use glob::{MatchOptions, Pattern};
use object_store::ObjectStore;
use object_store::path::Path;

use super::object::{Identity, head, keep_listed, keep_query, key_of};
use super::stores::{Problem, store_of};
use super::wait;
use crate::data::format::Format;
use crate::data::source::{is_hidden, no_glob, refuse_several_formats};
use crate::data::url::{Address, Scheme};
use crate::error::{Error, Result};

/// Objects that are listed, at most.
const MAX_OBJECTS: usize = 1_000_000;

/// The objects that an address names, as URLs without secrets, in order of their bytes.
///
/// # Errors
/// [`Error::NotFound`], [`Error::ObjectUnread`], [`Error::FileRefused`] for several formats in one folder,
/// [`Error::InvalidParam`] for what is no glob.
pub(crate) fn expand(address: &Address) -> Result<Vec<PathBuf>> {
    let clean = address.clean();
    let store = store_of(address)?;
    let key = address.key.trim_end_matches('/');
    let named = Address {
        key: key.to_owned(),
        ..address.clone()
    };
    if address.scheme == Scheme::Http {
        if key.is_empty() || address.key.ends_with('/') || address.key.contains('*') {
            return Err(Error::FileRefused {
                path: clean.into(),
                reason: "names no single file, and https:// has no list of files: name each".into(),
            });
        }
        keep_query(address);
    }
    let has_glob = key.contains(['*', '?', '[']);
    if !address.key.ends_with('/') && !key.is_empty() {
        match wait(head(&*store, &key_of(&named)?))? {
            Ok(identity) => {
                keep_listed(named.clean(), identity);
                return Ok(vec![named.clean().into()]);
            }
            // A folder is no object.
            Err(Problem::Missing | Problem::NoBucket) if address.scheme != Scheme::Http => {}
            Err(problem) => return Err(problem.of(&clean)),
        }
    }
    if has_glob {
        return matches(&*store, &named, address.key.ends_with('/'));
    }
    let keys = list(&*store, &named, &key_of(&named)?)?;
    if keys.is_empty() && !key.is_empty() {
        return Err(Error::NotFound { path: clean.into() });
    }
    below(address, key, &keys)
}

/// The keys of all objects below a folder, sorted; those that only stand for a folder are left out.
fn list(store: &dyn ObjectStore, named: &Address, folder: &Path) -> Result<BTreeSet<String>> {
    let failed = |problem: Problem| problem.of(&named.clean());
    let mut stream = store.list(Some(folder));
    let mut found = Vec::new();
    while let Some(meta) = wait(stream.next())? {
        let meta = meta.map_err(|error| failed(Problem::told_by(&error)))?;
        if found.len() >= MAX_OBJECTS {
            return Err(Error::FileRefused {
                path: named.clean().into(),
                reason: format!("holds more than {MAX_OBJECTS} objects"),
            });
        }
        found.push((String::from(meta.location.clone()), Identity::of(&meta)));
    }
    let keys: BTreeSet<String> = found.iter().map(|(key, _)| key.clone()).collect();
    let stands_for_folder = |key: &String| {
        let folder = format!("{key}/");
        keys.range(folder.clone()..)
            .next()
            .is_some_and(|next| next.starts_with(&folder))
    };
    let kept = { found.into_iter() }.filter(|(key, identity)| !identity.is_empty() || !stands_for_folder(key));
    let keep = |(key, identity): (String, Identity)| {
        keep_listed(format!("{}/{key}", named.root), identity);
        key
    };
    Ok(kept.map(keep).collect())
}

/// The data files below a folder.
fn below(address: &Address, folder: &str, keys: &BTreeSet<String>) -> Result<Vec<PathBuf>> {
    let start = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let is_data = |key: &&String| {
        let below = key.strip_prefix(&start);
        below.is_some_and(|below| !FilePath::new(below).iter().any(|part| is_hidden(FilePath::new(part))))
            && Format::by_name(FilePath::new(key)).is_some()
    };
    let files: Vec<PathBuf> = { keys.iter().filter(is_data) }
        .map(|key| format!("{}/{key}", address.root).into())
        .collect();
    let url = format!("{}/{folder}", address.root);
    refuse_several_formats(FilePath::new(&url), &files)?;
    Ok(files)
}

/// Objects that a glob matches, and what is below the folders that it matches.
fn matches(store: &dyn ObjectStore, named: &Address, folders_only: bool) -> Result<Vec<PathBuf>> {
    let pattern = Pattern::new(&named.key).map_err(|error| no_glob(&named.clean(), error.msg))?;
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let fixed = named.key.find(['*', '?', '[']).unwrap_or(0);
    let folder = named.key[..fixed].rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder_key = Path::parse(folder).map_err(|_| Problem::NoName.of(&named.clean()))?;
    let keys = list(store, named, &folder_key)?;
    let mut found: BTreeSet<(&str, bool)> = BTreeSet::new();
    for key in &keys {
        let ends = key.match_indices('/').map(|(at, _)| (&key[..at], true));
        let names = ends.chain((!folders_only).then_some((key.as_str(), false)));
        found.extend(names.filter(|(name, _)| pattern.matches_with(name, options) && !is_hidden(FilePath::new(name))));
    }
    let mut files = Vec::new();
    for (name, is_folder) in found {
        match is_folder {
            true => files.extend(below(named, name, &keys)?),
            false => files.push(format!("{}/{name}", named.root).into()),
        }
    }
    Ok(files)
}
