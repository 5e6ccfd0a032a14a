//! Why a row is in its segment, and the smallest change of one column that would move it to another.
//!
//! Squared distances are sums over features, so what a column says for the nearest centroid `c1` against the runner-up `c2`
//! is its part of `|x - c2|^2 - |x - c1|^2`, exactly. Along one feature the difference of two squared distances is
//! linear, so the first step of the grid at which another centroid is nearer has a closed form, in integers; it is taken
//! over all other centroids. A change is told only if the changed value, prepared as every value is, gets another segment.

use std::ops::Range;

use serde::Serialize;

use super::Confidence;
use crate::features::{FeaturePreparation, Instant, Preparation, ValueKind};
use crate::grid::{CENTROID_SCALE, MAX_GRID};
use crate::tiles::Centroids;

/// Steps of the grid beyond the closed form that are tried: a value in original units is rounded on its way back.
const BEYOND: [i64; 6] = [0, 1, 2, 8, 64, 1024];

/// Why a row is where it is. Segments are numbered from 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The nearest.
    pub segment: usize,
    /// The runner-up; none where there is one segment only.
    pub segment_2: Option<usize>,
    /// Distance to the first, in units of the scaled features.
    pub distance: f64,
    /// Distance to the second.
    pub distance_2: Option<f64>,
    /// See [`super::Assignment::margin`].
    pub margin: Option<f64>,
    /// See [`Confidence::is_boundary`].
    pub is_boundary: Option<bool>,
    /// See [`Confidence::outlier_score`]: above 1, the row is an outlier.
    pub outlier_score: Option<f64>,
    /// What speaks most for the segment first.
    pub reasons: Vec<Reason>,
    /// For each column that can do it alone, the smallest change that moves the row; the smallest of all first.
    pub changes: Vec<Change>,
}

/// What one column says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The column.
    pub column: String,
    /// The row's value.
    pub value: Value,
    /// What is typical of the segment: its centre, or for text and truth values the share of its rows with this value.
    pub in_segment: Value,
    /// The same of the runner-up.
    pub in_segment_2: Option<Value>,
    /// Part of the difference of the squared distances: above 0 it speaks for the segment, below for the runner-up.
    pub contribution: f64,
    /// The same over the sum of all; none where that is 0.
    pub share: Option<f64>,
}

/// A change of one column that moves the row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The column.
    pub column: String,
    /// The row's value.
    pub from: Value,
    /// A value with which the row is in another segment.
    pub to: Value,
    /// That segment.
    pub segment: usize,
    /// How far that moves the row, in units of the scaled features.
    pub size: f64,
}

/// A value in a column's own units.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A share of rows; a number in JSON.
    Share(f64),
    /// True or false.
    Flag(bool),
    /// A level, or a point in time.
    Text(String),
    /// No value.
    Missing,
}

/// Explains rows under a model.
#[derive(Debug, Clone)]
pub struct Explainer<'m> {
    preparation: &'m Preparation,
    centroids: &'m Centroids,
    confidence: &'m Confidence,
    /// The features of each column.
    columns: Vec<Range<usize>>,
}

/// A row on the grid, and its exact squared distances.
struct Placed {
    x: Vec<i32>,
    sq_dists: Vec<i128>,
    nearest: usize,
}

impl<'m> Explainer<'m> {
    /// Of the parts of a model.
    #[must_use]
    pub fn new(preparation: &'m Preparation, centroids: &'m Centroids, confidence: &'m Confidence) -> Self {
        let mut columns: Vec<Range<usize>> = Vec::new();
        for (at, feature) in preparation.features.iter().enumerate() {
            match columns.last_mut() {
                Some(last) if preparation.features[last.start].column == feature.column => last.end = at + 1,
                _ => columns.push(at..at + 1),
            }
        }
        Self {
            preparation,
            centroids,
            confidence,
            columns,
        }
    }

