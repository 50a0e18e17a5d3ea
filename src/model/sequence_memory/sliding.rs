//! Which layers have a sliding window, and how far it reaches: `load_arch_hparams` of every architecture that sets
//! `swa_type` (llama.cpp, `src/models/`), and `llama_hparams::set_swa_pattern`.

use super::LayerHeader;

/// Layers that look back `n_tokens` tokens.
pub(super) struct SlidingWindow {
    pub n_tokens: u32,
    layers: Vec<bool>,
}

impl SlidingWindow {
    pub fn slides(&self, layer: u64) -> bool {
        self.layers.get(layer as usize).copied().unwrap_or(false)
    }
}

/// Where an architecture's window comes from.
enum WindowSize {
    /// The file's `attention.sliding_window`; none without it, or with 0.
    InFile,
    /// The file's, or this one without it.
    InFileOr(u64),
    /// This one whenever the file has a window.
    FixedIfInFile(u64),
    /// This one unless the file says 0.
    FixedUnlessZero(u64),
}

/// Which layers slide, where the file does not list them one by one.
enum Layers {
    /// All but every n-th, beginning with sliding ones (`set_swa_pattern`).
    DenseLast(u64),
    /// All but every n-th, beginning with a full one.
    DenseFirst(u64),
    /// All that attend.
    All,
    /// None: the file has to list them.
    Listed,
}

/// The architectures with windows. Others ignore the file's keys (phi3: "Phi SWA is currently disabled").
const RULES: &[(&str, WindowSize, Layers)] = &[
    ("afmoe", WindowSize::InFile, Layers::DenseLast(4)),
    ("cohere2", WindowSize::InFile, Layers::DenseLast(4)),
    ("cohere2moe", WindowSize::InFile, Layers::DenseFirst(4)),
    ("dots3note", WindowSize::InFile, Layers::Listed),
    (
        "exaone-moe",
        WindowSize::InFileOr(128),
        Layers::DenseLast(4),
    ),
    ("exaone4", WindowSize::InFileOr(4096), Layers::DenseLast(4)),
    ("gemma2", WindowSize::InFileOr(4096), Layers::DenseLast(2)),
    ("gemma3", WindowSize::InFile, Layers::DenseLast(6)),
    ("gemma3n", WindowSize::InFile, Layers::DenseLast(5)),
    ("gemma4", WindowSize::InFile, Layers::Listed),
    ("gpt-oss", WindowSize::InFile, Layers::DenseLast(2)),
    ("granite_swa", WindowSize::InFile, Layers::Listed),
    ("laguna", WindowSize::InFile, Layers::DenseFirst(4)),
    ("lfm2", WindowSize::InFile, Layers::All),
    (
        "llama4",
        WindowSize::FixedUnlessZero(8192),
        Layers::DenseLast(4),
    ),
    ("maple", WindowSize::InFile, Layers::Listed),
    ("mellum", WindowSize::InFile, Layers::DenseLast(4)),
    ("mimo2", WindowSize::InFile, Layers::Listed),
    ("muse-glimmer", WindowSize::InFile, Layers::DenseLast(4)),
    ("olmo2", WindowSize::InFile, Layers::DenseLast(4)),
    ("plamo3", WindowSize::InFile, Layers::DenseLast(8)),
    (
        "smallthinker",
        WindowSize::FixedIfInFile(4096),
        Layers::DenseFirst(4),
    ),
    ("spark2_5", WindowSize::InFile, Layers::Listed),
    ("step35", WindowSize::InFile, Layers::Listed),
];

/// exaone4.cpp: only the 32B model, which has so many layers, has windows.
const EXAONE4_LAYERS: u64 = 64;

/// The model's window; none where every layer attends in full.
pub(super) fn read(header: &LayerHeader<'_>, recurrent: &[bool]) -> Option<SlidingWindow> {
    let (arch, size, layers) = RULES.iter().find(|(arch, ..)| *arch == header.arch)?;
    if *arch == "exaone4" && header.n_layer != EXAONE4_LAYERS {
        return None;
    }
    let in_file = header.uint("attention.sliding_window");
    let n_tokens = match (size, in_file) {
        (WindowSize::InFile, n) => n?,
        (WindowSize::InFileOr(usual), n) => n.unwrap_or(*usual),
        (WindowSize::FixedIfInFile(fixed), n) => n.filter(|&n| n > 0).map(|_| *fixed)?,
        (WindowSize::FixedUnlessZero(fixed), n) => {
            n.map_or(*fixed, |n| if n == 0 { 0 } else { *fixed })
        }
    };
    let n_tokens = u32::try_from(n_tokens).ok().filter(|&n| n > 0)?;
    let slides: Vec<bool> = match header.listed("attention.sliding_window_pattern") {
        Some(flags) if !matches!(layers, Layers::All) => {
            let flag = |layer| flags.get(layer as usize).is_some_and(|&flag| flag != 0);
            (0..header.n_layer).map(flag).collect()
        }
        _ => {
            // A single number in the file is the pattern's period.
            let period = |usual: u64| {
                header
                    .uint("attention.sliding_window_pattern")
                    .unwrap_or(usual)
            };
            let slides = |layer: u64| match layers {
                Layers::DenseLast(usual) => match period(*usual) {
                    0 => true,
                    n => layer % n < n - 1,
                },
                Layers::DenseFirst(usual) => match period(*usual) {
                    0 => true,
                    n => !layer.is_multiple_of(n),
                },
                Layers::All => !recurrent.get(layer as usize).copied().unwrap_or(false),
                Layers::Listed => false,
            };
            (0..header.n_layer).map(slides).collect()
        }
    };
    Some(SlidingWindow {
        n_tokens,
        layers: slides,
    })
}
