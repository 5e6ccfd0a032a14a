//! `--dry-run`, and what a run says of its plan.

use kohort::Result;
use kohort::data::FileSource;
use kohort::fit::{FitOptions, FitPlan};
use kohort::sys::most_spilled_bytes;

use super::memory::Limit;
use super::output::{Align, Output, Table, bytes_in_words, count, plural, stdout_width};
use super::plan::Device;

/// The plan of a fit, or of a sweep over `n_numbers` of segments; refused where it cannot be kept.
///
/// # Errors
/// Those of [`FitPlan::new`] and [`FitPlan::check`].
pub(crate) fn plan(
    source: &FileSource,
    options: &FitOptions,
    n_numbers: usize,
    device: &Device,
    limit: &Limit,
) -> Result<FitPlan> {
    let Limit { bytes, folder } = limit;
    let plan = FitPlan::new(
        source,
        source.bytes(),
        options,
        n_numbers,
        &*device.backend,
        *bytes,
        folder,
    )?;
    plan.check(folder)?;
    Ok(plan)
}

/// Says before a run that it will not fit in its memory, where it will not.
pub(crate) fn tell(plan: &FitPlan, limit: &Limit, output: Output) {
    if let (true, 0) = (plan.spilled_bytes > 0, most_spilled_bytes()) {
        output.note(&spilled_text(plan, limit));
    }
}

/// Shows a plan instead of running it.
pub(crate) fn show(plan: &FitPlan, limit: &Limit, output: Output) -> Result<()> {
    let width = stdout_width();
    let mut table = Table::new(&[("in memory at most", Align::Left), ("size", Align::Right)], None);
    let mut row = |what: &str, bytes: u64| table.row(&[what.into(), bytes_in_words(bytes)], &[]);
    for part in &plan.parts {
        row(part.what, part.bytes);
    }
    row("in all", plan.peak_bytes);
    let text = format!(
        "{}\n\n{}\n{}",
        facts(plan),
        table.render(width),
        memory_text(plan, limit)
    );
    output.data(&super::output::fold(&text, width))?;
    output.object(plan)
}

/// What the job is about.
fn facts(plan: &FitPlan) -> String {
    let [least, most] = plan.n_features;
    let features = if least == most {
        plural(least as u64, "feature")
    } else {
        format!("{least} to {most} features (texts become one for each common level, lists one for each number)")
    };
    let seeding = match plan.n_sample {
        0 => "first centroids as given".to_owned(),
        n if n == plan.n_rows => "seeded on all rows".to_owned(),
        n => format!("seeded on {}", plural(n as u64, "row")),
    };
    let seeding = match plan.n_refined {
        0 => seeding,
        n => format!("{seeding}, then on about {}", count(n as u64)),
    };
    let device = &plan.device;
    let gpu = match device.n_devices {
        1 => "the GPU".to_owned(),
        n => format!("{n} GPUs together"),
    };
    let passes = match (device.memory_bytes, device.streamed_bytes) {
        (None, _) => "passes on the CPU, in memory".to_owned(),
        (Some(_), 0) => format!(
            "passes on {gpu}, where all {} stay",
            bytes_in_words(device.resident_bytes)
        ),
        (Some(_), streamed) => format!(
            "passes on {gpu}, where {} stay and {} stream in each",
            bytes_in_words(device.resident_bytes),
            bytes_in_words(streamed)
        ),
    };
    format!(
        "{} ({}), {features}, {}, up to {}\n{seeding}; {passes}",
        plural(plan.n_rows as u64, "row"),
        bytes_in_words(plan.input_bytes),
        plural(plan.n_tiles as u64, "tile"),
        plural(plan.n_clusters as u64, "segment"),
    )
}

fn memory_text(plan: &FitPlan, limit: &Limit) -> String {
    match plan.memory_limit_bytes {
        None => String::new(),
        Some(_) if plan.spilled_bytes > 0 => spilled_text(plan, limit) + "\n",
        Some(bytes) => format!("fits in the memory of {} that may be taken\n", bytes_in_words(bytes)),
    }
}

fn spilled_text(plan: &FitPlan, limit: &Limit) -> String {
    let folder = kohort::error::escape(&limit.folder.to_string_lossy());
    let free = plan.free_disk_bytes;
    let free = free.map_or_else(String::new, |free| format!(", where {} are free", bytes_in_words(free)));
    format!(
        "memory: about {} of {} do not fit in {}, and go to files in {folder}{free}",
        bytes_in_words(plan.spilled_bytes),
        bytes_in_words(plan.peak_bytes),
        bytes_in_words(plan.memory_limit_bytes.unwrap_or_default()),
    )
}
