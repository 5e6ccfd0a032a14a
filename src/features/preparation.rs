//! What was learned: everything needed to do to new rows what was done to the fit's.

use std::collections::HashSet;

use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use super::cycles::Coordinate;
use super::decode::ValueKind;
use super::options::Scale;
use super::ranks::Ranks;
use crate::grid::{Grid, MAX_FEATURES};
use crate::num::logs::{signed_exp_m1, signed_ln_1p};
use crate::tiles::Centroids;

/// Days on either side of 1970 that a model may name: far more than any timestamp reaches.
const MAX_DAY: i64 = 1 << 50;

/// How rows become grid values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// How features were made comparable.
    pub scale: Scale,
    /// The grid of all features.
    pub grid: Grid,
    /// The features, in the order of the fit's schema.
    pub features: Vec<FeaturePreparation>,
}

/// How one column's values become prepared values: a column of numbers is one feature (two, where missing values have
/// an indicator), one of text as many as it has levels. Figures are of the values that were not missing, and in the
/// column's units (days for dates, see [`ValueKind`]), where nothing else is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturePreparation {
    /// The column's name.
    pub column: String,
    /// Its Arrow type at the fit, for messages.
    pub data_type: String,
    /// What its values mean as numbers.
    pub kind: ValueKind,
    /// The bounds that values are moved to, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
    /// Where there is a logarithm: `x` becomes `ln(1 + x / unit)`, and `-ln(1 - x / unit)` below 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_unit: Option<f64>,
    /// The ranks that take the place of the values, once bounds and logarithm have been applied, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Ranks>,
    /// What becomes 0, once all of these have been applied.
    pub centre: f64,
    /// The distance from there to what becomes 1; positive. The column's weight is in it.
    pub scale: f64,
    /// How much the column counts in squared distances, 1 by default.
    #[serde(default = "one")]
    pub weight: f64,
    /// What stands in for missing values.
    pub fill: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the population, 1 for a single row; positive.
    pub std: f64,
}

impl Preparation {
    /// Types that the columns would have in a text file, where their values allow it: that no value stands in a column,
    /// or only codes that look like numbers, makes it no other column.
    #[must_use]
    pub fn likely_types(&self) -> Vec<(String, DataType)> {
        let likely = |feature: &FeaturePreparation| {
            let data_type = match feature.kind {
                ValueKind::Number => DataType::Float64,
                ValueKind::Bool => DataType::Boolean,
                ValueKind::DaysBefore(_) | ValueKind::Cycle(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
                ValueKind::HoursOfDay => DataType::Time64(TimeUnit::Microsecond),
                ValueKind::Level(_) | ValueKind::OtherThan(_) => DataType::Utf8,
                ValueKind::Days | ValueKind::Missing | ValueKind::Element { .. } => return None,
            };
            Some((feature.column.clone(), data_type))
        };
        self.features.iter().filter_map(likely).collect()
    }
}

fn one() -> f64 {
    1.0
}

/// A value moved within bounds, then bent by a logarithm of a unit.
#[inline(always)]
pub(super) fn bend(v: f64, clip: Option<[f64; 2]>, log_unit: Option<f64>) -> f64 {
    let v = match clip {
        None => v,
        Some([low, high]) => v.max(low).min(high),
    };
    match log_unit {
        None => v,
        Some(unit) => signed_ln_1p(v / unit),
    }
}

impl FeaturePreparation {
    /// What the feature is called: its column, and the level where it stands for one (`plan = gold`,
    /// `plan = (other)`, `plan (missing)`), or its place in a list (`embedding[0]`).
    #[must_use]
    pub fn name(&self) -> String {
        let column = &self.column;
        match &self.kind {
            ValueKind::Level(level) => format!("{column} = {level}"),
            ValueKind::OtherThan(_) => format!("{column} = (other)"),
            ValueKind::Missing => format!("{column} (missing)"),
            ValueKind::Element { at, .. } => format!("{column}[{at}]"),
            ValueKind::Cycle(cycle, Coordinate::Sine) => format!("{column} ({}, sine)", cycle.name()),
            ValueKind::Cycle(cycle, Coordinate::Cosine) => format!("{column} ({}, cosine)", cycle.name()),
            _ => column.clone(),
        }
    }

    /// The prepared value of `v`, which must not be NaN.
    #[inline(always)]
    #[must_use]
    pub fn z(&self, v: f64) -> f64 {
        let bent = bend(v, self.clip, self.log_unit);
        match &self.ranks {
            None => self.scaled(bent),
            Some(ranks) => self.scaled(ranks.rank(bent)),
        }
    }

    /// The prepared value of what is bent, and ranked, as it is to be.
    #[inline(always)]
    pub(super) fn scaled(&self, bent: f64) -> f64 {
        (bent - self.centre) / self.scale
    }

