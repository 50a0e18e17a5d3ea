//! What llama.cpp says that it did, read from its log: what an automatic setting became, and where its memory lies. The
//! binding has no call for these.

use serde::{Deserialize, Serialize};

/// Bytes of one kind on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceBuffer {
    /// The engine's name of the place: `CPU`, `CPU_REPACK`, `CUDA0`.
    pub place: String,
    /// What it holds: `model`, `KV`, `RS` (recurrent states), `compute`, `output`.
    pub holds: String,
    /// Its size; the engine's log has it to a hundredth of a MiB.
    pub bytes: u64,
}

/// Layers on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayersOn {
    /// The device's name: `CPU`, `CUDA0`, `RPC0`.
    pub device: String,
    /// How many, the output counted as one.
    pub n: u32,
}

/// What a log tells; none of it where the engine did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineReport {
    /// Whether flash attention is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_attn: Option<bool>,
    /// Whether all sequences share one KV cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_unified: Option<bool>,
    /// Cells that each sequence has in layers with a sliding window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_cells: Option<u32>,
    /// Layers on a GPU, the output counted as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_offloaded: Option<u32>,
    /// Layers on each device, in the layers' order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayersOn>,
    /// In the order of the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buffers: Vec<DeviceBuffer>,
}

impl EngineReport {
    /// Reads the lines of loading a model, or of making a context; of several contexts the last counts.
    pub fn of<'a>(log: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        for line in log {
            // Without the C function's name.
            let text = line.split_once(": ").map_or(line, |(_, text)| text).trim();
            if text == "constructing llama_context" {
                found = Self::default();
            }
            found.note(text);
        }
        found
    }

    fn note(&mut self, text: &str) {
        let value = |name: &str| {
            let (key, value) = text.split_once('=')?;
            (key.trim() == name).then(|| value.trim())
        };
        match value("flash_attn") {
            Some("enabled") => self.flash_attn = Some(true),
            Some("disabled") => self.flash_attn = Some(false),
            // What auto became comes later.
            _ => {}
        }
        match text {
            "Flash Attention enabled" => self.flash_attn = Some(true),
            "Flash Attention not supported, set to disabled" => self.flash_attn = Some(false),
            _ => {}
        }
        if let Some(unified) = value("kv_unified") {
            self.kv_unified = unified.parse().ok();
        }
        if let Some(cells) = text
            .strip_prefix("creating     SWA KV cache, size = ")
            .and_then(|rest| rest.strip_suffix(" cells"))
        {
            self.sliding_cells = cells.parse().ok();
        }
        if let Some(rest) = text.strip_prefix("offloaded ") {
            self.layers_offloaded = rest.split('/').next().and_then(|n| n.parse().ok());
        }
        if let Some(device) = layer_device(text) {
            match self.layers.iter_mut().find(|l| l.device == device) {
                Some(layers) => layers.n += 1,
                None => self.layers.push(LayersOn {
                    device: device.to_owned(),
                    n: 1,
                }),
            }
        }
        self.buffers.extend(buffer(text));
    }
}

/// `layer  12 assigned to device RPC0, is_swa = 0`.
fn layer_device(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("layer ")?;
    let (_, device) = rest.split_once(" assigned to device ")?;
    device.split(',').next()
}

/// `CPU_REPACK model buffer size =    71.72 MiB`.
fn buffer(text: &str) -> Option<DeviceBuffer> {
    let (what, size) = text.split_once(" buffer size = ")?;
    let (place, holds) = what.trim().rsplit_once(' ')?;
    let mib: f64 = size.trim().strip_suffix(" MiB")?.parse().ok()?;
    // Less than the log's resolution is not told.
    (mib > 0.0).then(|| DeviceBuffer {
        place: place.trim().to_owned(),
        holds: holds.to_owned(),
        bytes: (mib * (1_u64 << 20) as f64).round() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_says_what_auto_became_and_where_its_memory_lies() {
        let log = [
            "llama_context: constructing llama_context",
            "llama_context: flash_attn            = auto",
            "llama_context: kv_unified            = false",
            "llama_context:        CPU  output buffer size =     0.75 MiB",
            "llama_memory_recurrent:        CPU RS buffer size =     0.00 MiB",
            "llama_kv_cache_iswa: creating non-SWA KV cache, size = 8192 cells",
            "llama_kv_cache:        CPU KV buffer size =    96.00 MiB",
            "llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells",
            "llama_kv_cache:        CPU KV buffer size =    60.00 MiB",
            "resolve_fused_ops: Flash Attention enabled",
            "sched_reserve:        CPU compute buffer size =   513.00 MiB",
        ];
        let found = EngineReport::of(log);
        assert_eq!(found.flash_attn, Some(true));
        assert_eq!(
            (found.kv_unified, found.sliding_cells),
            (Some(false), Some(1024))
        );
        let kv: u64 = found
            .buffers
            .iter()
            .filter(|b| b.holds == "KV" && b.place == "CPU")
            .map(|b| b.bytes)
            .sum();
        assert_eq!((kv, found.buffers.len()), (156 << 20, 4));
        let again = log.into_iter().chain(log);
        assert_eq!(EngineReport::of(again), found, "the last context counts");
    }

    #[test]
    fn a_loaded_model_says_where_its_layers_are() {
        let found = EngineReport::of([
            "load_tensors: layer   0 assigned to device CPU, is_swa = 0",
            "load_tensors: layer   1 assigned to device CUDA0, is_swa = 0",
            "load_tensors: layer   2 assigned to device CUDA0, is_swa = 0",
            "load_tensors: offloading output layer to GPU",
            "load_tensors: offloaded 13/31 layers to GPU",
            "load_tensors:   CPU_Mapped model buffer size =    27.00 MiB",
            "load_tensors:        CUDA0 model buffer size =    60.50 MiB",
        ]);
        assert_eq!(found.layers_offloaded, Some(13));
        let layers: Vec<_> = found
            .layers
            .iter()
            .map(|l| (l.device.as_str(), l.n))
            .collect();
        assert_eq!(layers, [("CPU", 1), ("CUDA0", 2)]);
        let places: Vec<&str> = found.buffers.iter().map(|b| b.place.as_str()).collect();
        assert_eq!(places, ["CPU_Mapped", "CUDA0"]);
        assert_eq!(found.buffers[1].bytes, 121 << 19);
    }

    #[test]
    fn a_log_that_tells_nothing_is_nothing_found() {
        assert_eq!(
            EngineReport::of(["x", "", "flash_attn", "a = b", " buffer size = "]),
            EngineReport::default()
        );
    }
}
