//! Several devices as one: each holds a stretch of the rows, and all pass over theirs at the same time.
//!
//! What a pass adds up is integers, so the sums of stretches are those of all rows, wherever the cuts are, and labels only
//! have to stand one after the other. A device that fails leaves its rows to the others.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::lloyd::{self, EachIteration, LloydRule, LloydRun};
use super::silhouette::{Judge, Labelled, Scatter, SilhouetteSums};
use super::{Backend, Pass, Session, TwoNearest};
use crate::error::{Error, ErrorKind, Result};
use crate::tiles::{BLOCK, Centroids, TileSet, row_bytes};

/// Multiply-adds of a pass (rows x features x clusters) for which it pays to use one more device.
///
/// A device that holds all rows makes many iterations without a word with the host. Of several each makes one and waits for
/// the sums of all: half a millisecond and more are lost, in which a large GPU does about so much. A rule of thumb, as [`WORTHWHILE_WORK`](super::choice::WORTHWHILE_WORK) is, and not
/// measured yet.
pub const WORTHWHILE_SHARE: u64 = 8_000_000_000;

/// A backend over several others, which may be of different kinds.
///
/// What fails with [`ErrorKind::Device`] on one of them is done by the others, from the same centroids and with the same
/// bits, and [`Session::notices`] says so. A device that was lost is left out of later sessions, until all are lost: the
/// next session begins with all of them again. With none left, the error of the last one is the session's.
pub struct JointBackend {
    devices: Vec<Device>,
    worthwhile: u64,
}

/// One of the backends.
struct Device {
    name: String,
    backend: Box<dyn Backend>,
    is_lost: AtomicBool,
}

impl JointBackend {
    /// All of `devices`, which have names for people, as one. A pass of fewer than `worthwhile` multiply-adds per device is
    /// left to fewer of them, as long as these hold the data.
    ///
    /// # Panics
    /// If there is no device.
    #[must_use]
    pub fn new(devices: Vec<(String, Box<dyn Backend>)>, worthwhile: u64) -> Self {
        assert!(!devices.is_empty(), "at least one device");
        let device = |(name, backend)| Device {
            name,
            backend,
            is_lost: AtomicBool::new(false),
        };
        Self {
            devices: devices.into_iter().map(device).collect(),
            worthwhile,
        }
    }

    /// The numbers of the devices to begin with.
    fn usable(&self) -> Vec<usize> {
        let left: Vec<usize> = (0..self.devices.len())
            .filter(|&device| !self.devices[device].is_lost.load(Relaxed))
            .collect();
        if !left.is_empty() {
            return left;
        }
        self.devices
            .iter()
            .for_each(|device| device.is_lost.store(false, Relaxed));
        (0..self.devices.len()).collect()
    }

    /// How many blocks of the data each of these devices takes; those at the end may not be there.
    fn cut(&self, data: &TileSet, devices: &[usize], max_clusters: usize) -> Vec<usize> {
        let n_features = data.n_features();
        // A weight and a label, at most.
        let beside = size_of::<u32>() as u64 * (u64::from(data.weighted()) + 1);
        let room = |&device: &usize| {
            let backend = &self.devices[device].backend;
            let row_bytes = row_bytes(n_features) + beside;
            match backend.memory_budget() {
                Some(bytes) => (bytes / (BLOCK as u64 * row_bytes)) as usize,
                None => usize::MAX,
            }
        };
        let rooms: Vec<usize> = devices.iter().map(room).collect();
        let block_work = (n_features * BLOCK) as u64 * max_clusters.max(1) as u64;
        let least = self.worthwhile.div_ceil(block_work) as usize;
        shares(data.n_rows().div_ceil(BLOCK), &rooms, least)
    }

    /// What some of the devices are called.
    fn names(&self, devices: &[usize]) -> String {
        let names: Vec<&str> = devices
            .iter()
            .map(|&device| self.devices[device].name.as_str())
            .collect();
        names.join(", ")
    }
}

