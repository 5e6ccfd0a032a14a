//! Shaders against the host, without a device: structs field by field, bindings, workgroup memory; and every variant
//! through the writers of all three graphics interfaces.
#![cfg(feature = "gpu")]

use std::collections::{HashMap, HashSet};

use kohort::backend::gpu::layout::{
    BINDINGS, BindingKind, CEILING_BINDINGS, CeilingParams, LOOP_BINDINGS, LoopParams, PROBE_BINDINGS, Params,
    StructTable,
};
use kohort::backend::gpu::shaders::{Group, Mode, Shader, Variant, between_passes, judging, memory_kernel, probe};
use naga::back;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

/// Workgroup memory of devices: the least that WebGPU has, and NVIDIA's.
const WORKGROUP_BYTES: [usize; 2] = [16 << 10, 48 << 10];
const MOVES: Mode = Mode::Moves {
    packed: true,
    coarse: true,
};
const MODES: [Mode; 6] = [
    Mode::Labels { packed: true },
    Mode::Labels { packed: false },
    MOVES,
    Mode::Moves {
        packed: true,
        coarse: false,
    },
    Mode::Moves {
        packed: false,
        coarse: true,
    },
    Mode::Ranked,
];

/// An instance for each class of shapes: features of both kernels, clusters around every change of regime; and the
/// workgroup memory it was made for.
fn variants() -> HashMap<Variant, usize> {
    let mut variants = HashMap::new();
    for workgroup_bytes in WORKGROUP_BYTES {
        for n_features in [1, 2, 3, 8, 16, 32, 33, 64, 200, 302, 700] {
            for n_clusters in [1, 4, 8, 9, 64, 300] {
                for (weighted, mode) in [false, true].into_iter().flat_map(|w| MODES.map(|mode| (w, mode))) {
                    // What weights and wide labels change is in a few lines, the same for all shapes.
                    let plain = !weighted && [Mode::Labels { packed: true }, MOVES, Mode::Ranked].contains(&mode);
                    if plain || [3, 33].contains(&n_features) {
                        let variant = Variant::new(n_features, n_clusters, weighted, mode, workgroup_bytes);
                        variants.insert(variant, workgroup_bytes);
                    }
                }
            }
        }
    }
    variants
}

/// Instances for matrix units of both sizes, few features to many, and blocks of each height.
fn matrix_variants() -> Vec<(Variant, usize)> {
    let mut variants = Vec::new();
    for (side, workgroup_bytes) in [(8, 16 << 10), (8, 32 << 10), (16, 48 << 10)] {
        for n_features in [1, 3, 16, 32, 33, 64, 128, 200] {
            for (n_clusters, weighted, packed) in [(64, false, true), (300, true, false)] {
                let mode = Mode::Moves { packed, coarse: true };
                let variant = Variant::on_matrix_units(n_features, n_clusters, weighted, mode, workgroup_bytes, side);
                variants.extend(variant.map(|variant| (variant, workgroup_bytes)));
            }
        }
    }
    variants
}

/// All kernels, each text with each set of constants once, with the workgroup memory they may take.
fn shaders() -> Vec<(Shader, usize)> {
    let mut shaders: Vec<(Shader, usize)> = Vec::new();
    let mut resolves: Vec<Shader> = Vec::new();
    for (variant, workgroup_bytes) in variants() {
        shaders.push((variant.assign(), workgroup_bytes));
        if !resolves.contains(&variant.resolve()) {
            resolves.push(variant.resolve());
        }
    }
    resolves.extend(["update", "decide"].map(between_passes));
    resolves.extend(["fill_memory", "read_memory", "copy_memory"].map(memory_kernel));
    for (n_clusters, weighted, packed) in [(1, false, true), (8, true, true), (300, false, false)] {
        resolves.extend(["norms", "silhouettes"].map(|entry| judging(entry, n_clusters, weighted, packed)));
    }
    shaders.extend(resolves.into_iter().map(|shader| (shader, WORKGROUP_BYTES[0])));
    shaders
}

fn parse(source: &str) -> (Module, ModuleInfo) {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), capabilities(source))
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    (module, info)
}

/// What a text asks for beyond WebGPU's core.
fn capabilities(source: &str) -> Capabilities {
    if source.starts_with("enable ") {
        Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP
    } else {
        Capabilities::empty()
    }
}

