//! Texts as categories: counted in one pass, in bounded memory, and chosen among.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use xxhash_rust::xxh3::xxh3_64;

use super::MIN_CELL;
use super::decode::map_texts;
use super::personal::Forms;
use crate::data::{keys_and_values, same_values};
use crate::num::distinct::Distinct;

/// More different texts than this are not counted one by one.
const MAX_COUNTED: usize = 10_000;
/// Texts of more bytes than this are prose, no levels.
const MAX_LEVEL_BYTES: usize = 120;
/// Most levels that become features of their own; the rest are grouped.
pub(super) const MAX_LEVELS: usize = 20;
/// A level of its own has at least one row in so many, and [`MIN_CELL`].
const RARE: u64 = 100;

/// The texts of a column, counted. The union of two counts is their sum, in any order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LevelCounts {
    /// `None` once there are too many.
    counts: Counts,
    distinct: Distinct,
    /// Texts too long for a level.
    n_long: u64,
    pub(crate) n_missing: u64,
    pub(crate) forms: Forms,
}

#[derive(Debug, Clone, PartialEq)]
enum Counts {
    All(HashMap<String, u64>),
    TooMany,
}

impl Default for Counts {
    fn default() -> Self {
        Self::All(HashMap::new())
    }
}

/// The levels of a column that become features.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Levels {
    /// Most frequent first, ties in order of their bytes; with the rows of each.
    pub(crate) kept: Vec<(String, u64)>,
    /// How many others there are, and their rows.
    pub(crate) others: (usize, u64),
}

/// Texts on the way to their counts: those of one dictionary, which stands for many batches, are counted by their keys.
#[derive(Default)]
pub(crate) struct LevelCounter {
    counts: LevelCounts,
    /// The dictionary, and the rows of each of its values; those without a value are counted last.
    dictionary: Option<(ArrayRef, Vec<u64>)>,
}

impl LevelCounter {
    /// Adds a batch.
    pub(crate) fn add(&mut self, array: &dyn Array) {
        if !matches!(array.data_type(), DataType::Dictionary(..)) {
            return self.counts.add(array);
        }
        let (values, keys) = keys_and_values(array);
        let is_same = |(own, _): &(ArrayRef, Vec<u64>)| same_values(own, &values);
        if !self.dictionary.as_ref().is_some_and(is_same) {
            self.close();
        }
        let (_, counts) = self.dictionary.get_or_insert_with(|| {
            let counts = vec![0; values.len() + 1];
            (values, counts)
        });
        keys.into_iter().for_each(|key| counts[key as usize] += 1);
    }

    /// Counts the texts of the dictionary.
    fn close(&mut self) {
        let Some((values, rows)) = self.dictionary.take() else {
            return;
        };
        let mut rows = rows.into_iter();
        map_texts(&values, |text| text.map(str::to_owned))
            .into_iter()
            .zip(&mut rows)
            .filter(|(_, count)| *count > 0)
            .for_each(|(text, count)| match text {
                Some(text) => self.counts.add_text(text, count),
                None => self.counts.n_missing += count,
            });
        self.counts.n_missing += rows.sum::<u64>();
    }

    /// Adds what `other` has counted.
    pub(crate) fn merge(&mut self, other: Self) {
        self.counts.merge(other.counted());
    }

    /// The counts.
    pub(crate) fn counted(mut self) -> LevelCounts {
        self.close();
        self.counts
    }
}

impl LevelCounts {
    /// Adds a batch.
    pub(crate) fn add(&mut self, array: &dyn Array) {
        // Numbers in place of texts: each different one is looked at once a batch.
        let mut seen: HashMap<String, usize> = HashMap::new();
        let numbers = map_texts(array, |text| {
            let text = text?;
            let next = seen.len();
            Some(match seen.get(text) {
                Some(&number) => number,
                None => *seen.entry(text.to_owned()).or_insert(next),
            })
        });
        let mut counts = vec![0u64; seen.len()];
        for number in numbers {
            match number {
                Some(number) => counts[number] += 1,
                None => self.n_missing += 1,
            }
        }
        for (text, number) in seen {
            // Entries of a dictionary that no row has.
            if counts[number] > 0 {
                self.add_text(text, counts[number]);
            }
        }
    }

    /// Adds what `other` holds.
    fn merge(&mut self, other: Self) {
        self.n_missing += other.n_missing;
        self.n_long += other.n_long;
        self.distinct.merge(&other.distinct);
        self.forms.merge(&other.forms);
        let own = std::mem::replace(&mut self.counts, Counts::TooMany);
        if let (Counts::All(mut counts), Counts::All(others)) = (own, other.counts) {
            for (text, count) in others {
                *counts.entry(text).or_insert(0) += count;
            }
            if counts.len() <= MAX_COUNTED {
                self.counts = Counts::All(counts);
            }
        }
    }

    fn add_text(&mut self, text: String, count: u64) {
        self.forms.add(&text, count);
        self.distinct.add(xxh3_64(text.as_bytes()));
        if text.len() > MAX_LEVEL_BYTES {
            self.n_long += count;
            return;
        }
        if let Counts::All(counts) = &mut self.counts {
            *counts.entry(text).or_insert(0) += count;
            if counts.len() > MAX_COUNTED {
                self.counts = Counts::TooMany;
            }
        }
    }