impl Backend for JointBackend {
    fn name(&self) -> &'static str {
        self.devices[0].backend.name()
    }

    fn description(&self) -> String {
        let mut kinds: Vec<(String, Vec<usize>)> = Vec::new();
        for (number, device) in self.devices.iter().enumerate() {
            let description = device.backend.description();
            match kinds.iter_mut().find(|(known, _)| *known == description) {
                Some((_, numbers)) => numbers.push(number),
                None => kinds.push((description, vec![number])),
            }
        }
        let kind = |(description, numbers): &(String, Vec<usize>)| format!("{}: {description}", self.names(numbers));
        kinds.iter().map(kind).collect::<Vec<_>>().join("; ")
    }

    fn n_devices(&self) -> usize {
        self.devices.len()
    }

    fn memory_budget(&self) -> Option<u64> {
        let mut budgets = self.devices.iter().map(|device| device.backend.memory_budget());
        budgets.try_fold(0, |sum: u64, budget| Some(sum.saturating_add(budget?)))
    }

    /// Each device has the rows that it has in a session. Where one fails, the host does it.
    fn judge<'d>(&'d self, rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        let Labelled {
            data,
            labels,
            n_clusters,
        } = rows;
        let devices = self.usable();
        let mut first = 0;
        let mut judges = Vec::new();
        for (device, stretch) in devices.iter().zip(data.cut(&self.cut(data, &devices, n_clusters))) {
            let own = first..first + stretch.n_rows();
            first = own.end;
            if own.is_empty() {
                continue;
            }
            let judge = self.devices[*device].backend.judge(Labelled {
                data: stretch,
                labels: &labels[own.clone()],
                n_clusters,
            })?;
            let Some(judge) = judge else { return Ok(None) };
            judges.push((own, judge));
        }
        Ok(Some(Box::new(JointJudge { judges, n_clusters })))
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        let mut session = JointSession {
            backend: self,
            data,
            max_clusters,
            devices: self.usable(),
            shares: Vec::new(),
            last: None,
            notices: Vec::new(),
        };
        while !session.share_out()? {}
        Ok(Box::new(session))
    }
}

struct JointSession<'d> {
    backend: &'d JointBackend,
    data: &'d TileSet,
    max_clusters: usize,
    /// Numbers of the devices that have not failed.
    devices: Vec<usize>,
    /// In row order; none where a device has failed, until the rows are shared out again.
    shares: Vec<Share<'d>>,
    /// Centroids of the labels that the shares hold.
    last: Option<Centroids>,
    notices: Vec<String>,
}

/// A stretch of the rows in the hands of a device.
struct Share<'d> {
    device: usize,
    session: Box<dyn Session + 'd>,
}

impl<'d> JointSession<'d> {
    /// Opens a session on each device that is left, and gives labels back that were there; whether all did it.
    fn share_out(&mut self) -> Result<bool> {
        if self.devices.is_empty() {
            return Err(Error::DeviceLost {
                reason: "it was the last one".into(),
            });
        }
        let (backend, max_clusters, last) = (self.backend, self.max_clusters, &self.last);
        let stretches = self
            .data
            .cut(&backend.cut(self.data, &self.devices, max_clusters))
            .iter();
        let is_empty = self.data.n_rows() == 0;
        let busy = self
            .devices
            .iter()
            .zip(stretches)
            .filter(|(_, stretch)| is_empty || stretch.n_rows() > 0);
        let opened = at_once(busy, |(&device, stretch)| {
            let open = || {
                let mut session = backend.devices[device].backend.open(stretch, max_clusters)?;
                if let Some(centroids) = last {
                    session.assign(centroids)?;
                }
                Ok(Share { device, session })
            };
            (device, open())
        });
        let Some(shares) = self.without_failures(opened)? else {
            return Ok(false);
        };
        self.shares = shares;
        Ok(true)
    }

