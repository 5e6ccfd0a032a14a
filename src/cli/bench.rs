//! `kohort bench`: how fast every stage is on this machine, and whether that has changed.

use std::process::ExitCode;

use kohort::backend::choice::{DeviceRequest, choose};
use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{self, DeviceCeilings, GpuBackend, GpuOptions, MatrixUnits};
use kohort::bench::{
    BY_DEVICE, Bench, BenchOptions, Case, CaseReport, Ceilings, Comparison, Device, DeviceReport, Generated, Origin,
    Report, Settings, Stage, Start, UNPROVEN,
};
use kohort::data::{BatchSource, FileSource, expand};
use kohort::features::FeatureOptions;
use kohort::kmeans::StopReason;
use kohort::tiles::{MAX_CHUNK_BYTES, row_bytes};
use kohort::workload::{ANCHORS, Shape, gpu_grid};
use kohort::{Error, ErrorKind, Result};

use super::args::{BenchArgs, BenchInitArg, InitArg, Names};
use super::output::{Align, Output, Table, number, percent, plural, stdout_width};
use super::plan;
use super::progress::{Progress, check_interrupt};

pub(crate) fn run(args: &BenchArgs, output: Output) -> Result<ExitCode> {
    let earlier = match &args.against {
        Some(path) => Some((Report::load(path).map_err(about_earlier)?, path)),
        None => None,
    };
    let threads = plan::count_threads(args.threads);
    let host = CpuBackend::new(threads)?;
    let mut bencher = Bencher {
        args,
        output,
        progress: Progress::new(&args.talk, output),
        devices: Vec::new(),
        host: &host,
        cases: Vec::new(),
    };
    let ceilings = (!args.no_ceilings).then(|| Ceilings::measure(&host));
    let measured = bencher.run();
    bencher.progress.clear();
    measured?;
    let mut report = Report {
        format: Report::FORMAT.into(),
        version: Report::VERSION,
        kohort_version: env!("CARGO_PKG_VERSION").into(),
        settings: settings(args),
        threads,
        rounds: args.rounds,
        ceilings: None,
        cases: bencher.cases,
        against: None,
    };
    if let Some(ceilings) = ceilings {
        // Twice, before and after: other work on the machine may have been there at one time only.
        report.set_ceilings(ceilings.or_better(&Ceilings::measure(&host)));
    }
    if let Some((earlier, path)) = &earlier {
        let comparison = Comparison::new(&report, earlier, path, args.slower_than);
        report.against = Some(comparison.map_err(about_earlier)?);
    }
    show(&report, output)?;
    Ok(verdict(&report, output))
}

/// An error about the file of `--against`, which is no run and has no place for the hints of one.
fn about_earlier(error: Error) -> Error {
    match error {
        Error::ArtifactInvalid { path, reason } => invalid("--against", &path.to_string_lossy(), &reason),
        other => other,
    }
}

/// What a report says of the arguments.
fn settings(args: &BenchArgs) -> Settings {
    Settings {
        max_iter: args.iters,
        tol: args.tol,
        init: match &args.init {
            BenchInitArg::Rows => "rows".into(),
            BenchInitArg::AsInAFit(InitArg::KMeansPlusPlus) => "k-means++".into(),
            BenchInitArg::AsInAFit(InitArg::Random) => "random".into(),
            BenchInitArg::AsInAFit(InitArg::File(path)) => path.to_string_lossy().into_owned(),
        },
        n_init: args.n_init,
        seed: args.seed,
        scale: plan::scale(args.scale).to_string(),
    }
}

/// What runs the cases, one after the other.
struct Bencher<'b> {
    args: &'b BenchArgs,
    output: Output,
    progress: Progress,
    devices: Vec<Device>,
    host: &'b CpuBackend,
    cases: Vec<CaseReport>,
}

