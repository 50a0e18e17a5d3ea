//! The table of axes: everything that a case is decided by, one row each. Cases and what is asked for, flags, sweep keys,
//! overriding, exclusion, names, comparison, columns, CSV, JSON and schemas come from it.
//!
//! A new axis is a row here, and its use in the engine.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::AxisValue;
use super::{Devices, FlashAttn, KvSizing, KvType, PlanError, RpcServers, SplitMode, TensorSplit};

/// Gives the table to a macro. A row is: what the axis is (also in schemas); whether a model has to be loaded anew for another value
/// (`load`) or not (`cell`); the field, its type, and the value that goes without saying; its key in sweep files, which is
/// also its flag, and other keys; and its [`Words`].
macro_rules! axis_table {
    ($then:ident $([$($args:tt)*])?) => {
        $then! { $([$($args)*])?
            /// Sequences decoded together: the user's "batch".
            cell n_seq: u32 = 1, "batch" ["n_seq"] {
                help: "Sequences decoded together", note: " (llama-batched-bench: -npl)", spelling: "-npl",
                said: Said::Never, nesting: 190,
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
                column: "depth", phrase: "depth", said: Said::Unusual, nesting: 160,
            }
            /// Threads of the engine, for prefill and decode.
            cell n_threads: u32 = 0, "threads" ["n_threads", "num_thread"] {
                short: Some('t'), help: "Threads; 0 is as many as cores this process may use",
                note: " (Ollama: --num-thread)", phrase: "threads", nesting: 60,
            }
            /// Context asked for, in tokens **per sequence** (Ollama's `num_ctx`).
            cell n_ctx: u32 = 2048, "n_ctx" ["num_ctx", "ctx_size"] {
                short: Some('c'), help: "Context in tokens PER SEQUENCE", note: " (Ollama: --num-ctx)",
                column: "ctx", id: "c", phrase: "context {} per sequence", said: Said::If(|case| case.kv == KvSizing::Full), nesting: 140,
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
                note: " (-kvu)", spelling: "-kvu", id: "kvu", phrase: "unified KV cache", said: Said::Unusual, nesting: 135,
            }
            /// llama.cpp's logical batch: most tokens in one `llama_decode`.
            cell n_batch: u32 = 2048, "n_batch" ["batch_size"] {
                help: "Logical batch in tokens", id: "nb", phrase: "n_batch", said: Said::Unusual, nesting: 110,
            }
            /// llama.cpp's physical batch: most tokens computed at once.
            cell n_ubatch: u32 = 512, "n_ubatch" ["ubatch_size"] {
                help: "Physical batch in tokens", note: " (-ub)", spelling: "-ub", id: "ub", phrase: "n_ubatch",
                said: Said::Unusual, nesting: 120,
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
                phrase: "flash attention", said: Said::Unusual, nesting: 70,
            }
            /// Whether layers with a sliding window keep all cells, and not only those that their window needs. False in
            /// records of programs that did not say.
            // As llama.cpp's tools; its library's own default is a full cache.
            #[serde(default)]
            cell swa_full: bool = false, "swa_full" [] {
                help: "Full-size KV cache for layers with a sliding window: on, or off for what their window needs",
                id: "swa-full", phrase: "full-size cache for sliding windows", said: Said::Unusual, nesting: 80,
            }
            /// Layers offloaded to a GPU.
            load n_gpu_layers: u32 = 0, "n_gpu_layers" ["gpu_layers"] {
                help: "Layers on the GPU", default: "all where there is one", note: " (-ngl)", spelling: "-ngl",
                column: "ngl", id: "ngl", phrase: "GPU layers", said: Said::Unusual, nesting: 30,
            }
            /// Spread over several GPUs.
            load split_mode: SplitMode = SplitMode::Layer, "split_mode" [] {
                help: "Several GPUs: none, layer, row or tensor", note: " (-sm)", spelling: "-sm", column: "split",
                id: "sm", phrase: "split", said: Said::Unusual, nesting: 40,
            }
            /// The GPU used when the model is not split.
            load main_gpu: u32 = 0, "main_gpu" [] {
                help: "The GPU of a model that is not split", note: " (-mg)", spelling: "-mg", column: "gpu", id: "mg",
                phrase: "GPU", said: Said::Unusual, nesting: 50,
            }
            /// RPC servers whose devices are used besides this machine's, host:port with commas, or none. No record has it
            /// where there is none.
            #[serde(default, skip_serializing_if = "RpcServers::is_none")]
            load rpc: RpcServers = RpcServers::default(), "rpc" [] {
                help: "RPC servers whose devices are used too", id: "rpc", phrase: "RPC servers", said: Said::Unusual,
                nesting: 0,
            }
            /// The devices that layers are offloaded to, with commas, or auto or none. No record has it where the engine
            /// chooses.
            #[serde(default, skip_serializing_if = "Devices::is_auto")]
            load device: Devices = Devices::Auto, "device" [] {
                help: "Devices for the layers, as `ggufbench devices` names them, or none for the CPU alone",
                note: " (-dev)", spelling: "-dev", id: "dev", phrase: "device", said: Said::Unusual, nesting: 10,
            }
            /// The devices' shares, with commas, or auto. No record has it where the engine divides.
            #[serde(default, skip_serializing_if = "TensorSplit::is_auto")]
            load tensor_split: TensorSplit = TensorSplit::default(), "tensor_split" [] {
                help: "Shares of the model on each device, such as 3,1", default: "by their free memory",
                note: " (-ts)", spelling: "-ts", id: "ts", phrase: "tensor split", said: Said::Unusual, nesting: 20,
            }
            /// Whether the next token is chosen (greedily) from the logits, or drawn beforehand.
            cell sample: bool = true, "sample" [] {
                help: "Feed tokens drawn beforehand instead of choosing them from the logits, as llama-bench does",
                is_flag_of_off: true, id: "nosample", phrase: "sampling", said: Said::Unusual, nesting: 150,
            }
        }
    };
}
pub(super) use axis_table;

