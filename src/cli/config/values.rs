//! From a value of TOML to what would have been typed after the flag.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use kohort::data::is_remote;
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::catalog::{Kind, Opt};
use super::file::in_order;

/// A value of the wrong kind: where, and what the option takes instead.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) span: Range<usize>,
    pub(super) reason: String,
}

type Texts = Vec<(OsString, Range<usize>)>;

/// The values of an option, each with its place. A text is what would be typed after the flag; an entry of a list is
/// one name, commas and all; a table gives `NAME=VALUE`. Relative paths count from `folder`.
pub(super) fn texts(opt: &Opt, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<Texts, Misfit> {
    let misfit = |reason: String| Misfit {
        span: value.span(),
        reason,
    };
    let found = name_of(value.get_ref());
    let texts = match (opt.kind, value.get_ref()) {
        (Kind::Switch, DeValue::Boolean(on)) => vec![(on.to_string(), value.span())],
        (Kind::Switch, _) => return Err(misfit(format!("is true or false, not {found}"))),
        (Kind::One, DeValue::Array(_) | DeValue::Table(_)) => {
            return Err(misfit(format!("takes one value, not {found}")));
        }
        (Kind::Many, DeValue::Array(list)) => list.iter().map(|item| item_text(opt, item)).collect::<Result<_, _>>()?,
        (Kind::Many, DeValue::Table(table)) if opt.takes_pairs => { in_order(table).into_iter() }
            .map(|(key, value)| pair(opt, key.get_ref(), key.span(), value))
            .collect::<Result<_, _>>()?,
        (Kind::Many, DeValue::Table(_)) => return Err(misfit("takes a list, not a table".into())),
        (_, _) => vec![(scalar(opt, value)?, value.span())],
    };
    if texts.is_empty() && !opt.defaults.is_empty() {
        return Err(misfit("is an empty list: leave the key out for the default".into()));
    }
    let typed = |text: String| match opt.is_path {
        true => from_folder(opt, folder, &text),
        false => text.into(),
    };
    Ok(texts.into_iter().map(|(text, span)| (typed(text), span)).collect())
}

/// An entry of a list.
fn item_text(opt: &Opt, item: &Spanned<DeValue<'_>>) -> Result<(String, Range<usize>), Misfit> {
    Ok((one_name(opt, scalar(opt, item)?), item.span()))
}

/// `NAME=VALUE`.
fn pair(
    opt: &Opt,
    name: &str,
    name_span: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(String, Range<usize>), Misfit> {
    let (name, value_text) = if opt.is_names {
        (one_name(opt, name.to_owned()), one_name(opt, scalar(opt, value)?))
    } else {
        if name.contains('=') {
            let reason = "takes no name with = in it".into();
            return Err(Misfit {
                span: name_span,
                reason,
            });
        }
        let columns = match value.get_ref() {
            DeValue::Array(list) => {
                let names = list.iter().map(|item| scalar(opt, item).map(escape_commas));
                names.collect::<Result<Vec<_>, _>>()?.join(",")
            }
            _ => scalar(opt, value)?,
        };
        (name.to_owned(), columns)
    };
    Ok((format!("{name}={value_text}"), value.span()))
}

/// A name as the option reads it back whole.
fn one_name(opt: &Opt, name: String) -> String {
    if opt.is_names { escape_commas(name) } else { name }
}

pub(super) fn escape_commas(name: String) -> String {
    name.replace(',', "\\,")
}

fn scalar(opt: &Opt, value: &Spanned<DeValue<'_>>) -> Result<String, Misfit> {
    let misfit = |reason: String| Misfit {
        span: value.span(),
        reason,
    };
    let found = name_of(value.get_ref());
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) if opt.is_text => {
            Err(misfit(format!("is text, not {found}: put it in quotes")))
        }
        DeValue::Integer(number) => integer(number).ok_or_else(|| misfit("is a number that is too large".into())),
        DeValue::Float(number) => Ok(number.as_str().replace('_', "")),
        DeValue::Datetime(date) => Ok(date.to_string()),
        DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(misfit(format!("does not take {found} here")))
        }
    }
}

/// In decimal digits, however it is written.
fn integer(number: &DeInteger<'_>) -> Option<String> {
    let digits = number.as_str().replace('_', "");
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    match number.radix() {
        10 => Some(digits.to_owned()),
        radix => u64::from_str_radix(digits, radix).ok().map(|number| number.to_string()),
    }
}

/// A path that is relative to the folder of the file. `-` stands for a stream, and first centroids are a file only
/// where they are no word.
fn from_folder(opt: &Opt, folder: &Path, text: &str) -> OsString {
    let is_word =
        matches!(text, "" | "-") || is_remote(Path::new(text)) || (opt.id == "init" && !text.ends_with(".parquet"));
    if is_word || folder.as_os_str().is_empty() || Path::new(text).is_absolute() {
        return text.into();
    }
    let path = folder.join(text);
    // Only the part that the file gives is a pattern.
    let is_glob = |text: &str| text.contains(['*', '?', '[']);
    match folder.to_str() {
        Some(name) if is_glob(text) && is_glob(name) && path.symlink_metadata().is_err() => {
            Path::new(&glob::Pattern::escape(name)).join(text).into()
        }
        _ => path.into(),
    }
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