impl Bencher<'_> {
    fn run(&mut self) -> Result<()> {
        if self.args.data.is_empty() {
            self.run_shapes()
        } else {
            self.run_files()
        }
    }

    fn run_shapes(&mut self) -> Result<()> {
        let shapes = shapes(self.args)?;
        let work = |shape: &Shape| work(shape.n_rows, shape.n_features, shape.n_clusters);
        self.open_devices(shapes.iter().map(work).max().unwrap_or(0))?;
        for shape in shapes {
            check_interrupt()?;
            let workload = kohort::workload::Workload {
                seed: self.args.seed,
                ..shape.workload()
            };
            let generated = Generated::new(&workload, self.host)?;
            let size = format!("{shape}");
            let case = Case {
                shape: if shape.name.is_empty() {
                    size.clone()
                } else {
                    format!("{}: {size}", shape.name)
                },
                data: format!("generated, seed {}", workload.seed),
                source: &*generated.source,
                origin: generated.origin,
                n_clusters: shape.n_clusters,
            };
            let features = FeatureOptions {
                features: vec![Generated::FEATURES.into()],
                ..FeatureOptions::default()
            };
            self.run_case(&case, features)?;
        }
        Ok(())
    }

    fn run_files(&mut self) -> Result<()> {
        let args = self.args;
        let paths = expand(&args.data)?;
        let source = FileSource::open(&paths, self.host.threads())?;
        let largest = args.clusters.iter().max().copied().unwrap_or(1);
        self.open_devices(work(source.n_rows(), source.schema().fields().len(), largest))?;
        for &n_clusters in &args.clusters {
            let name = |path: &std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let names: Vec<String> = paths.iter().filter_map(name).collect();
            let case = Case {
                shape: format!("{}, k={n_clusters}", names[0]),
                data: names.join(", "),
                source: &source,
                origin: Origin::Files,
                n_clusters,
            };
            let features = FeatureOptions {
                features: Names::flatten(&args.features),
                exclude: Names::flatten(&args.exclude),
                ..FeatureOptions::default()
            };
            self.run_case(&case, features)?;
        }
        Ok(())
    }

    fn run_case(&mut self, case: &Case<'_>, features: FeatureOptions) -> Result<()> {
        let args = self.args;
        let options = BenchOptions {
            features: FeatureOptions {
                scale: plan::scale(args.scale),
                ..features
            },
            start: match &args.init {
                BenchInitArg::Rows => Start::Rows,
                BenchInitArg::AsInAFit(init) => Start::Choice(plan::init(init, case.n_clusters)?),
            },
            n_init: args.n_init,
            max_iter: args.iters,
            tol: args.tol,
            seed: args.seed,
            rounds: args.rounds,
            chunk_bytes: MAX_CHUNK_BYTES,
        };
        let bench = Bench {
            devices: &self.devices,
            host: self.host,
            options: &options,
            observer: &self.progress,
        };
        self.cases.push(bench.run(case)?);
        Ok(())
    }

    /// Opens the devices asked for; `work` is that of the largest pass.
    fn open_devices(&mut self, work: u64) -> Result<()> {
        let matrix_units = MatrixUnits::from_environment()?;
        for request in self.args.device.iter().flat_map(|requests| &requests.0) {
            // The GPU itself, without the CPU to fall back on: that would be timed as if it was the GPU.
            let choice = choose(request, work, gpu::all, |selection, n_gpus| {
                let gpu = |unproven| {
                    let options = GpuOptions {
                        timed: true,
                        unproven,
                        threads: self.host.threads() / n_gpus,
                        matrix_units,
                        ..GpuOptions::default()
                    };
                    GpuBackend::new(&selection, options)
                };
                let twin = self.args.cost_of_proof.then(|| gpu(true)).transpose()?;
                Ok((gpu(false)?, twin))
            })?;
            let mut twins = Vec::new();
            let mut gpus = Vec::new();
            for (selection, (gpu, twin)) in choice.gpus {
                gpus.push((selection, gpu));
                twins.extend(twin.map(|twin| (selection, twin)));
            }
            if gpus.iter().any(|(_, gpu)| gpu.is_software()) {
                self.output
                    .warning("this adapter is software on the CPU: its times are those of a test device");
            }
            let measured = gpus.iter().filter(|_| !self.args.no_ceilings);
            let ceilings = measured.map(|(_, gpu)| gpu.ceilings()).collect::<Result<Vec<_>>>()?;
            let ceilings = ceilings.into_iter().reduce(DeviceCeilings::together);
            let without_clock = gpus.iter().any(|(_, gpu)| !gpu.has_timestamps());
            let backend = match plan::together(gpus, request)? {
                Some(gpus) => gpus,
                None => Box::new(CpuBackend::new(self.host.threads())?),
            };
            self.output
                .note(&format!("device: {}; {}", backend.description(), choice.reason));
            if without_clock {
                self.output
                    .note("this adapter has no timestamps: its times are by the host's clock alone");
            }
            let name = match request {
                DeviceRequest::Auto => backend.name().to_owned(),
                asked => asked.to_string(),
            };
            self.devices.push(Device {
                name,
                backend,
                ceilings,
                unproven: plan::together(twins, request)?,
            });
        }
        Ok(())
    }
}

