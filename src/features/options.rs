//! What the user may say about columns.

use serde::{Deserialize, Serialize};

use super::decode::Instant;
use crate::error::Error;

/// Which columns play which part, and how features are scaled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureOptions {
    /// Names, or glob patterns such as `usage_*`, of the columns to cluster on; empty for every usable column.
    ///
    /// A name is an order: a column that cannot be used is an error. A pattern is a choice among usable columns.
    pub features: Vec<String>,
    /// Names or patterns of columns to leave out.
    pub exclude: Vec<String>,
    /// The columns that tell rows apart; never features.
    pub id: Vec<String>,
    /// The column that says how much each row counts; never a feature.
    pub weight: Option<String>,
    /// Names or patterns of columns to profile per segment, and never to cluster on.
    #[serde(default)]
    pub outcomes: Vec<String>,
    /// Names or patterns of columns that go into the table of assignments as they are; not clustered on, unless they
    /// are named as features.
    #[serde(default)]
    pub carry: Vec<String>,
    /// How features are made comparable.
    pub scale: Scale,
    /// Which columns of numbers are bent by a logarithm first.
    #[serde(default)]
    pub log: LogChoice,
    /// The share of each column's values, at either end, that is moved to the quantile there: below a half.
    #[serde(default)]
    pub clip: Option<f64>,
    /// What stands in for missing values; the last rule that speaks of a column counts. Medians where none does.
    #[serde(default)]
    pub missing: Vec<MissingRule>,
    /// The point in time that ages of dates are counted from; the newest of each column where there is none.
    #[serde(default)]
    pub as_of: Option<Instant>,
    /// Names or patterns of columns of dates whose month takes part as well, as a point on a circle that counts as much
    /// as a column.
    #[serde(default)]
    pub months: Vec<String>,
    /// The same of weekdays.
    #[serde(default)]
    pub weekdays: Vec<String>,
    /// How much columns, or blocks, count: names and positive numbers. 1 where none is given.
    #[serde(default)]
    pub weights: Vec<(String, f64)>,
    /// Blocks with equal say, whatever the number of their columns; columns in none are one more block.
    #[serde(default)]
    pub blocks: Vec<Block>,
}

/// Which columns of numbers, dates and durations are replaced by `ln(1 + x)`, `-ln(1 - x)` below 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogChoice {
    /// Those whose skewness is above 2 in magnitude, and less than half of that once they are bent; none of fewer than
    /// 30 rows, none with [`Scale::None`], which leaves values as they are, and none with [`Scale::Rank`], which no
    /// logarithm changes.
    #[default]
    Auto,
    /// None.
    None,
    /// These: names or patterns.
    Columns(Vec<String>),
}

/// What stands in for a missing value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingRule {
    /// A name or pattern; every column where there is none.
    pub column: Option<String>,
    /// What is done.
    pub how: Missing,
}

/// What is done about missing values. Text needs none of it: no value is a level of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The median of the column stands in.
    #[default]
    Median,
    /// The mean stands in.
    Mean,
    /// The median stands in, and one more feature says that the value was missing.
    Indicator,
    /// A missing value is an error.
    Refuse,
    /// This stands in, in the column's units.
    Constant(f64),
}

impl std::str::FromStr for Missing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "median" => Ok(Self::Median),
            "mean" => Ok(Self::Mean),
            "indicator" => Ok(Self::Indicator),
            "refuse" => Ok(Self::Refuse),
            _ => match text.parse() {
                Ok(v) if f64::abs(v) <= super::MAX_ABS => Ok(Self::Constant(v)),
                _ => Err(Error::InvalidParam {
                    param: "missing",
                    value: text.into(),
                    reason: "is one of median, mean, indicator, refuse, or a number".into(),
                }),
            },
        }
    }
}

/// Columns that count as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Its name, for messages and weights.
    pub name: String,
    /// Names or patterns of its columns.
    pub columns: Vec<String>,
}

/// How a feature's values `v` become prepared values `z = (v - centre) / scale`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Centre: the mean; scale: the (population) standard deviation.
    #[default]
    Zscore,
    /// Centre: the median; scale: the distance between the quartiles, or the standard deviation where that is 0.
    Robust,
    /// Centre: the least value; scale: the distance from there to the largest.
    Minmax,
    /// Values are replaced by their ranks, the share of all values below them, and these scaled as with
    /// [`Scale::Zscore`]: nothing is an outlier, and only order counts. Truth values stay as they are.
    Rank,
    /// Centre: the mean, which leaves all distances as they are; scale: 1.
    None,
}

impl Scale {
    /// The name that the command line and the model file use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zscore => "zscore",
            Self::Robust => "robust",
            Self::Minmax => "minmax",
            Self::Rank => "rank",
            Self::None => "none",
        }
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Scale {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Zscore, Self::Robust, Self::Minmax, Self::Rank, Self::None]
            .into_iter()
            .find(|scale| scale.name() == text)
            .ok_or_else(|| Error::InvalidParam {
                param: "scale",
                value: text.into(),
                reason: "is one of zscore, robust, minmax, rank, none".into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_text_and_as_json() {
        for scale in [Scale::Zscore, Scale::Robust, Scale::Minmax, Scale::Rank, Scale::None] {
            assert_eq!(scale.to_string().parse::<Scale>().unwrap(), scale);
            assert_eq!(serde_json::to_string(&scale).unwrap(), format!("\"{scale}\""));
        }
        assert!("Zscore".parse::<Scale>().is_err());
    }

    #[test]
    fn options_read_back_and_unknown_ones_are_refused() {
        let options = FeatureOptions {
            features: vec!["a*".into()],
            weight: Some("w".into()),
            ..Default::default()
        };
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<FeatureOptions>(&json).unwrap(), options);
        assert!(serde_json::from_str::<FeatureOptions>(&json.replace("weight", "wieght")).is_err());
    }
}
