//! What DATA names, as a list of files: files, folders and globs.

use std::path::{Path, PathBuf};

use super::file::{self, STDIN, refused};
use super::format::Format;
use super::objects;
use super::url::{Address, is_remote};
use crate::error::{Error, NOT_REGULAR, Result, escape};

/// Folders nested deeper than this are taken for a loop.
const MAX_FOLDERS: usize = 64;

/// The files that `inputs` name: files as they are, folders with all data files below them, globs, and `-` for stdin;
/// the files of a folder or glob in order of their path bytes.
///
/// A path that exists is never read as a glob. Inside a folder, names that start with `_` or `.` are left out, and
/// so is what does not end as the names of Parquet, Arrow and CSV files do; a glob leaves out only the former. A folder
/// with files of several formats is refused, since one may be an export of the other.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NoFiles`], [`Error::Io`]; [`Error::FileRefused`] for what is no regular file, for a
/// file that is named twice and for folders that contain themselves or several formats.
pub fn expand(inputs: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        expand_one(input, &mut files)?;
    }
    if files.is_empty() {
        let pattern = inputs.join(" ");
        return Err(Error::NoFiles { pattern });
    }
    refuse_twice(&files)?;
    Ok(files)
}

/// For each file that [`expand`] gives, its place below the folder that was named, or before which the glob begins: a
/// relative name with `/` between folders; for a file that was named itself, its name, and `stdin` for stdin.
///
/// # Errors
/// Those of [`expand`]; [`Error::FileRefused`] for a name that is no text.
pub fn relative_names(inputs: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for input in inputs {
        if input == STDIN {
            names.push("stdin".into());
            continue;
        }
        let mut files = Vec::new();
        expand_one(input, &mut files)?;
        let address = Address::of(input)?.map(|address| PathBuf::from(address.clean()));
        let path = address.as_deref().unwrap_or(Path::new(input));
        let is_one = match address {
            Some(_) => files.len() == 1 && files[0] == path,
            None => path.symlink_metadata().is_ok() && !path.is_dir(),
        };
        let is_folder = address.is_none() && path.is_dir();
        let base = match is_one || is_folder {
            true if is_one => PathBuf::new(),
            true => path.to_owned(),
            false => path
                .components()
                .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
                .collect(),
        };
        for file in files {
            let below = match is_one {
                true => file.file_name().map(Path::new),
                false => file.strip_prefix(&base).ok(),
            };
            let below = below.or_else(|| file.file_name().map(Path::new)).unwrap_or(&file);
            let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
            let parts = parts.ok_or_else(|| refused(&file, "has a name that is no text"))?;
            names.push(parts.join("/"));
        }
    }
    Ok(names)
}

fn expand_one(input: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    let path = Path::new(input);
    if input == STDIN {
        files.push(path.into());
        return Ok(());
    }
    let before = files.len();
    if let Some(address) = Address::of(input)? {
        files.extend(objects::expand(&address)?);
    } else if path.symlink_metadata().is_ok() {
        expand_path(path, files)?;
    } else if input.contains(['*', '?', '[']) {
        for path in matches(input)? {
            expand_path(&path, files)?;
        }
    } else {
        return Err(Error::NotFound { path: path.into() });
    }
    if files.len() == before {
        let pattern = input.to_owned();
        return Err(Error::NoFiles { pattern });
    }
    Ok(())
}

/// A path that exists: the file itself, or all that is below the folder.
fn expand_path(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let metadata = file::metadata(path)?;
    if metadata.is_dir() {
        let mut below = Vec::new();
        walk(path, &mut Vec::new(), &mut below)?;
        sort_by_bytes(&mut below);
        refuse_several_formats(path, &below)?;
        files.append(&mut below);
    } else if metadata.is_file() {
        files.push(path.into());
    } else {
        return Err(refused(path, NOT_REGULAR));
    }
    Ok(())
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in glob::glob(pattern).map_err(|error| no_glob(pattern, error.msg))? {
        let path = path.map_err(|error| Error::io("read", error.path().to_path_buf())(error.into()))?;
        if !is_hidden(&path) {
            paths.push(path);
        }
    }
    sort_by_bytes(&mut paths);
    Ok(paths)
}

/// The error of a text that is no glob.
pub(super) fn no_glob(pattern: &str, problem: &str) -> Error {
    Error::InvalidParam {
        param: "DATA",
        value: pattern.to_owned(),
        reason: format!("is not a glob: {problem}"),
    }
}

fn sort_by_bytes(paths: &mut [PathBuf]) {
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
}

/// Names that data never has: `_SUCCESS`, `_metadata`, `.crc` files and the like.
pub(super) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map_or(&[][..], |name| name.as_encoded_bytes());
    matches!(name.first(), Some(b'_' | b'.'))
}

