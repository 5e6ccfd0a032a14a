//! How many features the columns become, as far as names and types say.

use arrow::datatypes::{DataType, Schema};

use super::columns::{Part, plan};
use super::decode::TypeClass;
use super::levels::MAX_LEVELS;
use super::options::{FeatureOptions, Missing};
use crate::error::Result;

/// Numbers of a list whose type does not say how many it holds, at most: most embeddings have fewer.
const LIST: usize = 1024;

/// The number of features, least and most: a text becomes one feature for each common level and one for the rest, and
/// columns that turn out to say nothing become none, which the least does not reckon with.
///
/// # Errors
/// Those of [`super::check_columns`].
pub fn feature_range(schema: &Schema, options: &FeatureOptions) -> Result<[usize; 2]> {
    let mut range = [0, 0];
    for part in plan(schema, options)? {
        let Part::Candidate { column, class, .. } = part else {
            continue;
        };
        let name = schema.field(column.index()).name();
        let is_in = |names: &[String]| names.contains(name);
        let n_cycles = usize::from(is_in(&options.months)) + usize::from(is_in(&options.weekdays));
        let may_indicate = { options.missing.iter() }
            .any(|rule| rule.how == Missing::Indicator && rule.column.as_ref().is_none_or(|column| column == name));
        let [least, most] = match class {
            TypeClass::Text => [1, MAX_LEVELS + 1],
            TypeClass::List => match schema.field(column.index()).data_type() {
                DataType::FixedSizeList(_, len) => [usize::try_from(*len).unwrap_or(1); 2],
                _ => [1, LIST],
            },
            _ => [1 + 2 * n_cycles, 1 + 2 * n_cycles + usize::from(may_indicate)],
        };
        range = [range[0] + least, range[1] + most];
    }
    Ok(range.map(|n| n.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::features::MissingRule;
    use arrow::datatypes::{Field, TimeUnit};

    #[test]
    fn texts_dates_and_missing_values_make_features() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let schema = Schema::new(vec![
            field("customer_id", DataType::Int64),
            field("orders", DataType::Int32),
            field("since", DataType::Timestamp(TimeUnit::Second, None)),
            field("plan", DataType::Utf8),
        ]);
        let mut options = FeatureOptions {
            id: vec!["customer_id".into()],
            ..FeatureOptions::default()
        };
        assert_eq!(feature_range(&schema, &options).unwrap(), [3, 23]);
        options.months = vec!["since".into()];
        options.missing = vec![MissingRule {
            column: Some("orders".into()),
            how: Missing::Indicator,
        }];
        options.exclude = vec!["plan".into()];
        assert_eq!(feature_range(&schema, &options).unwrap(), [4, 5]);
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let lists = Schema::new(vec![
            field("fixed", DataType::FixedSizeList(Arc::clone(&item), 12)),
            field("any", DataType::List(item)),
        ]);
        let named = FeatureOptions {
            features: vec!["fixed".into(), "any".into()],
            ..FeatureOptions::default()
        };
        assert_eq!(feature_range(&lists, &named).unwrap(), [13, 12 + LIST]);
    }
}
