//! The rows.

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::{Axis, AxisNames, CaptionRule};
use crate::plan::{Devices, FlashAttn, KvSizing, KvType, RpcServers, SplitMode, TensorSplit};

/// Gives the table to a macro. A row is: what the axis is (also in schemas); whether a model has to be loaded anew for another value
/// (`load`) or not (`cell`); the field, its type, and the value that goes without saying; its key in sweep files, which is
/// also its flag, and other keys; and its [`AxisNames`](super::AxisNames).
macro_rules! axis_table {
    ($then:ident $([$($args:tt)*])?) => {
        $then! { $([$($args)*])?
            /// Sequences decoded together: the user's "batch".
            cell n_seq: u32 = 1, "batch" ["n_seq"] {
                help: "Sequences decoded together", note: " (llama-batched-bench: -npl)", spelling: "-npl",
                caption: CaptionRule::Never, nesting: 190,
            }
            /// Prompt tokens of each sequence.
            cell n_prompt: u32 = 128, "n_prompt" [] {
                short: Some('p'), help: "Prompt tokens of each sequence", note: " (-npp)", spelling: "-npp",
                column: "prompt", phrase: "prompt", nesting: 170,
            }
            /// Decode steps, and so generated tokens of each sequence after the one its prompt gives.
            cell n_gen: u32 = 64, "n_gen" [] {
                short: Some('n'), help: "Decode steps of each sequence", note: " (-ntg)", spelling: "-ntg",
                column: "gen", phrase: "gen", nesting: 180,
            }
            /// Tokens of each sequence that are in the cache, untimed, before its prompt.
            cell n_depth: u32 = 0, "n_depth" [] {
                short: Some('d'), help: "Tokens in each sequence's cache before its prompt, untimed",
                column: "depth", phrase: "depth", caption: CaptionRule::Unusual, nesting: 160,
            }
            /// Threads of the engine, for prefill and decode.
            cell n_threads: u32 = 0, "threads" ["n_threads", "num_thread"] {
                short: Some('t'), help: "Threads; 0 is as many as cores this process may use",
                note: " (Ollama: --num-thread)", phrase: "threads", nesting: 60,
            }
            /// Context asked for, in tokens **per sequence** (Ollama's `num_ctx`).
            cell n_ctx: u32 = 2048, "n_ctx" ["num_ctx", "ctx_size"] {
                short: Some('c'), help: "Context in tokens PER SEQUENCE", note: " (Ollama: --num-ctx)",
                column: "ctx", id: "c", phrase: "context {} per sequence", caption: CaptionRule::If(|case| case.kv == KvSizing::Full), nesting: 140,
            }
            /// Whether the cache is sized by `n_ctx` (`full`) or by need (`fit`).
            cell kv: KvSizing = KvSizing::Full, "kv" [] {
                help: "KV cache: n_ctx for every sequence (full), or only what the cell needs (fit)",
                id: "kv", phrase: "kv", nesting: 130,
            }
            /// Whether all sequences share one pool of KV cells, as llama-server has it by default, instead of each having its
            /// own. False in records of programs that did not say.
            #[serde(default)]
            cell kv_unified: bool = false, "kv_unified" [] {
                help: "KV cells: on for one pool that all sequences share (llama-server's default), off for cells of its own for each sequence",
                note: " (-kvu)", spelling: "-kvu", id: "kvu", phrase: "unified KV cache", caption: CaptionRule::Unusual, nesting: 135,
            }
            /// llama.cpp's logical batch: most tokens in one `llama_decode`.
            cell n_batch: u32 = 2048, "n_batch" ["batch_size"] {
                help: "Logical batch in tokens", id: "nb", phrase: "n_batch", caption: CaptionRule::Unusual, nesting: 110,
            }
            /// llama.cpp's physical batch: most tokens computed at once.
            cell n_ubatch: u32 = 512, "n_ubatch" ["ubatch_size"] {
                help: "Physical batch in tokens", note: " (-ub)", spelling: "-ub", id: "ub", phrase: "n_ubatch",
                caption: CaptionRule::Unusual, nesting: 120,
            }
            /// Element type of the K cache.
            cell type_k: KvType = KvType::F16, "type_k" ["cache_type_k"] {
                help: "Type of the K cache", note: " (-ctk)", spelling: "-ctk", id: "ctk", phrase: "K", nesting: 90,
            }
            /// Element type of the V cache.
            cell type_v: KvType = KvType::F16, "type_v" ["cache_type_v"] {
                help: "Type of the V cache", note: " (-ctv)", spelling: "-ctv", id: "ctv", phrase: "V", nesting: 100,
            }
            /// Flash attention policy.
            cell flash_attn: FlashAttn = FlashAttn::Auto, "flash_attn" [] {
                help: "Flash attention: on, off or auto", note: " (-fa)", spelling: "-fa", column: "fa", id: "fa",
                phrase: "flash attention", caption: CaptionRule::Unusual, nesting: 70,
            }
            /// Whether layers with a sliding window keep all cells, and not only those that their window needs. False in
            /// records of programs that did not say.
            // As llama.cpp's tools; its library's own default is a full cache.
            #[serde(default)]
            cell swa_full: bool = false, "swa_full" [] {
                help: "Full-size KV cache for layers with a sliding window: on, or off for what their window needs",
                id: "swa-full", phrase: "full-size cache for sliding windows", caption: CaptionRule::Unusual, nesting: 80,
            }
            /// Layers offloaded to a GPU.
            load n_gpu_layers: u32 = 0, "n_gpu_layers" ["gpu_layers"] {
                help: "Layers on the GPU", default: "all if there is a GPU", note: " (-ngl)", spelling: "-ngl",
                column: "ngl", id: "ngl", phrase: "GPU layers", caption: CaptionRule::Unusual, nesting: 30,
            }
            /// Spread over several GPUs.
            load split_mode: SplitMode = SplitMode::Layer, "split_mode" [] {
                help: "Several GPUs: none, layer, row or tensor", note: " (-sm)", spelling: "-sm", column: "split",
                id: "sm", phrase: "split", caption: CaptionRule::Unusual, nesting: 40,
            }
            /// The GPU used when the model is not split.
            load main_gpu: u32 = 0, "main_gpu" [] {
                help: "The GPU of a model that is not split", note: " (-mg)", spelling: "-mg", column: "gpu", id: "mg",
                phrase: "GPU", caption: CaptionRule::Unusual, nesting: 50,
            }
            /// RPC servers whose devices are used besides this machine's, host:port with commas, or none. No record has it
            /// where there is none.
            #[serde(default, skip_serializing_if = "RpcServers::is_none")]
            load rpc: RpcServers = RpcServers::default(), "rpc" [] {
                help: "RPC servers whose devices are used too", id: "rpc", phrase: "RPC servers", caption: CaptionRule::Unusual,
                nesting: 0,
            }
            /// The devices that layers are offloaded to, with commas, or auto or none. No record has it where the engine
            /// chooses.
            #[serde(default, skip_serializing_if = "Devices::is_auto")]
            load device: Devices = Devices::Auto, "device" [] {
                help: "Devices for the layers, as `ggufbench devices` names them, or none for the CPU alone",
                note: " (-dev)", spelling: "-dev", id: "dev", phrase: "device", caption: CaptionRule::Unusual, nesting: 10,
            }
            /// The devices' shares, with commas, or auto. No record has it where the engine divides.
            #[serde(default, skip_serializing_if = "TensorSplit::is_auto")]
            load tensor_split: TensorSplit = TensorSplit::default(), "tensor_split" [] {
                help: "Shares of the model on each device, such as 3,1", default: "by their free memory",
                note: " (-ts)", spelling: "-ts", id: "ts", phrase: "tensor split", caption: CaptionRule::Unusual, nesting: 20,
            }
            /// Whether the next token is chosen (greedily) from the logits, or drawn beforehand.
            cell sample: bool = true, "sample" [] {
                help: "Feed tokens drawn beforehand instead of choosing them from the logits, as llama-bench does",
                is_flag_of_off: true, id: "nosample", phrase: "sampling", caption: CaptionRule::Unusual, nesting: 150,
            }
        }
    };
}
pub(in crate::plan) use axis_table;