/// Where the structs of a module's bindings differ from the host's.
fn struct_difference(module: &Module, table: &StructTable) -> Option<String> {
    let found = module
        .types
        .iter()
        .find(|(_, ty)| ty.name.as_deref() == Some(table.name));
    let Some((
        _,
        naga::Type {
            inner: TypeInner::Struct { members, span },
            ..
        },
    )) = found
    else {
        return Some(format!("no struct {}", table.name));
    };
    let fields: Vec<_> = members
        .iter()
        .map(|member| {
            (
                member.name.as_deref().unwrap(),
                member.offset as usize,
                scalar(module, member),
            )
        })
        .collect();
    (fields != table.fields || *span as usize != table.span)
        .then(|| format!("{fields:?}, {span} bytes, in the shader; {table:?} on the host"))
}

fn scalar(module: &Module, member: &naga::StructMember) -> &'static str {
    match module.types[member.ty].inner {
        TypeInner::Scalar(scalar) if scalar.width == 4 => match scalar.kind {
            ScalarKind::Uint => "u32",
            ScalarKind::Sint => "i32",
            ScalarKind::Float => "f32",
            _ => "?",
        },
        _ => "?",
    }
}

/// The bindings of a module in their order.
fn bindings(module: &Module) -> Vec<(u32, u32, String, BindingKind)> {
    let mut bindings: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, global)| {
            let at = global.binding?;
            let kind = match global.space {
                AddressSpace::Uniform => BindingKind::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => BindingKind::ReadWrite,
                _ => BindingKind::Read,
            };
            Some((at.group, at.binding, global.name.clone().unwrap(), kind))
        })
        .collect();
    bindings.sort_by_key(|&(group, binding, ..)| (group, binding));
    bindings
}

fn host_bindings(group: Group) -> Vec<(u32, u32, String, BindingKind)> {
    let bindings = match group {
        Group::Pass => &BINDINGS[..],
        Group::Iteration => &LOOP_BINDINGS[..],
        Group::Ceiling => &CEILING_BINDINGS[..],
        Group::Probe => &PROBE_BINDINGS[..],
    };
    bindings
        .iter()
        .zip(0..)
        .map(|(&(name, kind), i)| (0, i, name.to_owned(), kind))
        .collect()
}

/// The module with its constants set, as a driver gets it.
fn specialised(shader: &Shader) -> (Module, ModuleInfo) {
    let (module, info) = parse(&shader.source);
    let constants = shader
        .constants
        .iter()
        .map(|&(name, value)| (name.to_owned(), value))
        .collect();
    let entry_point = Some((naga::ShaderStage::Compute, shader.entry_point));
    let (module, info) = back::pipeline_constants::process_overrides(&module, &info, entry_point, &constants)
        .unwrap_or_else(|error| panic!("{}: {error}", shader.entry_point));
    (module.into_owned(), info.into_owned())
}

/// Bytes of workgroup memory, as the layout rules of WGSL count them.
fn workgroup_bytes(module: &Module) -> usize {
    module
        .global_variables
        .iter()
        .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
        .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()) as usize)
        .sum()
}

#[test]
fn structs_and_bindings_are_the_same_on_both_sides() {
    let shaders = shaders();
    let (assign, others) = shaders.split_at(shaders.iter().position(|(s, _)| s.entry_point != "assign").unwrap());
    for (shader, _) in assign.iter().step_by(7).chain(others) {
        let (module, _) = parse(&shader.source);
        let table = match shader.group {
            Group::Pass => Some(Params::table()),
            Group::Iteration => Some(LoopParams::table()),
            Group::Ceiling => Some(CeilingParams::table()),
            Group::Probe => None,
        };
        if let Some(table) = table {
            assert_eq!(struct_difference(&module, &table), None);
        }
        assert_eq!(bindings(&module), host_bindings(shader.group), "{}", shader.entry_point);
        let overrides: HashSet<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let set: HashSet<_> = shader.constants.iter().map(|&(name, _)| name).collect();
        assert_eq!(overrides, set, "{}", shader.entry_point);
    }
}

