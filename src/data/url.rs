//! Names of objects in stores and behind https, told apart from paths and taken to pieces.

use std::path::Path;

use crate::error::{Error, Result, told};

/// The kind of store that a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    S3,
    Google,
    Azure,
    Http,
}

/// How URLs of each kind begin.
const SCHEMES: [(&str, Scheme); 10] = [
    ("s3://", Scheme::S3),
    ("s3a://", Scheme::S3),
    ("gs://", Scheme::Google),
    ("az://", Scheme::Azure),
    ("azure://", Scheme::Azure),
    ("adl://", Scheme::Azure),
    ("abfs://", Scheme::Azure),
    ("abfss://", Scheme::Azure),
    ("https://", Scheme::Http),
    ("http://", Scheme::Http),
];

/// An object, a folder of objects or a glob over them. Nothing in it is secret but the query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "object-store"),
    allow(dead_code, reason = "without object stores an address is only told")
)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    /// Scheme and bucket, or host: `s3://bucket`.
    pub(crate) root: String,
    /// What follows the first `/` after the root.
    pub(crate) key: String,
    /// What follows `?` in a URL of a host: often a signature.
    pub(crate) query: Option<String>,
}

/// Whether a path is the URL of an object, and nothing on this machine.
#[must_use]
pub fn is_remote(path: &Path) -> bool {
    path.to_str().is_some_and(|text| scheme_of(text).is_some())
}

fn scheme_of(text: &str) -> Option<(&str, Scheme)> {
    let (start, _) = text.split_once("://")?;
    let known = SCHEMES.iter().find(|(known, _)| {
        known
            .strip_suffix("://")
            .is_some_and(|known| start.eq_ignore_ascii_case(known))
    });
    known.map(|&(_, scheme)| (&text[..start.len() + 3], scheme))
}

impl Address {
    /// What a URL names; `None` for a path.
    ///
    /// # Errors
    /// [`Error::FileRefused`] for a URL without a bucket, with a password in it, or one that is not encrypted.
    pub(crate) fn of(text: &str) -> Result<Option<Self>> {
        let Some((start, scheme)) = scheme_of(text) else {
            return Ok(None);
        };
        let refuse = |reason: &str| {
            Err(Error::FileRefused {
                path: told(text).into_owned().into(),
                reason: reason.into(),
            })
        };
        let rest = &text[start.len()..];
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        let (key, query) = match scheme {
            Scheme::Http => {
                let key = key.split_once('#').map_or(key, |(key, _)| key);
                let (key, query) = key.split_once('?').unwrap_or((key, ""));
                (key, (!query.is_empty()).then(|| query.to_owned()))
            }
            _ => (key, None),
        };
        let container = authority.split_once('@');
        if container.is_some_and(|(user, _)| scheme != Scheme::Azure || user.contains(':')) {
            return refuse("has a user or a password in it, which are not taken from there");
        }
        if authority.is_empty() || container.is_some_and(|(user, host)| user.is_empty() || host.is_empty()) {
            return refuse("names no bucket");
        }
        // Brackets stand around addresses of the sixth version.
        let is_odd = |c: char| "*?#\\".contains(c) || c.is_whitespace() || (c == '[' && scheme != Scheme::Http);
        if authority.contains(is_odd) {
            return refuse("has a glob, or what no name can have, in place of its bucket");
        }
        if start.eq_ignore_ascii_case("http://") && !is_loopback(authority) {
            return refuse("is not encrypted: take https://; http:// is read from this machine alone");
        }
        if scheme != Scheme::Http && told(text).len() < text.len() {
            return refuse("has a query after ?, which no object's name needs");
        }
        Ok(Some(Self {
            scheme,
            root: format!("{}{authority}", start.to_ascii_lowercase()),
            key: key.to_owned(),
            query,
        }))
    }

    /// The URL without its query: what may be told and written down.
    pub(crate) fn clean(&self) -> String {
        format!("{}/{}", self.root, self.key)
    }
}

/// Whether a host and port are this machine's own.
fn is_loopback(authority: &str) -> bool {
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let host = match bracketed {
        Some((host, _)) => host,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::of(text).unwrap().unwrap()
    }

    #[test]
    fn a_url_is_root_and_key() {
        for (text, scheme, root, key) in [
            (
                "s3://bucket/a b/c%20=[1].parquet",
                Scheme::S3,
                "s3://bucket",
                "a b/c%20=[1].parquet",
            ),
            ("S3A://bucket", Scheme::S3, "s3a://bucket", ""),
            (
                "gs://b/dt=?/h=*/x.parquet",
                Scheme::Google,
                "gs://b",
                "dt=?/h=*/x.parquet",
            ),
            ("az://c/d/", Scheme::Azure, "az://c", "d/"),
            (
                "abfss://c@a.dfs.core.windows.net/d",
                Scheme::Azure,
                "abfss://c@a.dfs.core.windows.net",
                "d",
            ),
            ("http://[::1]:80/a.csv", Scheme::Http, "http://[::1]:80", "a.csv"),
        ] {
            let found = address(text);
            assert_eq!(
                (found.scheme, found.root.as_str(), found.key.as_str()),
                (scheme, root, key)
            );
            assert_eq!(found.query, None);
        }
        for path in ["a/b.parquet", "-", "s3:/b/k", "ftp://h/x", "C://x", "a://b"] {
            assert!(
                !is_remote(Path::new(path)) && Address::of(path).unwrap().is_none(),
                "{path}"
            );
        }
    }

    #[test]
    fn the_query_of_a_host_is_kept_apart() {
        let found = address("https://host:8443/a/b.parquet?X-Sig=secret#part");
        assert_eq!(found.clean(), "https://host:8443/a/b.parquet");
        assert_eq!(found.query.as_deref(), Some("X-Sig=secret"));
        assert_eq!(address("https://host/a?").query, None);
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_its_secrets() {
        for text in [
            "https://user:secret@host/a.parquet",
            "s3://secret:secret@bucket/a",
            "az://c:secret@account/a",
            "s3://bucket/a.parquet?X-Amz-Signature=secret",
            "http://host/a.parquet?sig=secret",
            "http://127.0.0.1.host/a",
            "s3://",
            "s3:///a",
            "az://@h/a",
            "s3://b*/a",
        ] {
            let error = Address::of(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
