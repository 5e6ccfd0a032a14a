//! What was learned: everything needed to do to new rows what was done to the fit's.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::decode::ValueKind;
use super::options::Scale;
use crate::grid::{Grid, MAX_FEATURES};
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

/// How one column's values become prepared values. All figures are of the values that were not missing, and in the
/// column's units (days for dates, see [`ValueKind`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturePreparation {
    /// The column's name.
    pub column: String,
    /// Its Arrow type at the fit, for messages.
    pub data_type: String,
    /// What its values mean as numbers.
    pub kind: ValueKind,
    /// What becomes 0.
    pub centre: f64,
    /// The distance from there to what becomes 1; positive.
    pub scale: f64,
    /// What stands in for missing values: the median where the fit had missing ones, else the mean.
    pub fill: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the population, 1 for a single row; positive.
    pub std: f64,
}

impl FeaturePreparation {
    /// The prepared value of `v`, which must not be NaN.
    #[inline]
    #[must_use]
    pub fn z(&self, v: f64) -> f64 {
        (v - self.centre) / self.scale
    }

    /// The value, in the column's units, of a prepared one.
    #[must_use]
    pub fn original(&self, z: f64) -> f64 {
        z * self.scale + self.centre
    }

    fn problem(&self) -> Option<&'static str> {
        let positive = |v: f64| v.is_normal() && v > 0.0;
        let in_time = |kind: ValueKind| match kind {
            ValueKind::DaysBefore(newest) => {
                (-MAX_DAY..=MAX_DAY).contains(&newest.day) && (0..86_400_000_000_000).contains(&newest.nanosecond)
            }
            _ => true,
        };
        if ![self.centre, self.fill, self.mean].iter().all(|v| v.is_finite()) {
            Some("has a figure that is not finite")
        } else if !positive(self.scale) || !positive(self.std) {
            Some("has a scale that is not positive")
        } else if !in_time(self.kind) {
            Some("counts days from no point in time")
        } else {
            None
        }
    }
}

impl Preparation {
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
        let n = self.n_features();
        if !(1..=MAX_FEATURES).contains(&n) {
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
            if !names.insert(&feature.column) {
                return Err(format!("feature {:?} stands twice", feature.column));
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
            centre,
            scale,
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
