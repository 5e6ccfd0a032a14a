//! Figures as people read them, in reports and in the terminal.

/// A whole number with thousands separators.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number for people: four significant digits, thousands separators, no exponent where it can be avoided.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size >= 1e15 || (size != 0.0 && size < 1e-4) {
        return format!("{value:.3e}");
    }
    if size >= 999.5 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(size.round() as u64));
    }
    let decimals = if size == 0.0 {
        0
    } else {
        (3 - size.log10().floor() as i32).clamp(0, 7)
    };
    let text = format!("{value:.*}", decimals as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A share of one in per cent; what is there is never shown as nothing.
#[must_use]
pub fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.0005 {
        "<0.1%".into()
    } else {
        format!("{:.1}%", share * 100.0)
    }
}

/// Seconds for people.
#[must_use]
pub fn seconds(elapsed_s: f64) -> String {
    if elapsed_s < 10.0 {
        format!("{elapsed_s:.2} s")
    } else {
        format!("{} s", count(elapsed_s.round() as u64))
    }
}

/// `1 row`, `2 rows`.
#[must_use]
pub fn plural(n: u64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}
