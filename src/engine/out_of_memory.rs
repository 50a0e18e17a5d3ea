//! Whether the engine's log says that a device ran out of memory, and which. The engine itself only says no, or aborts.

use std::fmt;

use crate::units;

/// A device that ran out of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The engine's name of it, as `CUDA0` or `CPU`; none where the log does not say.
    device: Option<String>,
    asked_bytes: Option<u64>,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")?;
        if let Some(device) = &self.device {
            write!(f, " on {device}")?;
        }
        match self.asked_bytes {
            Some(bytes) => write!(f, " ({} asked for)", units::bytes(bytes)),
            None => Ok(()),
        }
    }
}

impl OutOfMemory {
    /// Reads lines of a log, oldest first. None where no device ran out of memory.
    pub fn of<'a>(log: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut found = Self::default();
        let mut is_out = false;
        for line in log {
            is_out |= tells(line);
            if found.device.is_none() {
                found.device = device(line);
            }
            if found.asked_bytes.is_none() {
                found.asked_bytes = asked_bytes(line);
            }
        }
        is_out.then_some(found)
    }
}

/// `cudaMalloc failed: out of memory`, `CUDA error: out of memory`, `ErrorOutOfDeviceMemory`, `failed to allocate CUDA0 buffer
/// of size`, `insufficient memory`.
fn tells(line: &str) -> bool {
    const WORDS: [&str; 6] = [
        "out of memory",
        "OutOfDeviceMemory",
        "OutOfHostMemory",
        "insufficient memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ];
    WORDS.iter().any(|word| line.contains(word)) || buffer_of(line).is_some()
}

/// The place in `failed to allocate CUDA0 buffer of size 17` or `unable to allocate CUDA0 buffer`; `CUDA0` of `CUDA0_Split`
/// too.
fn buffer_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("to allocate ")?;
    let (place, _) = rest.split_once(" buffer")?;
    let is_name = !place.is_empty()
        && place
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-[]:.".contains(c));
    // "failed to allocate compute buffers", "failed to allocate output buffer": what for, not where.
    let is_place = is_name && place.chars().any(|c| c.is_ascii_uppercase());
    is_place.then_some(place)
}

fn device(line: &str) -> Option<String> {
    if let Some(place) = buffer_of(line) {
        return Some(place.to_owned());
    }
    let numbered = line
        .split_once("on device ")
        .filter(|_| line.contains("cudaMalloc"))
        .or_else(|| line.split_once("current device: "));
    let (_, rest) = numbered?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    (digits > 0).then(|| format!("CUDA{}", &rest[..digits]))
}

fn asked_bytes(line: &str) -> Option<u64> {
    let mib = |text: &str| {
        let value: f64 = text.trim().parse().ok()?;
        Some((value * f64::from(1_u32 << 20)).round() as u64)
    };
    if let Some((_, rest)) = line.split_once("allocating ") {
        return mib(rest.split_once(" MiB on device")?.0);
    }
    if let Some((_, rest)) = line.split_once("attempted to allocate ") {
        return mib(rest.split_once(" MB")?.0);
    }
    let (_, size) = line.split_once(" buffer of size ")?;
    size.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(log: &[&str]) -> Option<String> {
        OutOfMemory::of(log.iter().copied()).map(|out| out.to_string())
    }

    #[test]
    fn a_device_that_is_full_is_named_with_what_was_asked_for() {
        let weights = [
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 14315.02 MiB on device 0: cudaMalloc failed: out of memory",
            "alloc_tensor_range: failed to allocate CUDA0 buffer of size 15010385920",
            "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        ];
        let expected = Some("out of memory on CUDA0 (14.0 GiB asked for)");
        assert_eq!(said(&weights).as_deref(), expected);
        assert_eq!(said(&weights[1..]).as_deref(), expected);
        assert_eq!(
            said(&weights[2..]).as_deref(),
            Some("out of memory on CUDA0")
        );
        let vulkan = [
            "ggml_vulkan: Device memory allocation of size 1073741824 failed.",
            "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
            "ggml_gallocr_reserve_n_impl: failed to allocate Vulkan1 buffer of size 1073741824",
            "graph_reserve: failed to allocate compute buffers",
        ];
        assert_eq!(
            said(&vulkan).as_deref(),
            Some("out of memory on Vulkan1 (1.00 GiB asked for)")
        );
        let cache = ["ggml_aligned_malloc: insufficient memory (attempted to allocate 8192.00 MB)"];
        assert_eq!(
            said(&cache).as_deref(),
            Some("out of memory (8.00 GiB asked for)")
        );
    }

    #[test]
    fn a_kernel_that_aborts_says_which_device_it_ran_on() {
        let pool = [
            "CUDA error: out of memory",
            "  current device: 1, in function alloc at ggml-cuda.cu:430",
            "  cuMemCreate(&handle, reserve_size, &prop, 0)",
            "ggml-cuda.cu:98: CUDA error",
        ];
        assert_eq!(said(&pool).as_deref(), Some("out of memory on CUDA1"));
        let thrown = ["  what():  vk::Queue::submit: ErrorOutOfDeviceMemory"];
        assert_eq!(said(&thrown).as_deref(), Some("out of memory"));
    }

    #[test]
    fn other_errors_are_no_want_of_memory() {
        for log in [
            "CUDA error: an illegal memory access was encountered",
            "  current device: 0, in function ggml_backend_cuda_synchronize at ggml-cuda.cu:2000",
            "llama_model_load: error loading model: done_getting_tensors: wrong number of tensors",
            "ggml_gallocr_reserve: failed to allocate graph",
            "load_tensors:        CUDA0 model buffer size = 14315.02 MiB",
            "",
        ] {
            assert_eq!(said(&[log]), None, "{log}");
        }
    }
}