    /// The number of different texts: exact where they are few.
    pub(crate) fn n_distinct(&self) -> u64 {
        match &self.counts {
            Counts::All(counts) if self.n_long == 0 => counts.len() as u64,
            _ => self.distinct.estimate().round() as u64,
        }
    }

    /// The levels that become features, of a column of `n_rows` rows, or why it cannot be one.
    pub(crate) fn choose(&self, n_rows: u64) -> Result<Levels, String> {
        let n_present = n_rows - self.n_missing;
        if n_present == 0 {
            return Err("has no values".into());
        }
        let n_distinct = self.n_distinct();
        let Counts::All(counts) = &self.counts else {
            return Err(if n_distinct as f64 > 0.9 * n_present as f64 {
                "looks like an id: nearly every text is different".into()
            } else {
                format!("has too many levels: about {n_distinct}")
            });
        };
        let mut levels: Vec<(&String, u64)> = counts.iter().map(|(text, &count)| (text, count)).collect();
        levels.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let least = MIN_CELL.max(n_rows.div_ceil(RARE));
        let n_kept = levels
            .iter()
            .take(MAX_LEVELS)
            .take_while(|level| level.1 >= least)
            .count();
        let n_in_kept: u64 = levels[..n_kept].iter().map(|level| level.1).sum();
        if n_distinct == 1 && self.n_missing == 0 {
            return Err("is constant".into());
        }
        if n_distinct == n_present && n_present > 1 {
            return Err("looks like an id: every text is different".into());
        }
        if n_kept == 0 || n_in_kept < n_present.div_ceil(2) {
            return Err(format!(
                "has {n_distinct} levels, of which those with at least {least} rows make up {} %",
                100 * n_in_kept / n_present
            ));
        }
        Ok(Levels {
            kept: levels[..n_kept]
                .iter()
                .map(|&(text, count)| (text.clone(), count))
                .collect(),
            others: (n_distinct as usize - n_kept, n_present - n_in_kept),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    fn counted(texts: impl IntoIterator<Item = Option<String>>, batch: usize) -> LevelCounts {
        let texts: Vec<Option<String>> = texts.into_iter().collect();
        let mut counts = LevelCounts::default();
        for part in texts.chunks(batch) {
            counts.add(&StringArray::from(part.to_vec()));
        }
        counts
    }

    fn some(n: usize, text: impl Fn(usize) -> String) -> Vec<Option<String>> {
        (0..n).map(|i| Some(text(i))).collect()
    }

    #[test]
    fn frequent_levels_stand_alone_and_rare_ones_together() {
        let texts = some(1000, |i| match i % 100 {
            0..60 => "gold".into(),
            60..97 => "silver".into(),
            97 => format!("rare {}", i / 300),
            _ => "bronze".into(),
        });
        let mut with_nulls = texts.clone();
        with_nulls.extend([None, Some("  ".into()), None]);
        let counts = counted(with_nulls.clone(), 1000);
        let levels = counts.choose(1003).unwrap();
        let kept: Vec<(&str, u64)> = levels.kept.iter().map(|(text, n)| (text.as_str(), *n)).collect();
        assert_eq!(kept, [("gold", 600), ("silver", 370), ("bronze", 20)]);
        assert_eq!((levels.others, counts.n_missing), ((4, 10), 3));
        with_nulls.reverse();
        for batch in [1, 7, 400] {
            assert_eq!(counted(with_nulls.clone(), batch), counts, "order and cuts do not show");
        }
        assert_ne!(counted(texts, 1000), counts);
    }

    #[test]
    fn what_is_no_category_says_why() {
        let refused = |texts: Vec<Option<String>>| {
            let n = texts.len() as u64;
            counted(texts, 500).choose(n).unwrap_err()
        };
        assert_eq!(refused(some(50, |_| "same".into())), "is constant");
        assert_eq!(refused(vec![None; 5]), "has no values");
        assert_eq!(
            refused(some(300, |i| format!("C{i}"))),
            "looks like an id: every text is different"
        );
        assert_eq!(
            refused(some(12_000, |i| format!("C{i}"))),
            "looks like an id: nearly every text is different"
        );
        assert_eq!(
            refused(some(1000, |i| format!("town {}", i % 400))),
            "has 400 levels, of which those with at least 11 rows make up 0 %"
        );
        assert!(refused(some(40_000, |i| format!("t{}", i % 11_000))).starts_with("has too many levels: about 1"));
        let prose = refused(some(40, |i| format!("{}{}", "long ".repeat(40), i % 2)));
        assert!(prose.starts_with("has 2 levels"), "{prose}");
    }

    #[test]
    fn a_level_against_nothing_is_a_category() {
        let texts = (0..100).map(|i| (i % 3 > 0).then(|| "member".to_owned()));
        let levels = counted(texts, 30).choose(100).unwrap();
        assert_eq!((levels.kept.len(), levels.others), (1, (0, 0)));
    }
}
