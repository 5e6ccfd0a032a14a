//! Texts as the values they stand for: what CSV cells, partitions and literals hold.

use chrono::{DateTime, NaiveDate, NaiveTime};

/// Microseconds, or nanoseconds, since 1970 or since midnight; and what the text said of its zone and its digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Whole seconds.
    pub(crate) seconds: i64,
    /// The rest of a second.
    pub(crate) nanoseconds: u32,
    /// Whether a zone is named, so that the seconds are those of UTC.
    pub(crate) has_zone: bool,
}

impl Moment {
    /// Microseconds, where there is no finer digit.
    pub(crate) fn microseconds(self) -> Option<i64> {
        if !self.nanoseconds.is_multiple_of(1000) {
            return None;
        }
        self.seconds
            .checked_mul(1_000_000)?
            .checked_add(i64::from(self.nanoseconds / 1000))
    }

    /// Nanoseconds: from 1677 to 2262.
    pub(crate) fn nanoseconds(self) -> Option<i64> {
        let nanoseconds = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        i64::try_from(nanoseconds).ok()
    }
}

/// So many decimal digits, all of `bytes`.
fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 9 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0')))
}

/// `2026-01-31` as days since 1970-01-01.
pub(crate) fn date(bytes: &[u8]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *bytes else {
        return None;
    };
    let year = i32::try_from(number(&[y1, y2, y3, y4])?).ok()?;
    let day = NaiveDate::from_ymd_opt(year, number(&[m1, m2])?, number(&[d1, d2])?)?;
    i32::try_from(day.signed_duration_since(DateTime::UNIX_EPOCH.date_naive()).num_days()).ok()
}

/// `18:30`, `18:30:05`, `18:30:05.25` since midnight.
pub(crate) fn time(bytes: &[u8]) -> Option<Moment> {
    let [h1, h2, b':', m1, m2, rest @ ..] = bytes else {
        return None;
    };
    let (second, nanoseconds) = match rest {
        [] => (0, 0),
        [b':', s1, s2] => (number(&[*s1, *s2])?, 0),
        [b':', s1, s2, b'.', part @ ..] => {
            let digits = part.len();
            let part = number(part)?;
            (number(&[*s1, *s2])?, part * 10u32.pow(9 - digits as u32))
        }
        _ => return None,
    };
    let time = NaiveTime::from_hms_nano_opt(number(&[*h1, *h2])?, number(&[*m1, *m2])?, second, nanoseconds)?;
    let since = time.signed_duration_since(NaiveTime::MIN);
    Some(Moment {
        seconds: since.num_seconds(),
        nanoseconds,
        has_zone: false,
    })
}

/// A date and a time of day with `T` or a space between, and `Z`, `UTC` or `+01:00` after it where a zone is named.
pub(crate) fn timestamp(bytes: &[u8]) -> Option<Moment> {
    let (day, rest) = bytes.split_at_checked(10)?;
    let (&[b'T' | b' '], rest) = rest.split_at_checked(1)? else {
        return None;
    };
    let (clock, offset) = zone(rest)?;
    let time = time(clock)?;
    let midnight = i64::from(date(day)?) * 86_400;
    Some(Moment {
        seconds: midnight + time.seconds - offset.unwrap_or(0),
        has_zone: offset.is_some(),
        ..time
    })
}

