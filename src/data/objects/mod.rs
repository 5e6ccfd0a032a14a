//! Objects in stores and behind https: what is listed, and bytes by range. The only part that waits on a network; everyone
//! above it reads as from a file.

mod ahead;
mod listing;
mod object;
mod stores;

use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

pub(crate) use self::listing::expand;
pub use self::object::has_query;
pub(crate) use self::object::{Object, Reading};
use crate::error::{Error, Result};

/// Threads that requests run on.
const THREADS: usize = 2;
/// How often a wait for the network asks whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

static STOP: OnceLock<fn() -> Result<()>> = OnceLock::new();

/// Has `stop` asked now and then while the network is waited for; what it says ends the wait. The first call counts.
pub fn stop_waiting_with(stop: fn() -> Result<()>) {
    STOP.get_or_init(|| stop);
}

fn check_stop() -> Result<()> {
    STOP.get().map_or(Ok(()), |stop| stop())
}

/// What all requests run on.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(THREADS).max_blocking_threads(4);
        builder.thread_name("kohort-network").enable_all().build().ok()
    };
    let runtime = RUNTIME.get_or_init(start).as_ref();
    runtime.ok_or_else(|| Error::Internal("no threads can be started for requests".into()))
}

/// Waits for a future, on this thread, and gives it up where the user asks to stop.
///
/// # Errors
/// What is said by the function that [`stop_waiting_with`] was given.
fn wait<T>(future: impl Future<Output = T>) -> Result<T> {
    let mut future = pin!(future);
    loop {
        check_stop()?;
        let step = async { tokio::time::timeout(PATIENCE, &mut future).await };
        if let Ok(done) = runtime()?.block_on(step) {
            return Ok(done);
        }
    }
}
