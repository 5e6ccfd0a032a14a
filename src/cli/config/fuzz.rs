//! Any bytes as a configuration file: what the fuzz target `config` does, and a test with mutations of its seeds.

// One piece of code, which the library has for its own tests alone.
#[cfg(test)]
#[path = "../../fuzzing/mutation.rs"]
#[allow(unreachable_pub, reason = "it is public there")]
mod mutation;

use std::ffi::OsString;
use std::sync::OnceLock;

use kohort::{Error, ErrorKind};

use super::{ConfigFile, Lines, Refusal};

/// What is typed beside the file.
const TYPED: [&[&str]; 4] = [
    &["kohort", "fit", "a.parquet"],
    &["kohort", "score", "a.parquet", "--model", "model.json"],
    &["kohort", "sweep"],
    &["kohort", "inspect", "a.parquet", "--json"],
];

/// Reads a configuration file of these bytes, and makes command lines with it.
///
/// # Panics
/// Where it is neither used nor refused with one clear error.
pub(crate) fn fuzz(bytes: &[u8]) {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(Lines::new);
    let named = tempfile::Builder::new().suffix(".toml").tempfile();
    let named = named.expect("a folder for temporary files");
    std::fs::write(named.path(), bytes).expect("room for temporary files");
    for words in TYPED {
        let line: Vec<OsString> = words.iter().map(Into::into).collect();
        let read = ConfigFile::read(named.path());
        match lines.resolve(&line, &|_| None, |_| read.map(Some)) {
            // What clap refuses is its own to say.
            Ok(Some(mut resolved)) => drop(lines.settle(&line, &mut resolved)),
            Ok(None) => panic!("{words:?} is no command that can be configured"),
            Err(Refusal::Usage(error)) => check(&error.to_string(), &[]),
            Err(Refusal::Error(error)) => {
                assert!(error.kind() == ErrorKind::Input, "{error}");
                let excerpt = match &error {
                    Error::BadSetting { excerpt, .. } => excerpt.as_bytes(),
                    _ => &[],
                };
                check(&error.to_string(), excerpt);
            }
        }
    }
}

/// Whether a message can be shown; the excerpt of the file in it may be in colours.
fn check(text: &str, excerpt: &[u8]) {
    assert!(text.len() <= 16 << 10, "a message of {} bytes", text.len());
    let text = text.replace(&*String::from_utf8_lossy(excerpt), "");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::mutation::Mutations;

    #[test]
    fn every_file_is_used_or_refused() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config");
        let mut paths: Vec<_> = { std::fs::read_dir(folder).unwrap() }
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(!paths.is_empty());
        for (number, path) in paths.iter().enumerate() {
            let bytes = std::fs::read(path).unwrap();
            super::fuzz(&bytes);
            for mutated in Mutations::new(&bytes, number as u64).take(30) {
                super::fuzz(&mutated);
            }
        }
    }
}
