//! What backends add up to judge clusters, against the oracle, bit for bit; and what the figures are made of.

mod common;

use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use common::skip_without_gpu;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::fallback::FallbackBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::joint::JointBackend;
use kohort::backend::scalar::ScalarBackend;
use kohort::backend::silhouette::{Judge, Labelled, Scatter, SilhouetteSums};
use kohort::backend::{Backend, Session};
use kohort::data::MemorySource;
use kohort::error::Result;
use kohort::fit::{FitOptions, fit_auto};
use kohort::kmeans::{Event, Observer, RunKey, Standing, Standings};
use kohort::metrics::{quality, quality_on};
use kohort::partial::ClusterPartial;
use kohort::rng::Rng;
use kohort::select::SweepOptions;
use kohort::tiles::{MAX_WEIGHT, TileSet};

/// Labelled rows.
struct Case {
    data: TileSet,
    labels: Vec<u32>,
    n_clusters: usize,
    row_weight: f64,
}

impl Case {
    /// Heaps of rows, one on a single value, with rows far off and labels that are wrong; one cluster stays empty. Weights,
    /// if there are any, go from 0 to `row_weight` and beyond.
    fn new(n_rows: usize, d: usize, n_clusters: usize, weighted: bool) -> Self {
        let mut rng = Rng::new(7, (n_rows * d + n_clusters) as u64);
        let heaps = (n_clusters as u128 - 1).max(1);
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for row in 0..n_rows {
            let heap = rng.below(heaps) as i64;
            let far = if row % 211 == 5 { 6_000_000 } else { 0 };
            for feature in 0..d {
                let noise = if heap == 0 { 0 } else { rng.below(70_000) as i64 };
                rows.push((heap % 13 * 90_000 + feature as i64 % 5 * 1000 + far + noise - 1_500_000) as f32);
            }
            let label = if rng.below(7) == 0 {
                rng.below(heaps) as i64
            } else {
                heap
            };
            labels.push(label as u32);
        }
        let weights: Vec<u32> = (0..n_rows as u32).map(|row| row % 4 * (MAX_WEIGHT / 3)).collect();
        Self {
            data: TileSet::from_rows(&rows, d, weighted.then_some(&weights), 1 << 14),
            labels,
            n_clusters,
            row_weight: if weighted { f64::from(MAX_WEIGHT / 3) } else { 1.0 },
        }
    }

    fn labelled(&self) -> Labelled<'_> {
        Labelled {
            data: &self.data,
            labels: &self.labels,
            n_clusters: self.n_clusters,
        }
    }

    /// What a judge adds up, of all rows and of a stretch; `None` where the backend judges nothing.
    fn sums(&self, backend: &dyn Backend, stretch: Range<usize>) -> Option<[(Vec<u128>, SilhouetteSums); 2]> {
        let partial = ClusterPartial::of_labels(&self.data, &self.labels, self.n_clusters);
        let mut judge = backend.judge(self.labelled()).unwrap()?;
        let all = 0..self.data.n_rows();
        let sq_norms = judge.sq_norms(all.clone()).unwrap();
        let scatter = Scatter::new(&partial, &sq_norms, self.row_weight);
        let mut of = |rows: Range<usize>| {
            (
                judge.sq_norms(rows.clone()).unwrap(),
                judge.silhouettes(&scatter, rows).unwrap(),
            )
        };
        Some([of(all), of(stretch)])
    }

    fn check(&self, backend: &dyn Backend) {
        let stretch = self.data.n_rows() / 5..self.data.n_rows() / 5 + 700;
        let expected = self.sums(&ScalarBackend, stretch.clone()).unwrap();
        let found = self.sums(backend, stretch).expect("it judges");
        assert!(found == expected, "{} {}", self.data.n_rows(), self.n_clusters);
        let partial = ClusterPartial::of_labels(&self.data, &self.labels, self.n_clusters);
        let by_device = quality_on(backend, &self.data, &self.labels, &partial, self.row_weight).unwrap();
        let by_host = quality(&self.data, &self.labels, &partial, self.row_weight);
        assert_eq!(by_device, (by_host, None));
    }
}

fn gpu(memory_budget: Option<u64>, max_chunk_bytes: Option<u64>, checked: bool) -> Option<GpuBackend> {
    let options = GpuOptions {
        memory_budget,
        max_chunk_bytes,
        checked,
        threads: 2,
        ..GpuOptions::default()
    };
    match GpuBackend::new(&GpuSelection::Any, options) {
        Ok(backend) => Some(backend),
        Err(error) => {
            skip_without_gpu(&error);
            None
        }
    }
}

#[test]
fn the_gpu_judges_as_the_oracle_does() {
    let Some(gpu) = gpu(None, None, false) else { return };
    for case in [
        Case::new(9000, 3, 5, false),
        Case::new(3000, 16, 9, true),
        Case::new(2000, 33, 3, true),
        // Labels of 32 bits, and more clusters than threads in a workgroup.
        Case::new(1500, 2, 300, false),
        Case::new(900, 5, 2, false),
    ] {
        case.check(&gpu);
    }
}

#[test]
fn data_that_streams_and_checked_kernels_give_the_same() {
    let Some(gpu) = gpu(Some(0), Some(4 << 10), true) else {
        return;
    };
    Case::new(3000, 7, 4, true).check(&gpu);
}