    /// Explains a row, given as the value of each feature before preparation: NaN where there is none.
    ///
    /// # Panics
    /// If the number of values is not that of features.
    #[must_use]
    pub fn explain(&self, raw: &[f64]) -> Explanation {
        assert_eq!(raw.len(), self.preparation.n_features(), "one value per feature");
        let placed = self.place(raw);
        let runner_up = second(&placed.sq_dists, placed.nearest);
        let distance = |cluster: usize| {
            let grid = self.preparation.grid;
            grid.sq_dist_value(placed.sq_dists[cluster] as u128).sqrt()
        };
        let (distance, distance_2) = (distance(placed.nearest), runner_up.map(distance));
        let of_two = |d2: f64| {
            if d2 > 0.0 {
                (d2 - distance) / (d2 + distance)
            } else {
                0.0
            }
        };
        let margin = distance_2.map(of_two);
        let limit = self.confidence.boundary_margin;
        Explanation {
            segment: placed.nearest + 1,
            segment_2: runner_up.map(|cluster| cluster + 1),
            distance,
            distance_2,
            margin,
            is_boundary: margin.zip(limit).map(|(margin, limit)| margin <= limit),
            outlier_score: { self.confidence.outlier_distances.get(placed.nearest).copied().flatten() }
                .map(|limit| distance / limit),
            reasons: self.reasons(raw, &placed, runner_up),
            changes: self.changes(raw, &placed),
        }
    }

    fn place(&self, raw: &[f64]) -> Placed {
        let both = self.preparation.features.iter().zip(raw);
        let x: Vec<i32> = both.map(|(feature, &v)| self.snap(feature, v)).collect();
        let clusters = 0..self.centroids.n_clusters();
        let sq_dists: Vec<i128> = clusters
            .map(|cluster| self.centroids.sq_dist(&x, cluster) as i128)
            .collect();
        Placed {
            x,
            nearest: nearest(sq_dists.iter().copied()),
            sq_dists,
        }
    }

    fn snap(&self, feature: &FeaturePreparation, v: f64) -> i32 {
        let v = if v.is_nan() { feature.fill } else { v };
        self.preparation.grid.snap(feature.z(v)) as i32
    }

