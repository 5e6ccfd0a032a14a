//! The clients of stores, and what their errors mean. Nothing that a store says is passed on: its texts may hold URLs with
//! signatures, headers and keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use crate::data::url::{Address, Scheme};
use crate::error::{Error, Result};

/// How long a connection may take to be made, and how long nothing may come through one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a request may take as a whole: only silence ends one.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Why an object cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    NoBucket,
    Denied,
    /// It is not what it was when it was first seen.
    Changed,
    /// The store says that the bucket is elsewhere.
    Elsewhere,
    /// Its name is none that this kind of store has.
    NoName,
    /// What the environment says about the store makes no sense.
    Settings,
    /// The server sends whole files only.
    NoRanges,
    /// Nothing tells one state of the object from another.
    NoIdentity,
    CutShort,
    NoMemory,
    Status(u16),
    NoConnection,
    NotEncrypted,
    TimedOut,
    BrokenOff,
    Unexpected,
}

const DENIED: &str = "credentials come from the environment: AWS_*, GOOGLE_* or AZURE_*; see \"Data in object stores\" in the \
                      README";
const SETTINGS: &str = "look at AWS_*, GOOGLE_* or AZURE_* in the environment";
const NETWORK: &str = "try again, or look at the address, the network and the endpoint in the environment";
const DOWNLOAD: &str = "download it, and name the copy";

impl Problem {
    /// The error of what is named by `clean`, a URL without secrets.
    pub(super) fn of(self, clean: &str) -> Error {
        let path = PathBuf::from(clean);
        let (problem, hint): (&str, _) = match self {
            Self::Missing => return Error::NotFound { path },
            Self::Changed => return Error::FileChanged { path },
            Self::NoMemory => {
                return Error::OutOfMemory {
                    what: format!("a part of {clean}"),
                    bytes: 0,
                };
            }
            Self::Status(status) => {
                return Error::ObjectUnread {
                    path,
                    problem: format!("the store answered with status {status}"),
                    hint: Some(if status < 500 { SETTINGS } else { NETWORK }),
                };
            }
            Self::NoBucket => ("there is no such bucket or container", SETTINGS),
            Self::Denied => ("access is denied", DENIED),
            Self::Elsewhere => (
                "the bucket is in another region",
                "set AWS_REGION to the bucket's region",
            ),
            Self::NoName => ("no object can have this name", "name it as the store lists it"),
            Self::Settings => ("its store cannot be reached with these settings", SETTINGS),
            Self::NoRanges => ("the server gives no parts of files", DOWNLOAD),
            Self::NoIdentity => (
                "the server tells neither ETag nor Last-Modified, so that a change would go unseen",
                DOWNLOAD,
            ),
            Self::CutShort => ("the store sent less than it said", NETWORK),
            Self::NoConnection => ("no connection can be made", NETWORK),
            Self::NotEncrypted => (
                "its endpoint is not encrypted",
                "AWS_ALLOW_HTTP=true, or AZURE_ALLOW_HTTP=true, allows that",
            ),
            Self::TimedOut => ("the store took too long to answer", NETWORK),
            Self::BrokenOff => ("the connection broke off", NETWORK),
            Self::Unexpected => ("the store answered with what cannot be understood", NETWORK),
        };
        Error::ObjectUnread {
            path,
            problem: problem.into(),
            hint: Some(hint),
        }
    }