    /// The value, in the column's units, of a prepared one.
    #[must_use]
    pub fn original(&self, z: f64) -> f64 {
        let bent = z * self.scale + self.centre;
        let bent = self.ranks.as_ref().map_or(bent, |ranks| ranks.value(bent));
        match self.log_unit {
            None => bent,
            // Far beyond the data, where a centroid file may point, there is an end to what can be told.
            Some(unit) => (signed_exp_m1(bent.clamp(-690.0, 690.0)) * unit).clamp(-f64::MAX, f64::MAX),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        let positive = |v: f64| v.is_normal() && v > 0.0;
        let in_time = |kind: &ValueKind| match kind {
            ValueKind::DaysBefore(newest) => {
                (-MAX_DAY..=MAX_DAY).contains(&newest.day) && (0..86_400_000_000_000).contains(&newest.nanosecond)
            }
            _ => true,
        };
        let clipped = self.clip.unwrap_or_default();
        if !{ clipped.iter() }
            .chain(&[self.centre, self.fill, self.mean])
            .all(|v| v.is_finite())
        {
            Some("has a figure that is not finite")
        } else if clipped[0] > clipped[1] {
            Some("has bounds the wrong way round")
        } else if !self.log_unit.is_none_or(positive) || !positive(self.weight) {
            Some("has a unit or a weight that is not positive")
        } else if !positive(self.scale) || !positive(self.std) {
            Some("has a scale that is not positive")
        } else if !in_time(&self.kind) {
            Some("counts days from no point in time")
        } else if matches!(self.kind, ValueKind::Element { at, of } if at >= of || of as usize > MAX_FEATURES) {
            Some("stands in no place of a list")
        } else {
            self.ranks.as_ref().and_then(Ranks::problem)
        }
    }
}

impl Preparation {
    /// The names of the features.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.features.iter().map(FeaturePreparation::name).collect()
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.features.len()
    }

    /// The prepared value of `v` in feature number `feature`.
    #[must_use]
    pub fn z(&self, feature: usize, v: f64) -> f64 {
        self.features[feature].z(v)
    }

    /// The value, in the column's units, of a prepared one of feature number `feature`.
    #[must_use]
    pub fn original(&self, feature: usize, z: f64) -> f64 {
        self.features[feature].original(z)
    }

    /// The coordinates of one centroid in the columns' units.
    #[must_use]
    pub fn centroid_in_original_units(&self, centroids: &Centroids, cluster: usize) -> Vec<f64> {
        let values = centroids.row(cluster).iter().map(|&c| self.grid.centroid_value(c));
        values
            .zip(&self.features)
            .map(|(z, feature)| feature.original(z))
            .collect()
    }

    /// Centroids from rows of finite coordinates in the columns' units, each moved to the nearest point of the
    /// centroid grid (its edge, for points beyond it).
    ///
    /// # Panics
    /// If there is no row, or one that has another number of coordinates than there are features.
    #[must_use]
    pub fn centroids_from_original(&self, rows: &[Vec<f64>]) -> Centroids {
        let mut values = Vec::with_capacity(rows.len() * self.n_features());
        for row in rows {
            assert_eq!(row.len(), self.n_features(), "one coordinate per feature");
            values.extend(
                row.iter()
                    .zip(&self.features)
                    .map(|(&v, feature)| self.grid.snap_centroid(feature.z(v))),
            );
        }
        Centroids::new(self.n_features(), values)
    }

    /// Whether this can be computed with: to be asked of every preparation that was read from a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn validate(&self) -> Result<(), String> {
        match self.n_features() {
            0 => Err(format!("0 features, where there have to be 1 to {MAX_FEATURES}")),
            _ => self.validate_told(),
        }
    }

