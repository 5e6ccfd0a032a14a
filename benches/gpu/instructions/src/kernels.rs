//! The kernels that are looked at, as the SPIR-V that wgpu makes of them.

use ash::vk;
use naga::AddressSpace;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::gpu::shaders::{Group, Kernel, Mode, Shader, Variant, between_passes, judging};

/// A kernel, ready for a driver.
pub struct Instance {
    /// Its file, entry point or shape.
    pub name: String,
    /// Features and clusters, of `assign`.
    pub shape: Option<(usize, usize)>,
    /// Of `narrow`: how many loops further out than the one that scores rows is the one that takes them.
    pub round_depth: Option<usize>,
    /// Text, bindings, entry point.
    pub shader: Shader,
}

/// What `assign` is compiled for.
pub struct Choice {
    /// Features and clusters.
    pub shapes: Vec<(usize, usize)>,
    /// Rows and columns of the matrices that matrix units multiply, if these are looked at.
    pub matrices: Option<usize>,
    /// Whether rows have weights.
    pub weighted: bool,
    /// What a pass is to give.
    pub mode: Mode,
    /// Workgroup memory.
    pub workgroup_bytes: usize,
}

impl Choice {
    /// `assign` for each shape, then the other kernels of an iteration, and those that judge clusters.
    pub fn instances(&self) -> Vec<Instance> {
        let variant = |&(d, k): &(usize, usize)| {
            let on_units = self
                .matrices
                .and_then(|side| Variant::on_matrix_units(d, k, self.weighted, self.mode, self.workgroup_bytes, side));
            on_units.unwrap_or_else(|| Variant::new(d, k, self.weighted, self.mode, self.workgroup_bytes))
        };
        let assign = self.shapes.iter().map(|shape| {
            let variant = variant(shape);
            let (file, round_depth) = match variant.kernel {
                Kernel::Narrow { resident, .. } => ("narrow", Some(if resident { 1 } else { 2 })),
                Kernel::Wide { .. } => ("wide", None),
                Kernel::Matrix { .. } => ("matrix", None),
            };
            Instance {
                name: format!("{file} {}x{}", shape.0, shape.1),
                shape: Some(*shape),
                round_depth,
                shader: variant.assign(),
            }
        });
        let resolve = self.shapes.first().map(|shape| variant(shape).resolve());
        let judging = ["norms", "silhouettes"].map(|entry_point| judging(entry_point, 8, self.weighted, true));
        let others = resolve
            .into_iter()
            .chain(["update", "decide"].map(between_passes))
            .chain(judging);
        let others = others.map(|shader| Instance {
            name: shader.entry_point.into(),
            shape: None,
            round_depth: None,
            shader,
        });
        assign.chain(others).collect()
    }
}

/// A kernel as a driver gets it.
pub struct Compiled {
    /// Its entry point.
    pub entry_point: &'static str,
    /// Numbers of its bindings, all in set 0, and what they are.
    pub bindings: Vec<(u32, vk::DescriptorType)>,
    /// Bytes of workgroup memory, by the layout rules of WGSL.
    pub workgroup_bytes: usize,
    /// Its code.
    pub spirv: Vec<u32>,
}

impl Compiled {
    /// A kernel for a device of Vulkan 1.`minor`, with the settings of wgpu-hal's `compile_stage` for modules that are
    /// trusted (`ShaderRuntimeChecks::unchecked`) and without the zeros that WebGPU puts into workgroup memory.
    pub fn new(shader: &Shader, minor: u32) -> Self {
        let fail = |error: String| -> ! { panic!("{}: {error}", shader.entry_point) };
        let module = naga::front::wgsl::parse_str(&shader.source)
            .unwrap_or_else(|error| fail(error.emit_to_string(&shader.source)));
        let info = Validator::new(ValidationFlags::all(), capabilities(&shader.source))
            .validate(&module)
            .unwrap_or_else(|error| fail(error.emit_to_string(&shader.source)));
        let bindings = bindings(&module, shader.group);
        let stage = naga::ShaderStage::Compute;
        let constants = shader
            .constants
            .iter()
            .map(|&(name, value)| (name.into(), value))
            .collect();
        let entry_point = Some((stage, shader.entry_point));
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry_point, &constants)
            .unwrap_or_else(|error| fail(error.to_string()));
        let pipeline = spv::PipelineOptions {
            entry_point: shader.entry_point.into(),
            shader_stage: stage,
        };
        let options = options(&bindings, minor, has_matrices(&shader.source));
        let spirv =
            spv::write_vec(&module, &info, &options, Some(&pipeline)).unwrap_or_else(|error| fail(error.to_string()));
        Self {
            entry_point: shader.entry_point,
            bindings,
            workgroup_bytes: workgroup_bytes(&module),
            spirv,
        }
    }
}

/// Whether a kernel asks for matrix units, and what they come with.
fn has_matrices(source: &str) -> bool {
    source.starts_with("enable ")
}

fn capabilities(source: &str) -> Capabilities {
    if has_matrices(source) {
        Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP
    } else {
        Capabilities::empty()
    }
}

fn workgroup_bytes(module: &naga::Module) -> usize {
    let globals = module.global_variables.iter().map(|(_, global)| global);
    let shared = globals.filter(|global| global.space == AddressSpace::WorkGroup);
    shared
        .map(|global| module.types[global.ty].inner.size(module.to_ctx()) as usize)
        .sum()
}

/// All bindings of a module; the backend chooses the place of a pass's uniform per dispatch.
fn bindings(module: &naga::Module, group: Group) -> Vec<(u32, vk::DescriptorType)> {
    let globals = module.global_variables.iter().map(|(_, global)| global);
    let bound = globals.filter_map(|global| global.binding.map(|at| (at.binding, global.space)));
    let kind = |space| match space {
        AddressSpace::Uniform if group == Group::Pass => vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
        AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
        _ => vk::DescriptorType::STORAGE_BUFFER,
    };
    bound.map(|(binding, space)| (binding, kind(space))).collect()
}

fn options(bindings: &[(u32, vk::DescriptorType)], minor: u32, matrices: bool) -> spv::Options<'static> {
    use spv::Capability;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let mut capabilities = vec![Capability::Shader, Capability::Matrix];
    if matrices {
        let more = [
            Capability::CooperativeMatrixKHR,
            Capability::VulkanMemoryModel,
            Capability::Float16,
            Capability::StorageBuffer16BitAccess,
            Capability::UniformAndStorageBuffer16BitAccess,
            Capability::StorageInputOutput16,
            Capability::GroupNonUniform,
        ];
        capabilities.extend(more);
    }
    spv::Options {
        lang_version: match minor {
            0 => (1, 0),
            1 => (1, 3),
            2 => (1, 5),
            _ => (1, 6),
        },
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        fake_missing_bindings: false,
        binding_map: bindings.iter().map(|&(binding, _)| place(binding)).collect(),
        // Devices are asked for no other feature that a shader could use.
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ray_query_initialization_tracking: false,
        trace_ray_argument_validation: false,
        use_storage_input_output_16: false,
        mesh_shader_primitive_indices_clamp: false,
        emit_int_div_checks: false,
        ..Default::default()
    }
}

/// A binding where it stands in the shader.
fn place(binding: u32) -> (naga::ResourceBinding, spv::BindingInfo) {
    let to = spv::BindingInfo {
        descriptor_set: 0,
        binding,
        binding_array_size: None,
    };
    (naga::ResourceBinding { group: 0, binding }, to)
}