pub(super) fn refuse_several_formats(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let format = |path: &PathBuf| Format::by_name(path);
    let Some(first) = files.first() else { return Ok(()) };
    let Some(other) = files.iter().find(|file| format(file) != format(first)) else {
        return Ok(());
    };
    let told = [first, other].map(|file| {
        let name = escape(&file::path_text(file.strip_prefix(folder).unwrap_or(file)));
        format!("{} ({name})", format(file).map_or("", Format::name))
    });
    let reason = format!("holds files of several formats: {}", told.join(" and "));
    Err(refused(folder, reason))
}

/// All data files below a folder. `above` holds the folders on the way down, by their true path.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    let real = folder.canonicalize().map_err(Error::io("read", folder))?;
    if above.contains(&real) || above.len() >= MAX_FOLDERS {
        return Err(refused(
            folder,
            "contains itself through a link, or folders are nested too deeply",
        ));
    }
    above.push(real);
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if is_hidden(&path) {
            continue;
        }
        match file::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, above, files)?,
            _ if Format::by_name(&path).is_none() => {}
            Ok(metadata) if metadata.is_file() => files.push(path),
            Ok(_) => return Err(refused(&path, NOT_REGULAR)),
            Err(error) => return Err(error),
        }
    }
    above.pop();
    Ok(())
}

/// Rows of a file that is named twice would count twice, which nobody asks for on purpose.
fn refuse_twice(files: &[PathBuf]) -> Result<()> {
    let mut real = Vec::with_capacity(files.len());
    for (i, path) in files.iter().enumerate() {
        let own = (path.as_os_str() == STDIN || is_remote(path)).then(|| path.clone());
        let path = own.map_or_else(|| path.canonicalize().map_err(Error::io("read", path)), Ok)?;
        real.push((path, i));
    }
    real.sort();
    match real.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(refused(&files[pair[1].1], "is named more than once in DATA")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        folder
    }

    fn text(path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_folder_gives_its_data_files_in_order_of_their_bytes() {
        let names = [
            "b.parquet",
            "a/z.pq",
            "B.PARQUET",
            "a.parq",
            "_SUCCESS",
            "_old/x.parquet",
            ".x.parquet",
            "notes.txt",
        ];
        let folder = folder_with(&names);
        let files = expand(&[text(folder.path())]).unwrap();
        let found: Vec<_> = files
            .iter()
            .map(|file| text(file.strip_prefix(folder.path()).unwrap()))
            .collect();
        assert_eq!(found, ["B.PARQUET", "a.parq", "a/z.pq", "b.parquet"]);
    }

    #[test]
    fn a_path_that_exists_is_not_a_glob() {
        let folder = folder_with(&["x[1].parquet", "x1.parquet", "_x.parquet"]);
        let literal = folder.path().join("x[1].parquet");
        assert_eq!(expand(&[text(&literal)]).unwrap(), std::slice::from_ref(&literal));
        let files = expand(&[text(&folder.path().join("*x*.parquet"))]).unwrap();
        assert_eq!(files, [folder.path().join("x1.parquet"), literal]);
    }

    #[test]
    fn names_are_relative_to_what_was_named() {
        let folder = folder_with(&["a/x.parquet", "a/year=2026/y.parquet", "b/x.parquet"]);
        let at = |name: &str| text(&folder.path().join(name));
        let names = |inputs: &[String]| {
            assert_eq!(relative_names(inputs).unwrap().len(), expand(inputs).unwrap().len());
            relative_names(inputs).unwrap()
        };
        assert_eq!(names(&[at("a")]), ["x.parquet", "year=2026/y.parquet"]);
        assert_eq!(
            names(&[at("b/x.parquet"), at("a/")]),
            ["x.parquet", "x.parquet", "year=2026/y.parquet"]
        );
        assert_eq!(names(&[at("*/*.parquet")]), ["a/x.parquet", "b/x.parquet"]);
        assert_eq!(names(&[at("a/*")]), ["x.parquet", "year=2026/y.parquet"]);
        assert_eq!(names(&["-".into()]), ["stdin"]);
    }

    #[test]
    fn nothing_found_is_an_error() {
        let folder = folder_with(&["notes.txt"]);
        assert!(matches!(expand(&[text(folder.path())]), Err(Error::NoFiles { .. })));
        let glob = folder.path().join("*.parquet");
        assert!(matches!(expand(&[text(&glob)]), Err(Error::NoFiles { .. })));
        let missing = folder.path().join("a.parquet");
        assert!(matches!(expand(&[text(&missing)]), Err(Error::NotFound { .. })));
        assert!(matches!(expand(&[]), Err(Error::NoFiles { .. })));
    }

    #[test]
    fn a_file_named_twice_is_an_error() {
        let folder = folder_with(&["a.parquet"]);
        let inputs = [text(folder.path()), text(&folder.path().join("a.parquet"))];
        assert!(matches!(expand(&inputs), Err(Error::FileRefused { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("a.parquet");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(expand(&[text(&link)]), Err(Error::NotFound { .. })));
        assert!(matches!(expand(&[text(folder.path())]), Err(Error::NotFound { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_contains_itself_is_an_error() {
        let folder = folder_with(&["a.parquet"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert!(matches!(expand(&[text(folder.path())]), Err(Error::FileRefused { .. })));
    }
}
