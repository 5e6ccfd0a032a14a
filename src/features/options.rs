//! What the user may say about columns.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Which columns play which part, and how features are scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How features are made comparable.
    pub scale: Scale,
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
        [Self::Zscore, Self::Robust, Self::Minmax, Self::None]
            .into_iter()
            .find(|scale| scale.name() == text)
            .ok_or_else(|| Error::InvalidParam {
                param: "scale",
                value: text.into(),
                reason: "is one of zscore, robust, minmax, none".into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_text_and_as_json() {
        for scale in [Scale::Zscore, Scale::Robust, Scale::Minmax, Scale::None] {
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
