//! A Vulkan device, without wgpu: null devices, which compile but run nothing, are no devices to it.

use std::error::Error;
use std::ffi::{CStr, CString};

use ash::{ext, khr, vk};
use serde::Serialize;

use crate::kernels::Compiled;

/// A device and what it can be asked.
pub struct Driver {
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    /// Minor version of Vulkan 1.
    pub minor: u32,
    /// Device, driver and its version.
    pub name: String,
    /// Whether accesses to buffers are checked by the device.
    pub robust: bool,
    // Unloads the library when it goes.
    instance: ash::Instance,
    _entry: ash::Entry,
}

/// What a driver says of a compiled kernel.
#[derive(Serialize)]
pub struct Report {
    /// Threads of a subgroup.
    pub subgroup_size: u32,
    /// Statistics by the driver's names.
    pub statistics: Vec<(String, f64)>,
    /// Intermediate and final code by the driver's names.
    #[serde(skip)]
    pub texts: Vec<(String, String)>,
}

impl Driver {
    /// Device number `index`, with the features that wgpu turns on. With `robust`, buffers' bounds are checked, as wgpu
    /// has it wherever a device can.
    pub fn open(index: usize, robust: bool) -> Result<Self, Box<dyn Error>> {
        // SAFETY: the library is the system's Vulkan loader, and stays loaded as long as what was made with it.
        unsafe {
            let entry = ash::Entry::load()?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
            let physical = *instance
                .enumerate_physical_devices()?
                .get(index)
                .ok_or("there is no such device")?;
            let extensions = instance.enumerate_device_extension_properties(physical)?;
            let has = |name: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
            if !has(khr::pipeline_executable_properties::NAME) {
                return Err("this driver tells nothing of what it compiles".into());
            }
            let mut names = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
            let robust2 = robust && has(ext::robustness2::NAME);
            if robust2 {
                names.push(ext::robustness2::NAME.as_ptr());
            }
            let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let features = vk::PhysicalDeviceFeatures::default().robust_buffer_access(robust);
            let mut tells =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut checks = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            let matrices = has(khr::cooperative_matrix::NAME);
            if matrices {
                names.push(khr::cooperative_matrix::NAME.as_ptr());
            }
            let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            // What these come with; there is no driver that has matrices and not all of this.
            let mut memory_model = vk::PhysicalDeviceVulkan12Features::default()
                .vulkan_memory_model(true)
                .vulkan_memory_model_device_scope(true)
                .shader_float16(true);
            let mut halves = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
            let mut create = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&names)
                .enabled_features(&features)
                .push_next(&mut tells);
            if robust2 {
                create = create.push_next(&mut checks);
            }
            if matrices {
                create = create
                    .push_next(&mut matrix)
                    .push_next(&mut memory_model)
                    .push_next(&mut halves);
            }
            let device = instance.create_device(physical, &create, None)?;
            let (name, api) = describe(&instance, physical);
            Ok(Self {
                executables: khr::pipeline_executable_properties::Device::new(&instance, &device),
                device,
                minor: vk::api_version_minor(api.min(vk::API_VERSION_1_3)),
                name,
                robust,
                instance,
                _entry: entry,
            })
        }
    }

    /// Compiles a kernel, and asks what came of it.
    pub fn compile(&self, kernel: &Compiled) -> Result<Report, vk::Result> {
        let bindings: Vec<_> = kernel.bindings.iter().map(descriptor).collect();
        let entry_point = CString::new(kernel.entry_point).expect("names have no zeros");
        // SAFETY: all handles are of this device, and are destroyed after the last use; naga has validated the shader.
        unsafe {
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let set = self.device.create_descriptor_set_layout(&set, None)?;
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(std::slice::from_ref(&set));
            let layout = self.device.create_pipeline_layout(&layout, None)?;
            let module = vk::ShaderModuleCreateInfo::default().code(&kernel.spirv);
            let module = self.device.create_shader_module(&module, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&entry_point);
            let create = vk::ComputePipelineCreateInfo::default()
                .stage(stage)
                .layout(layout)
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                );
            let pipelines = self
                .device
                .create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let report = match &pipelines {
                Ok(pipelines) => self.report(pipelines[0]),
                Err((_, error)) => Err(*error),
            };
            for pipeline in pipelines.unwrap_or_default() {
                self.device.destroy_pipeline(pipeline, None);
            }
            self.device.destroy_shader_module(module, None);
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(set, None);
            report
        }
    }

    /// What the driver says of a pipeline's only executable.
    unsafe fn report(&self, pipeline: vk::Pipeline) -> Result<Report, vk::Result> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is alive and was made with the flags that these calls ask for.
        unsafe {
            let properties = self.executables.get_pipeline_executable_properties(&info)?;
            let statistics = self.executables.get_pipeline_executable_statistics(&executable)?;
            Ok(Report {
                subgroup_size: properties.first().map_or(0, |p| p.subgroup_size),
                statistics: statistics.iter().map(|s| (text(&s.name), number(s))).collect(),
                texts: self.texts(&executable)?,
            })
        }
    }

    unsafe fn texts(
        &self,
        executable: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<Vec<(String, String)>, vk::Result> {
        let get = self
            .executables
            .fp()
            .get_pipeline_executable_internal_representations_khr;
        // SAFETY: the first call tells how many there are, the second how long, the third writes into buffers that long.
        unsafe {
            let mut found = self
                .executables
                .get_pipeline_executable_internal_representations(executable)?;
            let mut buffers: Vec<Vec<u8>> = found.iter().map(|text| vec![0; text.data_size]).collect();
            for (text, buffer) in found.iter_mut().zip(&mut buffers) {
                text.p_data = buffer.as_mut_ptr().cast();
            }
            let mut n = found.len() as u32;
            get(self.device.handle(), executable, &mut n, found.as_mut_ptr()).result()?;
            let texts = found.iter().zip(&buffers).map(|(found, buffer)| {
                let written = buffer.split(|&byte| byte == 0).next().unwrap_or_default();
                (text(&found.name), String::from_utf8_lossy(written).into_owned())
            });
            Ok(texts.collect())
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: whatever was made with them is gone.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// Device, driver, and the version of Vulkan.
unsafe fn describe(instance: &ash::Instance, physical: vk::PhysicalDevice) -> (String, u32) {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    // SAFETY: the physical device is of this instance.
    unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
    let properties = properties.properties;
    let name = format!(
        "{}, {} {}",
        text(&properties.device_name).trim(),
        text(&driver.driver_name),
        text(&driver.driver_info)
    );
    (name, properties.api_version)
}

fn descriptor(&(binding, ty): &(u32, vk::DescriptorType)) -> vk::DescriptorSetLayoutBinding<'static> {
    vk::DescriptorSetLayoutBinding::default()
        .binding(binding)
        .descriptor_type(ty)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
}

fn text(chars: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn number(statistic: &vk::PipelineExecutableStatisticKHR<'_>) -> f64 {
    let value = statistic.value;
    // SAFETY: the format says which field was written.
    unsafe {
        match statistic.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => f64::from(value.b32),
            vk::PipelineExecutableStatisticFormatKHR::INT64 => value.i64 as f64,
            vk::PipelineExecutableStatisticFormatKHR::UINT64 => value.u64 as f64,
            _ => value.f64,
        }
    }
}
