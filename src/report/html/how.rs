//! What was done to the data, and how the segments were computed.

use super::*;
use crate::kmeans::StopReason;

/// Every column of the data.
pub(super) fn columns(report: &Report) -> String {
    let columns = &report.columns;
    let lines: String = { columns.iter().take(MOST_TREATED) }
        .map(|column| {
            let mut done = column.treatment.clone();
            if let Some(fill) = column.fill {
                done += &format!("; missing as {}", number(fill));
            }
            if let Some(reason) = &column.reason {
                done = if done.is_empty() {
                    reason.clone()
                } else {
                    format!("{done}; {reason}")
                };
            }
            let missing = match column.n_missing {
                Count::Exact(0) => String::new(),
                n => share(n, report.n_rows()),
            };
            format!(
                "<tr><th scope=\"row\" class=\"t w\">{}</th><td class=\"t\">{}</td><td class=\"t w\">{}</td>\
                 <td class=\"n\">{missing}</td><td class=\"t w\">{}</td></tr>\n",
                name(&column.column),
                column.role.name(),
                name(&column.data_type),
                escaped(&shortened(&done, 4 * NAME_CHARS)),
            )
        })
        .collect();
    let mut text = format!(
        "<div class=\"scroll\"><table><caption>Every column, the part it plays, and what was done to it or why it is left \
         out</caption><thead><tr><th scope=\"col\" class=\"t\">column</th><th scope=\"col\" class=\"t\">role</th>\
         <th scope=\"col\" class=\"t\">type</th><th scope=\"col\">missing</th><th scope=\"col\" class=\"t\">treatment</th></tr></thead>\n\
         <tbody>\n{lines}</tbody></table></div>\n"
    );
    if columns.len() > MOST_TREATED {
        text += &format!(
            "<p class=\"soft\">The other {} columns are in <code>run.json</code>.</p>\n",
            columns.len() - MOST_TREATED
        );
    }
    text
}

/// Method, device, seed, hashes, files.
pub(super) fn section(report: &Report) -> String {
    let record = report.record;
    let stopped = match record.stop_reason {
        StopReason::Converged => "converged: no centroid moved any more",
        StopReason::Tolerance => "centroids moved less than the tolerance",
        StopReason::MaxIter => "stopped at the most iterations allowed",
        StopReason::MaxTime => "stopped when the time allowed was up",
    };
    let seeding = record.seeding.as_ref().map_or_else(
        || "first centroids as given".to_owned(),
        |seeding| {
            let restarts = figures::plural(seeding.n_init as u64, "restart");
            let refined = seeding.n_refined.map_or(String::new(), |rows| {
                format!(", refined on {}", figures::plural(rows, "row"))
            });
            format!("{restarts} on {}{refined}", figures::plural(seeding.n_sample, "row"))
        },
    );
    let device = &record.device;
    let facts = [
        (
            "method",
            "exact k-means (Lloyd's iterations on integers), the same bits on every device".into(),
        ),
        ("labels hash", format!("<code>{}</code>", escaped(&record.labels_hash))),
        ("seed", format!("{}; {}", record.options.seed, escaped(&seeding))),
        ("iterations", format!("{}, {stopped}", record.n_iter)),
        (
            "inertia",
            format!(
                "{} ({} exactly)",
                number(record.inertia),
                escaped(&record.inertia_exact)
            ),
        ),
        (
            "device",
            format!(
                "{}: {}; {}",
                escaped(&device.backend),
                sentence(&device.description),
                sentence(&device.reason)
            ),
        ),
        (
            "time",
            format!(
                "{}, {}",
                escaped(&record.time.created),
                figures::seconds(record.time.elapsed_s)
            ),
        ),
        ("least rows told of", count(record.options.min_cell)),
        (
            "made again by",
            "<code>kohort verify</code> with the run directory".into(),
        ),
    ];
    let facts: String = facts
        .iter()
        .map(|(what, text)| format!("<dt>{what}</dt><dd>{text}</dd>\n"))
        .collect();
    let inputs: String = { record.inputs.iter().take(MOST_LINES) }
        .map(|input| {
            format!(
                "<tr><th scope=\"row\" class=\"t w\">{}</th><td>{}</td><td>{}</td><td class=\"t w\"><code>{}</code></td></tr>\n",
                name(&input.path),
                count(input.n_rows),
                count(input.bytes),
                escaped(input.xxh3_128.as_ref().or(input.etag.as_ref()).map_or("", String::as_str))
            )
        })
        .collect();
    let more = record.inputs.len().saturating_sub(MOST_LINES);
    let more = if more > 0 {
        format!("; {more} more are in run.json")
    } else {
        String::new()
    };
    format!(
        "<dl>\n{facts}</dl>\n<div class=\"scroll\"><table><caption>Files read{more}</caption><thead><tr>\
         <th scope=\"col\" class=\"t\">file</th><th scope=\"col\">rows</th><th scope=\"col\">bytes</th>\
         <th scope=\"col\" class=\"t\">XXH3-128</th></tr></thead>\n<tbody>\n{inputs}</tbody></table></div>\n"
    )
}
