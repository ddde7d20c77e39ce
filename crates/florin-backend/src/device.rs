//! Devices by the names that users write.

use burn::prelude::Device;

/// A device that cannot be had, or a weight.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A name that no build knows.
    #[error("no device is called `{found}`; this build has {compiled}")]
    Unknown {
        /// What was asked for.
        found: String,
        /// The devices of this build.
        compiled: String,
    },
    /// Bytes that are no packed weight.
    #[error("not a packed weight of {input} inputs and {output} outputs in {format}: {reason}")]
    PackedWeight {
        /// Numbers that it takes.
        input: usize,
        /// Numbers that it gives.
        output: usize,
        /// How it would be rounded.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A device that this build leaves out.
    #[error("device `{found}` is not part of this build (it has {compiled}); build with `--features {found}`")]
    NotCompiled {
        /// What was asked for.
        found: String,
        /// The devices of this build.
        compiled: String,
    },
}

/// A device that Florin knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name to write.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Whether this build has it.
    pub compiled: bool,
}

/// Every device that Florin knows, the default first.
pub fn available() -> Vec<DeviceInfo> {
    vec![
        DeviceInfo { name: "cpu", description: "any processor, in pure Rust (Burn's flex)", compiled: true },
        DeviceInfo {
            name: "wgpu",
            description: "a graphics card through Vulkan, Metal or DirectX",
            compiled: cfg!(feature = "wgpu"),
        },
        DeviceInfo {
            name: "vulkan",
            description: "a graphics card through Vulkan with its own compiler",
            compiled: cfg!(feature = "vulkan"),
        },
        DeviceInfo {
            name: "ndarray",
            description: "any processor, as an independent second opinion",
            compiled: cfg!(feature = "ndarray"),
        },
        DeviceInfo { name: "cuda", description: "an NVIDIA card", compiled: cfg!(feature = "cuda") },
    ]
}

/// The device of a name.
pub fn device(name: &str) -> Result<Device, BackendError> {
    match name {
        "cpu" => {
            crate::memory::keep_freed();
            Ok(Device::flex())
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated, reason = "the second opinion is worth having as long as Burn has it")]
        "ndarray" => Ok(Device::ndarray()),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        _ => Err(refusal(name)),
    }
}

/// Fixes the device's random numbers; on `cpu` they are shared by the whole process.
pub fn seed(device: &Device, seed: u64) {
    device.seed(seed);
}

fn refusal(name: &str) -> BackendError {
    let known = available();
    let compiled: Vec<&str> = known.iter().filter(|info| info.compiled).map(|info| info.name).collect();
    let (found, compiled) = (name.to_owned(), compiled.join(", "));
    if known.iter().any(|info| info.name == name) {
        BackendError::NotCompiled { found, compiled }
    } else {
        BackendError::Unknown { found, compiled }
    }
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn an_unknown_device_names_the_known_ones() {
        let message = device("gpu").unwrap_err().to_string();
        assert!(message.contains("`gpu`") && message.contains("cpu"), "{message}");
    }
}