    fn reasons(&self, raw: &[f64], placed: &Placed, runner_up: Option<usize>) -> Vec<Reason> {
        let total = runner_up.map_or(0, |other| placed.sq_dists[other] - placed.sq_dists[placed.nearest]);
        let mut reasons: Vec<(i128, Reason)> = { self.columns.iter() }
            .map(|column| {
                let says = |other: usize| -> i128 {
                    let of_feature =
                        |j: usize| self.sq_diff(placed.x[j], other, j) - self.sq_diff(placed.x[j], placed.nearest, j);
                    column.clone().map(of_feature).sum()
                };
                let exact = runner_up.map_or(0, says);
                let value = |exact: i128| {
                    let size = self.preparation.grid.sq_dist_value(exact.unsigned_abs());
                    if exact < 0 { -size } else { size }
                };
                let reason = Reason {
                    column: self.preparation.features[column.start].column.clone(),
                    value: self.told(column, raw),
                    in_segment: self.typical(column, raw, placed.nearest),
                    in_segment_2: runner_up.map(|other| self.typical(column, raw, other)),
                    contribution: value(exact),
                    share: (total > 0).then(|| exact as f64 / total as f64),
                };
                (exact, reason)
            })
            .collect();
        // A stable sort: ties stay in the order of the columns.
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.0));
        reasons.into_iter().map(|(_, reason)| reason).collect()
    }

    /// `(x - c)^2` of one feature, in centroid units squared.
    fn sq_diff(&self, x: i32, cluster: usize, feature: usize) -> i128 {
        let diff = i128::from(i64::from(x) * CENTROID_SCALE - i64::from(self.centroids.row(cluster)[feature]));
        diff * diff
    }

    /// The feature of a column that stands for a row's value: of a text the level that it has.
    fn standing(&self, column: &Range<usize>, raw: &[f64]) -> usize {
        let is_flag = |j: usize| !self.is_amount(j);
        let hot = column.clone().find(|&j| is_flag(j) && raw[j] == 1.0);
        let amount = column.clone().find(|&j| !is_flag(j));
        amount.or(hot).unwrap_or(column.start)
    }

    /// Whether a feature is a column's value itself, no flag of a level or of missing values.
    fn is_amount(&self, feature: usize) -> bool {
        let kind = &self.preparation.features[feature].kind;
        !kind.is_coordinate() && !matches!(kind, ValueKind::Level(_) | ValueKind::OtherThan(_) | ValueKind::Missing)
    }

    /// Whether months or weekdays of a column take part.
    fn has_cycles(&self, column: &Range<usize>) -> bool {
        { self.preparation.features[column.clone()].iter() }.any(|feature| matches!(feature.kind, ValueKind::Cycle(..)))
    }

    /// The row's value in a column.
    fn told(&self, column: &Range<usize>, raw: &[f64]) -> Value {
        let at = self.standing(column, raw);
        match &self.preparation.features[at].kind {
            _ if self.is_amount(at) => amount(&self.preparation.features[at], raw[at]),
            ValueKind::Level(level) if raw[at] == 1.0 => Value::Text(level.clone()),
            ValueKind::Missing => Value::Missing,
            ValueKind::Element { of, .. } if raw[column.clone()].iter().any(|v| !v.is_nan()) => numbers(*of),
            _ if raw[at].is_nan() => Value::Missing,
            // A rare level, or one that the fit never saw.
            _ => Value::Text("(other)".into()),
        }
    }

    /// What a column is like in a segment.
    fn typical(&self, column: &Range<usize>, raw: &[f64], cluster: usize) -> Value {
        let at = self.standing(column, raw);
        let feature = &self.preparation.features[at];
        let centre = self.centroids.row(cluster)[at];
        let centre = feature.original(self.preparation.grid.centroid_value(centre));
        match &feature.kind {
            // A centre is no point in time; its day says enough.
            ValueKind::DaysBefore(newest) => {
                let centre = newest.before(centre);
                return Value::Text(
                    Instant {
                        nanosecond: 0,
                        ..centre
                    }
                    .to_string(),
                );
            }
            kind if self.is_amount(at) && *kind != ValueKind::Bool => return amount(feature, centre),
            ValueKind::Element { of, .. } => return numbers(*of),
            _ => {}
        }
        Value::Share(match raw[at] {
            v if v.is_nan() => return Value::Missing,
            1.0 => centre.clamp(0.0, 1.0),
            _ if feature.kind == ValueKind::Bool => (1.0 - centre).clamp(0.0, 1.0),
            // A level that the fit never saw.
            _ => 0.0,
        })
    }

    /// The smallest change of each column that moves the row, smallest first.
    fn changes(&self, raw: &[f64], placed: &Placed) -> Vec<Change> {
        let mut changes: Vec<Change> = { self.columns.iter() }
            .filter_map(|column| {
                let at = self.standing(column, raw);
                let changes = match self.preparation.features[at].kind {
                    _ if self.is_amount(at) && raw[at].is_nan() => Vec::new(),
                    // Another date is in another month as well: no step of one feature.
                    _ if self.has_cycles(column) => Vec::new(),
                    // Nobody changes one number of an embedding.
                    ValueKind::Element { .. } => Vec::new(),
                    ValueKind::Bool => self.replay(placed, at, 1.0 - raw[at]).into_iter().collect(),
                    _ if self.is_amount(at) => self.changes_of_amount(placed, at, raw[at]),
                    _ => self.changes_of_level(placed, column, raw),
                };
                let least = changes.into_iter().min_by(|a, b| a.size.total_cmp(&b.size))?;
                let from = self.told(column, raw);
                let column = self.preparation.features[column.start].column.clone();
                Some(Change { column, from, ..least })
            })
            .collect();
        changes.sort_by(|a, b| a.size.total_cmp(&b.size));
        changes
    }

    /// The least change upwards and the least downwards.
    fn changes_of_amount(&self, placed: &Placed, at: usize, v: f64) -> Vec<Change> {
        let changes = [1i64, -1].into_iter().filter_map(|direction| {
            let n_steps = self.steps_to_another(placed, at, direction)?;
            BEYOND.into_iter().find_map(|beyond| {
                let x = i64::from(placed.x[at]).checked_add(direction.checked_mul(n_steps.checked_add(beyond)?)?)?;
                let x = i32::try_from(x).ok().filter(|x| x.abs() <= MAX_GRID)?;
                let feature = &self.preparation.features[at];
                let goal = feature.original(f64::from(x) * self.preparation.grid.step());
                let goal = outwards(feature, v, goal, direction);
                may_be(feature, goal).then(|| self.replay(placed, at, goal)).flatten()
            })
        });
        changes.collect()
    }

    /// The least number of grid steps in one direction of one feature after which another centroid is nearest.
    fn steps_to_another(&self, placed: &Placed, at: usize, direction: i64) -> Option<i64> {
        let own = placed.nearest;
        let of_cluster = |cluster: usize| -> Option<i128> {
            let [here, there] = [own, cluster].map(|cluster| i64::from(self.centroids.row(cluster)[at]));
            // Each step takes so much from the difference of the squared distances.
            let slope = i128::from(2 * CENTROID_SCALE * direction * (there - here));
            if slope <= 0 {
                return None;
            }
            let gap = placed.sq_dists[cluster] - placed.sq_dists[own];
            // Ties go to the lower number.
            Some(if cluster < own {
                (gap + slope - 1) / slope
            } else {
                gap / slope + 1
            })
        };
        let others = (0..self.centroids.n_clusters()).filter(|&cluster| cluster != own);
        i64::try_from(others.filter_map(of_cluster).min()?).ok()
    }

    /// The change of one feature to another value, if that moves the row.
    fn replay(&self, placed: &Placed, at: usize, v: f64) -> Option<Change> {
        let feature = &self.preparation.features[at];
        self.moved(placed, &[(at, self.snap(feature, v))], amount(feature, v))
    }

    /// The change of some features to other grid values, if that moves the row.
    fn moved(&self, placed: &Placed, changed: &[(usize, i32)], to: Value) -> Option<Change> {
        let sq_dist = |cluster: usize| -> i128 {
            let more = changed
                .iter()
                .map(|&(j, x)| self.sq_diff(x, cluster, j) - self.sq_diff(placed.x[j], cluster, j));
            placed.sq_dists[cluster] + more.sum::<i128>()
        };
        let segment = nearest((0..self.centroids.n_clusters()).map(sq_dist));
        let steps = changed.iter().map(|&(j, x)| f64::from(x - placed.x[j]).powi(2));
        (segment != placed.nearest).then(|| Change {
            column: String::new(),
            from: Value::Missing,
            to,
            segment: segment + 1,
            size: steps.sum::<f64>().sqrt() * self.preparation.grid.step(),
        })
    }

    /// The other levels of a text that move the row.
    fn changes_of_level(&self, placed: &Placed, column: &Range<usize>, raw: &[f64]) -> Vec<Change> {
        let features = &self.preparation.features;
        let others = column.clone().filter(|&j| raw[j] != 1.0);
        let to_level = |level: usize| {
            let to = match &features[level].kind {
                ValueKind::Level(level) => Value::Text(level.clone()),
                ValueKind::OtherThan(_) => Value::Text("(other)".into()),
                _ => return None,
            };
            let flag = |j: usize| if j == level { 1.0 } else { 0.0 };
            let changed: Vec<(usize, i32)> = column.clone().map(|j| (j, self.snap(&features[j], flag(j)))).collect();
            self.moved(placed, &changed, to)
        };
        others.filter_map(to_level).collect()
    }
}