fn work(n_rows: usize, n_features: usize, n_clusters: usize) -> u64 {
    (n_rows as u64)
        .saturating_mul(n_features as u64)
        .saturating_mul(n_clusters as u64)
}

/// The sizes that are asked for.
fn shapes(args: &BenchArgs) -> Result<Vec<Shape>> {
    let sized = !(args.rows.is_empty() && args.clusters.is_empty() && args.features.is_empty());
    if args.shape.is_empty() && sized {
        return sizes(args);
    }
    let mut shapes = Vec::new();
    let default = ["A".to_owned()];
    for name in if args.shape.is_empty() {
        &default[..]
    } else {
        &args.shape
    } {
        match ANCHORS.iter().find(|shape| shape.name.eq_ignore_ascii_case(name)) {
            Some(shape) => shapes.push(*shape),
            None if name == "gpu-grid" => shapes.extend(gpu_grid()),
            None => return Err(invalid("--shape", name, "expected A, B, C, D, E, F or gpu-grid")),
        }
    }
    Ok(shapes)
}

/// Every combination of the numbers of rows, features and clusters.
fn sizes(args: &BenchArgs) -> Result<Vec<Shape>> {
    let or = |given: &[usize], default| {
        if given.is_empty() {
            vec![default]
        } else {
            given.to_vec()
        }
    };
    let number = |text: &String| {
        let n = text.parse().ok().filter(|&n: &usize| n > 0);
        n.ok_or_else(|| invalid("features", text, "without DATA, expected numbers of features"))
    };
    let features: Vec<usize> = Names::flatten(&args.features)
        .iter()
        .map(number)
        .collect::<Result<_>>()?;
    let mut shapes = Vec::new();
    for n_rows in or(&args.rows, 1_000_000) {
        for n_features in or(&features, 16) {
            for n_clusters in or(&args.clusters, 16) {
                shapes.push(Shape {
                    name: "",
                    n_rows,
                    n_features,
                    n_clusters,
                });
            }
        }
    }
    Ok(shapes)
}

fn invalid(param: &'static str, value: &str, reason: &str) -> Error {
    Error::InvalidParam {
        param,
        value: value.into(),
        reason: reason.into(),
    }
}

fn show(report: &Report, output: Output) -> Result<()> {
    let mut text = String::new();
    if let Some(best) = &report.ceilings {
        text += &format!(
            "at best, {} with {}: copy {} GB/s, read {} GB/s, multiply-adds {} GFLOP/s\n",
            plural(best.threads as u64, "thread"),
            best.instruction_set,
            giga(best.copy_bytes_per_s),
            giga(best.read_bytes_per_s),
            giga(best.fma_flop_per_s),
        );
    }
    for case in &report.cases {
        text += &format!(
            "\n{} ({})\n",
            kohort::error::escape(&case.shape),
            kohort::error::escape(&case.data)
        );
        text += &stage_table(case).render(stdout_width());
        for device in &case.devices {
            text += &outcome(case, device);
            text += &on_device(case, device);
        }
    }
    if let Some(comparison) = &report.against {
        text += "\nfastest runs, before and now\n";
        text += &comparison_table(comparison).render(stdout_width());
    }
    output.data(text.trim_start_matches('\n'))?;
    output.object(report)
}

