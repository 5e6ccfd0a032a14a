//! The servers that were started for these tests, and objects put into them.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The bucket, or container, that is there.
pub(crate) const BUCKET: &str = "kohort";
/// The account that every emulator of Azure has; its key is public.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The key that the S3-compatible server knows.
const S3_KEY: &str = "S3RVER";

/// A store, with what the program is told about it in its environment.
pub(crate) struct Store {
    /// How URLs of its objects begin, up to the bucket.
    pub(crate) root: &'static str,
    pub(crate) variables: Vec<(String, String)>,
    client: Arc<dyn ObjectStore>,
}

/// Where a server is; `None`, and said so, where it was not started.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn server(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok();
    if found.is_none() {
        assert!(
            std::env::var_os("KOHORT_REQUIRE_STORES").is_none(),
            "{variable} is not set, and KOHORT_REQUIRE_STORES demands the server"
        );
        eprintln!("SKIPPED: {variable} is not set; .ci/object-stores starts the server");
    }
    found
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}

/// What the program is told of an S3-compatible server at `endpoint`.
pub(crate) fn s3_variables(endpoint: &str) -> Vec<(String, String)> {
    variables(&[
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", S3_KEY),
        ("AWS_SECRET_ACCESS_KEY", S3_KEY),
        ("AWS_REGION", "us-east-1"),
    ])
}

/// Where the S3-compatible server is.
pub(crate) fn s3_endpoint() -> Option<String> {
    server("KOHORT_TEST_S3")
}

pub(crate) fn s3() -> Option<Store> {
    let endpoint = s3_endpoint()?;
    let client = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_access_key_id(S3_KEY)
        .with_secret_access_key(S3_KEY)
        .build();
    Some(Store {
        root: "s3://kohort",
        variables: s3_variables(&endpoint),
        client: Arc::new(client.unwrap()),
    })
}

/// The S3-compatible server as Google's XML interface, which answers alike.
pub(crate) fn google() -> Option<Store> {
    let endpoint = s3_endpoint()?;
    let account = serde_json::json!({
        "gcs_base_url": endpoint, "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": "",
    });
    Some(Store {
        root: "gs://kohort",
        variables: variables(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &account.to_string())]),
        ..s3()?
    })
}

pub(crate) fn azure() -> Option<Store> {
    let server = server("KOHORT_TEST_AZURE")?;
    let client = MicrosoftAzureBuilder::new()
        .with_endpoint(format!("{server}/{ACCOUNT}"))
        .with_allow_http(true)
        .with_account(ACCOUNT)
        .with_access_key(ACCOUNT_KEY)
        .with_container_name(BUCKET)
        .build();
    Some(Store {
        root: "az://kohort",
        variables: variables(&[
            ("AZURE_STORAGE_ENDPOINT", &format!("{server}/{ACCOUNT}")),
            ("AZURE_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
        ]),
        client: Arc::new(client.unwrap()),
    })
}

impl Store {
    /// Puts objects below a folder, which no other test has.
    pub(crate) fn put(&self, folder: &str, files: &[(&str, Vec<u8>)]) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for (name, bytes) in files {
                let path = Path::parse(format!("{folder}/{name}")).unwrap();
                self.client.put(&path, bytes.clone().into()).await.unwrap();
            }
        });
    }

    /// The URL of what is below a folder.
    pub(crate) fn url(&self, folder: &str, name: &str) -> String {
        format!("{}/{folder}/{name}", self.root)
    }

    /// The variables with one of them changed.
    pub(crate) fn variables_but(&self, changed: &str, value: &str) -> Vec<(String, String)> {
        let mut variables = self.variables.clone();
        let place = variables.iter_mut().find(|(name, _)| name == changed);
        place.expect("a variable that is set").1 = value.into();
        variables
    }
}