/// What an axis is called, wherever people read or type it.
#[derive(Debug)]
pub struct Words {
    /// The field of a [`Case`], which is the key in JSON and the column of CSV.
    pub field: &'static str,
    /// The key in sweep files; with dashes, the flag.
    pub key: &'static str,
    /// Other keys and flags that mean it.
    pub aliases: &'static [&'static str],
    /// What its values are, for schemas.
    pub description: &'static str,
    /// Whether a model has to be loaded anew for another value.
    pub is_of_load: bool,
    /// Whether no record lacks it: neither an old one nor one with the usual value.
    pub is_in_every_record: bool,
    /// The flag's letter.
    pub short: Option<char>,
    /// llama.cpp's own short flag.
    pub spelling: &'static str,
    /// What the flag sets.
    pub help: &'static str,
    /// What it is when it is not named, where that is not a value.
    pub default: &'static str,
    /// What the help ends with.
    pub note: &'static str,
    /// Whether the flag has no value and means `off`: `--no-sample`.
    pub is_flag_of_off: bool,
    /// The heading of its column, where that is shorter than the key.
    pub column: &'static str,
    /// What stands before its value in a case's name; empty where every name has it.
    pub id: &'static str,
    /// What stands before its value in a sentence; `{}` is the value where it does not stand at the end.
    pub phrase: &'static str,
    /// Whether the value is said once for all cells that have it in common.
    pub said: Said,
    /// The place in the order of a run's cells: the axis with the largest number changes from one cell to the next.
    pub nesting: u8,
}

/// When an axis is said once for all cells.
#[derive(Debug, Clone, Copy)]
pub enum Said {
    /// It is always a column.
    Never,
    /// Whatever its value is.
    Always,
    /// Where its value does not go without saying.
    Unusual,
    /// Where it matters.
    If(fn(&Case) -> bool),
}

const WORDS: Words = Words {
    field: "",
    key: "",
    aliases: &[],
    description: "",
    is_of_load: false,
    is_in_every_record: true,
    short: None,
    spelling: "",
    help: "",
    default: "",
    note: "",
    is_flag_of_off: false,
    column: "",
    id: "",
    phrase: "",
    said: Said::Always,
    nesting: 0,
};

/// One axis of a case.
#[derive(Clone, Copy)]
pub struct Axis {
    /// What it is called.
    pub words: &'static Words,
    field: &'static (dyn AnyField + Sync),
}