fn stage_table(case: &CaseReport) -> Table {
    use Align::{Left, Right};
    let heads = [
        ("stage", Left),
        ("on", Left),
        ("cold", Right),
        ("warm", Right),
        ("least", Right),
        ("most", Right),
        ("M rows/s", Right),
        ("GB/s", Right),
        ("of read", Right),
        ("GFLOP/s", Right),
        ("of FMA", Right),
    ];
    let shown = shown_columns(stdout_width());
    let heads: Vec<(&str, Align)> = shown.columns.iter().map(|&column| heads[column]).collect();
    let mut table = Table::new(&heads, shown.meaning.then_some("what is timed"));
    let mut add = |stage: &Stage, device: &str| {
        let share = |share: Option<f64>| share.map_or_else(String::new, percent);
        let warm =
            |pick: fn(&kohort::bench::Spread) -> f64| stage.warm.as_ref().map_or_else(String::new, |w| time(pick(w)));
        let rate = |text: String| if stage.passes == 0 { String::new() } else { text };
        let cells = [
            stage.stage.clone(),
            device.to_owned(),
            time(stage.cold_s),
            warm(|w| w.median_s),
            warm(|w| w.min_s),
            warm(|w| w.max_s),
            rate(number(stage.rows_per_s / 1e6)),
            rate(giga(stage.bytes_per_s)),
            share(stage.share_of_read),
            stage.flop_per_s.map_or_else(String::new, giga),
            share(stage.share_of_fma),
        ];
        let cells: Vec<String> = shown.columns.iter().map(|&column| cells[column].clone()).collect();
        let meaning = shown.meaning.then(|| meaning(stage));
        table.row(&cells, meaning.as_slice());
    };
    let (before, after): (Vec<&Stage>, Vec<&Stage>) = case.stages.iter().partition(|stage| stage.stage != "write");
    before.into_iter().for_each(|stage| add(stage, "host"));
    for device in &case.devices {
        device.stages.iter().for_each(|stage| add(stage, &device.device));
    }
    after.into_iter().for_each(|stage| add(stage, "host"));
    table
}

/// Which columns of the table of stages a terminal has room for.
struct Shown {
    columns: Vec<usize>,
    /// Whether the last one, in words, is shown.
    meaning: bool,
}

/// A narrow terminal does without words, a narrower one without the spread, and one narrower still without the share of
/// the processor's best.
fn shown_columns(width: usize) -> Shown {
    let (spread, flops) = ([4, 5], [9, 10]);
    let hidden = |column: &usize| width < 112 && spread.contains(column) || width < 92 && flops.contains(column);
    Shown {
        columns: (0..11).filter(|column| !hidden(column)).collect(),
        meaning: width >= 152,
    }
}

/// What the clock of a stage runs for.
fn meaning(stage: &Stage) -> String {
    match stage.stage.as_str() {
        "generate" => "making the rows".into(),
        "ingest" => "files to grid values, as a fit does it".into(),
        "decode" => "reading the columns from Parquet".into(),
        "learn" => "means and deviations of all columns".into(),
        "prepare" => "rows to grid values".into(),
        "generate+learn" => "the same, rows made while read".into(),
        "generate+prepare" => "rows to grid values, made while read".into(),
        "open" => "what a device needs before the first pass".into(),
        "seed" => "first centroids".into(),
        "iterations" => format!("{}, rates per iteration", plural(stage.passes as u64, "iteration")),
        BY_DEVICE => "the same by the device's clock".into(),
        UNPROVEN => "as many without the proof of labels".into(),
        "labels" => "numbering, all labels and runners-up".into(),
        "write" => "distances and assignments.parquet".into(),
        _ => "both".into(),
    }
}

