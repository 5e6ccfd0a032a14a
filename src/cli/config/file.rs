//! A configuration file: found, read with suspicion, and each of its values turned into what would have been typed.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use kohort::artifact::ConfigRecord;
use kohort::data::read_small;
use kohort::error::escape;
use kohort::{Error, Result};

use super::super::output::{shorten, stderr_width};
use super::catalog::{COLUMNS, Catalog, CommandOptions, Opt, TOP};
use super::excerpt::excerpt;
use super::values::{Misfit, texts};

/// The file that is looked for in the working directory.
pub(crate) const NAME: &str = "kohort.toml";
/// Larger files are refused: this is room for some 20,000 columns.
pub(crate) const MAX_BYTES: u64 = 2 << 20;
/// Names are shown, and compared with known ones, up to this length.
const MAX_NAME: usize = 60;

/// A configuration file as it was read.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    text: String,
}

/// One key of a file, and the values that it gives.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) section: String,
    /// clap's name of the option.
    pub(super) id: String,
    /// What clap is to be given; nothing where an earlier section's list is emptied.
    pub(super) values: Vec<OsString>,
    /// Where the key stands.
    pub(super) span: Range<usize>,
}

impl ConfigFile {
    /// Reads a file. Its name has to end in `.toml`: lines of it are shown where they are wrong, and lines of data
    /// never are.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::FileRefused`]; [`Error::BadSetting`] for what is not UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|ending| ending != "toml") {
            return Err(Error::FileRefused {
                path: path.to_owned(),
                reason: "the name of a configuration file ends in .toml".into(),
            });
        }
        let bytes = read_small(path, MAX_BYTES)?;
        let path = path.to_owned();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let file = Self { path, text };
                Err(file.error(at..at, "is not UTF-8 from here on".into(), None))
            }
        }
    }

    /// A file that is still to be written.
    pub(super) fn of_text(path: PathBuf, text: String) -> Self {
        Self { path, text }
    }

    /// What a record keeps of it.
    pub(crate) fn record(&self) -> ConfigRecord {
        ConfigRecord::new(&self.path, self.text.as_bytes())
    }

    /// Every key of the file, for whichever command.
    ///
    /// # Errors
    /// [`Error::BadSetting`] for the first thing that is wrong with it.
    pub(super) fn entries(&self, catalog: &Catalog) -> Result<Vec<Entry>> {
        let document = DeTable::parse(&self.text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            self.error(at, format!("not valid TOML: {}", error.message()), None)
        })?;
        let mut entries = Vec::new();
        for (key, value) in in_order(document.get_ref()) {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(table) if catalog.sections().contains(&name) => {
                    for (key, value) in in_order(table) {
                        entries.push(self.entry(catalog, name, key, value)?);
                    }
                }
                _ if catalog.sections().contains(&name) => {
                    let hint = format!("write [{name}], and its keys on the lines below");
                    return Err(self.error(key.span(), format!("`{name}` is a section"), Some(hint)));
                }
                DeValue::Table(_) if catalog.homes(name).is_empty() => {
                    return Err(self.unknown_section(catalog, name, key.span()));
                }
                _ => entries.push(self.entry(catalog, TOP, key, value)?),
            }
        }
        self.refuse_twice(&entries)?;
        Ok(entries)
    }

    fn entry(&self, catalog: &Catalog, section: &str, key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<Entry> {
        let name = key.get_ref().as_ref();
        let Some((command, opt)) = catalog.find(section, name) else {
            return Err(self.unknown_key(catalog, section, name, key.span()));
        };
        let refuse = |Misfit { span, reason }| self.error(span, format!("`{name}` {reason}"), None);
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let given = texts(opt, value, folder).map_err(refuse)?;
        self.check(command, opt, name, &given)?;
        Ok(Entry {
            section: section.to_owned(),
            id: opt.id.clone(),
            values: given.into_iter().map(|(value, _)| value).collect(),
            span: key.span(),
        })
    }

    /// Asks clap about the values: about all at once, and where it refuses, about each.
    fn check(&self, command: &CommandOptions, opt: &Opt, name: &str, given: &[(OsString, Range<usize>)]) -> Result<()> {
        let all: Vec<OsString> = given.iter().map(|(value, _)| value.clone()).collect();
        let Some(reason) = command.refusal(opt, &all) else {
            return Ok(());
        };
        let mut each = given.iter().filter_map(|(value, span)| {
            let reason = command.refusal(opt, std::slice::from_ref(value))?;
            Some((span.clone(), reason))
        });
        let whole = || (given.first().map_or(0..0, |(_, span)| span.clone()), reason);
        let (span, reason) = each.next().unwrap_or_else(whole);
        Err(self.error(span, format!("`{name}`: {reason}"), None))
    }

    fn unknown_section(&self, catalog: &Catalog, name: &str, span: Range<usize>) -> Error {
        let sections = catalog.sections();
        let hint = match nearest(name, sections.iter().copied()) {
            Some(near) => format!("did you mean [{near}]?"),
            None => format!("the sections are [{}]", sections.join("], [")),
        };
        self.error(
            span,
            format!("there is no section [{}]", shorten(name, MAX_NAME)),
            Some(hint),
        )
    }

    fn unknown_key(&self, catalog: &Catalog, section: &str, name: &str, span: Range<usize>) -> Error {
        let options = catalog.section(section);
        let hyphens = name.replace('_', "-").to_lowercase();
        let homes = catalog.homes(&hyphens);
        let hint = if let Some((_, opt)) = catalog.find(section, &hyphens) {
            format!("did you mean `{}`?", opt.key)
        } else if !homes.is_empty() {
            let places: Vec<String> = homes.iter().take(2).map(|section| place_of(section)).collect();
            format!("`{hyphens}` stands {}", places.join(" or "))
        } else if let Some(near) = nearest(&hyphens, options.iter().map(|(_, opt)| opt.key.as_str())) {
            format!("did you mean `{near}`?")
        } else {
            match section {
                TOP | COLUMNS => "keys are the long flags of `kohort fit --help`".into(),
                command => format!("keys are the long flags of `kohort {command} --help`"),
            }
        };
        let place = if section == TOP {
            "the top of the file".into()
        } else {
            format!("[{section}]")
        };
        self.error(
            span,
            format!("{place} has no key `{}`", shorten(name, MAX_NAME)),
            Some(hint),
        )
    }

    /// Two spellings of one key in the same section.
    fn refuse_twice(&self, entries: &[Entry]) -> Result<()> {
        for (n, entry) in entries.iter().enumerate() {
            let twin = entries[..n]
                .iter()
                .find(|other| (&other.section, &other.id) == (&entry.section, &entry.id));
            if let Some(twin) = twin {
                let [this, other] = [entry, twin].map(|entry| &self.text[entry.span.clone()]);
                let reason = format!(
                    "`{this}` and `{other}` in line {} are the same",
                    self.line(twin.span.start)
                );
                return Err(self.error(entry.span.clone(), reason, None));
            }
        }
        Ok(())
    }

    /// An error at a place of the file.
    pub(super) fn error(&self, span: Range<usize>, reason: String, hint: Option<String>) -> Error {
        let column = 1 + self.before(span.start).chars().count();
        Error::BadSetting {
            place: format!("{}:{}:{column}", self.path.to_string_lossy(), self.line(span.start)),
            reason,
            excerpt: excerpt(&self.text, span, stderr_width()),
            hint,
        }
    }

    /// `kohort.toml:12`, ready to be shown.
    pub(super) fn place(&self, at: usize) -> String {
        format!("{}:{}", escape(&self.path.to_string_lossy()), self.line(at))
    }

    /// The number of the line that a byte stands in, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at.min(self.text.len())]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
    }

    /// What stands before a byte in its line.
    fn before(&self, at: usize) -> &str {
        let before = self.text.get(..at).unwrap_or(&self.text);
        before.rsplit('\n').next().unwrap_or_default()
    }
}

type Key<'k> = Spanned<std::borrow::Cow<'k, str>>;

/// The keys of a table, in the order of the file: later rules may overrule earlier ones.
pub(super) fn in_order<'t, 'k>(table: &'t DeTable<'k>) -> Vec<(&'t Key<'k>, &'t Spanned<DeValue<'k>>)> {
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    keys
}

fn place_of(section: &str) -> String {
    match section {
        TOP => "at the top of the file".into(),
        section => format!("in [{section}]"),
    }
}

/// The name that was most likely meant: a similar one, or one that a single slip apart.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name: String = name.chars().take(MAX_NAME).collect();
    let likeness = |known: &str| match strsim::damerau_levenshtein(&name, known) {
        0 | 1 => 1.0,
        _ => strsim::jaro_winkler(&name, known),
    };
    let scored = known.map(|known| (likeness(known), known));
    let near = scored.filter(|(score, _)| *score > 0.75);
    near.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, known)| known)
}
