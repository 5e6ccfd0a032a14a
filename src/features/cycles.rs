//! Months and weekdays as points on a circle, so that December is next to January and Sunday to Monday.

use arrow::array::Array;
use serde::{Deserialize, Serialize};

use super::decode::{Instant, instants};

/// Sines of multiples of 30 degrees, from 0 to 90; those of all months are among them, with either sign.
const MONTH_SINES: [f64; 4] = [0.0, 0.5, 0.866_025_403_784_438_6, 1.0];
/// Cosines of multiples of a seventh of a turn, from 0 to 3.
const WEEKDAY_COSINES: [f64; 4] = [
    1.0,
    0.623_489_801_858_733_5,
    -0.222_520_933_956_314_4,
    -0.900_968_867_902_419_1,
];
/// The sines of the same.
const WEEKDAY_SINES: [f64; 4] = [
    0.0,
    0.781_831_482_468_029_8,
    0.974_927_912_181_823_6,
    0.433_883_739_117_558_1,
];

/// What repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cycle {
    /// The month of the year.
    Month,
    /// The day of the week.
    Weekday,
}

/// One of the two coordinates of a point on the circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinate {
    /// 0 in January and on Mondays, and rising.
    Sine,
    /// 1 in January and on Mondays.
    Cosine,
}

impl Cycle {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Weekday => "weekday",
        }
    }

    /// How many places the circle has.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Month => 12,
            Self::Weekday => 7,
        }
    }

    /// The place of a point in time, from 0; `None` beyond the calendar.
    pub(super) fn place(self, instant: Instant) -> Option<usize> {
        match self {
            Self::Month => {
                use chrono::Datelike;
                let day = chrono::DateTime::from_timestamp(instant.day.checked_mul(86_400)?, 0)?;
                Some(day.month0() as usize)
            }
            // 1970 began with a Thursday.
            Self::Weekday => Some((instant.day.rem_euclid(7) as usize + 3) % 7),
        }
    }

    /// The coordinate of a place. The numbers are written down: a library's sine may differ in its last bit.
    pub(super) fn at(self, place: usize, coordinate: Coordinate) -> f64 {
        match (self, coordinate) {
            (Self::Month, Coordinate::Sine) => {
                let half = MONTH_SINES[if place % 6 <= 3 { place % 6 } else { 6 - place % 6 }];
                if place < 6 { half } else { 0.0 - half }
            }
            (Self::Month, Coordinate::Cosine) => self.at((place + 3) % 12, Coordinate::Sine),
            (Self::Weekday, Coordinate::Sine) if place > 3 => -WEEKDAY_SINES[7 - place],
            (Self::Weekday, Coordinate::Sine) => WEEKDAY_SINES[place],
            (Self::Weekday, Coordinate::Cosine) => WEEKDAY_COSINES[place.min(7 - place)],
        }
    }

    /// The coordinates of all points in time of `array`, NaN where there is none.
    pub(super) fn decode(self, array: &dyn Array, coordinate: Coordinate) -> Vec<f64> {
        let coordinate = |instant: Option<Instant>| {
            let place = instant.and_then(|instant| self.place(instant));
            place.map_or(f64::NAN, |place| self.at(place, coordinate))
        };
        instants(array).into_iter().map(coordinate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lie_on_the_unit_circle_at_their_angles() {
        for cycle in [Cycle::Month, Cycle::Weekday] {
            for place in 0..cycle.len() {
                let angle = std::f64::consts::TAU * place as f64 / cycle.len() as f64;
                let (sine, cosine) = (cycle.at(place, Coordinate::Sine), cycle.at(place, Coordinate::Cosine));
                assert!(
                    (sine - angle.sin()).abs() < 1e-15 && (cosine - angle.cos()).abs() < 1e-15,
                    "{cycle:?} {place}"
                );
                assert!(sine.to_bits() != (-0.0f64).to_bits() && cosine.to_bits() != (-0.0f64).to_bits());
            }
        }
    }

    #[test]
    fn days_have_their_months_and_weekdays() {
        let places = |text: &str| {
            let instant: Instant = text.parse().unwrap();
            [Cycle::Month, Cycle::Weekday].map(|cycle| cycle.place(instant).unwrap())
        };
        assert_eq!(places("1970-01-01"), [0, 3]);
        assert_eq!(places("2026-11-24"), [10, 1]);
        assert_eq!(places("1969-12-29"), [11, 0]);
        assert_eq!(places("2024-02-29 23:59:59"), [1, 3]);
        let far = Instant {
            day: i64::MAX,
            nanosecond: 0,
        };
        assert_eq!(Cycle::Month.place(far), None);
    }
}