/// What is before a zone, and the seconds that the zone is ahead of UTC, where there is one.
fn zone(bytes: &[u8]) -> Option<(&[u8], Option<i64>)> {
    for utc in [&b"Z"[..], b" UTC", b"UTC"] {
        if let Some(clock) = bytes.strip_suffix(utc) {
            return Some((clock, Some(0)));
        }
    }
    let Some(at) = bytes.iter().rposition(|byte| matches!(byte, b'+' | b'-')) else {
        return Some((bytes, None));
    };
    let (clock, offset) = bytes.split_at(at);
    let (hours, minutes) = match offset[1..] {
        [h1, h2] => (number(&[h1, h2])?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (number(&[h1, h2])?, number(&[m1, m2])?),
        _ => return None,
    };
    if hours > 15 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    Some((clock, Some(if offset[0] == b'-' { -seconds } else { seconds })))
}

/// A whole number as people and programs write it: no plus, no leading zeros (which codes have).
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match digits {
        [b'0'] => bytes.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// A number with a point or an exponent, or a whole one, without leading zeros.
pub(crate) fn is_decimal(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let n_whole = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = rest.split_at(n_whole);
    let (part, rest) = match rest.strip_prefix(b".") {
        Some(rest) => {
            let n_part = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at(n_part)
        }
        None => (&[][..], rest),
    };
    let exponent_holds = match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] => {
            (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    let is_code = whole.len() > 1 && whole[0] == b'0';
    exponent_holds && !is_code && !(whole.is_empty() && part.is_empty())
}

/// `inf`, `-Infinity` and the like.
pub(crate) fn is_infinite(bytes: &[u8]) -> bool {
    let name = bytes.strip_prefix(b"-").or(bytes.strip_prefix(b"+")).unwrap_or(bytes);
    name.eq_ignore_ascii_case(b"inf") || name.eq_ignore_ascii_case(b"infinity")
}

/// Whether a text is a date, a time of day or both.
pub(crate) fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    date(bytes).is_some() || timestamp(bytes).is_some() || time(bytes).is_some()
}

/// `true` and `false`, in any case.
pub(crate) fn truth(bytes: &[u8]) -> Option<bool> {
    if bytes.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if bytes.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// What stands for no value among numbers, dates and truth values; among texts it is a text.
pub(crate) fn is_null(bytes: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [b"", b"NA", b"N/A", b"NaN", b"null", b"None", b"NaT", b"nil"];
    bytes.len() <= 4 && NAMES.iter().any(|name| bytes.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_as_written_and_nothing_else_is() {
        assert_eq!(date(b"1970-01-02"), Some(1));
        assert_eq!(date(b"0001-01-01"), Some(-719_162));
        for wrong in ["2026-02-30", "2026-1-01", "26-01-01", "2026-01-01 ", "2026/01/01", ""] {
            assert_eq!(date(wrong.as_bytes()), None, "{wrong}");
        }
        let micros = |text: &str| timestamp(text.as_bytes()).and_then(Moment::microseconds);
        assert_eq!(micros("1970-01-02T00:00"), Some(86_400_000_000));
        assert_eq!(micros("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(micros("1970-01-01 01:00:00+01:00"), Some(0));
        assert_eq!(micros("1969-12-31T23:00:00-0100"), Some(0));
        assert_eq!(micros("1970-01-01T00:00:00.000000001"), None);
        let fine = timestamp(b"1970-01-01T00:00:00.000000001Z").unwrap();
        assert_eq!((fine.nanoseconds(), fine.has_zone), (Some(1), true));
        for wrong in [
            "1970-01-01",
            "1970-01-01T",
            "1970-01-01T24:00",
            "1970-01-01T00:60",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00+1",
            "1970-01-01T00:00:00.1234567890",
        ] {
            assert_eq!(timestamp(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(time(b"01:00").unwrap().seconds, 3600);
    }

    #[test]
    fn codes_are_no_numbers() {
        for (text, whole, decimal) in [
            ("0", true, true),
            ("-1", true, true),
            ("007", false, false),
            ("-0", false, true),
            ("+1", false, false),
            ("1.50", false, true),
            (".5", false, true),
            ("5.", false, true),
            ("1e-7", false, true),
            ("1e", false, false),
            ("00.5", false, false),
            (".", false, false),
            ("-", false, false),
            ("1 ", false, false),
            ("0x10", false, false),
            ("1_000", false, false),
        ] {
            assert_eq!(
                (is_whole(text.as_bytes()), is_decimal(text.as_bytes())),
                (whole, decimal),
                "{text}"
            );
            // What is taken for a decimal can be read as one.
            assert!(!decimal || text.parse::<f64>().is_ok(), "{text}");
        }
    }
}