/// The fields of one axis.
struct Field<T: 'static> {
    of: fn(&Case) -> &T,
    of_mut: fn(&mut Case) -> &mut T,
    asked: fn(&Axes) -> &Option<Vec<T>>,
    asked_mut: fn(&mut Axes) -> &mut Option<Vec<T>>,
    usual: fn() -> T,
}

/// [`Field`] without its type.
trait AnyField {
    fn takes(&self) -> &'static str;
    fn is_switch(&self) -> bool;
    fn is_list(&self) -> bool;
    fn usual(&self) -> String;
    fn schema(&self) -> Value;
    fn value(&self, case: &Case) -> String;
    fn json(&self, case: &Case) -> Value;
    fn id_part(&self, case: &Case, prefix: &str) -> Option<String>;
    fn copy(&self, to: &mut Case, from: &Case);
    fn read(&self, key: &str, texts: &[String], into: &mut Axes) -> Result<(), PlanError>;
    fn typed(&self, text: &str) -> Result<String, String>;
    fn n_asked(&self, axes: &Axes) -> Option<usize>;
    fn take(&self, to: &mut Axes, from: &mut Axes);
    fn allows(&self, axes: &Axes, case: &Case) -> bool;
    fn multiplied(&self, axes: &Axes, cases: Vec<Case>) -> Vec<Case>;
}