/// The least, ties to the first.
fn nearest(sq_dists: impl Iterator<Item = i128>) -> usize {
    let least = sq_dists
        .enumerate()
        .min_by_key(|&(cluster, sq_dist)| (sq_dist, cluster));
    least.expect("a centroid").0
}

fn second(sq_dists: &[i128], nearest: usize) -> Option<usize> {
    let others = (0..sq_dists.len()).filter(|&cluster| cluster != nearest);
    others.min_by_key(|&cluster| (sq_dists[cluster], cluster))
}

/// A list, of whose numbers none says anything alone.
fn numbers(n: u32) -> Value {
    Value::Text(format!("({n} numbers)"))
}

/// A value of an amount, as people read it.
fn amount(feature: &FeaturePreparation, v: f64) -> Value {
    match &feature.kind {
        _ if v.is_nan() => Value::Missing,
        ValueKind::Bool => Value::Flag(v == 1.0),
        ValueKind::DaysBefore(newest) => Value::Text(newest.before(v).to_the_microsecond().to_string()),
        _ => Value::Number(v),
    }
}

/// `goal`, moved further from `v` to a value that the column can hold: a whole number, or three digits of the change.
fn outwards(feature: &FeaturePreparation, v: f64, goal: f64, direction: i64) -> f64 {
    let unit = if holds_whole_numbers(feature) {
        1.0
    } else {
        let change = (goal - v).abs();
        if !change.is_normal() {
            return goal;
        }
        10f64.powi(change.log10().floor() as i32 - 2)
    };
    let units = goal / unit;
    let moved = if direction > 0 { units.ceil() } else { units.floor() };
    if unit < 1.0 {
        // 1 / unit is exact where unit is not: 12.3, not 12.3000001.
        moved / (1.0 / unit).round()
    } else {
        moved * unit
    }
}

