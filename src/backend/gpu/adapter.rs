//! The adapters of this machine: what they are, which one to take, how much memory to take of it.

use std::fmt::Display;

use super::layout::BINDINGS;
use super::shaders::THREADS;
use crate::backend::gpu_types::{AdapterReport, GpuSelection};
use crate::error::{Error, Result, escape};

/// Bytes to take where the device does not say how much it has.
const UNKNOWN_BUDGET: u64 = 1 << 30;
/// Features that kernels can make use of, as wgpu calls them.
const WANTED: [(&str, wgpu::Features); 7] = [
    ("subgroups", wgpu::Features::SUBGROUP),
    ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
    ("f16", wgpu::Features::SHADER_F16),
    ("int64", wgpu::Features::SHADER_INT64),
    ("int64-atomics", wgpu::Features::SHADER_INT64_ATOMIC_ALL_OPS),
    ("immediates", wgpu::Features::IMMEDIATES),
    ("cooperative-matrix", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

/// Looks at all adapters; the instance has to outlive nothing but this call.
pub(crate) fn enumerate() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // Validation layers are for debugging wgpu itself, and print to stderr.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    (instance, adapters)
}

/// What is said of an adapter.
pub(crate) fn report(index: usize, adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    AdapterReport {
        index,
        name: escape(&info.name),
        backend: info.backend.to_string(),
        driver: escape(format!("{} {}", info.driver, info.driver_info).trim()),
        kind: kind(info.device_type).into(),
        software: info.device_type == wgpu::DeviceType::Cpu,
        max_buffer_bytes: limits.max_buffer_size,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_threads: limits.max_compute_invocations_per_workgroup,
        subgroup_threads: (info.subgroup_min_size, info.subgroup_max_size),
        features: WANTED
            .iter()
            .filter(|(_, feature)| features.contains(*feature))
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    }
}

fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    }
}

/// The adapters there are, at least one; `asked` is what they are looked at for.
fn found(asked: &dyn Display) -> Result<(Vec<wgpu::Adapter>, Vec<AdapterReport>)> {
    let (instance, adapters) = enumerate();
    if adapters.is_empty() {
        return Err(not_found(asked, why_none(&instance).into()));
    }
    let reports = adapters.iter().enumerate().map(|(i, a)| report(i, a)).collect();
    Ok((adapters, reports))
}

fn not_found(asked: &dyn Display, reason: String) -> Error {
    Error::DeviceNotFound {
        asked: asked.to_string(),
        reason,
    }
}

/// The numbers of all adapters of the best kind there is, each card once.
pub(crate) fn all() -> Result<Vec<usize>> {
    let asked = "gpu:all";
    let (adapters, reports) = found(&asked)?;
    let places: Vec<String> = adapters.iter().map(|a| a.get_info().device_pci_bus_id).collect();
    pick_all(&reports, &places).map_err(|reason| not_found(&asked, reason))
}

/// The adapter that `selection` means.
pub(crate) fn choose(selection: &GpuSelection) -> Result<wgpu::Adapter> {
    let (mut adapters, reports) = found(selection)?;
    let not_found = |reason| not_found(selection, reason);
    let index = pick(&reports, selection).map_err(not_found)?;
    if let Some(lack) = lacks(&adapters[index].limits()) {
        return Err(not_found(format!("{} {lack}", reports[index].name)));
    }
    Ok(adapters.swap_remove(index))
}

/// The number of the adapter to take, or why there is none.
fn pick(reports: &[AdapterReport], selection: &GpuSelection) -> Result<usize, String> {
    let rank = |report: &AdapterReport| match report.kind.as_str() {
        "discrete" => 0,
        "integrated" => 1,
        "virtual" => 2,
        "other" => 3,
        _ => 4,
    };
    // Of equals the first: a driver lists what it prefers first.
    let best = |software: bool| {
        reports
            .iter()
            .filter(|report| software || !report.software)
            .min_by_key(|report| rank(report))
            .map(|report| report.index)
    };
    match *selection {
        GpuSelection::Real => best(false).ok_or_else(|| {
            let names: Vec<_> = reports.iter().map(|report| report.name.as_str()).collect();
            format!("only software adapters, which run on the CPU: {}", names.join(", "))
        }),
        GpuSelection::Any => best(true).ok_or_else(|| "no adapter".into()),
        GpuSelection::Index(index) if index < reports.len() => Ok(index),
        GpuSelection::Index(_) => Err(match reports.len() {
            1 => "there is one adapter only, number 0".into(),
            n => format!("there are {n} adapters, numbers 0 to {}", n - 1),
        }),
    }
}

/// Those that are of the kind of the best one and have its interface, as each card has an adapter per interface. Of several
/// drivers for the card in one place (where that is known) the first.
fn pick_all(reports: &[AdapterReport], places: &[String]) -> Result<Vec<usize>, String> {
    let best = &reports[pick(reports, &GpuSelection::Any)?];
    let mut taken: Vec<usize> = Vec::new();
    for report in reports {
        let is_alike = (&report.kind, &report.backend) == (&best.kind, &best.backend);
        let place = &places[report.index];
        let is_known = !place.is_empty() && taken.iter().any(|&other| places[other] == *place);
        if is_alike && !is_known {
            taken.push(report.index);
        }
    }
    Ok(taken)
}

