//! Calls into code that may panic on hostile bytes: the panic becomes an error, and nothing is printed for it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use crate::error::{Error, Result as Outcome, escape};

/// Longest text of a foreign error that is passed on; longer ones may quote data.
const MAX_TEXT: usize = 160;
/// What the crates put before the text that matters.
const WRAPPINGS: [&str; 4] = ["Parquet error: ", "Parquet argument error: ", "External: ", "Arrow: "];

/// What is said of bytes on which foreign code panicked.
pub(crate) const PANICKED: &str = "it is corrupt: its bytes are not what the format allows";

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`; an error or a panic comes back as a short, escaped text.
pub(crate) fn guarded<T, E: std::fmt::Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    silence_guarded_threads();
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(short(&error.to_string())),
        Err(_) => Err(PANICKED.into()),
    }
}

/// Runs `call` on a thread that reads `path`; a panic becomes an error of that file, on whatever thread it is.
///
/// # Errors
/// Those of `call`; [`Error::Corrupt`] for a panic.
pub(crate) fn guarded_read<T>(path: &Path, call: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    guarded(|| Ok::<_, String>(call())).unwrap_or_else(|problem| {
        Err(Error::Corrupt {
            path: path.into(),
            row_group: None,
            column: None,
            reason: problem,
        })
    })
}

/// A hook, set once, that stays silent inside [`guarded`] and hands every other panic to the hook before it.
fn silence_guarded_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                previous(info);
            }
        }));
    });
}

/// The beginning of a foreign error's text, on one line and without control characters.
pub(crate) fn short(text: &str) -> String {
    let mut text = text;
    while let Some(rest) = WRAPPINGS.iter().find_map(|wrapping| text.strip_prefix(wrapping)) {
        text = rest;
    }
    let cut: String = text.chars().take(MAX_TEXT).collect();
    escape(&cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_guard_ends_with_the_call() {
        let result = guarded(|| -> Result<(), String> { panic!("hostile") });
        assert!(result.is_err());
        assert!(!GUARDED.get());
        assert_eq!(guarded(|| Ok::<_, String>(7)), Ok(7));
    }

    #[test]
    fn a_panic_while_a_file_is_read_names_the_file() {
        let error = guarded_read(Path::new("a.csv"), || -> Outcome<()> { panic!("hostile") }).unwrap_err();
        assert_eq!(error.to_string(), format!("a.csv: {PANICKED}"));
        assert_eq!(guarded_read(Path::new("a.csv"), || Ok(7)).unwrap(), 7);
        let other = guarded_read(Path::new("a.csv"), || -> Outcome<()> { Err(Error::NoRows) });
        assert!(matches!(other, Err(Error::NoRows)));
    }

    #[test]
    fn a_long_text_is_cut_and_escaped() {
        let text = guarded(|| Err::<(), _>(format!("\u{1b}{}", "x".repeat(1000)))).unwrap_err();
        assert!(text.starts_with("\\u{1b}x") && text.len() < 200);
        assert_eq!(short("Parquet argument error: Parquet error: broken"), "broken");
    }
}