fn holds_whole_numbers(feature: &FeaturePreparation) -> bool {
    let name = &feature.data_type;
    // Days before a newest moment at midnight are whole where the type holds dates.
    ["Int", "UInt", "Date32", "Date64"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Whether the column's type has such a value.
fn may_be(feature: &FeaturePreparation, v: f64) -> bool {
    match feature.kind {
        ValueKind::HoursOfDay => (0.0..24.0).contains(&v),
        ValueKind::Number => v >= 0.0 || !feature.data_type.starts_with("UInt"),
        _ => v.is_finite(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FeatureOptions, learn};
    use crate::model::fixture::{Cut, table};
    use crate::rng::Rng;
    use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray};
    use std::sync::Arc;

    const ROWS: i32 = 400;

    /// A skewed amount, a whole number with gaps, a flag and a text.
    fn people() -> RecordBatch {
        let text = |row: i32| ["red", "blue", "green", "red", "rare"][if row % 90 == 7 { 4 } else { row as usize % 4 }];
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "spend",
                Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| 3f64.powi(row % 12)))),
            ),
            (
                "orders",
                Arc::new(Int32Array::from_iter(
                    (0..ROWS).map(|row| (row % 11 != 4).then_some(row * 7 % 41)),
                )),
            ),
            (
                "member",
                Arc::new(BooleanArray::from_iter((0..ROWS).map(|row| Some(row % 3 == 0)))),
            ),
            ("colour", Arc::new(StringArray::from_iter_values((0..ROWS).map(text)))),
        ];
        table(columns)
    }

    fn preparation() -> Preparation {
        let source = Cut(people(), 100);
        learn(&source, &FeatureOptions::default()).unwrap().preparation
    }

    fn centroids(preparation: &Preparation, k: usize, seed: u64) -> Centroids {
        let mut rng = Rng::new(seed, 0);
        let mut z = || (rng.below(3000) as f64 - 1500.0) / 1000.0;
        let values = (0..k * preparation.n_features()).map(|_| preparation.grid.snap_centroid(z()));
        Centroids::new(preparation.n_features(), values.collect())
    }

    fn raw_rows(preparation: &Preparation) -> Vec<Vec<f64>> {
        let data = people();
        let reader = crate::features::RawReader::new(&data.schema(), preparation).unwrap();
        let arrays: Vec<ArrayRef> = reader.columns().iter().map(|&at| data.column(at).clone()).collect();
        let features = reader.values(&Cut(data, 1), 0, &arrays).unwrap();
        (0..ROWS as usize)
            .map(|row| features.iter().map(|values| values[row]).collect())
            .collect()
    }

    #[test]
    fn contributions_add_up_and_every_change_is_the_least_that_moves() {
        let preparation = preparation();
        assert!(preparation.features[0].log_unit.is_some(), "a logarithm takes part");
        let confidence = Confidence::default();
        let (mut n_amounts, mut n_levels, mut n_flags) = (0, 0, 0);
        for (seed, k) in [(1, 2), (2, 3), (3, 7)] {
            let centroids = centroids(&preparation, k, seed);
            let explainer = Explainer::new(&preparation, &centroids, &confidence);
            for raw in raw_rows(&preparation).iter().step_by(3) {
                let told = explainer.explain(raw);
                let placed = explainer.place(raw);
                let difference = told.distance_2.unwrap().powi(2) - told.distance.powi(2);
                let sum: f64 = told.reasons.iter().map(|reason| reason.contribution).sum();
                assert!(
                    (sum - difference).abs() < 1e-9 * (1.0 + difference),
                    "{sum} {difference}"
                );
                assert!(told.changes.windows(2).all(|pair| pair[0].size <= pair[1].size));
                for change in &told.changes {
                    assert_ne!(change.segment, told.segment);
                    let column = { explainer.columns.iter() }
                        .find(|column| preparation.features[column.start].column == change.column)
                        .unwrap();
                    let mut changed = raw.clone();
                    match &change.to {
                        Value::Number(v) => {
                            n_amounts += 1;
                            let at = explainer.standing(column, raw);
                            changed[at] = *v;
                            // No grid value nearer than the closed form says moves the row.
                            let direction = if *v > raw[at] { 1 } else { -1 };
                            let least = explainer.steps_to_another(&placed, at, direction).unwrap();
                            let still = |n: i64| {
                                let mut x = placed.x.clone();
                                x[at] += (direction * n) as i32;
                                let all = (0..k).map(|cluster| centroids.sq_dist(&x, cluster) as i128);
                                nearest(all) == placed.nearest
                            };
                            assert!(!still(least) && still(least - 1) && still(least / 2));
                            if change.column == "orders" {
                                assert_eq!(v.fract(), 0.0);
                            }
                        }
                        Value::Flag(v) => {
                            n_flags += 1;
                            changed[explainer.standing(column, raw)] = f64::from(u8::from(*v));
                        }
                        Value::Text(level) => {
                            n_levels += 1;
                            for j in column.clone() {
                                changed[j] = match &preparation.features[j].kind {
                                    ValueKind::Level(own) => f64::from(u8::from(own == level)),
                                    _ => f64::from(u8::from(level == "(other)")),
                                };
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                    assert_eq!(explainer.place(&changed).nearest + 1, change.segment, "{change:?}");
                }
            }
        }
        assert!(
            n_amounts > 50 && n_levels > 10 && n_flags > 10,
            "{n_amounts} {n_levels} {n_flags}"
        );
    }

    #[test]
    fn a_planted_step_too_few_does_not_move() {
        let preparation = preparation();
        let (centroids, confidence) = (centroids(&preparation, 3, 5), Confidence::default());
        let explainer = Explainer::new(&preparation, &centroids, &confidence);
        let raw = &raw_rows(&preparation)[0];
        let placed = explainer.place(raw);
        let steps = [1, -1].map(|direction| explainer.steps_to_another(&placed, 0, direction));
        let (direction, n) = steps
            .into_iter()
            .zip([1, -1])
            .find_map(|(n, direction)| Some((direction, n?)))
            .unwrap();
        let at = |n: i64| explainer.moved(&placed, &[(0, placed.x[0] + (direction * n) as i32)], Value::Missing);
        assert!(at(n).is_some() && at(n - 1).is_none());
    }

    #[test]
    fn one_segment_has_reasons_without_weight_and_no_change() {
        let preparation = preparation();
        let (centroids, confidence) = (centroids(&preparation, 1, 5), Confidence::default());
        let told = Explainer::new(&preparation, &centroids, &confidence).explain(&raw_rows(&preparation)[4]);
        assert_eq!((told.segment, told.segment_2, told.margin), (1, None, None));
        assert!(told.changes.is_empty() && told.reasons.iter().all(|reason| reason.contribution == 0.0));
        assert_eq!(told.reasons[1].value, Value::Missing, "orders of row 4");
    }

    #[test]
    fn values_are_rounded_away_from_the_row() {
        let mut feature = preparation().features[0].clone();
        feature.data_type = "Float64".into();
        assert_eq!(outwards(&feature, 10.0, 12.3412, 1), 12.35);
        assert_eq!(outwards(&feature, 10.0, 7.6588, -1), 7.65);
        assert_eq!(outwards(&feature, 0.0, 123_456.0, 1), 124_000.0);
        feature.data_type = "Int32".into();
        assert_eq!(outwards(&feature, 10.0, 12.3412, 1), 13.0);
        feature.data_type = "UInt8".into();
        assert!(!may_be(&feature, -1.0) && may_be(&feature, 0.0));
    }
}
