use super::*;
use crate::backend::scalar::ScalarBackend;
use crate::data::MemorySource;

fn source(n_rows: usize) -> MemorySource {
    let table = ndarray::Array2::from_shape_fn((n_rows, 2), |(row, j)| {
        ((row * 7919 + j * 31) % 97 + row % 3 * 500) as f64
    });
    MemorySource::from_array(table.view(), &["a", "b"]).unwrap()
}

fn options() -> BenchOptions {
    BenchOptions {
        features: FeatureOptions::default(),
        start: Start::Rows,
        n_init: 1,
        max_iter: 4,
        tol: 0.0,
        seed: 1,
        rounds: 2,
        chunk_bytes: 1 << 20,
    }
}

fn run(n_rows: usize, origin: Origin, options: &BenchOptions) -> CaseReport {
    let host = CpuBackend::new(2).unwrap();
    let devices = [
        Device {
            name: "cpu".into(),
            backend: Box::new(CpuBackend::new(2).unwrap()),
            ceilings: None,
            unproven: None,
        },
        Device {
            name: "scalar".into(),
            backend: Box::new(ScalarBackend),
            ceilings: None,
            unproven: None,
        },
    ];
    let bench = Bench {
        devices: &devices,
        host: &host,
        options,
        observer: &(),
    };
    let case = Case {
        shape: "small".into(),
        data: "small".into(),
        source: &source(n_rows),
        origin,
        n_clusters: 3,
    };
    bench.run(&case).unwrap()
}

fn report(case: CaseReport) -> Report {
    Report {
        format: Report::FORMAT.into(),
        version: Report::VERSION,
        kohort_version: String::new(),
        settings: Settings {
            max_iter: 4,
            tol: 0.0,
            init: "rows".into(),
            n_init: 1,
            seed: 1,
            scale: "zscore".into(),
        },
        threads: 2,
        rounds: 2,
        ceilings: None,
        cases: vec![case],
        against: None,
    }
}

fn cpu_ceilings() -> Ceilings {
    Ceilings {
        threads: 2,
        instruction_set: "none".into(),
        copy_bytes_per_s: 1e9,
        read_bytes_per_s: 2e9,
        fma_flop_per_s: 4e9,
    }
}

fn names(stages: &[Stage]) -> Vec<&str> {
    stages.iter().map(|stage| stage.stage.as_str()).collect()
}

#[test]
fn every_stage_is_measured_and_the_answer_is_that_of_a_fit() {
    let case = run(600, Origin::Files, &options());
    assert_eq!(names(&case.stages), ["ingest", "decode", "learn", "prepare", "write"]);
    assert_eq!((case.n_rows, case.n_features, case.matrix_bytes), (600, 2, 4800));
    for device in &case.devices {
        assert_eq!(names(&device.stages), ["open", "iterations", "labels", FIT]);
        let [iterations, labels, both] = [1, 2, 3].map(|n| &device.stages[n]);
        assert_eq!(both.passes, device.n_iter + 1);
        assert!((both.cold_s - iterations.cold_s - labels.cold_s).abs() < 1e-9);
        assert!((labels.flop_per_s.unwrap() - labels.rows_per_s * 12.0).abs() < 1.0);
        let looks = |stage: &Stage| stage.warm.is_some() && (stage.rows_per_s > 0.0) == (stage.stage != "open");
        assert!(device.stages.iter().all(looks));
    }
    let source = source(600);
    let learned = features::learn(&source, &FeatureOptions::default()).unwrap();
    let tiles = features::prepare(&source, &learned.preparation, None, 1 << 20)
        .unwrap()
        .tiles;
    let params = KMeansParams {
        init: Init::Centroids(chosen_rows(&tiles, 3, 1)),
        max_iter: 4,
        tol: 0.0,
        ..KMeansParams::new(3)
    };
    let fit = kmeans::fit(
        &ScalarBackend,
        &ScalarBackend,
        &tiles,
        &RowKeys::RowNumber,
        &params,
        1.0,
        &(),
    )
    .unwrap();
    assert_eq!(case.devices[0].inertia_exact, fit.inertia.to_string());
    assert_eq!(
        case.devices[0].labels_hash,
        labels_hash(&RowKeys::RowNumber, &fit.nearest.labels)
    );
}

#[test]
fn seeding_is_a_stage_only_where_there_is_one() {
    let seeded = BenchOptions {
        start: Start::Choice(InitChoice::KMeansPlusPlus),
        rounds: 1,
        ..options()
    };
    let case = run(300, Origin::Generator, &seeded);
    assert_eq!(names(&case.stages), ["generate+learn", "generate+prepare"]);
    assert_eq!(
        names(&case.devices[0].stages),
        ["open", "seed", "iterations", "labels", FIT]
    );
    assert!(case.devices[0].stages.iter().all(|stage| stage.warm.is_none()));
}

#[test]
fn shares_are_those_of_passes_on_the_cpu() {
    let mut report = report(run(300, Origin::Memory { generate_s: 1.0 }, &options()));
    report.set_ceilings(cpu_ceilings());
    let [cpu, scalar] = [0, 1].map(|n| &report.cases[0].devices[n]);
    let labels = &cpu.stages[2];
    assert_eq!(labels.share_of_read, Some(labels.bytes_per_s / 2e9));
    assert_eq!(labels.share_of_fma, labels.flop_per_s.map(|rate| rate / 4e9));
    assert_eq!(
        (cpu.stages[0].share_of_read, scalar.stages[2].share_of_read),
        (None, None)
    );
    assert_eq!(names(&report.cases[0].stages), ["generate", "learn", "prepare"]);
}