fn outcome(case: &CaseReport, device: &DeviceReport) -> String {
    let stopped = match device.stop_reason {
        StopReason::Converged => ", converged",
        StopReason::Tolerance => ", within --tol",
        StopReason::MaxIter | StopReason::MaxTime => "",
    };
    let memory = device.peak_memory_added_bytes.map_or_else(String::new, |bytes| {
        let share = bytes as f64 / case.matrix_bytes.max(1) as f64;
        format!(
            ", {} MiB more at the peak ({} x the values)",
            number(bytes as f64 / f64::from(1 << 20)),
            number(share)
        )
    });
    let read = if device.share_read < 1.0 {
        let twice = if device.share_unsettled > 0.0 {
            format!(", {} of these twice", percent(device.share_unsettled))
        } else {
            String::new()
        };
        format!(", {} of the rows looked at{twice}", percent(device.share_read))
    } else {
        String::new()
    };
    format!(
        "{}: {}{stopped}{read}, inertia {}, labels {}{memory}\n",
        device.device,
        plural(device.n_iter as u64, "iteration"),
        number(device.inertia),
        device.labels_hash,
    )
}

/// What the iterations made of the memory of a GPU: by its own clock where it has one.
fn on_device(case: &CaseReport, device: &DeviceReport) -> String {
    let (clock, stage) = match (of_stage(device, BY_DEVICE), of_stage(device, "iterations")) {
        (Some(stage), _) => ("its own clock", stage),
        (None, Some(stage)) if device.ceilings.is_some() => ("the host's clock", stage),
        _ => return String::new(),
    };
    let iteration_s = stage.typical_s() / stage.passes.max(1) as f64;
    let mut text = format!("{}: {} an iteration by {clock}", device.device, time(iteration_s));
    if let Some(n @ 1..) = device.n_on_matrix_units {
        text += &format!(", {n} of them on matrix units");
    }
    if let (Some(best), Some(copy), Some(read)) = (&device.ceilings, stage.share_of_copy, stage.share_of_read) {
        text += &format!(
            ", {} of its copy ({} GB/s read plus written), {} of its read ({} GB/s)",
            percent(copy),
            giga(best.copy_bytes_per_s),
            percent(read),
            giga(best.read_bytes_per_s),
        );
    }
    if let (Some(open), Some(best)) = (
        of_stage(device, "open"),
        device.ceilings.and_then(|best| best.upload_bytes_per_s),
    ) {
        let bytes = case.n_rows as f64 * row_bytes(case.n_features) as f64;
        let sent = bytes / open.cold_s.max(f64::MIN_POSITIVE);
        text += &format!(
            ", values sent at {} of its upload ({} GB/s)",
            percent(sent / best),
            giga(best)
        );
    }
    if let Some(unproven) = of_stage(device, UNPROVEN) {
        let cost = stage.typical_s() / unproven.typical_s().max(f64::MIN_POSITIVE);
        text += &format!(", {} of what they take without the proof of labels", percent(cost));
    }
    text + "\n"
}

fn of_stage<'d>(device: &'d DeviceReport, name: &str) -> Option<&'d Stage> {
    device.stages.iter().find(|stage| stage.stage == name)
}

fn comparison_table(comparison: &Comparison) -> Table {
    use Align::{Left, Right};
    let heads = [
        ("shape", Left),
        ("on", Left),
        ("stage", Left),
        ("before", Right),
        ("now", Right),
        ("ratio", Right),
    ];
    let mut table = Table::new(&heads, None);
    for stage in &comparison.stages {
        let cells = [
            stage.shape.clone(),
            stage.device.clone().unwrap_or_else(|| "host".into()),
            stage.stage.clone(),
            time(stage.then_s),
            time(stage.now_s),
            format!("{:.2}", stage.ratio),
        ];
        table.row(&cells, &[]);
    }
    table
}

