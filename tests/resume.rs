//! A run that is broken off and goes on elsewhere ends with the bits of one that was not.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::{Case, Values};
use kohort::Error;
use kohort::backend::Backend;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::scalar::ScalarBackend;
use kohort::kmeans::{
    Event, Init, KMeansFit, KMeansParams, Observer, RunKey, Standing, Standings, StopReason, fit, fit_trimmed,
};
use kohort::select::{SweepOptions, sweep};
use kohort::tiles::{Centroids, RowKeys, TileSet};

/// Keeps where runs stand from one process to the next, as it were.
#[derive(Default)]
struct Kept(Mutex<Vec<(RunKey, Standing)>>);

impl Standings for Kept {
    fn standing(&self, run: &RunKey) -> kohort::Result<Option<Standing>> {
        let kept = self.0.lock().unwrap();
        Ok(kept
            .iter()
            .find(|(key, _)| key == run)
            .map(|(_, standing)| standing.clone()))
    }

    fn keep(&self, run: &RunKey, standing: &dyn Fn() -> Standing) -> kohort::Result<()> {
        let mut kept = self.0.lock().unwrap();
        kept.retain(|(key, _)| key != run);
        kept.push((*run, standing()));
        Ok(())
    }

    fn forget(&self) -> kohort::Result<()> {
        self.0.lock().unwrap().clear();
        Ok(())
    }
}

/// Lets so many iterations pass, then asks to stop.
struct BreaksOff<'k> {
    kept: &'k Kept,
    left: AtomicUsize,
}

impl Observer for BreaksOff<'_> {
    fn event(&self, event: Event) {
        if let Event::Iteration { .. } = event {
            let _ = self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        }
    }

    fn interrupted(&self) -> bool {
        self.left.load(SeqCst) == 0
    }

    fn standings(&self) -> Option<&dyn Standings> {
        Some(self.kept)
    }
}

