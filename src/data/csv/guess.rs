//! What type a column of texts is: the narrowest that all its cells can be read as.

use arrow::datatypes::{DataType, TimeUnit};

use crate::data::values;

/// Types that all cells seen so far can be read as, as bits; text is always one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    bits: u8,
    /// Whether there was a cell with a value.
    has_values: bool,
    /// Whether a time has digits below a microsecond.
    is_fine: bool,
}

const BOOL: u8 = 1;
const WHOLE: u8 = 1 << 1;
const DECIMAL: u8 = 1 << 2;
const DATE: u8 = 1 << 3;
const TIMESTAMP: u8 = 1 << 4;
const TIMESTAMP_UTC: u8 = 1 << 5;
const TIME: u8 = 1 << 6;
const ALL: u8 = 0x7f;

impl Guess {
    /// Of a column of which no cell was seen.
    pub(super) fn new() -> Self {
        Self {
            bits: ALL,
            has_values: false,
            is_fine: false,
        }
    }

    /// Looks at a cell. What stands for no value says nothing, unless it is quoted or the column is text.
    pub(super) fn see(&mut self, cell: &[u8]) {
        // Text it is, and stays.
        if self.bits == 0 {
            return;
        }
        let cell = cell.trim_ascii();
        if values::is_null(cell) {
            return;
        }
        self.has_values = true;
        self.bits &= self.readings(cell);
    }

    /// Types that a cell can be read as.
    fn readings(&mut self, cell: &[u8]) -> u8 {
        let is_decimal = self.bits & DECIMAL != 0 && values::is_decimal(cell);
        if is_decimal && values::is_whole(cell) {
            // Longer ones are numbers of accounts, which a float would not tell apart.
            let text = std::str::from_utf8(cell).unwrap_or("");
            return if text.parse::<i64>().is_ok() {
                WHOLE | DECIMAL
            } else {
                0
            };
        }
        if is_decimal || values::is_infinite(cell) {
            return DECIMAL;
        }
        if values::truth(cell).is_some() {
            return BOOL;
        }
        if values::date(cell).is_some() {
            return DATE | TIMESTAMP;
        }
        if let Some(moment) = values::timestamp(cell) {
            return match self.fits(moment) {
                false => 0,
                true if moment.has_zone => TIMESTAMP_UTC,
                true => TIMESTAMP,
            };
        }
        match values::time(cell) {
            Some(moment) if self.fits(moment) => TIME,
            _ => 0,
        }
    }

    fn fits(&mut self, moment: values::Moment) -> bool {
        let is_fine = moment.microseconds().is_none();
        self.is_fine |= is_fine;
        !is_fine || moment.nanoseconds().is_some()
    }

    /// What all cells of both can be read as.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            bits: self.bits & other.bits,
            has_values: self.has_values || other.has_values,
            is_fine: self.is_fine || other.is_fine,
        }
    }

    /// The narrowest type, or `likely` where the cells can be read as that.
    pub(super) fn data_type(self, likely: Option<&DataType>) -> DataType {
        use DataType as T;
        let unit = if self.is_fine {
            TimeUnit::Nanosecond
        } else {
            TimeUnit::Microsecond
        };
        let utc = || Some("UTC".into());
        match likely {
            Some(likely) if self.allows(likely) => return likely.clone(),
            _ if !self.has_values => return T::Null,
            _ => {}
        }
        let types = [
            (BOOL, T::Boolean),
            (WHOLE, T::Int64),
            (DECIMAL, T::Float64),
            (DATE, T::Date32),
            (TIMESTAMP, T::Timestamp(unit, None)),
            (TIMESTAMP_UTC, T::Timestamp(unit, utc())),
            (TIME, T::Time64(unit)),
        ];
        let narrowest = types.into_iter().find(|(bit, _)| self.bits & bit != 0);
        narrowest.map_or(T::Utf8, |(_, data_type)| data_type)
    }

    fn allows(self, data_type: &DataType) -> bool {
        use DataType as T;
        let bit = match data_type {
            T::Utf8 => return true,
            _ if !self.has_values => return true,
            T::Boolean => BOOL,
            T::Int64 => WHOLE,
            T::Float64 => DECIMAL,
            T::Date32 => DATE,
            T::Timestamp(TimeUnit::Microsecond, None) if !self.is_fine => TIMESTAMP,
            T::Timestamp(TimeUnit::Microsecond, Some(_)) if !self.is_fine => TIMESTAMP_UTC,
            T::Time64(TimeUnit::Microsecond) if !self.is_fine => TIME,
            _ => return false,
        };
        self.bits & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType as T;

    fn guess(cells: &[&str]) -> Guess {
        let mut guess = Guess::new();
        cells.iter().for_each(|cell| guess.see(cell.as_bytes()));
        guess
    }

    #[test]
    fn the_narrowest_type_of_all_cells_is_taken() {
        let utc = || Some("UTC".into());
        let cases: [(&[&str], T); 17] = [
            (&["", "NA"], T::Null),
            (&["true", "False", "null"], T::Boolean),
            (&["1", "-20", "", " 3 "], T::Int64),
            (&["1", "2.5"], T::Float64),
            (&["1", "1e3", "inf", "nan"], T::Float64),
            (&["1", "true"], T::Utf8),
            (&["007", "12"], T::Utf8),
            (&["12", "007"], T::Utf8),
            (&["12345678901234567890"], T::Utf8),
            (&["2026-01-31", ""], T::Date32),
            (
                &["2026-01-31", "2026-01-31 10:00"],
                T::Timestamp(TimeUnit::Microsecond, None),
            ),
            (&["2026-01-31T10:00:00Z"], T::Timestamp(TimeUnit::Microsecond, utc())),
            (&["2026-01-31T10:00:00Z", "2026-01-31T10:00:00"], T::Utf8),
            (
                &["2026-01-31T10:00:00.123456789"],
                T::Timestamp(TimeUnit::Nanosecond, None),
            ),
            (&["10:00", "23:59:59"], T::Time64(TimeUnit::Microsecond)),
            (&["2026-02-30"], T::Utf8),
            (&["NA", "Namibia"], T::Utf8),
        ];
        for (cells, expected) in cases {
            assert_eq!(guess(cells).data_type(None), expected, "{cells:?}");
            // However the cells are divided, and in any order.
            for cut in 0..=cells.len() {
                let parts = guess(&cells[cut..]).and(guess(&cells[..cut]));
                assert_eq!(parts.data_type(None), expected, "{cells:?}");
            }
        }
    }

    #[test]
    fn a_likely_type_is_taken_where_the_cells_allow_it() {
        assert_eq!(guess(&["1", "2"]).data_type(Some(&T::Utf8)), T::Utf8);
        assert_eq!(guess(&["1", "2"]).data_type(Some(&T::Float64)), T::Float64);
        assert_eq!(guess(&["x"]).data_type(Some(&T::Float64)), T::Utf8);
        assert_eq!(guess(&[""]).data_type(Some(&T::Boolean)), T::Boolean);
    }
}
