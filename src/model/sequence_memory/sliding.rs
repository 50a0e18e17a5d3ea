//! Which layers have a sliding window, and how far it reaches: `load_arch_hparams` of every architecture that sets
//! `swa_type` (llama.cpp, `src/models/`), and `llama_hparams::set_swa_pattern`.

use super::Header;

/// Layers that look back `n_tokens` tokens.
pub(super) struct Window {
    pub n_tokens: u32,
    layers: Vec<bool>,
}

impl Window {
    pub fn slides(&self, layer: u64) -> bool {
        self.layers.get(layer as usize).copied().unwrap_or(false)
    }
}

/// Where an architecture's window comes from.
enum Size {
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
const RULES: &[(&str, Size, Layers)] = &[
    ("afmoe", Size::InFile, Layers::DenseLast(4)),
    ("cohere2", Size::InFile, Layers::DenseLast(4)),
    ("cohere2moe", Size::InFile, Layers::DenseFirst(4)),
    ("dots3note", Size::InFile, Layers::Listed),
    ("exaone-moe", Size::InFileOr(128), Layers::DenseLast(4)),
    ("exaone4", Size::InFileOr(4096), Layers::DenseLast(4)),
    ("gemma2", Size::InFileOr(4096), Layers::DenseLast(2)),
    ("gemma3", Size::InFile, Layers::DenseLast(6)),
    ("gemma3n", Size::InFile, Layers::DenseLast(5)),
    ("gemma4", Size::InFile, Layers::Listed),
    ("gpt-oss", Size::InFile, Layers::DenseLast(2)),
    ("granite_swa", Size::InFile, Layers::Listed),
    ("laguna", Size::InFile, Layers::DenseFirst(4)),
    ("lfm2", Size::InFile, Layers::All),
    ("llama4", Size::FixedUnlessZero(8192), Layers::DenseLast(4)),
    ("maple", Size::InFile, Layers::Listed),
    ("mellum", Size::InFile, Layers::DenseLast(4)),
    ("mimo2", Size::InFile, Layers::Listed),
    ("muse-glimmer", Size::InFile, Layers::DenseLast(4)),
    ("olmo2", Size::InFile, Layers::DenseLast(4)),
    ("plamo3", Size::InFile, Layers::DenseLast(8)),
    (
        "smallthinker",
        Size::FixedIfInFile(4096),
        Layers::DenseFirst(4),
    ),
    ("spark2_5", Size::InFile, Layers::Listed),
    ("step35", Size::InFile, Layers::Listed),
];

/// exaone4.cpp: only the 32B model, which has so many layers, has windows.
const EXAONE4_LAYERS: u64 = 64;

/// The model's window; none where every layer attends in full.
pub(super) fn read(header: &Header<'_>, recurrent: &[bool]) -> Option<Window> {
    let (arch, size, layers) = RULES.iter().find(|(arch, ..)| *arch == header.arch)?;
    if *arch == "exaone4" && header.n_layer != EXAONE4_LAYERS {
        return None;
    }
    let in_file = header.uint("attention.sliding_window");
    let n_tokens = match (size, in_file) {
        (Size::InFile, n) => n?,
        (Size::InFileOr(usual), n) => n.unwrap_or(*usual),
        (Size::FixedIfInFile(fixed), n) => n.filter(|&n| n > 0).map(|_| *fixed)?,
        (Size::FixedUnlessZero(fixed), n) => n.map_or(*fixed, |n| if n == 0 { 0 } else { *fixed }),
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
    Some(Window {
        n_tokens,
        layers: slides,
    })
}
