//! Weights as integers, so that sums of them are exact.

use arrow::datatypes::Schema;

use super::decode::{BadCell, TypeClass, ValueKind, class_of, decode, plain_type};
use super::{all_or_first_bad, find_column, room_for, scan_indices};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::tiles::MAX_WEIGHT;

/// Smallest exponent of a step: everything below counts as one step.
const MIN_STEP_EXP: i32 = -1000;

/// Integer weights: row `i` weighs `values[i] * step`.
#[derive(Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) values: Vec<u32>,
    pub(crate) step: f64,
}

/// Index and kind of the weight column.
pub(crate) fn weight_column(schema: &Schema, name: &str) -> Result<(usize, ValueKind)> {
    let index = find_column(schema, name)?;
    let data_type = schema.field(index).data_type();
    let unusable = |reason: String| Error::ColumnUnusable {
        column: name.into(),
        role: "the weight",
        reason,
    };
    match class_of(data_type) {
        Ok(TypeClass::Integer | TypeClass::Float | TypeClass::Decimal) => Ok((index, ValueKind::Number)),
        Ok(TypeClass::Bool) => Ok((index, ValueKind::Bool)),
        Ok(TypeClass::Text) => Err(unusable("is text".into())),
        Ok(_) => Err(unusable(format!("is {}, not a number", plain_type(data_type)))),
        Err(reason) => Err(unusable(reason.into())),
    }
}

/// Reads and quantizes a weight column.
pub(crate) fn read_weights(source: &dyn BatchSource, name: &str) -> Result<Weights> {
    let (index, kind) = weight_column(source.schema(), name)?;
    let mut values = room_for(source.n_rows(), "the weights")?;
    scan_indices(source, &[index], |first_row, batch| {
        let result = decode(batch.column(0), &kind).and_then(|weights| {
            let bad = weights.iter().position(|weight| weight.is_nan() || *weight < 0.0);
            bad.map_or(Ok(()), |index| {
                let problem = if weights[index].is_nan() {
                    "has no weight"
                } else {
                    "has a negative weight"
                };
                Err(BadCell { index, problem })
            })?;
            Ok(weights)
        });
        for weights in all_or_first_bad(source, first_row, &[name], vec![result]).map_err(bad_weight)? {
            values.extend_from_slice(&weights);
        }
        Ok(())
    })?;
    quantize(&values).ok_or_else(|| Error::ColumnUnusable {
        column: name.into(),
        role: "the weight",
        reason: "no row has a positive weight".into(),
    })
}

fn bad_weight(error: Error) -> Error {
    match error {
        Error::BadValue {
            file,
            column,
            row,
            problem,
        } => Error::BadWeight {
            file,
            column,
            row,
            problem,
        },
        other => other,
    }
}

/// Weights in units of one power-of-two step; `None` where none is positive.
///
/// The step is the smallest by which the largest weight is at most 2^16. A positive weight that would round to 0
/// weighs one step. Where all integers share a power of two it moves into the step, so that equal weights of a power
/// of two are the same as no weights. Depends on the multiset of weights alone.
fn quantize(weights: &[f64]) -> Option<Weights> {
    let max = weights.iter().copied().fold(0.0, f64::max);
    if max == 0.0 {
        return None;
    }
    let mut step_exp = (max.log2().floor() as i32 - 16).max(MIN_STEP_EXP);
    while max / exp2(step_exp) > f64::from(MAX_WEIGHT) {
        step_exp += 1;
    }
    let step = exp2(step_exp);
    let units = |weight: f64| {
        if weight == 0.0 {
            0
        } else {
            (weight / step).round_ties_even().max(1.0) as u32
        }
    };
    let mut values: Vec<u32> = weights.iter().map(|&weight| units(weight)).collect();
    let shared = values.iter().fold(0, |all, weight| all | weight).trailing_zeros();
    values.iter_mut().for_each(|weight| *weight >>= shared);
    Some(Weights {
        values,
        step: exp2(step_exp + shared as i32),
    })
}

/// `2^e`, exact for exponents of normal numbers.
fn exp2(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{Table, column};
    use arrow::array::{Float64Array, Int32Array, StringArray};

    fn weights(values: &[f64]) -> (Vec<u32>, f64) {
        let weights = quantize(values).unwrap();
        (weights.values, weights.step)
    }

    #[test]
    fn whole_numbers_and_binary_fractions_are_exact() {
        assert_eq!(weights(&[1.0, 1.0]), (vec![1, 1], 1.0));
        assert_eq!(weights(&[3.0, 0.0, 6.0, 5.0]), (vec![3, 0, 6, 5], 1.0));
        assert_eq!(weights(&[0.25, 1.5]), (vec![1, 6], 0.25));
        assert_eq!(weights(&[65536.0, 1.0]), (vec![65536, 1], 1.0));
        assert_eq!(weights(&[65537.0, 1.0]), (vec![32768, 1], 2.0)); // 32768.5 and 0.5 steps
    }

    #[test]
    fn small_weights_never_vanish() {
        assert_eq!(weights(&[1e150, 1e-300, 0.0]).0[1..], [1, 0]);
        assert_eq!(weights(&[f64::from_bits(1), 0.0]).0, [1, 0]);
        assert!(quantize(&[0.0, 0.0]).is_none());
    }

    #[test]
    fn the_step_is_as_fine_as_it_can_be() {
        for max in [0.1, 0.7, 1.0, 3.3, 1e9, 1e-9] {
            let (values, step) = weights(&[max, max / 7.0]);
            let error = (f64::from(values[1]) * step - max / 7.0).abs();
            assert!(values[0] <= MAX_WEIGHT && error <= max / f64::from(MAX_WEIGHT), "{max}");
        }
    }

    #[test]
    fn a_bad_weight_is_named_by_row() {
        let row_of = |values: Vec<Option<f64>>| {
            let table = Table::new(vec![column("w", Float64Array::from(values))], 2);
            match read_weights(&table, "w") {
                Err(Error::BadWeight {
                    column, row, problem, ..
                }) => (column, row, problem),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            row_of(vec![Some(1.0), Some(2.0), None]),
            ("w".into(), 3, "has no weight")
        );
        assert_eq!(row_of(vec![Some(1.0), Some(f64::NAN)]).2, "has no weight");
        assert_eq!(row_of(vec![Some(-1.0)]).2, "has a negative weight");
        assert_eq!(row_of(vec![Some(f64::INFINITY)]).2, "is infinite");
    }

    #[test]
    fn a_column_that_cannot_weigh_is_refused() {
        let table = Table::new(
            vec![
                column("zero", Int32Array::from(vec![0, 0])),
                column("text", StringArray::from(vec!["a", "b"])),
            ],
            2,
        );
        for name in ["zero", "text"] {
            assert!(matches!(
                read_weights(&table, name),
                Err(Error::ColumnUnusable { role: "the weight", .. })
            ));
        }
        assert!(matches!(read_weights(&table, "zer"), Err(Error::ColumnNotFound { .. })));
    }
}