/// Runs `work` until it is not broken off any more, each time for one more iteration than before: a job of several runs
/// makes the last iteration of those that are done again. How often it began.
fn in_pieces<T>(kept: &Kept, work: &mut dyn FnMut(&dyn Observer) -> kohort::Result<T>) -> (T, usize) {
    for times in 1..1000 {
        let observer = BreaksOff {
            kept,
            left: AtomicUsize::new(1 + times),
        };
        match work(&observer) {
            Ok(done) => return (done, times),
            Err(Error::Interrupted) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it never ends");
}

/// Everything that must not depend on where the run was broken off.
fn result(fit: KMeansFit) -> impl PartialEq + std::fmt::Debug {
    (
        (fit.centroids, fit.nearest.labels, fit.nearest.runners_up, fit.partial),
        (fit.inertia, fit.n_iter, fit.stop_reason, fit.seeding, fit.n_assigned),
    )
}

fn cases() -> Vec<(TileSet, KMeansParams)> {
    let params = |k| KMeansParams {
        n_init: 2,
        tol: 0.0,
        ..KMeansParams::new(k)
    };
    // Two of three centroids start where no row is nearest, so that clusters are refilled on the way.
    let lonely = KMeansParams {
        init: Init::Centroids(Centroids::on_rows(1, &[1, -9000, -9001])),
        ..params(3)
    };
    let line: Vec<f32> = (0..300u32).map(|row| (row * row % 977) as f32).collect();
    // Seeding leaves little to do on so few rows: most begin on the first ones.
    let on_first_rows = |data: TileSet, k: usize, max_iter: usize| {
        let mut values = vec![0; k * data.n_features()];
        let rows = values.chunks_exact_mut(data.n_features()).enumerate();
        rows.for_each(|(row, values)| data.read_row(row, values));
        let params = KMeansParams {
            init: Init::Centroids(Centroids::on_rows(data.n_features(), &values)),
            max_iter,
            ..params(k)
        };
        (data, params)
    };
    vec![
        on_first_rows(Case::new(900, 4, 7, Values::Bell).data(), 7, 300),
        on_first_rows(Case::new(700, 3, 5, Values::HeavyTail).weighted().data(), 5, 300),
        on_first_rows(Case::new(900, 4, 7, Values::Bell).data(), 9, 5),
        (TileSet::from_rows(&line, 1, None, usize::MAX), lonely),
        (Case::new(900, 4, 7, Values::HeavyTail).data(), params(7)),
    ]
}

#[test]
fn a_fit_in_pieces_is_the_fit_as_a_whole() {
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(ScalarBackend), Box::new(CpuBackend::new(2).unwrap())];
    match GpuBackend::new(&GpuSelection::Any, GpuOptions::default()) {
        Ok(gpu) => backends.push(Box::new(gpu)),
        Err(error) => common::skip_without_gpu(&error),
    }
    let host = CpuBackend::new(2).unwrap();
    let mut most_times = 0;
    for (case, (data, params)) in cases().into_iter().enumerate() {
        for backend in &backends {
            let run =
                |observer: &dyn Observer| fit(&**backend, &host, &data, &RowKeys::RowNumber, &params, 1.0, observer);
            let whole = result(run(&()).unwrap());
            let (pieces, times) = in_pieces(&Kept::default(), &mut |observer| run(observer));
            assert_eq!(result(pieces), whole, "case {case} on {}", backend.name());
            most_times = most_times.max(times);
        }
    }
    assert!(most_times > 3, "no run was broken off more than {most_times} times");
}

#[test]
fn a_run_that_goes_on_from_elsewhere_is_another() {
    let (data, params) = cases().swap_remove(2);
    let host = CpuBackend::new(2).unwrap();
    let run = |observer: &dyn Observer| fit(&host, &host, &data, &RowKeys::RowNumber, &params, 1.0, observer);
    let whole = result(run(&()).unwrap());
    let kept = Kept::default();
    let observer = BreaksOff {
        kept: &kept,
        left: AtomicUsize::new(2),
    };
    assert!(matches!(run(&observer), Err(Error::Interrupted)));
    kept.0.lock().unwrap()[0].1.centroids.row_mut(0).fill(1 << 28);
    let (moved, _) = in_pieces(&kept, &mut |observer| run(observer));
    assert!(result(moved) != whole, "a centroid was moved in between");
}

#[test]
fn sweeps_and_trimmed_fits_go_on_as_well() {
    let host = CpuBackend::new(2).unwrap();
    let (data, params) = cases().swap_remove(4);
    let options = SweepOptions {
        k: 2..=6,
        n_resamples: 2,
        ..SweepOptions::default()
    };
    let run = |observer: &dyn Observer| {
        sweep(
            &host,
            &host,
            &data,
            &RowKeys::RowNumber,
            &params,
            &options,
            1.0,
            1.0,
            observer,
        )
    };
    let whole = run(&()).unwrap().sweep;
    let kept = Kept::default();
    // What a sweep does is no news of iterations: it is broken off by what it keeps.
    assert_eq!(run(&Watching(&kept)).unwrap().sweep, whole);
    assert_eq!(
        kept.0.lock().unwrap().len(),
        5,
        "one standing for each number of clusters"
    );
    assert_eq!(run(&Watching(&kept)).unwrap().sweep, whole);

    let (data, params) = cases().swap_remove(0);
    let trimmed = |observer: &dyn Observer| {
        let mut data = data.clone();
        fit_trimmed(
            &host,
            &host,
            &mut data,
            &RowKeys::RowNumber,
            &params,
            0.05,
            1.0,
            observer,
        )
    };
    let whole = result(trimmed(&()).unwrap().0);
    let (pieces, times) = in_pieces(&Kept::default(), &mut |observer| trimmed(observer));
    assert_eq!(result(pieces.0), whole);
    assert!(times > 3, "{times} times");
}

/// Keeps, and breaks nothing off.
struct Watching<'k>(&'k Kept);

impl Observer for Watching<'_> {
    fn event(&self, _event: Event) {}

    fn standings(&self) -> Option<&dyn Standings> {
        Some(self.0)
    }
}

/// Time is up from the start.
struct NoTime;

impl Observer for NoTime {
    fn event(&self, _event: Event) {}

    fn time_is_up(&self) -> bool {
        true
    }
}

#[test]
fn a_run_out_of_time_is_one_of_fewer_iterations() {
    let host = CpuBackend::new(2).unwrap();
    for (data, params) in cases().into_iter().take(4) {
        let run = |params: &KMeansParams, observer: &dyn Observer| {
            fit(&host, &host, &data, &RowKeys::RowNumber, params, 1.0, observer).unwrap()
        };
        let timed = run(&params, &NoTime);
        assert_eq!((timed.n_iter, timed.stop_reason), (1, StopReason::MaxTime));
        let once = KMeansParams {
            max_iter: 1,
            ..params.clone()
        };
        let once = KMeansFit {
            stop_reason: StopReason::MaxTime,
            ..run(&once, &())
        };
        assert_eq!(result(timed), result(once));
    }
    let (data, params) = cases().swap_remove(4);
    let options = SweepOptions {
        k: 2..=40,
        n_resamples: 2,
        ..SweepOptions::default()
    };
    let swept = sweep(
        &host,
        &host,
        &data,
        &RowKeys::RowNumber,
        &params,
        &options,
        1.0,
        1.0,
        &NoTime,
    )
    .unwrap();
    assert_eq!((swept.fits.len(), swept.n_untried), (1, 38));
    assert_eq!(
        swept.fits[0].stop_reason,
        StopReason::Converged,
        "what was begun is finished"
    );
}
