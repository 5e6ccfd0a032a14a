//! Prints what the compiler of a Vulkan driver makes of kohort's kernels. `benches/gpu/NOTES.md` says how to have drivers
//! compile for GPUs that are not there.

mod driver;
mod kernels;
mod report;

/// What the choice of kernels takes from elsewhere.
#[path = "../../../../src/tiles"]
mod tiles {
    mod width;
    pub(crate) use width::{n_pairs, row_words};
}
#[path = "../../../../src/backend"]
#[expect(dead_code, reason = "nothing is proven here")]
mod backend {
    pub mod certificate;
}

/// The backend's own choice of kernels, and their text.
#[path = "../../../../src/backend/gpu"]
#[expect(dead_code, reason = "not all that the backend needs is looked at")]
mod gpu {
    pub mod shaders;
    pub mod sums;
    mod template;
}

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use driver::{Driver, Report};
use gpu::shaders::Mode;
use kernels::{Choice, Compiled};
use report::Summary;

/// Shapes around every change of regime.
const SHAPES: [(usize, usize); 11] = [
    (4, 4),
    (8, 8),
    (16, 4),
    (8, 16),
    (16, 16),
    (32, 16),
    (16, 64),
    (32, 64),
    (64, 8),
    (64, 256),
    (128, 1024),
];

/// Prints what the compiler of a Vulkan driver makes of kohort's kernels: registers, scratch, instructions
#[derive(Parser)]
#[command(name = "kohort-instructions")]
struct Args {
    /// Features and clusters, as in 16x64; may be given several times [default: eleven shapes]
    #[arg(long = "shape", value_name = "DxK", value_parser = shape)]
    shapes: Vec<(usize, usize)>,
    /// What a pass gives
    #[arg(long, value_enum, default_value_t = Pass::Moves)]
    mode: Pass,
    /// On matrix units, with matrices of so many rows and columns: passes of coarse values, of shapes that suit them
    #[arg(long, value_name = "8|16", value_parser = clap::builder::PossibleValuesParser::new(["8", "16"]))]
    matrices: Option<String>,
    /// Rows have weights
    #[arg(long)]
    weighted: bool,
    /// Bytes of workgroup memory that a workgroup may take
    #[arg(long, value_name = "BYTES", default_value_t = 48 << 10)]
    workgroup_bytes: usize,
    /// Number of the Vulkan device
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Leaves buffers' bounds unchecked by the device, which wgpu never does
    #[arg(long)]
    unchecked: bool,
    /// Prints JSON, with all that the driver says
    #[arg(long)]
    json: bool,
    /// Writes the SPIR-V, and the driver's texts of it, to a folder
    #[arg(long, value_name = "FOLDER")]
    texts: Option<PathBuf>,
}

/// `Mode`, as an option.
#[derive(Clone, Copy, ValueEnum)]
enum Pass {
    Labels,
    Moves,
    Coarse,
    Ranked,
}

fn shape(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once('x')
        .and_then(|(d, k)| Some((d.parse().ok()?, k.parse().ok()?)));
    numbers
        .filter(|&(d, k)| d > 0 && k > 0)
        .ok_or_else(|| "expected features x clusters, as in 16x64".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let choice = Choice {
        shapes: if args.shapes.is_empty() {
            SHAPES.to_vec()
        } else {
            args.shapes
        },
        matrices: args.matrices.and_then(|side| side.parse().ok()),
        weighted: args.weighted,
        mode: match args.mode {
            Pass::Labels => Mode::Labels { packed: true },
            Pass::Moves => Mode::Moves {
                packed: true,
                coarse: false,
            },
            Pass::Coarse => Mode::Moves {
                packed: true,
                coarse: true,
            },
            Pass::Ranked => Mode::Ranked,
        },
        workgroup_bytes: args.workgroup_bytes,
    };
    let driver = Driver::open(args.device, !args.unchecked)?;
    let mut summaries = Vec::new();
    for instance in choice.instances() {
        let kernel = Compiled::new(&instance.shader, driver.minor);
        let report = driver
            .compile(&kernel)
            .map_err(|error| format!("{}: {error}", instance.name))?;
        if let Some(folder) = &args.texts {
            write_texts(folder, &instance.name.replace(' ', "-"), &kernel, &report)?;
        }
        summaries.push(Summary::new(&instance, &kernel, report));
    }
    if args.json {
        let all = serde_json::json!({ "device": driver.name, "robust": driver.robust, "kernels": summaries });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        let checks = if driver.robust {
            "buffers' bounds are checked"
        } else {
            "nothing is checked"
        };
        println!("{}; {checks}\n", driver.name);
        report::print(&summaries);
    }
    Ok(())
}

fn write_texts(folder: &Path, stem: &str, kernel: &Compiled, report: &Report) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let bytes: Vec<u8> = kernel.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(folder.join(format!("{stem}.spv")), bytes)?;
    for (name, text) in &report.texts {
        std::fs::write(
            folder.join(format!("{stem}.{}.txt", name.replace([' ', '/'], "-"))),
            text,
        )?;
    }
    Ok(())
}
