//! Drawings as inline SVG. Colours are classes of the page; each drawing has a title, and its figures stand beside it.

use super::html::escaped;
use crate::segments::SegmentMap;

/// Where values come to lie between 0 and `width`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    width: f64,
}

impl Axis {
    /// From the least to the greatest of some values; `None` where there is nothing between them.
    pub(super) fn covering(values: impl Iterator<Item = f64>, width: f64) -> Option<Self> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        let axis = Self { low, high, width };
        (high > low && (high - low).is_finite()).then_some(axis)
    }

    fn place(self, v: f64) -> f64 {
        ((v - self.low) / (self.high - self.low)).clamp(0.0, 1.0) * self.width
    }
}

/// Width of what stands in a cell of a table.
pub(super) const CELL: f64 = 160.0;

/// A bar from `low` to `high` with a tick at `middle` and a line at `reference`.
pub(super) fn range(axis: Axis, [low, middle, high]: [f64; 3], reference: Option<f64>, title: &str) -> String {
    let [low, middle, high] = [low, middle, high].map(|v| axis.place(v));
    let reference = reference.map_or_else(String::new, |v| {
        format!(r#"<path class="ref" d="M{0:.1} 0V16"/>"#, 3.0 + axis.place(v))
    });
    format!(
        r#"<svg class="cell" viewBox="0 0 166 16" role="img"><title>{}</title><path class="rail" d="M3 8H163"/>{reference}<rect class="bar" x="{:.1}" y="4" width="{:.1}" height="8" rx="2"/><rect class="tick" x="{:.1}" y="1" width="3" height="14"/></svg>"#,
        escaped(title),
        3.0 + low,
        (high - low).max(1.0),
        1.5 + middle,
    )
}

/// A bar for a share of 1.
pub(super) fn share(share: f64, title: &str) -> String {
    format!(
        r#"<svg class="cell" viewBox="0 0 160 10" role="img"><title>{}</title><rect class="rail-box" width="160" height="10" rx="2"/><rect class="bar" width="{:.1}" height="10" rx="2"/></svg>"#,
        escaped(title),
        share.clamp(0.0, 1.0) * 160.0,
    )
}

/// A bar to the left or to the right of the middle, `reach` being the end, and a line over what holds it.
pub(super) fn difference(sd: f64, interval: Option<[f64; 2]>, reach: f64, title: &str) -> String {
    let place = |v: f64| 40.0 + (v / reach).clamp(-1.0, 1.0) * 40.0;
    let (class, x) = if sd < 0.0 {
        ("bar less", place(sd))
    } else {
        ("bar", 40.0)
    };
    let whisker = interval.map_or_else(String::new, |[low, high]| {
        format!(r#"<path class="whisker" d="M{:.1} 6H{:.1}"/>"#, place(low), place(high))
    });
    format!(
        r#"<svg class="diff" viewBox="0 0 80 12" role="img"><title>{}</title><rect class="{class}" x="{x:.1}" y="2" width="{:.1}" height="8"/>{whisker}<path class="axis" d="M40 0V12"/></svg>"#,
        escaped(title),
        (place(sd) - 40.0).abs(),
    )
}

/// From one bin below the first border to one beyond the last: open bins are drawn as wide as their neighbours.
pub(super) fn outer_ends(edges: &[f64]) -> Option<[f64; 2]> {
    let (first, last) = (edges.first()?, edges.last()?);
    let (below, above) = match edges {
        [_, .., _] => (edges[1] - first, last - edges[edges.len() - 2]),
        _ => (1.0, 1.0),
    };
    Some([first - below, last + above])
}

/// A histogram (borders of the bins, and a height for each), above a bar from p10 to p90 with a tick at the median.
pub(super) fn distribution(
    axis: Axis,
    (edges, heights): (&[f64], &[f64]),
    deciles: [f64; 3],
    reference: Option<f64>,
    title: &str,
) -> String {
    const TALL: f64 = 22.0;
    let [p10, median, p90] = deciles.map(|v| 3.0 + axis.place(v));
    let mut outline = String::new();
    let tallest = heights.iter().copied().fold(0.0, f64::max);
    if let Some([low, high]) = outer_ends(edges).filter(|_| tallest > 0.0 && heights.len() == edges.len() + 1) {
        let place = |v: f64| 3.0 + axis.place(v);
        outline = format!("M{:.1} {TALL}", place(low));
        let ends = edges.iter().copied().chain([high]);
        for (height, end) in heights.iter().zip(ends) {
            outline += &format!("V{:.1}H{:.1}", TALL - height / tallest * (TALL - 1.0), place(end));
        }
        outline = format!(r#"<path class="hist" d="{outline}V{TALL}Z"/>"#);
    }
    let reference = reference.map_or_else(String::new, |v| {
        format!(r#"<path class="ref" d="M{:.1} 0V36"/>"#, 3.0 + axis.place(v))
    });
    format!(
        r#"<svg class="cell" viewBox="0 0 166 36" role="img"><title>{}</title>{outline}<path class="rail" d="M3 29H163"/>{reference}<rect class="bar" x="{p10:.1}" y="26" width="{:.1}" height="6" rx="2"/><rect class="tick" x="{:.1}" y="23" width="3" height="12"/></svg>"#,
        escaped(title),
        (p90 - p10).max(1.0),
        median - 1.5,
    )
}

/// A line over the numbers of segments tried; points without a value are left out.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) points: Vec<(usize, Option<f64>)>,
}

/// Curves from 0 (or the least value below) to 1, and a mark at the number chosen.
pub(super) fn curves(curves: &[Curve], chosen: usize) -> String {
    const LEFT: f64 = 40.0;
    const TOP: f64 = 24.0;
    const WIDTH: f64 = 420.0;
    const HEIGHT: f64 = 200.0;
    let ks: Vec<usize> = curves[0].points.iter().map(|point| point.0).collect();
    let (first, last) = (ks[0] as f64, ks[ks.len() - 1] as f64);
    let x = |k: usize| LEFT + 10.0 + (k as f64 - first) / (last - first).max(1.0) * (WIDTH - 20.0);
    let values = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .filter_map(|point| point.1);
    let axis = Axis::covering(values.chain([0.0, 1.0]), HEIGHT).expect("from 0 to 1 at least");
    let y = |v: f64| TOP + HEIGHT - axis.place(v);
    let mut inside = String::new();
    for at in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = y(at);
        inside += &format!(
            r#"<path class="grid" d="M{LEFT} {y:.1}H{}"/><text class="end" x="{}" y="{:.1}">{at}</text>"#,
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0
        );
    }
    let step = ks.len().div_ceil(14);
    for &k in ks.iter().step_by(step).filter(|&&k| k != chosen) {
        inside += &format!(
            r#"<text class="mid" x="{:.1}" y="{}">{k}</text>"#,
            x(k),
            TOP + HEIGHT + 18.0
        );
    }
    let at = x(chosen);
    inside += &format!(
        r#"<path class="chosen" d="M{at:.1} {TOP}V{0}"/><text class="mid strong" x="{at:.1}" y="{1}">{chosen}</text><text class="mid strong" x="{at:.1}" y="14">chosen</text>"#,
        TOP + HEIGHT,
        TOP + HEIGHT + 18.0,
    );
    let mut ends: Vec<(f64, &str)> = Vec::new();
    for curve in curves {
        let mut places = curve.points.iter().filter_map(|&(k, v)| Some((x(k), y(v?))));
        let line: Vec<String> = places.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        inside += &format!(
            r#"<polyline class="curve {}" points="{}"/>"#,
            curve.class,
            line.join(" ")
        );
        for (x, y) in places.clone() {
            inside += &format!(r#"<circle class="dot {}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#, curve.class);
        }
        ends.extend(places.next_back().map(|(_, y)| (y, curve.name)));
    }
    for (y, name) in apart(ends, 16.0) {
        inside += &format!(r#"<text x="{}" y="{:.1}">{name}</text>"#, LEFT + WIDTH + 6.0, y + 4.0);
    }
    format!(
        r#"<svg class="chart" viewBox="0 0 580 {}" role="img"><title>Figures for each number of segments tried; {chosen} was chosen. The table below holds them.</title>{inside}<text class="mid" x="{}" y="{}">number of segments</text></svg>"#,
        TOP + HEIGHT + 42.0,
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 38.0,
    )
}

/// Moves labels down until none lies over another.
fn apart(mut labels: Vec<(f64, &str)>, least: f64) -> Vec<(f64, &str)> {
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    for n in 1..labels.len() {
        labels[n].0 = labels[n].0.max(labels[n - 1].0 + least);
    }
    labels
}

/// The segments as circles with areas by their share, and their numbers. `titles` has one text for each.
pub(super) fn map(map: &SegmentMap, shares: &[f64], titles: &[String]) -> String {
    const WIDTH: f64 = 560.0;
    const MARGIN: f64 = 70.0;
    const LARGEST: f64 = 60.0;
    let extent = |axis: usize| {
        let values = || map.points.iter().map(|point| point[axis]);
        (
            values().fold(f64::INFINITY, f64::min),
            values().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    let ((left, right), (bottom, top)) = (extent(0), extent(1));
    // Both axes have one scale, so that distances can be compared.
    let unit = (WIDTH - 2.0 * MARGIN) / (right - left).max(top - bottom).max(f64::MIN_POSITIVE);
    let height = (top - bottom) * unit + 2.0 * MARGIN;
    let shift = (WIDTH - (right - left) * unit) / 2.0;
    let (x, y) = (|v: f64| shift + (v - left) * unit, |v: f64| MARGIN + (top - v) * unit);
    let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut inside = format!(
        r#"<path class="grid" d="M8 {0:.1}H{1}M{2:.1} 8V{3:.1}"/>"#,
        y(0.0),
        WIDTH - 8.0,
        x(0.0),
        height - 8.0
    );
    let radius = |share: f64| (LARGEST * (share / most).sqrt()).max(3.0);
    for ((point, &share), title) in map.points.iter().zip(shares).zip(titles) {
        inside += &format!(
            r#"<circle class="segment" cx="{:.1}" cy="{:.1}" r="{:.1}"><title>{}</title></circle>"#,
            x(point[0]),
            y(point[1]),
            radius(share),
            escaped(title),
        );
    }
    for (n, (point, &share)) in map.points.iter().zip(shares).enumerate() {
        // Small circles have their number above.
        let up = if radius(share) < 12.0 { radius(share) + 9.0 } else { 0.0 };
        inside += &format!(
            r#"<text class="mid strong halo" x="{:.1}" y="{:.1}">{}</text>"#,
            x(point[0]),
            y(point[1]) + 5.0 - up,
            n + 1,
        );
    }
    format!(
        r#"<svg class="chart" viewBox="0 0 {WIDTH} {height:.0}" role="img"><title>Map of the segments: circles with their numbers, areas by size</title>{inside}</svg>"#
    )
}