#[test]
fn planted_faults_in_a_layout_are_found() {
    let source = shaders().swap_remove(0).0.source;
    let faults = [
        // Two fields of one type swapped; a field of another type; one too many; another name.
        ("    list: u32, ", "    first_total: u32, ", true),
        ("    factor: f32,", "    factor: u32,", false),
        ("    factor: f32,", "    factor: f32, more: f32,", false),
        ("    n_rows: u32,", "    rows: u32,", false),
    ];
    for (from, to, swap) in faults {
        let mut faulty = source.replacen(from, to, 1);
        if swap {
            let second = faulty.rfind("    first_total: u32, ").unwrap();
            faulty.replace_range(second..second + to.len(), from);
        }
        assert_ne!(faulty, source);
        // The body may no longer fit the struct: only the declarations matter.
        let declarations = &faulty[faulty.find("struct Params").unwrap()..];
        let declarations = &declarations[..=declarations.find('}').unwrap()];
        let module = naga::front::wgsl::parse_str(declarations).unwrap();
        assert!(struct_difference(&module, &Params::table()).is_some(), "{to}");
    }
    let swapped = source
        .replacen(
            "@binding(1) var<storage, read> tiles",
            "@binding(9) var<storage, read> tiles",
            1,
        )
        .replacen(
            "@binding(2) var<storage, read> weights",
            "@binding(1) var<storage, read> weights",
            1,
        )
        .replacen(
            "@binding(9) var<storage, read> tiles",
            "@binding(2) var<storage, read> tiles",
            1,
        );
    assert_ne!(bindings(&parse(&swapped).0), host_bindings(Group::Pass));
}

#[test]
fn every_variant_passes_the_writers_of_all_graphics_interfaces() {
    let shaders = shaders();
    assert!(shaders.len() > 150, "{}", shaders.len());
    for (shader, most) in &shaders {
        let (module, info) = specialised(shader);
        assert!(workgroup_bytes(&module) <= *most, "{:?}", shader.constants);
        back::spv::write_vec(&module, &info, &back::spv::Options::default(), None).unwrap();
        let options = back::msl::Options {
            lang_version: (2, 4),
            ..Default::default()
        };
        back::msl::write_string(&module, &info, &options, &back::msl::PipelineOptions::default()).unwrap();
        let mut text = String::new();
        let options = back::hlsl::Options::default();
        let pipeline = back::hlsl::PipelineOptions::default();
        back::hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap();
    }
}

#[test]
fn kernels_for_matrix_units_pass_the_writers_of_interfaces_that_have_them() {
    let variants = matrix_variants();
    let heights: HashSet<_> = variants
        .iter()
        .map(|(variant, _)| variant.kernel.round_rows())
        .collect();
    assert_eq!(heights, HashSet::from([32, 64, 128]));
    let probes = [(8, 127), (16, 63)].map(|(side, turns)| (probe(side, turns), 16 << 10));
    let kernels = variants.into_iter().map(|(variant, most)| (variant.assign(), most));
    for (shader, most) in kernels.chain(probes) {
        let (module, info) = specialised(&shader);
        assert!(workgroup_bytes(&module) <= most, "{:?}", shader.constants);
        assert_eq!(bindings(&module), host_bindings(shader.group));
        if shader.group == Group::Pass {
            assert_eq!(struct_difference(&module, &Params::table()), None);
        }
        let overrides: HashSet<_> = parse(&shader.source)
            .0
            .overrides
            .iter()
            .filter_map(|(_, o)| o.name.clone())
            .collect();
        let set: HashSet<_> = shader.constants.iter().map(|&(name, _)| name.to_owned()).collect();
        assert_eq!(overrides, set, "{}", shader.entry_point);
        back::spv::write_vec(&module, &info, &back::spv::Options::default(), None).unwrap();
        let options = back::msl::Options {
            lang_version: (2, 4),
            ..Default::default()
        };
        back::msl::write_string(&module, &info, &options, &back::msl::PipelineOptions::default()).unwrap();
    }
}

#[test]
fn each_shader_file_says_what_it_is() {
    for file in [
        "shared/pass.wgsl",
        "shared/rows.wgsl",
        "shared/blocks.wgsl",
        "narrow.wgsl",
        "wide.wgsl",
        "matrix.wgsl",
        "probe.wgsl",
        "resolve.wgsl",
        "update.wgsl",
        "ceilings.wgsl",
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("shaders")
            .join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let header: String = text.lines().take_while(|line| line.starts_with("//")).collect();
        assert!(header.contains("Rust twin: "), "{file}");
    }
}
