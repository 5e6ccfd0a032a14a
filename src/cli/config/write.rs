//! Settings as lines of TOML that read back as what they were.

use std::ffi::OsString;

use kohort::error::told;

use super::super::args::Names;
use super::catalog::{Kind, Opt};
use super::layers::Setting;

/// A text in quotes. What could drive a terminal, or cannot be told apart by eye, is escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_invisible(c) => out.push_str(&match u32::from(c) {
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name as a key: in quotes where it has to be.
pub(crate) fn key(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(is_plain) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// Characters of no width, among them those that change the direction of text, and separators of lines.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `key = value`, or nothing where the setting has none.
pub(super) fn line(setting: &Setting) -> Option<String> {
    let text = value(&setting.opt, &setting.values)?;
    Some(format!("{} = {text}", setting.opt.key))
}

/// The value, as TOML; of a URL what may be told.
fn value(opt: &Opt, values: &[OsString]) -> Option<String> {
    let texts: Vec<String> = values
        .iter()
        .map(|value| told(&value.to_string_lossy()).into_owned())
        .collect();
    match (opt.kind, texts.as_slice()) {
        (_, []) => None,
        (Kind::Switch, [text, ..]) => Some(text.clone()),
        (Kind::One, [text, ..]) => Some(scalar(opt, text)),
        (Kind::Many, texts) => Some(list(opt, texts)),
    }
}

/// The entries of a list: as typed, one text may hold several names.
pub(super) fn items(opt: &Opt, texts: &[String]) -> Vec<String> {
    if !opt.is_names {
        return texts.to_vec();
    }
    let lists: Vec<Names> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    Names::flatten(&lists)
}

/// A list; a single name without a comma stands alone.
fn list(opt: &Opt, texts: &[String]) -> String {
    match items(opt, texts).as_slice() {
        [item] if !item.contains(',') => scalar(opt, item),
        items => {
            let items: Vec<String> = items.iter().map(|item| scalar(opt, item)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn scalar(opt: &Opt, text: &str) -> String {
    if is_number(opt, text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether a value is a number in TOML and JSON alike.
pub(super) fn is_number(opt: &Opt, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = |text: &str| digits(text) && (text == "0" || !text.starts_with('0'));
    let in_range = match text.split_once('.') {
        Some((whole, part)) => is_whole(whole) && digits(part),
        None => is_whole(text) && text.parse::<i64>().is_ok(),
    };
    in_range && !opt.is_text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::{DeTable, DeValue};

    use super::*;

    fn read_back(text: &str) -> String {
        let document = format!("a = {text}\n");
        let table = DeTable::parse(&document).unwrap_or_else(|error| panic!("{document:?}: {error}"));
        match table.get_ref().iter().next().unwrap().1.get_ref() {
            DeValue::String(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hostile_texts_read_back_and_stay_on_their_line() {
        for text in [
            "",
            "\"",
            "\"\"\"",
            "'",
            "\\",
            "\\n",
            "a\nb",
            "a\r\nb",
            "\t",
            "\0",
            "\u{7f}",
            "\u{1b}[31m",
            "# no comment",
            "]",
            "\u{202e}abc",
            "\u{2028}",
            "\u{feff}x",
            "é漢🦀",
            "\u{e000}",
            "\u{10ffff}",
            "= 1",
            "{}",
        ] {
            assert_eq!(read_back(&quoted(text)), text);
        }
        assert_eq!(quoted("\u{1b}\u{202e}\n🦀"), "\"\\u001B\\u202E\\n🦀\"");
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let written = quoted(&text);
            prop_assert!(!written.chars().any(|c| c.is_control()));
            prop_assert_eq!(read_back(&written), text);
        }
    }
}