impl<T: AxisValue> AnyField for Field<T> {
    fn takes(&self) -> &'static str {
        T::TAKES
    }

    fn is_switch(&self) -> bool {
        T::IS_SWITCH
    }

    fn is_list(&self) -> bool {
        T::IS_LIST
    }

    fn usual(&self) -> String {
        (self.usual)().shown()
    }

    fn schema(&self) -> Value {
        T::schema()
    }

    fn value(&self, case: &Case) -> String {
        (self.of)(case).shown()
    }

    fn json(&self, case: &Case) -> Value {
        serde_json::to_value((self.of)(case)).expect("a number, a word or a switch")
    }

    fn id_part(&self, case: &Case, prefix: &str) -> Option<String> {
        let value = (self.of)(case);
        (*value != (self.usual)()).then(|| value.in_name(prefix))
    }

    fn copy(&self, to: &mut Case, from: &Case) {
        (self.of_mut)(to).clone_from((self.of)(from));
    }

    fn read(&self, key: &str, texts: &[String], into: &mut Axes) -> Result<(), PlanError> {
        *(self.asked_mut)(into) = Some(T::read(key, texts)?);
        Ok(())
    }

    fn typed(&self, text: &str) -> Result<String, String> {
        let values = T::read("", &[text.to_owned()]).map_err(|e| e.to_string())?;
        match values.as_slice() {
            [one] => Ok(one.shown()),
            _ => Err(format!("'{text}' is not one value")),
        }
    }

    fn n_asked(&self, axes: &Axes) -> Option<usize> {
        (self.asked)(axes).as_ref().map(Vec::len)
    }

    fn take(&self, to: &mut Axes, from: &mut Axes) {
        if let Some(values) = (self.asked_mut)(from).take() {
            *(self.asked_mut)(to) = Some(values);
        }
    }

    fn allows(&self, axes: &Axes, case: &Case) -> bool {
        let asked = (self.asked)(axes).as_ref();
        asked.is_none_or(|values| values.contains((self.of)(case)))
    }

    fn multiplied(&self, axes: &Axes, cases: Vec<Case>) -> Vec<Case> {
        let Some(values) = (self.asked)(axes) else {
            return cases;
        };
        let with = |case: Case| {
            values.iter().map(move |value| {
                let mut case = case.clone();
                (self.of_mut)(&mut case).clone_from(value);
                case
            })
        };
        cases.into_iter().flat_map(with).collect()
    }
}

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

        /// The axes as asked for; `None` is an axis nobody named.
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        pub struct Axes {
            /// What `--model` was given; [`crate::model`] resolves it.
            pub model: Option<Vec<String>>,
            $($(#[doc = $doc])+ pub $field: Option<Vec<$type>>,)*
        }

        /// Every axis but the model, in the order of columns.
        pub static AXES: &[Axis] = &[$(Axis {
            words: &Words {
                field: stringify!($field),
                key: $key,
                aliases: &[$($alias),*],
                description: concat!($($doc),+),
                is_of_load: matches!(stringify!($scope).as_bytes(), b"load"),
                is_in_every_record: !matches!(concat!($(stringify!($serde),)? "").as_bytes(), [_, ..]),
                $($words)*
                ..WORDS
            },
            field: &Field::<$type> {
                of: |case| &case.$field,
                of_mut: |case| &mut case.$field,
                asked: |axes| &axes.$field,
                asked_mut: |axes| &mut axes.$field,
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

/// The model, which is an axis too: its values come from [`crate::model`].
pub static MODEL: Axis = Axis {
    words: &Words {
        field: "model",
        key: "model",
        aliases: &["models"],
        description: "Name of the model",
        short: Some('m'),
        help: "GGUF file, folder (without its subfolders), glob ('models/**/*.gguf'), name in gguf/models.toml, \
               synth:PRESET:TYPE or ollama:NAME; repeatable",
        ..WORDS
    },
    field: &Field::<String> {
        of: |case| &case.model,
        of_mut: |case| &mut case.model,
        asked: |axes| &axes.model,
        asked_mut: |axes| &mut axes.model,
        usual: String::new,
    },
};

impl Axis {
    /// Every axis, the model first.
    pub fn all() -> impl Iterator<Item = Axis> {
        std::iter::once(MODEL).chain(AXES.iter().copied())
    }

    /// The axis that is named so: by its key or another, by its column, or by llama.cpp's short flag.
    pub fn named(name: &str) -> Option<Axis> {
        let name = name.trim().trim_start_matches('-').replace('-', "_");
        let is_named = |axis: &Axis| {
            let w = axis.words;
            let names = [w.key, w.field, w.column, w.spelling.trim_start_matches('-')];
            names.contains(&name.as_str()) || w.aliases.contains(&name.as_str())
        };
        Axis::all().find(is_named).filter(|_| !name.is_empty())
    }

    /// Its name: the key.
    pub fn name(&self) -> &'static str {
        self.words.key
    }

    /// Its flag.
    pub fn flag(&self) -> String {
        let no = if self.words.is_flag_of_off { "no-" } else { "" };
        format!("{no}{}", self.words.key.replace('_', "-"))
    }

    /// What the flag's help says.
    pub fn help(&self) -> String {
        let Words { help, note, .. } = self.words;
        let usual = match self.words.default {
            "" => self.field.usual(),
            said => said.to_owned(),
        };
        let again = if self.field.is_list() {
            "; given again, it is the axis' next value"
        } else {
            ""
        };
        match self.words.is_flag_of_off || usual.is_empty() {
            true => format!("{help}{note}"),
            false => format!("{help} [default: {usual}]{note}{again}"),
        }
    }

    /// What the flag takes, for its help.
    pub fn takes(&self) -> &'static str {
        self.field.takes()
    }

    /// Whether its values are on and off.
    pub fn is_switch(&self) -> bool {
        self.field.is_switch()
    }

    /// The heading of its column.
    pub fn heading(&self) -> &'static str {
        match self.words.column {
            "" => self.words.key,
            shorter => shorter,
        }
    }

    /// The form of its values in JSON.
    pub fn schema(&self) -> Value {
        let mut schema = self.field.schema();
        schema["description"] = self.words.description.trim().into();
        schema
    }

    /// A case's value as it is typed and printed.
    pub fn value(&self, case: &Case) -> String {
        self.field.value(case)
    }

    /// A case's value in JSON.
    pub fn json(&self, case: &Case) -> Value {
        self.field.json(case)
    }

    /// Its part of a case's name; none where the value goes without saying, and where every name has it.
    pub fn id_part(&self, case: &Case) -> Option<String> {
        match self.words.id {
            "" => None,
            prefix => self.field.id_part(case, prefix),
        }
    }

    /// A case's value as a part of a name, such as `t2` or `fa-on`, whatever the value is.
    pub fn label(&self, case: &Case) -> String {
        let value = self.value(case).replace(',', "+");
        let w = self.words;
        if w.field == MODEL.words.field {
            return value;
        }
        let prefix = match (w.id, w.short) {
            ("", Some(letter)) => letter.to_string(),
            ("", None) => w.key.to_owned(),
            (id, _) => id.to_owned(),
        };
        match value.starts_with(|c: char| c.is_ascii_digit()) {
            true => format!("{prefix}{value}"),
            false => format!("{prefix}-{value}"),
        }
    }

    /// A value that all cells have in common, in words; none where it need not be said.
    pub fn phrase(&self, case: &Case) -> Option<String> {
        let is_said = match self.words.said {
            Said::Never => false,
            Said::Always => true,
            Said::Unusual => self.field.id_part(case, "").is_some(),
            Said::If(matters) => matters(case),
        };
        let (phrase, value) = (self.words.phrase, self.value(case));
        is_said.then(|| match phrase.contains("{}") {
            true => phrase.replace("{}", &value),
            false => format!("{phrase} {value}"),
        })
    }

    /// Makes a case's value another case's.
    pub fn copy(&self, to: &mut Case, from: &Case) {
        self.field.copy(to, from);
    }

    /// Makes the values that some texts stand for those asked for; `key` names it in messages.
    ///
    /// # Errors
    /// [`PlanError::Axis`] with what is wrong, and what would be right.
    pub fn read(&self, key: &str, texts: &[String], into: &mut Axes) -> Result<(), PlanError> {
        self.field.read(key, texts, into)
    }

    /// One value as it is printed, from what was typed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn typed(&self, text: &str) -> Result<String, String> {
        self.field.typed(text)
    }

    /// Whether a case has one of the values asked for, or any where none was.
    pub fn allows(&self, axes: &Axes, case: &Case) -> bool {
        self.field.allows(axes, case)
    }

    /// Cases with each of the values asked for, in place of each case.
    pub fn multiplied(&self, axes: &Axes, cases: Vec<Case>) -> Vec<Case> {
        self.field.multiplied(axes, cases)
    }

    /// The values of some cases, each once, in their order.
    pub fn values<'a>(&self, cases: impl IntoIterator<Item = &'a Case>) -> Vec<String> {
        let mut values = Vec::new();
        for value in cases.into_iter().map(|case| self.value(case)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// Whether some cases differ in it.
    pub fn varies<'a>(&self, cases: impl IntoIterator<Item = &'a Case>) -> bool {
        let mut values = cases.into_iter().map(|case| self.value(case));
        let first = values.next();
        values.any(|value| Some(&value) != first.as_ref())
    }

    /// The axes in which some cases differ.
    pub fn varying<'a>(cases: impl IntoIterator<Item = &'a Case> + Clone) -> Vec<Axis> {
        Axis::all()
            .filter(|axis| axis.varies(cases.clone()))
            .collect()
    }
}

impl Axes {
    /// How many combinations of values the axes have, models aside.
    pub fn combinations(&self) -> usize {
        AXES.iter()
            .filter_map(|axis| axis.field.n_asked(self))
            .fold(1, usize::saturating_mul)
    }

    /// These axes, each taken from `over` where it names one: flags over a sweep file.
    #[must_use]
    pub fn overridden_by(mut self, mut over: Axes) -> Axes {
        Axis::all().for_each(|axis| axis.field.take(&mut self, &mut over));
        self
    }
}

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Axis {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_axes_share_a_name_or_a_place() {
        let mut names = Vec::new();
        let mut places = Vec::new();
        for axis in AXES {
            let w = axis.words;
            let mut own = vec![
                w.key,
                w.field,
                w.column,
                w.id,
                w.spelling.trim_start_matches('-'),
            ];
            own.extend(w.aliases);
            own.retain(|name| !name.is_empty());
            own.sort_unstable();
            own.dedup();
            names.extend(own);
            places.push(w.nesting);
            assert_eq!(axis.words.phrase.is_empty(), matches!(w.said, Said::Never));
        }
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), AXES.len());
    }

    #[test]
    fn an_axis_has_several_names() {
        for (name, key) in [
            ("--n-threads", "threads"),
            ("fa", "flash_attn"),
            ("depth", "n_depth"),
            ("-ngl", "n_gpu_layers"),
            ("model", "model"),
        ] {
            assert_eq!(Axis::named(name).expect(name).name(), key);
        }
        assert!(Axis::named("").is_none() && Axis::named("speed").is_none());
    }
}