    /// The outcomes, by device, where there is no failure. Devices that failed are left out from now on; an error where
    /// none are left, or where the failure is no device's.
    fn without_failures<T>(&mut self, outcomes: Vec<(usize, Result<T>)>) -> Result<Option<Vec<T>>> {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (device, outcome) in outcomes {
            match outcome {
                Ok(outcome) => done.push(outcome),
                Err(error) => failed.push((device, error)),
            }
        }
        if let Some(at) = failed.iter().position(|(_, error)| error.kind() != ErrorKind::Device) {
            return Err(failed.swap_remove(at).1);
        }
        for (device, error) in &failed {
            self.devices.retain(|left| left != device);
            if matches!(error, Error::DeviceLost { .. }) {
                self.backend.devices[*device].is_lost.store(true, Relaxed);
            }
        }
        if self.devices.is_empty() {
            return failed.pop().map_or(Ok(None), |(_, error)| Err(error));
        }
        for (device, error) in &failed {
            let (name, others) = (&self.backend.devices[*device].name, self.backend.names(&self.devices));
            self.notices.push(format!(
                "{name}: {error}; went on with {others}, which gives the same results"
            ));
        }
        Ok(failed.is_empty().then_some(done))
    }

    /// Makes a call on all devices at once, again on those that are left where some fail.
    fn run<T: Send>(&mut self, call: impl Fn(&mut dyn Session) -> Result<T> + Sync) -> Result<Vec<T>> {
        loop {
            if self.shares.is_empty() && !self.share_out()? {
                continue;
            }
            let outcomes = at_once(&mut self.shares, |share| (share.device, call(share.session.as_mut())));
            if let Some(done) = self.without_failures(outcomes)? {
                return Ok(done);
            }
            self.close();
        }
    }

    /// Lets go of all sessions, before others take the memory.
    fn close(&mut self) {
        for mut share in self.shares.drain(..) {
            self.notices.append(&mut share.session.notices());
        }
    }
}

impl Session for JointSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let passes = self.run(|session| session.assign(centroids))?;
        self.last = Some(centroids.clone());
        Ok(added_up(passes))
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        Ok(joined(self.run(|session| session.labels())?))
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        Ok(nearest_of_all(self.run(|session| session.two_nearest(centroids))?))
    }

    fn assign_two_nearest(&mut self, centroids: &Centroids) -> Result<(Pass, TwoNearest)> {
        let both = self.run(|session| session.assign_two_nearest(centroids))?;
        self.last = None;
        let (passes, nearest) = both.into_iter().unzip();
        Ok((added_up(passes), nearest_of_all(nearest)))
    }

    fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
        let mut reached = None;
        if let [share] = self.shares.as_mut_slice() {
            // The one device that holds all rows needs no host between iterations.
            let run = share.session.lloyd(start, rule, &mut lloyd::noting(each, &mut reached));
            let outcome = (share.device, run);
            if let Some(reached) = &reached {
                self.last = Some(reached.centroids.clone());
            }
            if let Some(run) = self.without_failures(vec![outcome])?.and_then(|mut runs| runs.pop()) {
                self.last = Some(run.centroids.clone());
                return Ok(run);
            }
            self.close();
        }
        lloyd::by_passes(&mut |centroids| self.assign(centroids), start, reached, rule, each)
    }

    fn notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        for share in &mut self.shares {
            notices.append(&mut share.session.notices());
        }
        notices
    }
}

/// Judges of stretches of the rows.
struct JointJudge<'d> {
    judges: Vec<(Range<usize>, Box<dyn Judge + 'd>)>,
    n_clusters: usize,
}

impl JointJudge<'_> {
    /// Asks all judges at once that have some of `rows`, of theirs.
    fn ask<T: Send>(
        &mut self,
        rows: &Range<usize>,
        call: impl Fn(&mut dyn Judge, Range<usize>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let asked = self.judges.iter_mut().filter_map(|(own, judge)| {
            let (start, end) = (rows.start.max(own.start), rows.end.min(own.end));
            (start < end).then(|| (start - own.start..end - own.start, judge))
        });
        at_once(asked, |(rows, judge)| call(judge.as_mut(), rows))
            .into_iter()
            .collect()
    }
}

