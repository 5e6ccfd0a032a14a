//! Stdin, which can be read once, and objects that are read back and forth, as files that can be read any number of times.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::file::{Input, STDIN, refused};
use super::objects::Object;
use crate::error::{Error, Result};

/// Bytes copied at a time.
const STEP: usize = 1 << 20;
/// How often a wait for stdin asks whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// Copies stdin to a file without a name in the folder for temporary files: it is gone when the process is, however
/// that ends. `stop` is asked while stdin is waited for.
///
/// # Errors
/// [`Error::FileRefused`] for a terminal; those of reading and writing; what `stop` says.
pub(crate) fn spool(stop: Option<fn() -> Result<()>>) -> Result<Input> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let path = std::path::Path::new(STDIN);
        return Err(refused(path, "stands for data from a pipe, but stdin is a terminal"));
    }
    copied(stdin, stop)
}

fn copied(from: impl Read + Send + 'static, stop: Option<fn() -> Result<()>>) -> Result<Input> {
    let unwritable = || Error::io("write a temporary copy of stdin to", std::env::temp_dir());
    let mut file: File = tempfile::tempfile().map_err(unwritable())?;
    let (out, blocks) = sync_channel(2);
    // A thread of its own, since a read that waits cannot be interrupted.
    std::thread::Builder::new()
        .name("kohort-stdin".into())
        .spawn(move || {
            let mut from = from;
            loop {
                let block = read_block(&mut from);
                let is_last = !matches!(&block, Ok(block) if !block.is_empty());
                if out.send(block).is_err() || is_last {
                    return;
                }
            }
        })
        .map_err(Error::io("start a thread for", STDIN))?;
    loop {
        if let Some(stop) = stop {
            stop()?;
        }
        match blocks.recv_timeout(PATIENCE) {
            Ok(Ok(block)) if block.is_empty() => break,
            Ok(Ok(block)) => file.write_all(&block).map_err(unwritable())?,
            Ok(Err(error)) => return Err(Error::io("read", STDIN)(error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Internal("the thread that reads stdin ended early".into()));
            }
        }
    }
    file.flush().map_err(unwritable())?;
    Input::of_stdin(file)
}

/// Copies an object to a file without a name, as stdin is.
///
/// # Errors
/// Those of requests and of writing.
pub(crate) fn copy_of(object: &Object) -> Result<File> {
    let unwritable = || Error::io("write a temporary copy of an object to", std::env::temp_dir());
    let mut file: File = tempfile::tempfile().map_err(unwritable())?;
    object.stream(&mut |block| file.write_all(block).map_err(unwritable()))?;
    file.flush().map_err(unwritable())?;
    Ok(file)
}

/// Up to [`STEP`] bytes; none at the end.
fn read_block(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut block = Vec::new();
    from.by_ref().take(STEP as u64).read_to_end(&mut block)?;
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied_and_can_be_read_twice() {
        let bytes: Vec<u8> = (0..2 * STEP + 77).map(|i| (i * i % 253) as u8).collect();
        let input = copied(std::io::Cursor::new(bytes.clone()), None).unwrap();
        assert_eq!(input.bytes, bytes.len() as u64);
        for _ in 0..2 {
            assert_eq!(input.reopen().unwrap().exactly(0, bytes.len()).unwrap(), bytes);
        }
    }

    #[test]
    fn who_waits_for_stdin_can_stop() {
        struct Never;
        impl Read for Never {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(0)
            }
        }
        let stopped = copied(Never, Some(|| Err(Error::Interrupted)));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