/// The exit code, and on stderr what it is for.
fn verdict(report: &Report, output: Output) -> ExitCode {
    if let Some((case, first, other)) = report.disagreement() {
        let message = format!(
            "{}: {} and {} give different segments",
            kohort::error::escape(&case.shape),
            first.device,
            other.device
        );
        output.failed(&message, "`kohort devices` tests each device; please report this");
        return super::exit_code(ErrorKind::Mismatch).into();
    }
    let Some(comparison) = &report.against else {
        return ExitCode::SUCCESS;
    };
    if comparison.other_threads {
        output.warning("the earlier bench ran on another number of threads");
    }
    for what in &comparison.unmatched {
        output.warning(&format!("the earlier bench has no {what}"));
    }
    if let Some(differs) = comparison.mismatches.first() {
        let message = format!(
            "{} on {}: labels {}, {} before",
            kohort::error::escape(&differs.shape),
            differs.device,
            differs.now,
            kohort::error::escape(&differs.then)
        );
        output.failed(
            &message,
            "the same rows and settings give the same labels, unless the program has changed",
        );
        return super::exit_code(ErrorKind::Mismatch).into();
    }
    if let Some(slow) = comparison.slower().max_by(|a, b| a.ratio.total_cmp(&b.ratio)) {
        let message = format!(
            "{} on {}: {} takes {:.2} times as long as before, --slower-than is {}",
            kohort::error::escape(&slow.shape),
            slow.device.as_deref().unwrap_or("host"),
            slow.stage,
            slow.ratio,
            comparison.slower_than,
        );
        output.failed(
            &message,
            "other work on the machine slows a bench as well: more --rounds find a quiet moment",
        );
        return super::exit_code(ErrorKind::Gate).into();
    }
    ExitCode::SUCCESS
}

/// Thousands of millions.
fn giga(rate: f64) -> String {
    number(rate / 1e9)
}

/// A time of any size.
fn time(elapsed_s: f64) -> String {
    match elapsed_s {
        s if s < 1e-3 => format!("{} us", number(s * 1e6)),
        s if s < 1.0 => format!("{} ms", number(s * 1e3)),
        s => format!("{} s", number(s)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn sizes_of(line: &str) -> Vec<(usize, usize, usize)> {
        let Command::Bench(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("not a bench");
        };
        let size = |shape: &Shape| (shape.n_rows, shape.n_features, shape.n_clusters);
        shapes(&args).unwrap().iter().map(size).collect()
    }

    #[test]
    fn sizes_are_named_or_every_combination_of_numbers() {
        assert_eq!(sizes_of("kohort bench"), [(1_000_000, 8, 8)]);
        let named = sizes_of("kohort bench --shape c,gpu-grid --shape E");
        assert_eq!(
            (named.len(), named[0], named[61]),
            (62, (5_000_000, 16, 16), (200_000, 128, 1024))
        );
        assert_eq!(
            sizes_of("kohort bench --rows 10,2k --features 3 -k 2 -k 4"),
            [(10, 3, 2), (10, 3, 4), (2000, 3, 2), (2000, 3, 4)]
        );
        assert_eq!(sizes_of("kohort bench -k 5"), [(1_000_000, 16, 5)]);
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        assert_eq!(
            [1.5e-6, 0.012, 3.0, 1234.0].map(time),
            ["1.5 us", "12 ms", "3 s", "1,234 s"]
        );
    }

    #[test]
    fn narrow_terminals_lose_columns_and_not_rows() {
        let shown = |width| (shown_columns(width).columns.len(), shown_columns(width).meaning);
        assert_eq!(
            [shown(usize::MAX), shown(120), shown(100), shown(80)],
            [(11, true), (11, false), (9, false), (7, false)]
        );
    }
}