#[test]
fn devices_that_disagree_are_found() {
    let mut report = report(run(300, Origin::Generator, &options()));
    assert!(report.disagreement().is_none());
    report.cases[0].devices[1].inertia_exact += "0";
    let (case, first, other) = report.disagreement().unwrap();
    assert_eq!(
        [&*case.shape, &*first.device, &*other.device],
        ["small", "cpu", "scalar"]
    );
}

#[test]
fn a_report_equals_itself_and_planted_changes_are_found() {
    let mut then = report(run(300, Origin::Generator, &options()));
    let open = &mut then.cases[0].devices[0].stages[0];
    (open.cold_s, open.warm) = (0.0, None);
    let compare = |now: &Report| Comparison::new(now, &then, "then.json".as_ref(), 1.1);
    let same = compare(&then).unwrap();
    assert_eq!(
        (same.slower().count(), same.mismatches.len(), same.unmatched.len()),
        (0, 0, 0)
    );
    assert!(same.stages.iter().all(|stage| stage.ratio == 1.0));

    let mut slower = then.clone();
    let stage = &mut slower.cases[0].devices[0].stages[3];
    (stage.cold_s, stage.warm) = (stage.best_s() * 1.2, None);
    let slower = compare(&slower).unwrap();
    let found: Vec<_> = slower
        .slower()
        .map(|stage| (stage.device.as_deref(), &*stage.stage))
        .collect();
    assert_eq!(found, [(Some("cpu"), FIT)]);

    let mut other = then.clone();
    other.cases[0].devices[1].labels_hash = "other".into();
    assert_eq!(compare(&other).unwrap().mismatches[0].device, "scalar");

    let mut more = then.clone();
    more.cases[0].devices[1].device = "gpu".into();
    assert_eq!(compare(&more).unwrap().unmatched, ["small on gpu"]);
    more.cases[0].n_rows += 1;
    assert!(matches!(compare(&more), Err(Error::ArtifactInvalid { .. })));
    let mut settings = then.clone();
    settings.settings.seed = 2;
    let error = compare(&settings).unwrap_err().to_string();
    assert_eq!(error, "then.json: it was made with another --seed");
}

#[test]
fn a_peak_that_an_old_mark_hides_is_not_told() {
    assert_eq!(peak_added(Some(1000), Some(1000), Some(1500)), Some(500));
    assert_eq!(peak_added(Some(1000), Some(1000), Some(1000)), Some(0));
    assert_eq!(peak_added(Some(1000), Some(9000), Some(9000)), None);
    assert_eq!(peak_added(Some(1000), Some(9000), Some(9500)), Some(8500));
    assert_eq!(peak_added(None, None, None), None);
}

/// Scalar passes, and a clock that says twice as much in every round.
struct Clocked(Mutex<f64>);

impl Backend for Clocked {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn description(&self) -> String {
        "clocked".into()
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        ScalarBackend.open(data, max_clusters)
    }

    fn take_device_time(&self) -> Option<DeviceTime> {
        let mut seconds = self.0.lock().unwrap();
        *seconds *= 2.0;
        Some(DeviceTime {
            n_iter: 4,
            seconds: *seconds,
            n_on_matrix_units: 3,
        })
    }
}

#[test]
fn the_clock_of_a_device_and_its_ceilings_give_a_stage_and_shares() {
    let ceilings = DeviceCeilings {
        buffer_bytes: 1,
        device_clock: true,
        copy_bytes_per_s: 1e6,
        read_bytes_per_s: 4e6,
        upload_bytes_per_s: None,
    };
    let devices = [Device {
        name: "gpu".into(),
        backend: Box::new(Clocked(Mutex::new(1.0))),
        ceilings: Some(ceilings),
        unproven: Some(Box::new(Clocked(Mutex::new(7.0)))),
    }];
    let host = CpuBackend::new(2).unwrap();
    let bench = Bench {
        devices: &devices,
        host: &host,
        options: &options(),
        observer: &(),
    };
    let case = Case {
        shape: "small".into(),
        data: "small".into(),
        source: &source(600),
        origin: Origin::Generator,
        n_clusters: 3,
    };
    let mut report = report(bench.run(&case).unwrap());
    report.set_ceilings(cpu_ceilings());
    let device = &report.cases[0].devices[0];
    let stages = ["open", "iterations", BY_DEVICE, "labels", FIT, UNPROVEN];
    assert_eq!(names(&device.stages), stages);
    assert_eq!((device.ceilings, device.n_on_matrix_units), (Some(ceilings), Some(3)));
    let stage = &device.stages[2];
    // 4 iterations of 600 x 2 values in 2 s, then in 4.
    assert_eq!((stage.cold_s, stage.typical_s(), stage.passes), (2.0, 4.0, 4));
    assert_eq!(stage.bytes_per_s, 4800.0);
    assert_eq!(
        (stage.share_of_copy, stage.share_of_read, stage.share_of_fma),
        (Some(4800.0 / 1e6), Some(4800.0 / 4e6), None)
    );
    assert_eq!(device.stages[0].share_of_copy, None);
    // By the twin's own clock.
    let unproven = &device.stages[5];
    assert_eq!((unproven.cold_s, unproven.passes), (14.0, device.n_iter));
    // What is printed is read back.
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}
