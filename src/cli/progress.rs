//! What a long job shows while it runs, and how it is stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use kohort::data::stop_waiting_with;
use kohort::kmeans::{Event, Observer};
use kohort::{Error, ErrorKind, Result};

use super::args::{ProgressArg, TalkArgs};
use super::output::{self, Output, count, err_line, err_lines, number};

/// Set by the first Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C (and SIGTERM) end a job at its next safe point; the second one ends the process at once.
///
/// # Errors
/// Where the operating system takes no handler.
pub(crate) fn stop_on_interrupt() -> Result<()> {
    stop_waiting_with(check_interrupt);
    on_interrupt(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(super::exit_code(ErrorKind::Interrupted).into());
        }
    })
}

/// Lets Ctrl-C (and SIGTERM) end the process at once.
///
/// # Errors
/// As [`stop_on_interrupt`].
pub(crate) fn exit_on_interrupt() -> Result<()> {
    on_interrupt(|| {
        err_lines("error: interrupted");
        std::process::exit(super::exit_code(ErrorKind::Interrupted).into());
    })
}

fn on_interrupt(handler: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(handler).map_err(|error| Error::Internal(format!("no handler for interrupts: {error}")))
}

/// [`Error::Interrupted`] once Ctrl-C was pressed.
///
/// # Errors
/// That one.
pub(crate) fn check_interrupt() -> Result<()> {
    if is_interrupted() {
        Err(Error::Interrupted)
    } else {
        Ok(())
    }
}

/// Whether the user asked to stop.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Shows the events of a job on stderr.
pub(crate) struct Progress {
    output: Output,
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bar,
    Plain,
    Json,
    Silent,
}

struct State {
    stage: &'static str,
    bar: Option<ProgressBar>,
    /// When the last line about rows was written.
    last_rows: Option<Instant>,
    /// The notices so far.
    told: Vec<String>,
}

/// The least time between two lines about rows.
const ROWS_EVERY: Duration = Duration::from_secs(1);

impl Progress {
    pub(crate) fn new(talk: &TalkArgs, output: Output) -> Self {
        let mode = match talk.progress {
            ProgressArg::Auto if talk.quiet || !output::stderr_is_terminal() => Mode::Silent,
            ProgressArg::Auto | ProgressArg::Bar => Mode::Bar,
            ProgressArg::Plain => Mode::Plain,
            ProgressArg::Json => Mode::Json,
            ProgressArg::None => Mode::Silent,
        };
        Self {
            output,
            mode,
            state: Mutex::new(State {
                stage: "",
                bar: None,
                last_rows: None,
                told: Vec::new(),
            }),
        }
    }

    /// Takes the display away; what is printed next stands on a line of its own.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar_event(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::Stage(stage) => {
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
                state.bar = Some(spinner(stage));
            }
            Event::Rows { done, of } => state.bar_or_new().set(*done, *of, "rows"),
            Event::Restart { done, of } => state.bar_or_new().set(*done, *of, "restarts"),
            Event::Candidate { done, of, .. } => state.bar_or_new().set(*done, *of, "numbers of segments"),
            Event::Segment { done, of } => state.bar_or_new().set(*done, *of, "segments"),
            Event::Iteration { .. } => state.bar_or_new().set_message(iteration_text(event)),
            _ => {}
        }
    }

    fn plain_event(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::Stage(stage) => {
                (state.stage, state.last_rows) = (stage, None);
                err_lines(&format!("{stage} ..."));
            }
            Event::Rows { done, of } if state.rows_due(*done, *of) => {
                err_lines(&format!(
                    "{}: {} of {} rows",
                    state.stage,
                    count(*done as u64),
                    count(*of as u64)
                ));
            }
            Event::Restart { done, of } => err_lines(&format!("{}: restart {done} of {of}", state.stage)),
            Event::Candidate { n_clusters, done, of } if done < of => {
                err_lines(&format!("{}: {n_clusters} segments", state.stage));
            }
            Event::Segment { done, of } => err_lines(&format!("{}: segment {} of {of}", state.stage, done + 1)),
            Event::Iteration { .. } => err_lines(&format!("{}: {}", state.stage, iteration_text(event))),
            _ => {}
        }
    }

    fn json_event(&self, event: &Event) {
        if let Event::Rows { done, of } = event
            && !self.state().rows_due(*done, *of)
        {
            return;
        }
        if let Event::Stage(_) = event {
            self.state().last_rows = None;
        }
        if let Some(object) = event_object(event) {
            err_line(&object.to_string());
        }
    }

    /// Shows warnings of a finished job, but for those that were told while it ran.
    pub(crate) fn warn(&self, warnings: &[String]) {
        let told = self.state().told.clone();
        let rest = warnings.iter().filter(|warning| !told.contains(warning));
        rest.for_each(|warning| self.output.warning(warning));
    }

    fn notice(&self, text: &str) {
        let mut state = self.state();
        state.told.push(text.to_owned());
        match (self.mode, &state.bar) {
            (Mode::Json, _) => err_line(&json!({ "event": "notice", "text": text }).to_string()),
            (_, Some(bar)) => bar.suspend(|| self.output.warning(text)),
            (_, None) => self.output.warning(text),
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match (&event, self.mode) {
            (Event::Notice(text), _) => self.notice(text),
            (_, Mode::Bar) => self.bar_event(&event),
            (_, Mode::Plain) => self.plain_event(&event),
            (_, Mode::Json) => self.json_event(&event),
            (_, Mode::Silent) => {}
        }
    }

    fn counts_moved(&self) -> bool {
        self.mode != Mode::Silent
    }

    fn interrupted(&self) -> bool {
        is_interrupted()
    }
}