#[test]
fn several_devices_and_one_that_is_audited_give_the_same() {
    let joint = |devices: Vec<Box<dyn Backend>>| {
        let named = devices.into_iter().map(|backend| (backend.description(), backend));
        JointBackend::new(named.collect(), 0)
    };
    let scalars = || vec![Box::new(ScalarBackend) as Box<dyn Backend>, Box::new(ScalarBackend)];
    let case = Case::new(2100, 3, 4, true);
    case.check(&joint(scalars()));
    let Some(one) = gpu(None, None, false) else { return };
    let mut three = scalars();
    three.push(Box::new(one));
    case.check(&FallbackBackend::new(Box::new(joint(three)), Box::new(ScalarBackend)));
}

#[test]
fn the_host_judges_where_no_device_does() {
    let case = Case::new(700, 3, 4, false);
    let cpu = CpuBackend::new(2).unwrap();
    assert!(case.sums(&cpu, 0..1).is_none());
    // One of both devices does not.
    let both: Vec<(String, Box<dyn Backend>)> =
        vec![("a".into(), Box::new(ScalarBackend)), ("b".into(), Box::new(cpu))];
    assert!(case.sums(&JointBackend::new(both, 0), 0..1).is_none());
}

/// A judge that adds one silhouette, or one squared norm, twice.
struct Wrong<'d>(Box<dyn Judge + 'd>, bool);

impl Judge for Wrong<'_> {
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>> {
        let mut sums = self.0.sq_norms(rows)?;
        sums[0] += u128::from(!self.1);
        Ok(sums)
    }

    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums> {
        let mut sums = self.0.silhouettes(scatter, rows)?;
        sums.silhouettes[1] += i128::from(self.1);
        Ok(sums)
    }
}

/// A device whose judges are wrong.
struct WrongDevice(bool);

impl Backend for WrongDevice {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn description(&self) -> String {
        "wrong".into()
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        ScalarBackend.open(data, max_clusters)
    }

    fn judge<'d>(&'d self, rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        static SCALAR: ScalarBackend = ScalarBackend;
        let judge = SCALAR.judge(rows)?;
        Ok(judge.map(|judge| Box::new(Wrong(judge, self.0)) as Box<dyn Judge + 'd>))
    }
}

#[test]
fn wrong_sums_are_found_and_put_the_device_out_of_use() {
    let case = Case::new(3000, 3, 4, false);
    let partial = ClusterPartial::of_labels(&case.data, &case.labels, case.n_clusters);
    let right = quality(&case.data, &case.labels, &partial, 1.0);
    for which in [false, true] {
        let judged = |backend: &dyn Backend| quality_on(backend, &case.data, &case.labels, &partial, 1.0);
        // Nobody looks at it here.
        assert_ne!(judged(&WrongDevice(which)).unwrap().0, right);
        let audited = FallbackBackend::new(Box::new(WrongDevice(which)), Box::new(ScalarBackend));
        let error = judged(&audited).unwrap_err();
        assert!(
            error.to_string().starts_with("the device computes wrongly: "),
            "{error}"
        );
        assert_eq!(judged(&audited).unwrap(), (right.clone(), None));
        let notices = audited.open(&case.data, 3).unwrap().notices();
        assert!(
            matches!(&notices[..], [notice] if notice.contains("done again")),
            "{notices:?}"
        );
    }
}

/// Keeps nothing, and counts how often that is to be forgotten.
#[derive(Default)]
struct Forgets(AtomicUsize);

impl Standings for Forgets {
    fn standing(&self, _run: &RunKey) -> Result<Option<Standing>> {
        Ok(None)
    }

    fn keep(&self, _run: &RunKey, _standing: &dyn Fn() -> Standing) -> Result<()> {
        Ok(())
    }

    fn forget(&self) -> Result<()> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }
}

impl Observer for Forgets {
    fn event(&self, _event: Event) {}

    fn standings(&self) -> Option<&dyn Standings> {
        Some(self)
    }
}

#[test]
fn a_fit_is_made_again_where_the_judge_of_its_sweep_is_wrong() {
    let case = Case::new(3000, 3, 4, false);
    let mut table = ndarray::Array2::zeros((3000, 3));
    let mut x = [0; 3];
    for (number, mut row) in table.rows_mut().into_iter().enumerate() {
        case.data.read_row(number, &mut x);
        row.iter_mut().zip(x).for_each(|(to, x)| *to = f64::from(x));
    }
    let source = MemorySource::from_array(table.view(), &["a", "b", "c"]).unwrap();
    let options = FitOptions::new(2);
    let select = SweepOptions {
        k: 2..=4,
        ..SweepOptions::default()
    };
    let standings = Forgets::default();
    let fit = |backend: &dyn Backend| fit_auto(&source, backend, &options, &select, &standings).unwrap();
    let (expected, expected_sweep) = fit(&ScalarBackend);
    assert_eq!(standings.0.load(Relaxed), 0);
    let wrong = FallbackBackend::new(Box::new(WrongDevice(true)), Box::new(ScalarBackend));
    let (found, sweep) = fit(&wrong);
    // Where runs stood came of the device.
    assert_eq!(standings.0.load(Relaxed), 1);
    assert_eq!(sweep, expected_sweep);
    assert_eq!(found.assignment, expected.assignment);
    let told: Vec<&String> = found
        .warnings
        .iter()
        .filter(|warning| warning.contains("computes wrongly"))
        .collect();
    assert_eq!(told.len(), 1, "{:?}", found.warnings);
}