impl Judge for JointJudge<'_> {
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>> {
        let all = self.ask(&rows, |judge, rows| judge.sq_norms(rows))?;
        let mut sums = vec![0; self.n_clusters];
        for sq_norms in all {
            sums.iter_mut().zip(sq_norms).for_each(|(sum, norm)| *sum += norm);
        }
        Ok(sums)
    }

    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums> {
        let all = self.ask(&rows, |judge, rows| judge.silhouettes(scatter, rows))?;
        let zero = SilhouetteSums::zero(self.n_clusters);
        Ok(all.iter().fold(zero, SilhouetteSums::merged))
    }
}

/// Does the same for all items at once, a thread for each; the outcomes in their order.
fn at_once<I: Send, T: Send>(items: impl IntoIterator<Item = I>, work: impl Fn(I) -> T + Sync) -> Vec<T> {
    let mut items = items.into_iter();
    let Some(first) = items.next() else {
        return Vec::new();
    };
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        let mut outcomes = vec![work(first)];
        outcomes.extend(
            others
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
        );
        outcomes
    })
}

/// The pass over all rows.
fn added_up(passes: Vec<Pass>) -> Pass {
    let add = |mut all: Pass, pass: Pass| {
        all.partial.merge(&pass.partial);
        all.n_moved += pass.n_moved;
        all.n_doubtful += pass.n_doubtful;
        all.n_read += pass.n_read;
        all.n_unsettled += pass.n_unsettled;
        all
    };
    passes.into_iter().reduce(add).expect("a device")
}

/// Lists one after the other, each let go once it is copied.
fn joined(lists: Vec<Vec<u32>>) -> Vec<u32> {
    let n: usize = lists.iter().map(Vec::len).sum();
    let append = |mut all: Vec<u32>, list: Vec<u32>| {
        all.reserve_exact(n - all.len());
        all.extend_from_slice(&list);
        all
    };
    lists.into_iter().reduce(append).unwrap_or_default()
}

/// The two nearest centroids of all rows.
fn nearest_of_all(all: Vec<TwoNearest>) -> TwoNearest {
    let may_have_ties = all.iter().any(|nearest| nearest.may_have_ties);
    let n_doubtful = all.iter().map(|nearest| nearest.n_doubtful).sum();
    let n_audited = all.iter().map(|nearest| nearest.n_audited).sum();
    let (labels, runners_up) = all
        .into_iter()
        .map(|nearest| (nearest.labels, nearest.runners_up))
        .unzip();
    TwoNearest {
        labels: joined(labels),
        runners_up: joined(runners_up),
        may_have_ties,
        n_doubtful,
        n_audited,
    }
}