    /// The same of a preparation that a record tells of, which may hold none that says something alone.
    ///
    /// # Errors
    /// As for [`Preparation::validate`].
    pub(crate) fn validate_told(&self) -> Result<(), String> {
        let n = self.n_features();
        if n > MAX_FEATURES {
            return Err(format!("{n} features, where there have to be 1 to {MAX_FEATURES}"));
        }
        if Grid::with_step_exp(self.grid.step_exp()).is_none() {
            return Err(format!("a grid step of 2^{} is out of range", self.grid.step_exp()));
        }
        let mut names = HashSet::new();
        for feature in &self.features {
            if let Some(problem) = feature.problem() {
                return Err(format!("feature {:?} {problem}", feature.column));
            }
            if !names.insert(feature.name()) {
                return Err(format!("feature {:?} stands twice", feature.name()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::decode::Instant;

    fn preparation() -> Preparation {
        let feature = |column: &str, kind, centre, scale| FeaturePreparation {
            column: column.into(),
            data_type: "Float64".into(),
            kind,
            clip: None,
            log_unit: None,
            ranks: None,
            centre,
            scale,
            weight: 1.0,
            fill: centre,
            mean: centre,
            std: scale,
        };
        let newest = Instant {
            day: 15_000,
            nanosecond: 5,
        };
        Preparation {
            scale: Scale::Zscore,
            grid: Grid::covering(100.0),
            features: vec![
                feature("a", ValueKind::Number, 0.1, 1.0 / 3.0),
                feature("b", ValueKind::DaysBefore(newest), 1e9, 7.0),
            ],
        }
    }

    #[test]
    fn json_reads_back_bit_for_bit() {
        let json = serde_json::to_string(&preparation()).unwrap();
        assert_eq!(serde_json::from_str::<Preparation>(&json).unwrap(), preparation());
        assert!(serde_json::from_str::<Preparation>(&json.replace("\"centre\"", "\"center\"")).is_err());
        assert!(serde_json::from_str::<Preparation>(&json.replace("\"fill\"", "\"more\":1,\"fill\"")).is_err());
    }

    #[test]
    fn centroids_come_back_within_their_grid() {
        let preparation = preparation();
        let rows = vec![vec![0.5, 1e9 + 3.0], vec![-2.0, 1e9 - 700.0]];
        let centroids = preparation.centroids_from_original(&rows);
        for (cluster, row) in rows.iter().enumerate() {
            let back = preparation.centroid_in_original_units(&centroids, cluster);
            for ((back, v), feature) in back.iter().zip(row).zip(&preparation.features) {
                assert!(
                    (back - v).abs() <= feature.scale * preparation.grid.step() / 256.0,
                    "{back} {v}"
                );
            }
        }
    }

    #[test]
    fn bent_values_come_back() {
        let mut feature = preparation().features.remove(0);
        (feature.clip, feature.log_unit) = (Some([-50.0, 200.0]), Some(2.0));
        for v in [-50.0, -1.0, 0.0, 0.3, 7.0, 200.0] {
            let back = feature.original(feature.z(v));
            assert!((back - v).abs() <= 1e-9, "{v} {back}");
        }
        assert_eq!(feature.z(1e9).to_bits(), feature.z(200.0).to_bits());
        assert!(feature.original(1e300).is_finite() && feature.original(-1e300).is_finite());
    }

    #[test]
    fn features_of_one_column_have_names_of_their_own() {
        let mut preparation = preparation();
        let plan = |kind| FeaturePreparation {
            column: "plan".into(),
            kind,
            ..preparation.features[0].clone()
        };
        let gold = plan(ValueKind::Level("gold".into()));
        let other = plan(ValueKind::OtherThan(vec!["gold".into()]));
        let missing = plan(ValueKind::Missing);
        preparation.features = vec![gold.clone(), other, missing];
        assert_eq!(preparation.names(), ["plan = gold", "plan = (other)", "plan (missing)"]);
        assert_eq!(preparation.validate(), Ok(()));
        preparation.features.push(gold);
        assert_eq!(
            preparation.validate(),
            Err("feature \"plan = gold\" stands twice".into())
        );
    }

    #[test]
    fn a_preparation_that_cannot_be_computed_with_is_refused() {
        let refused = |change: &dyn Fn(&mut Preparation)| {
            let mut changed = preparation();
            change(&mut changed);
            changed.validate().is_err()
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|p| p.features.clear()));
        assert!(refused(&|p| p.features[1].column = "a".into()));
        assert!(refused(&|p| p.features[0].centre = f64::NAN));
        assert!(refused(&|p| p.features[0].fill = f64::INFINITY));
        assert!(refused(&|p| p.features[0].scale = 0.0));
        assert!(refused(&|p| p.features[0].scale = -1.0));
        assert!(refused(&|p| p.features[0].std = f64::NAN));
        assert!(refused(&|p| p.features[0].weight = 0.0));
        assert!(refused(&|p| p.features[0].log_unit = Some(-1.0)));
        assert!(refused(&|p| p.features[0].clip = Some([2.0, 1.0])));
        assert!(refused(&|p| p.features[0].clip = Some([2.0, f64::NAN])));
        assert!(refused(&|p| p.features[1].kind = ValueKind::DaysBefore(Instant {
            day: i64::MIN,
            nanosecond: 0
        })));
        assert!(refused(
            &|p| p.features[1].kind = ValueKind::DaysBefore(Instant { day: 0, nanosecond: -1 })
        ));
        assert!(refused(
            &|p| p.grid = serde_json::from_str("{\"step_exp\":9999}").unwrap()
        ));
    }
}
