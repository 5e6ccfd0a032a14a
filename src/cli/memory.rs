//! `--memory`: the limit that a command keeps, and where what is beyond it goes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use kohort::sys::{MIN_LIMIT, free_memory_bytes, keep_within, most_spilled_bytes, spilling_was_refused};
use kohort::{Error, Result};

use super::output::{Output, bytes_in_words};

/// What a command takes of the memory that is free, unless told otherwise.
const USUAL_SHARE: f64 = 0.8;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct MemoryArgs {
    /// Memory to keep within, such as 2GB, 750MiB or 50% (of what is free); what does not fit goes to files on disk,
    /// and the segments are the same [default: 80%]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<MemorySize>,

    /// Folder for those files, which have no names and are gone when the command ends [default: beside the output]
    #[arg(long, value_name = "DIR")]
    pub(crate) spill_dir: Option<PathBuf>,
}

/// A size as typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MemorySize {
    Bytes(u64),
    ShareOfFree(f64),
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a size such as 2GB, 750MiB or 50%".to_owned();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: f64 = number.parse().map_err(|_| expected())?;
        let bytes = match unit.trim().to_ascii_lowercase().as_str() {
            "%" if number > 0.0 && number <= 100.0 => return Ok(Self::ShareOfFree(number / 100.0)),
            "" | "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1024f64.powi(2),
            "gib" => 1024f64.powi(3),
            "tib" => 1024f64.powi(4),
            _ => return Err(expected()),
        };
        let bytes = number * bytes;
        if bytes < MIN_LIMIT as f64 {
            return Err(format!("at least {} MiB are needed", MIN_LIMIT >> 20));
        }
        Ok(Self::Bytes(bytes as u64)) // saturates
    }
}

/// A limit that is kept from here on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limit {
    /// Bytes; `None` where the system does not say what is free, and nothing was asked for.
    pub(crate) bytes: Option<u64>,
    /// Where the rest goes.
    pub(crate) folder: PathBuf,
}

impl MemoryArgs {
    /// What is asked for, or usual. `beside` is the output, where there is one.
    pub(crate) fn limit(&self, beside: Option<&Path>) -> Limit {
        let share = |share: f64| free_memory_bytes().map(|free| ((free as f64 * share) as u64).max(MIN_LIMIT));
        let folder = self
            .spill_dir
            .clone()
            .unwrap_or_else(|| match beside.map(Path::parent) {
                Some(Some(folder)) if folder.as_os_str().is_empty() => ".".into(),
                Some(Some(folder)) => folder.into(),
                _ => std::env::temp_dir(),
            });
        Limit {
            bytes: match self.memory {
                Some(MemorySize::Bytes(bytes)) => Some(bytes),
                Some(MemorySize::ShareOfFree(part)) => share(part),
                None => share(USUAL_SHARE),
            },
            folder,
        }
    }

    /// Keeps that limit from here on.
    ///
    /// # Errors
    /// [`Error::Io`] where a limit or a folder was asked for, and no file can be made there.
    pub(crate) fn keep(&self, beside: Option<&Path>) -> Result<Limit> {
        let limit = self.limit(beside);
        let Some(bytes) = limit.bytes else { return Ok(limit) };
        match keep_within(bytes, &limit.folder) {
            Err(error) if self.memory.is_some() || self.spill_dir.is_some() => {
                Err(Error::io("make files for --memory in", &limit.folder)(error))
            }
            Err(_) => Ok(Limit { bytes: None, ..limit }),
            Ok(()) => Ok(limit),
        }
    }
}

impl Limit {
    /// Says what was kept on disk, where anything was.
    pub(crate) fn tell(&self, output: Output) {
        let (spilled, Some(limit)) = (most_spilled_bytes(), self.bytes) else {
            return;
        };
        let folder = kohort::error::escape(&self.folder.to_string_lossy());
        if spilled > 0 {
            output.note(&format!(
                "memory: {} did not fit in {}, and stood in files in {folder} meanwhile",
                bytes_in_words(spilled),
                bytes_in_words(limit)
            ));
        }
        if spilling_was_refused() {
            output.warning(&format!(
                "the disk of {folder} has no room for all that did not fit in {}: the rest was in memory all the same",
                bytes_in_words(limit)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let size = |text: &str| text.parse::<MemorySize>();
        assert_eq!(size("2GB"), Ok(MemorySize::Bytes(2_000_000_000)));
        assert_eq!(size("1.5 gib"), Ok(MemorySize::Bytes(3 << 29)));
        assert_eq!(size("671088640"), Ok(MemorySize::Bytes(640 << 20)));
        assert_eq!(size("25%"), Ok(MemorySize::ShareOfFree(0.25)));
        for wrong in ["", "GB", "2XB", "-1GB", "1.2.3GB", "0%", "101%", "1e9", "nan", "670MB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