impl State {
    fn bar_or_new(&mut self) -> &ProgressBar {
        self.bar.get_or_insert_with(|| spinner("working"))
    }

    /// Whether a line about rows should be written now: at most one a second, and the last one.
    fn rows_due(&mut self, done: usize, of: usize) -> bool {
        let due = done >= of || self.last_rows.is_none_or(|last| last.elapsed() >= ROWS_EVERY);
        if due {
            self.last_rows = Some(Instant::now());
        }
        due
    }
}

/// A bar knows its length only when its first rows come.
trait SetPosition {
    fn set(&self, done: usize, of: usize, unit: &str);
}

impl SetPosition for ProgressBar {
    fn set(&self, done: usize, of: usize, unit: &str) {
        if self.length() != Some(of as u64) {
            self.set_style(style(&format!(
                "{{prefix:10}} [{{bar:30}}] {{human_pos}} of {{human_len}} {unit}  {{eta}}"
            )));
            self.set_length(of as u64);
        }
        self.set_position(done as u64);
    }
}

fn spinner(stage: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{prefix:10} {spinner} {elapsed} {msg}"));
    bar.set_prefix(stage.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants")
        .progress_chars("=> ")
}

fn iteration_text(event: &Event) -> String {
    let Event::Iteration {
        iteration,
        max_iter,
        inertia,
        n_moved,
    } = event
    else {
        return String::new();
    };
    let moved = n_moved.map_or(String::new(), |n| format!(", {} moved", output::plural(n, "row")));
    format!(
        "iteration {iteration} of at most {max_iter}, inertia {}{moved}",
        number(*inertia)
    )
}

fn event_object(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Stage(stage) => json!({ "event": "stage", "stage": stage }),
        Event::Rows { done, of } => json!({ "event": "rows", "done": done, "of": of }),
        Event::Restart { done, of } => json!({ "event": "restart", "done": done, "of": of }),
        Event::Candidate { n_clusters, done, of } => {
            json!({ "event": "candidate", "n_clusters": n_clusters, "done": done, "of": of })
        }
        Event::Segment { done, of } => json!({ "event": "segment", "done": done, "of": of }),
        Event::Iteration {
            iteration,
            max_iter,
            inertia,
            n_moved,
        } => json!({
            "event": "iteration", "iteration": iteration, "max_iter": max_iter, "inertia": inertia, "n_moved": n_moved,
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_an_object_or_a_line() {
        let event = Event::Iteration {
            iteration: 3,
            max_iter: 300,
            inertia: 1234.4,
            n_moved: Some(1),
        };
        assert_eq!(
            iteration_text(&event),
            "iteration 3 of at most 300, inertia 1,234, 1 row moved"
        );
        let object = event_object(&event).unwrap();
        assert_eq!((&object["event"], &object["n_moved"]), (&json!("iteration"), &json!(1)));
        assert!(event_object(&Event::Notice("x".into())).is_none());
    }

    #[test]
    fn rows_are_told_at_first_then_seldom_and_at_the_end() {
        let mut state = State {
            stage: "learn",
            bar: None,
            last_rows: None,
            told: Vec::new(),
        };
        assert!(state.rows_due(10, 100));
        assert!(!state.rows_due(20, 100));
        assert!(state.rows_due(100, 100));
    }
}