/// What an adapter lacks that every kernel needs.
fn lacks(limits: &wgpu::Limits) -> Option<String> {
    let needs = [
        (
            "storage buffers",
            BINDINGS.len() as u32 - 1,
            limits.max_storage_buffers_per_shader_stage,
        ),
        (
            "threads in a workgroup",
            THREADS as u32,
            limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
        ),
    ];
    needs
        .iter()
        .find(|(_, needed, limit)| limit < needed)
        .map(|(what, needed, limit)| format!("has {limit} {what}, but {needed} are needed"))
}

/// Why there are no adapters at all.
fn why_none(instance: &wgpu::Instance) -> &'static str {
    #[cfg(not(target_vendor = "apple"))]
    // SAFETY: the handle is only asked whether it is there.
    if unsafe { instance.as_hal::<wgpu::hal::api::Vulkan>() }.is_none() {
        return "Vulkan does not start: its loader (libvulkan.so.1 or vulkan-1.dll) or a GPU driver for it is missing";
    }
    let _ = instance;
    "no driver offers an adapter (in a container, the GPU's graphics capability must be passed through)"
}

/// Device memory to take, in bytes, unless the user says otherwise.
pub(crate) fn default_budget(adapter: &wgpu::Adapter) -> u64 {
    let Some(heap) = device_heap_bytes(adapter) else {
        return UNKNOWN_BUDGET;
    };
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => heap / 5 * 4,
        // The heap is the machine's own memory, and the data is in it once already.
        _ => heap / 3,
    }
}

/// The largest heap of memory on the device, where the driver tells.
#[cfg(not(target_vendor = "apple"))]
fn device_heap_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the physical device belongs to the instance it is asked through, and both outlive the call.
    let heaps = unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        vulkan
            .shared_instance()
            .raw_instance()
            .get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    heaps.memory_heaps[..heaps.memory_heap_count as usize]
        .iter()
        .filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0)
        .map(|heap| heap.size)
        .max()
}

/// The largest heap of memory on the device, where the driver tells.
#[cfg(target_vendor = "apple")]
fn device_heap_bytes(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, kind: &str) -> AdapterReport {
        AdapterReport {
            index,
            name: format!("{kind} {index}"),
            backend: "vulkan".into(),
            driver: String::new(),
            kind: kind.into(),
            software: kind == "cpu",
            max_buffer_bytes: 0,
            max_binding_bytes: 0,
            workgroup_bytes: 0,
            workgroup_threads: 0,
            subgroup_threads: (0, 0),
            features: Vec::new(),
        }
    }

    #[test]
    fn hardware_comes_first_and_software_only_where_asked_for() {
        let all = [adapter(0, "cpu"), adapter(1, "integrated"), adapter(2, "discrete")];
        assert_eq!(pick(&all, &GpuSelection::Real), Ok(2));
        assert_eq!(pick(&all, &GpuSelection::Any), Ok(2));
        assert_eq!(pick(&all[..2], &GpuSelection::Real), Ok(1));
        assert_eq!(pick(&all[..1], &GpuSelection::Any), Ok(0));
        assert_eq!(
            pick(&all[..1], &GpuSelection::Real),
            Err("only software adapters, which run on the CPU: cpu 0".into())
        );
        assert_eq!(pick(&all, &GpuSelection::Index(1)), Ok(1));
        assert_eq!(
            pick(&all, &GpuSelection::Index(3)),
            Err("there are 3 adapters, numbers 0 to 2".into())
        );
    }

    #[test]
    fn all_are_those_of_the_best_kind_and_no_card_twice() {
        let with = |index, kind: &str, backend: &str| AdapterReport {
            backend: backend.into(),
            ..adapter(index, kind)
        };
        let all = |reports: &[AdapterReport], places: &[&str]| {
            let places: Vec<String> = places.iter().map(|&place| place.to_owned()).collect();
            pick_all(reports, &places)
        };
        let cards = [
            with(0, "other", "vulkan"),
            with(1, "discrete", "vulkan"),
            with(2, "integrated", "vulkan"),
            with(3, "discrete", "vulkan"),
            with(4, "discrete", "vulkan"),
            with(5, "discrete", "dx12"),
        ];
        assert_eq!(
            all(&cards, &["01:00", "01:00", "", "02:00", "", "01:00"]),
            Ok(vec![1, 3, 4])
        );
        // A second driver for a card; cards in unknown places are not the same one.
        assert_eq!(all(&cards, &["", "01:00", "", "01:00", "02:00", ""]), Ok(vec![1, 4]));
        assert_eq!(all(&cards, &[""; 6]), Ok(vec![1, 3, 4]));
        assert_eq!(all(&cards[..1], &[""]), Ok(vec![0]));
        assert!(all(&[], &[]).is_err());
    }

    #[test]
    fn what_an_adapter_lacks_is_named() {
        let mut limits = wgpu::Limits::default();
        assert_eq!(lacks(&limits), None);
        limits.max_storage_buffers_per_shader_stage = 4;
        assert_eq!(
            lacks(&limits),
            Some("has 4 storage buffers, but 8 are needed".to_owned())
        );
    }
}