/// How `n_blocks` blocks are shared among devices that have room for `rooms`: all of them where each then has at least
/// `least`, else the first so many that this holds, but never fewer than hold the data.
///
/// Each takes as many as the others, as far as it has room. What no device has room for streams in every pass, in equal
/// shares.
fn shares(n_blocks: usize, rooms: &[usize], least: usize) -> Vec<usize> {
    let held = |n: usize| rooms[..n].iter().fold(0, |sum: usize, &room| sum.saturating_add(room));
    let needed = (1..rooms.len()).find(|&n| held(n) >= n_blocks).unwrap_or(rooms.len());
    let n = needed.max((n_blocks / least.max(1)).min(rooms.len()));
    let streamed = n_blocks.saturating_sub(held(n));
    // The smallest first: what it cannot take goes to those that are left.
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&device| rooms[device]);
    let (mut shares, mut left, mut streamed_left) = (vec![0; n], n_blocks - streamed, streamed);
    for (i, device) in order.into_iter().enumerate() {
        let equal = |blocks: usize| blocks.div_ceil(n - i);
        let (kept, streams) = (equal(left).min(rooms[device]), equal(streamed_left));
        shares[device] = kept + streams;
        left -= kept;
        streamed_left -= streams;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use crate::backend::failing::{At, Failing, every_end, run, run_last, run_lloyd};
    use crate::backend::fallback::FallbackBackend;
    use crate::backend::scalar::ScalarBackend;

    fn joint(devices: Vec<Box<dyn Backend>>) -> JointBackend {
        let name = |(n, device)| (format!("gpu:{n}"), device);
        JointBackend::new(devices.into_iter().enumerate().map(name).collect(), 0)
    }

    fn scalar() -> Box<dyn Backend> {
        Box::new(ScalarBackend)
    }

    /// The scalar backend with memory of its own, on which runs of iterations are counted.
    #[derive(Default)]
    struct Counted {
        budget: u64,
        n_runs: AtomicUsize,
    }

    impl Backend for &'static Counted {
        fn name(&self) -> &'static str {
            "gpu"
        }

        fn description(&self) -> String {
            format!("with {} bytes", self.budget)
        }

        fn memory_budget(&self) -> Option<u64> {
            Some(self.budget)
        }

        fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
            Ok(Box::new(CountedSession(
                ScalarBackend.open(data, max_clusters)?,
                &self.n_runs,
            )))
        }
    }

    struct CountedSession<'d>(Box<dyn Session + 'd>, &'d AtomicUsize);

    impl Session for CountedSession<'_> {
        fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
            self.0.assign(centroids)
        }

        fn labels(&mut self) -> Result<Vec<u32>> {
            self.0.labels()
        }

        fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
            self.0.two_nearest(centroids)
        }

        fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
            self.1.fetch_add(1, Relaxed);
            self.0.lloyd(start, rule, each)
        }
    }

    fn counted(budget: u64) -> &'static Counted {
        Box::leak(Box::new(Counted {
            budget,
            n_runs: AtomicUsize::new(0),
        }))
    }

    #[test]
    fn any_number_of_devices_gives_what_one_gives() {
        let (expected, expected_run) = (run(&ScalarBackend).unwrap(), run_lloyd(&ScalarBackend, -1.0, 99));
        for n in 1..7 {
            let backend = joint((0..n).map(|_| scalar()).collect());
            assert_eq!(run(&backend).unwrap(), expected, "{n}");
            assert_eq!(run_lloyd(&backend, -1.0, 99), expected_run, "{n}");
        }
    }

    #[test]
    fn a_device_that_fails_anywhere_leaves_its_rows_to_the_others() {
        let (passes, labels, two_nearest, _) = run(&ScalarBackend).unwrap();
        let places = [
            At::Open,
            At::Pass(0),
            At::Pass(1),
            At::Pass(2),
            At::Labels,
            At::TwoNearest,
            At::PassOnce(1),
        ];
        for at in places {
            for failing in 0..2 {
                let mut devices = vec![scalar(), scalar()];
                devices.insert(failing, Failing::boxed(at));
                let backend = joint(devices);
                let found = run(&backend).unwrap();
                assert_eq!(
                    (&found.0, &found.1, &found.2),
                    (&passes, &labels, &two_nearest),
                    "{at:?}"
                );
                let others = ["gpu:1, gpu:2", "gpu:0, gpu:2"][failing];
                assert_eq!(
                    found.3,
                    [format!(
                        "gpu:{failing}: the device failed: fell off the bus; went on with {others}, which gives the same \
                         results"
                    )],
                    "{at:?}"
                );
                // It is left out from then on.
                let found = run(&backend).unwrap();
                assert_eq!(
                    (&found.0, &found.1, &found.2),
                    (&passes, &labels, &two_nearest),
                    "{at:?}"
                );
                assert_eq!(found.3, [""; 0], "{at:?}");
            }
        }
    }

    #[test]
    fn rows_moved_in_the_last_pass_are_counted_from_the_one_before() {
        let expected = run_last(&ScalarBackend);
        assert!(expected.0.n_moved < 100);
        let backend = joint(vec![scalar(), Failing::boxed(At::TwoNearest)]);
        assert_eq!(run_last(&backend), expected);
    }

    #[test]
    fn a_run_goes_on_wherever_a_device_fails() {
        for ((limit, stop_after), expected) in every_end() {
            let end = expected.1.end;
            for pass in 0..=expected.0.len() {
                let backend = joint(vec![scalar(), Failing::boxed(At::Pass(pass)), scalar()]);
                assert_eq!(run_lloyd(&backend, limit, stop_after), expected, "{end:?}, pass {pass}");
                // Where it has all the rows.
                let backend = JointBackend {
                    worthwhile: u64::MAX,
                    ..joint(vec![Failing::boxed(At::Pass(pass)), scalar()])
                };
                assert_eq!(
                    run_lloyd(&backend, limit, stop_after),
                    expected,
                    "{end:?}, pass {pass}, alone"
                );
                // One after the other, the last one too.
                let failing = vec![Failing::boxed(At::Pass(pass)), Failing::boxed(At::Pass(1))];
                let backend = FallbackBackend::new(Box::new(joint(failing)), scalar());
                assert_eq!(
                    run_lloyd(&backend, limit, stop_after),
                    expected,
                    "{end:?}, pass {pass}, both"
                );
            }
        }
    }

    #[test]
    fn with_none_left_the_error_is_the_sessions_and_the_fallback_takes_over() {
        let (passes, labels, two_nearest, _) = run(&ScalarBackend).unwrap();
        let lost = "the device failed: fell off the bus";
        for (first, second, n_notices) in [
            (At::Open, At::Open, 1),
            (At::Pass(1), At::Pass(1), 2),
            (At::Pass(1), At::Labels, 4),
            (At::TwoNearest, At::TwoNearest, 2),
        ] {
            let both = || joint(vec![Failing::boxed(first), Failing::boxed(second)]);
            let error = run(&both()).unwrap_err();
            assert_eq!(error.to_string(), lost, "{first:?}, {second:?}");
            let backend = FallbackBackend::new(Box::new(both()), scalar());
            let found = run(&backend).unwrap();
            assert_eq!(
                (&found.0, &found.1, &found.2),
                (&passes, &labels, &two_nearest),
                "{first:?}, {second:?}"
            );
            assert_eq!(found.3.len(), n_notices, "{:?}", found.3);
            assert!(found.3.last().unwrap().contains("went on with scalar"), "{:?}", found.3);
        }
        // Where all were lost, the next session begins with all of them.
        let backend = joint(vec![Failing::boxed(At::PassOnce(1)), Failing::boxed(At::PassOnce(1))]);
        assert_eq!(run(&backend).unwrap_err().to_string(), lost);
        assert_eq!(run(&backend).unwrap(), (passes, labels, two_nearest, vec![]));
    }

    #[test]
    fn a_session_that_failed_is_no_panic() {
        let backend = joint(vec![Failing::boxed(At::Pass(0)), Failing::boxed(At::Pass(0))]);
        let data = TileSet::zeros(100, 2, false, usize::MAX);
        let mut session = backend.open(&data, 1).unwrap();
        for _ in 0..2 {
            let error = session.assign(&Centroids::on_rows(2, &[0, 0])).unwrap_err();
            assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        }
    }

    #[test]
    fn memory_that_is_refused_is_asked_for_again_by_the_next_session() {
        let refused = || Error::OutOfMemory {
            what: "the labels on the GPU".into(),
            bytes: 7,
        };
        let backend = joint(vec![scalar(), Failing::with(At::Open, refused)]);
        for _ in 0..2 {
            let notices = run(&backend).unwrap().3;
            assert!(
                notices.len() == 1 && notices[0].starts_with("gpu:1: the labels on the GPU needs 7 bytes"),
                "{notices:?}"
            );
        }
    }

    #[test]
    fn other_errors_pass_through_and_wrong_answers_are_found() {
        let defect = || Error::Internal("a defect".into());
        let backend = joint(vec![scalar(), Failing::with(At::Pass(1), defect)]);
        assert!(matches!(run(&backend), Err(Error::Internal(_))));
        let expected = run(&ScalarBackend).unwrap();
        for at in [At::WrongPass(1), At::WrongNearest] {
            let devices = vec![scalar(), Failing::boxed(at)];
            let backend = FallbackBackend::new(Box::new(joint(devices)), scalar());
            assert!(matches!(run(&backend), Err(Error::DeviceWrong { .. })), "{at:?}");
            // As with a single device: it is used no more, with all that were used with it.
            let found = run(&backend).unwrap();
            assert_eq!(
                (found.0, found.1, found.2),
                (expected.0.clone(), expected.1.clone(), expected.2.clone())
            );
            assert!(found.3[0].contains("do not use the device"), "{:?}", found.3);
        }
    }

    #[test]
    fn what_is_not_worth_sharing_stays_on_one_device_as_a_whole_run() {
        let expected = run_lloyd(&ScalarBackend, -1.0, 99);
        // 4 blocks of 64 rows x 2 features x 4 clusters.
        for (worthwhile, n_runs) in [(0, 0), (1024, 0), (1025, 1), (u64::MAX, 1)] {
            let devices = [counted(1 << 20), counted(1 << 20)];
            let named = devices.map(|device| (String::new(), Box::new(device) as Box<dyn Backend>));
            let backend = JointBackend::new(named.into(), worthwhile);
            assert_eq!(run_lloyd(&backend, -1.0, 99), expected);
            assert_eq!(
                devices.map(|device| device.n_runs.load(Relaxed)),
                [n_runs, 0],
                "{worthwhile}"
            );
        }
    }

    #[test]
    fn what_is_said_of_devices_is_said_of_all() {
        let backend = joint(vec![Box::new(counted(8)), Box::new(counted(9)), Box::new(counted(8))]);
        assert_eq!(
            (backend.name(), backend.description().as_str(), backend.n_devices()),
            ("gpu", "gpu:0, gpu:2: with 8 bytes; gpu:1: with 9 bytes", 3)
        );
        assert_eq!(backend.memory_budget(), Some(25));
        assert_eq!(joint(vec![Box::new(counted(8)), scalar()]).memory_budget(), None);
        assert_eq!(FallbackBackend::new(Box::new(backend), scalar()).n_devices(), 3);
    }

    #[test]
    fn shares_follow_room_and_worth() {
        let all = usize::MAX;
        for (n_blocks, rooms, least, expected) in [
            (10, &[all, all, all][..], 1, &[4, 3, 3][..]),
            (2, &[all, all, all], 1, &[1, 1]),
            (0, &[all, all], 1, &[0]),
            // Worth it.
            (10, &[all, all, all], 4, &[5, 5]),
            (10, &[all, all, all], 6, &[10]),
            // Not worth it, but one of them would not hold it.
            (10, &[6, 6, 6], 100, &[5, 5]),
            // Not as much room everywhere.
            (100, &[10, 80, 80], 1, &[10, 45, 45]),
            (100, &[80, 0, 80], 1, &[50, 0, 50]),
            // What streams is shared equally.
            (100, &[10, 50, 10], 1, &[20, 60, 20]),
            (7, &[0, 0], 1, &[4, 3]),
            (100, &[10, all], 1, &[10, 90]),
        ] {
            let found = shares(n_blocks, rooms, least);
            assert_eq!(found, expected, "{n_blocks} over {rooms:?} of at least {least}");
            assert_eq!(found.iter().sum::<usize>(), n_blocks);
        }
    }

    #[test]
    fn all_work_at_the_same_time_and_panics_are_heard_of() {
        // One after the other would wait forever.
        let barrier = Barrier::new(3);
        let wait = |n: usize| {
            barrier.wait();
            n
        };
        assert_eq!(at_once(0..3, wait), [0, 1, 2]);
        let panicking = || at_once(0..3, |n: usize| assert_ne!(n, 2));
        assert!(std::panic::catch_unwind(panicking).is_err());
    }
}
