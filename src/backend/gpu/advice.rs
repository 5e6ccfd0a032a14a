//! What to install where no GPU is found: seen from what the machine shows of itself.

use std::path::Path;

/// What can be seen without a driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Facts {
    /// NVIDIA's kernel driver is there, or was passed into this container.
    nvidia: bool,
    /// A GPU of another vendor is there, or was passed in.
    render_node: bool,
    /// Some file says where a Vulkan driver is.
    vulkan_driver: bool,
    /// This is a container.
    container: bool,
}

impl Facts {
    fn of_this_machine() -> Self {
        let has = |path: &str| Path::new(path).exists();
        let has_files = |folder: &str| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
        Self {
            nvidia: has("/dev/nvidiactl") || has("/proc/driver/nvidia/version"),
            render_node: (128..136).any(|n| has(&format!("/dev/dri/renderD{n}"))),
            vulkan_driver: has_files("/usr/share/vulkan/icd.d") || has_files("/etc/vulkan/icd.d"),
            container: has("/.dockerenv") || has("/run/.containerenv") || std::env::var_os("container").is_some(),
        }
    }
}

/// What has to be there for a GPU to be found, in a sentence.
pub(crate) fn advice() -> String {
    if cfg!(target_os = "linux") {
        on_linux(Facts::of_this_machine())
    } else {
        "its vendor's driver has to be installed".into()
    }
}

fn on_linux(facts: Facts) -> String {
    match facts {
        Facts {
            nvidia: true,
            container: true,
            ..
        } => "an NVIDIA GPU is here, but containers get only its CUDA libraries by default: start this one with \
              NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics, and install libvulkan1 in it"
            .into(),
        Facts { nvidia: true, .. } => "an NVIDIA GPU is here: install libvulkan1, and NVIDIA's Vulkan library beside \
                                       its driver (nvidia_icd.json, in Debian nvidia-vulkan-icd)"
            .into(),
        Facts {
            render_node: true,
            vulkan_driver,
            ..
        } => {
            let packages = if vulkan_driver {
                "libvulkan1"
            } else {
                "libvulkan1 and mesa-vulkan-drivers"
            };
            format!("a GPU is here: install {packages}, and let this user open /dev/dri/renderD* (group render)")
        }
        Facts { container: true, .. } => "this container has been given no GPU: docker run --gpus all (NVIDIA, with \
                                          NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics) or --device /dev/dri \
                                          (others), and libvulkan1 with the vendor's driver in the image"
            .into(),
        _ => "its vendor's driver and the Vulkan loader (libvulkan1) have to be installed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_situation_has_its_advice() {
        let facts = |nvidia, render_node, vulkan_driver, container| {
            on_linux(Facts {
                nvidia,
                render_node,
                vulkan_driver,
                container,
            })
        };
        assert!(facts(true, true, false, true).contains("NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics, and"));
        assert!(facts(true, true, true, false).contains("nvidia_icd.json"));
        assert!(facts(false, true, false, false).contains("mesa-vulkan-drivers"));
        assert!(!facts(false, true, true, true).contains("mesa-vulkan-drivers"));
        assert!(facts(false, false, true, true).contains("docker run --gpus all"));
        assert!(facts(false, false, false, false).contains("Vulkan loader (libvulkan1)"));
        assert!(!advice().is_empty());
    }
}
