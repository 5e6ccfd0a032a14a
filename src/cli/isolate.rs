//! `--isolate`: each file is decoded in a process of its own before this one looks at it.
//!
//! That process runs a command of this program that help does not list. What it finds wrong comes back as an object on
//! its stdout, and is told as if this process had found it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use clap::Args;
use serde::{Deserialize, Serialize};

use kohort::data::{DecodedFile, SourceOptions, check_apart, expand, has_query};
use kohort::sys::kept_limit;
use kohort::{Error, ErrorKind, Result};

use super::args::TalkArgs;
use super::progress::check_interrupt;
use super::reading::{ReadArgs, a_delimiter};

/// What stands for stdin among files.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    file: PathBuf,

    /// What tells the state of the file in which it is to be decoded
    #[arg(long)]
    state: String,

    /// Most bytes of memory
    #[arg(long)]
    memory: Option<u64>,

    /// Whether statistics are read
    #[arg(long)]
    statistics: bool,

    #[arg(long, value_parser = a_delimiter)]
    delimiter: Option<u8>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// What a process found wrong with its file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    message: String,
    hint: Option<String>,
    is_about_input: bool,
}

/// Decodes one file, and says on stdout what is wrong with it, if anything is.
pub(crate) fn decode(args: &DecodeArgs) -> Result<ExitCode> {
    let options = SourceOptions {
        delimiter: args.delimiter,
        statistics: args.statistics,
        stop: Some(check_interrupt),
        ..SourceOptions::default()
    };
    let file = DecodedFile {
        path: args.file.clone(),
        state: args.state.clone(),
    };
    if let Err(error) = check_apart(file, args.memory, options) {
        let found = Found {
            message: error.to_string(),
            hint: error.hint(),
            is_about_input: error.kind() == ErrorKind::Input,
        };
        serde_json::to_writer(std::io::stdout(), &found).map_err(|error| Error::io("write", "stdout")(error.into()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ReadArgs {
    /// Looks at every file of DATA in a process of its own, where that is asked for. The files as they were then, for
    /// [`SourceOptions::decoded`].
    ///
    /// # Errors
    /// What such a process found; [`Error::Corrupt`] for a file that ends it.
    pub(crate) fn check_apart(&self, data: &[String]) -> Result<Vec<DecodedFile>> {
        match self.isolate {
            true => self.check_files_apart(&expand(data)?),
            false => Ok(Vec::new()),
        }
    }

    /// The same of files that were found before.
    pub(crate) fn check_files_apart(&self, files: &[PathBuf]) -> Result<Vec<DecodedFile>> {
        let mut decoded = Vec::new();
        if !self.isolate {
            return Ok(decoded);
        }
        let program = std::env::current_exe().map_err(Error::io("find", "kohort"))?;
        for path in files {
            if path.as_os_str() == STDIN {
                return Err(Error::InvalidParam {
                    param: "--isolate",
                    value: STDIN.into(),
                    reason: "is for files; stdin can be read once only: write it to a file".into(),
                });
            }
            if has_query(path) {
                return Err(Error::InvalidParam {
                    param: "--isolate",
                    value: path.to_string_lossy().into_owned(),
                    reason: "was named with a query, which is handed to no other process: download it".into(),
                });
            }
            // All that changes what is done to the bytes of a file: types of columns of CSV files do not, as every cell is
            // read as a text first.
            let file = DecodedFile::now(path)?;
            let mut command = Command::new(&program);
            command.args(["decode-apart", "--quiet", "--no-config", "--state", &file.state]);
            if let Some(bytes) = kept_limit() {
                command.args(["--memory", &bytes.to_string()]);
            }
            if self.filter.is_some() {
                command.arg("--statistics");
            }
            if let Some(delimiter) = self.delimiter {
                command.args(["--delimiter", &char::from(delimiter).to_string()]);
            }
            run(path, command.arg("--").arg(path))?;
            decoded.push(file);
            check_interrupt()?;
        }
        Ok(decoded)
    }
}

/// Runs a process that reads `path`.
fn run(path: &Path, command: &mut Command) -> Result<()> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(Error::io("start a process for", path))?;
    if !output.status.success() {
        return Err(Error::Corrupt {
            path: path.to_owned(),
            row_group: None,
            column: None,
            reason: format!("it is corrupt, or takes too much to decode: {}", ending(output.status)),
        });
    }
    if output.stdout.is_empty() {
        return Ok(());
    }
    let found: Found = serde_json::from_slice(&output.stdout)
        .map_err(|_| Error::Internal("a process that decoded a file said what it cannot say".into()))?;
    Err(Error::FoundApart {
        message: found.message,
        hint: found.hint,
        is_about_input: found.is_about_input,
    })
}

/// How a process ended that has no exit code.
fn ending(status: ExitStatus) -> String {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None::<i32>;
    match signal {
        #[cfg(unix)]
        Some(libc::SIGXCPU) => "the process that decoded it used up its processor time".into(),
        Some(signal) => format!("the process that decoded it was ended by signal {signal}"),
        None => "the process that decoded it failed".into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run_shell(script: &str) -> Result<()> {
        run(Path::new("a.parquet"), Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_process_that_crashes_is_an_error_of_its_file() {
        assert!(run_shell("exit 0").is_ok());
        let error = |script| run_shell(script).unwrap_err().to_string();
        let crashed = error("kill -SEGV $$");
        assert!(crashed.starts_with("a.parquet: it is corrupt"), "{crashed}");
        assert!(crashed.ends_with("ended by signal 11"), "{crashed}");
        assert!(error("kill -XCPU $$").ends_with("used up its processor time"));
        assert!(error("exit 2").ends_with("failed"));
    }

    #[test]
    fn what_a_process_finds_is_told() {
        let found = run_shell(r#"echo '{"message":"a.parquet: no","hint":"try","is_about_input":true}'"#).unwrap_err();
        assert_eq!(
            (found.to_string(), found.hint()),
            ("a.parquet: no".into(), Some("try".into()))
        );
        assert_eq!(found.kind(), ErrorKind::Input);
        assert_eq!(run_shell("echo nonsense").unwrap_err().kind(), ErrorKind::Internal);
    }
}

/// What only a process of its own survives: Linux keeps one within its limits, other systems may not.
#[cfg(all(test, target_os = "linux"))]
mod hostile {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// The file that [`without_a_gate`] decodes.
    const UNGATED: &str = "KOHORT_TEST_UNGATED";
    /// The memory that it has for that.
    const MEMORY: u64 = 96 << 20;
    /// Rows that take 128 MiB, and hardly any bytes of a file.
    const N_ROWS: usize = 1 << 24;

    /// Only in a process of its own: decodes a file as the crate does that the gate stands before, under the limits of a
    /// process that decodes.
    #[test]
    fn without_a_gate() {
        let Some(hostile) = std::env::var_os(UNGATED).map(PathBuf::from) else {
            return;
        };
        let good = hostile.with_file_name("good.csv");
        check_apart(DecodedFile::now(&good).unwrap(), Some(MEMORY), SourceOptions::default()).unwrap();
        let file = std::fs::File::open(&hostile).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let batches = reader.with_batch_size(usize::MAX).build().unwrap();
        assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), N_ROWS);
    }

    /// What decoding a file in a process of its own comes to, where no gate stands before it.
    fn decode_ungated(file: &Path) -> Result<()> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--quiet", "--exact", "cli::isolate::hostile::without_a_gate"]);
        run(file, command.env(UNGATED, file))
    }

    fn write_equal_rows(path: &Path, n_rows: usize) {
        let field = Field::new("a", DataType::Int64, false);
        let batch: ArrayRef = Arc::new(Int64Array::from(vec![7; n_rows.min(1 << 20)]));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![batch]).unwrap();
        let file = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        (0..n_rows.div_ceil(1 << 20)).for_each(|_| writer.write(&batch).unwrap());
        writer.close().unwrap();
    }

    /// A file of no rows whose schema is so many groups, each in the one before.
    fn write_nested_schema(path: &Path, depth: usize) {
        let mut footer = vec![0x15, 2, 0x19, 0xfc]; // version 1; a list of structures,
        let mut n_nodes = depth + 1; // as many as the groups and the leaf in the last one
        while n_nodes >= 0x80 {
            footer.push(n_nodes as u8 | 0x80);
            n_nodes >>= 7;
        }
        footer.push(n_nodes as u8);
        // A group: optional, its name, one child.
        footer.extend([0x35, 2, 0x18, 1, b'g', 0x15, 2, 0].repeat(depth));
        footer.extend([0x15, 4, 0x25, 2, 0x18, 1, b'c', 0]); // a leaf of 64-bit integers
        footer.extend([0x16, 0, 0x19, 0x0c, 0]); // no rows, no row groups
        let length = footer.len() as u32;
        let bytes = [b"PAR1", &footer[..], &length.to_le_bytes(), b"PAR1"].concat();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_ends_its_process_is_an_error_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("good.csv"), "a\n1\n2\n").unwrap();
        let path = folder.path().join("a.parquet");
        let ending = |path: &Path| {
            let said = decode_ungated(path).unwrap_err().to_string();
            let (file, ending) = said
                .split_once(": it is corrupt, or takes too much to decode: ")
                .unwrap();
            assert_eq!(Path::new(file), path);
            ending.to_owned()
        };
        // Memory: 128 MiB where there are 96.
        write_equal_rows(&path, N_ROWS);
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
        assert_eq!(ending(&path), "the process that decoded it was ended by signal 6");
        // A quarter of the rows is no trouble, but not what the other process counts on: it fails by itself.
        write_equal_rows(&path, N_ROWS / 4);
        assert_eq!(ending(&path), "the process that decoded it failed");
        // The stack.
        write_nested_schema(&path, 100_000);
        let overflow = ending(&path);
        assert!(overflow.contains("was ended by signal"), "{overflow}");
        write_nested_schema(&path, 3);
        assert_eq!(ending(&path), "the process that decoded it failed");
    }
}
