//! Histograms: borders that suit a feature, and how many values lie between them.

use crate::features::{FeaturePreparation, ValueKind};
use crate::num::quantile::Cell;
use crate::num::widest::{Kernel, widest};

/// Bins that the middle 98 % of all values are cut into, about.
const BINS: f64 = 16.0;
/// Values whose bins are found at a time.
const RUN: usize = 256;

/// What the values of all rows say about where to cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) p01: f64,
    pub(super) p99: f64,
    pub(super) mean: f64,
    pub(super) std: f64,
}

/// Borders of a feature's bins, rising, in its units: the first bin holds the values below the first, each other one
/// those from a border to below the next, the last all from the last on. Multiples of 1, 2 or 5 times a power of ten;
/// on a logarithmic feature, equal steps of the logarithm, rounded to two digits. They depend on the multiset of all
/// values alone.
pub(super) fn edges(feature: &FeaturePreparation, spread: Spread) -> Vec<f64> {
    let whole = feature.kind == ValueKind::Number
        && (feature.data_type.starts_with("Int") || feature.data_type.starts_with("UInt"));
    let (low, high) = ends(spread);
    let mut edges = match feature.log_unit {
        Some(_) => bent(feature, low, high, whole),
        None => steps(low, high, whole),
    };
    edges.retain(|edge| edge.is_finite() && low < *edge && *edge <= high);
    edges.dedup();
    if edges.is_empty() {
        edges.push(high);
    }
    edges
}

/// The 1 % and 99 % quantiles; where nearly all values are one, as far as others go on average.
fn ends(spread: Spread) -> (f64, f64) {
    let Spread { p01, p99, mean, std } = spread;
    if p01 < p99 {
        (p01, p99)
    } else if mean < p01 {
        (p01 - 2.0 * std, p01)
    } else {
        (p01, p01 + 2.0 * std)
    }
}

/// Multiples of a round step.
fn steps(low: f64, high: f64, whole: bool) -> Vec<f64> {
    let least = (high - low) / BINS;
    let step = if whole {
        round_up(least).max(1.0)
    } else {
        round_up(least)
    };
    let (first, last) = ((low / step).floor(), (high / step).floor());
    if !(step.is_normal() && first.abs() < 1e15 && last.abs() < 1e15) {
        return (1..=BINS as u32).map(|n| low + least * f64::from(n)).collect();
    }
    (1..=(last - first) as i64)
        .map(|n| decimal((first as i64 + n) as f64 * step))
        .collect()
}

/// The least of 1, 2 and 5 times a power of ten that is not below `v`.
fn round_up(v: f64) -> f64 {
    let power = v.abs().log10().floor();
    let multiples = [1.0, 2.0, 5.0, 10.0, 20.0].map(|n| format!("{n}e{power}").parse().unwrap_or(f64::NAN));
    multiples.into_iter().find(|step| *step >= v).unwrap_or(v)
}

/// Without the last digits, which the multiplication left.
fn decimal(v: f64) -> f64 {
    format!("{v:.11e}").parse().unwrap_or(v)
}

/// Equal steps on the scale of the clustering.
fn bent(feature: &FeaturePreparation, low: f64, high: f64, whole: bool) -> Vec<f64> {
    let (from, to) = (feature.z(low), feature.z(high));
    let edge = |n: u32| {
        let v = feature.original(from + (to - from) * f64::from(n) / BINS);
        let rounded = format!("{v:.1e}").parse().unwrap_or(v);
        if whole { f64::round(rounded) } else { rounded }
    };
    (1..=BINS as u32).map(edge).collect()
}

/// How many values lie in each bin.
pub(super) fn count<V: Cell>(values: &[V], edges: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() + 1];
    let mut found = [0u8; RUN];
    for run in values.chunks(RUN) {
        widest(Find {
            run,
            edges,
            found: &mut found,
        });
        for &bin in &found[..run.len()] {
            counts[usize::from(bin)] += 1;
        }
    }
    counts
}

/// The bins of a run of values: so many borders do not lie above each.
struct Find<'f, V> {
    run: &'f [V],
    edges: &'f [f64],
    found: &'f mut [u8; RUN],
}

impl<V: Cell> Kernel for Find<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.found.fill(0);
        for &edge in self.edges {
            for (found, v) in self.found.iter_mut().zip(self.run) {
                *found += u8::from(v.value() >= edge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{customers, preparation};

    fn feature(data_type: &str, log_unit: Option<f64>) -> FeaturePreparation {
        let mut feature = preparation(&customers(200)).features.remove(0);
        (feature.data_type, feature.log_unit) = (data_type.into(), log_unit);
        feature
    }

    fn cut(data_type: &str, log_unit: Option<f64>, p01: f64, p99: f64) -> Vec<f64> {
        let spread = Spread {
            p01,
            p99,
            mean: (p01 + p99) / 2.0,
            std: (p99 - p01) / 4.0,
        };
        edges(&feature(data_type, log_unit), spread)
    }

    #[test]
    fn borders_are_round() {
        assert_eq!(cut("Int32", None, 0.0, 5.0), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let thirds = cut("Float64", None, -0.31, 0.29);
        assert_eq!((thirds[0], thirds[1], *thirds.last().unwrap()), (-0.3, -0.25, 0.25));
        let tens = cut("Float64", None, 3.0, 120.0);
        assert_eq!((tens[0], tens[1], tens.len()), (10.0, 20.0, 12));
        let money = cut("Float64", Some(1.0), 0.0, 10_000.0);
        assert!(money.windows(2).all(|pair| pair[0] < pair[1]) && money.len() > 12);
        assert!(
            money
                .iter()
                .all(|edge| format!("{edge:.1e}").parse::<f64>().unwrap() == *edge)
        );
        assert!(
            cut("Int64", Some(1.0), 0.0, 40.0)
                .iter()
                .all(|edge| edge.fract() == 0.0)
        );
    }

    #[test]
    fn extreme_columns_have_borders_too() {
        for (low, high) in [
            (7.0, 7.0),
            (1e15, 1e15 + 0.5),
            (-1e150, 1e150),
            (0.0, 5e-324),
            (1e-300, 2e-300),
        ] {
            for log_unit in [None, Some(1.0)] {
                let edges = cut("Float64", log_unit, low, high);
                assert!((1..=40).contains(&edges.len()), "{low} {high}: {edges:?}");
                assert!(
                    edges.windows(2).all(|pair| pair[0] < pair[1]),
                    "{low} {high}: {edges:?}"
                );
            }
        }
        let mostly_nothing = Spread {
            p01: 0.0,
            p99: 0.0,
            mean: 1.0,
            std: 10.0,
        };
        let edges = edges(&feature("Float64", None), mostly_nothing);
        assert_eq!((edges[0], *edges.last().unwrap()), (2.0, 20.0));
    }

    #[test]
    fn every_value_is_in_its_bin() {
        let edges = [-1.0, 0.0, 2.5];
        let values: Vec<f64> = (0..1000).map(|n| f64::from(n % 37) * 0.25 - 4.0).collect();
        let mut plain = [0u64; 4];
        for v in &values {
            plain[edges.iter().filter(|edge| v >= *edge).count()] += 1;
        }
        assert_eq!(count(&values, &edges), plain);
        let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        assert_eq!(count(&narrow, &edges), plain);
        assert_ne!(count(&values[1..], &edges), plain);
        assert_eq!(count::<f64>(&[], &edges), [0; 4]);
    }
}