macro_rules! define {
    ($($(#[doc = $doc:literal])+ $(#[serde $serde:tt])? $scope:ident $field:ident: $type:ty = $usual:expr, $key:literal
        [$($alias:literal),*] { $($words:tt)* })*) => {
        /// One cell: everything that decides what the engine is asked to do.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct Case {
            /// Name of the model, as in [`ModelFacts::name`](crate::model::ModelFacts::name).
            pub model: String,
            $($(#[doc = $doc])+ $(#[serde $serde])? pub $field: $type,)*
        }

        impl Case {
            /// The case of a model whose axes all have the values that go without saying.
            pub fn usual(model: &str) -> Self {
                Self { model: model.to_owned(), $($field: $usual,)* }
            }
        }

        /// The requested values of each axis; `None` for an axis that was not named.
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        pub struct Axes {
            /// What `--model` was given; [`crate::model`] resolves it.
            pub model: Option<Vec<String>>,
            $($(#[doc = $doc])+ pub $field: Option<Vec<$type>>,)*
        }

        /// Every axis but the model, in the order of columns.
        pub static AXES: &[Axis] = &[$(Axis {
            words: &AxisNames {
                field: stringify!($field),
                key: $key,
                aliases: &[$($alias),*],
                description: concat!($($doc),+),
                is_of_load: matches!(stringify!($scope).as_bytes(), b"load"),
                is_in_every_record: !matches!(concat!($(stringify!($serde),)? "").as_bytes(), [_, ..]),
                $($words)*
                ..AxisNames::NONE
            },
            field: &Field::<$type> {
                of: |case| &case.$field,
                of_mut: |case| &mut case.$field,
                requested: |axes| &axes.$field,
                requested_mut: |axes| &mut axes.$field,
                usual: || $usual,
            },
        }),*];

        load_key! { {} [] $($scope $(#[doc = $doc])+ $(#[serde $serde])? $field: $type;)* }
    };
}

/// Keeps the rows that a model is loaded with.
macro_rules! load_key {
    ({ $($kept:tt)* } [$($name:ident)*] cell $(#[doc = $doc:literal])+ $(#[serde $serde:tt])? $field:ident: $type:ty; $($rest:tt)*) => {
        load_key! { { $($kept)* } [$($name)*] $($rest)* }
    };
    ({ $($kept:tt)* } [$($name:ident)*] load $(#[doc = $doc:literal])+ $(#[serde $serde:tt])? $field:ident: $type:ty; $($rest:tt)*) => {
        load_key! { { $($kept)* $(#[doc = $doc])+ $(#[serde $serde])? pub $field: $type, } [$($name)* $field] $($rest)* }
    };
    ({ $($kept:tt)* } [$($name:ident)*]) => {
        /// What a model is loaded with; everything else costs only a context.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct LoadKey {
            /// Name of the model.
            pub model: String,
            $($kept)*
        }

        impl Case {
            /// What must be equal for two cases to share one loaded model.
            pub fn load_key(&self) -> LoadKey {
                LoadKey { model: self.model.clone(), $($name: self.$name.clone(),)* }
            }
        }
    };
}

axis_table!(define);