    /// What an error of the crate means.
    pub(super) fn told_by(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { source, .. } => {
                let text = source.to_string();
                let is_bucket = text.contains("NoSuchBucket") || text.contains("ContainerNotFound");
                if is_bucket { Self::NoBucket } else { Self::Missing }
            }
            E::Precondition { .. } => Self::Changed,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Denied,
            E::InvalidPath { .. } => Self::NoName,
            E::UnknownConfigurationKey { .. } => Self::Settings,
            E::NotSupported { .. } => Self::NoRanges,
            other => Self::in_chain(other),
        }
    }

    /// What went wrong below an error that has no kind of its own.
    fn in_chain(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(error) = error.downcast_ref::<HttpError>() {
                return match error.kind() {
                    HttpErrorKind::Connect => Self::NoConnection,
                    HttpErrorKind::Timeout => Self::TimedOut,
                    HttpErrorKind::Request | HttpErrorKind::Interrupted => Self::BrokenOff,
                    _ if chain_has(error, "scheme is not allowed") => Self::NotEncrypted,
                    _ => Self::Unexpected,
                };
            }
            at = error.source();
        }
        // The crate keeps these kinds to itself; its words are looked at, and not passed on.
        let text = error.to_string();
        if let Some((_, after)) = text.split_once("status code: ") {
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            return match digits.parse() {
                Ok(401 | 403) => Self::Denied,
                Ok(404) if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") => Self::NoBucket,
                Ok(404) => Self::Missing,
                Ok(301 | 307 | 308) => Self::Elsewhere,
                Ok(status) => Self::Status(status),
                Err(_) => Self::Unexpected,
            };
        }
        if text.contains("incorrectly configured region") {
            Self::Elsewhere
        } else if text.contains("non-partial response") {
            Self::NoRanges
        } else {
            Self::Unexpected
        }
    }
}

/// Whether an error, or one below it, says so.
fn chain_has(error: &(dyn std::error::Error + 'static), text: &str) -> bool {
    error.to_string().contains(text) || error.source().is_some_and(|source| chain_has(source, text))
}

/// Clients by root and query.
type Stores = HashMap<(String, Option<String>), Arc<dyn ObjectStore>>;

/// The client of the store that an address is in; one for each bucket, or host.
///
/// # Errors
/// [`Error::ObjectUnread`] where the environment says nothing usable about it.
pub(super) fn store_of(address: &Address) -> Result<Arc<dyn ObjectStore>> {
    static STORES: Mutex<Option<Stores>> = Mutex::new(None);
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let stores = stores.get_or_insert_default();
    let key = (address.root.clone(), address.query.clone());
    if let Some(store) = stores.get(&key) {
        return Ok(Arc::clone(store));
    }
    let store = built(address).map_err(|error| {
        let problem = match Problem::told_by(&error) {
            Problem::Unexpected => Problem::Settings,
            other => other,
        };
        problem.of(&address.clean())
    })?;
    stores.insert(key, Arc::clone(&store));
    Ok(store)
}

fn built(address: &Address) -> object_store::Result<Arc<dyn ObjectStore>> {
    let bucket = address.root.split_once("://").map_or("", |(_, bucket)| bucket);
    let times = [
        (ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT),
        (ClientConfigKey::ReadTimeout, READ_TIMEOUT),
        (ClientConfigKey::Timeout, TIMEOUT),
    ];
    let times = times.map(|(key, time)| (key, format!("{}s", time.as_secs())));
    Ok(match address.scheme {
        Scheme::S3 => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry());
            let set = |builder: AmazonS3Builder, (key, time)| builder.with_config(AmazonS3ConfigKey::Client(key), time);
            Arc::new(times.into_iter().fold(builder, set).build()?)
        }
        Scheme::Google => {
            let builder = GoogleCloudStorageBuilder::from_env();
            let builder = builder.with_bucket_name(bucket).with_retry(retry());
            let set = |builder: GoogleCloudStorageBuilder, (key, time)| {
                builder.with_config(GoogleConfigKey::Client(key), time)
            };
            Arc::new(times.into_iter().fold(builder, set).build()?)
        }
        Scheme::Azure => {
            let builder = MicrosoftAzureBuilder::from_env();
            let builder = builder.with_url(address.root.as_str()).with_retry(retry());
            let set =
                |builder: MicrosoftAzureBuilder, (key, time)| builder.with_config(AzureConfigKey::Client(key), time);
            Arc::new(times.into_iter().fold(builder, set).build()?)
        }
        Scheme::Http => {
            let query = address.query.as_deref().map(|query| format!("?{query}"));
            let options = ClientOptions::new().with_allow_http(address.root.starts_with("http://"));
            let set = |options: ClientOptions, (key, time)| options.with_config(key, time);
            let builder = HttpBuilder::new()
                .with_url(format!("{}/{}", address.root, query.unwrap_or_default()))
                .with_client_options(times.into_iter().fold(options, set))
                .with_retry(retry());
            Arc::new(builder.build()?)
        }
    })
}

/// A store that cannot be reached is given up after some seconds, not minutes.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
    }
}
