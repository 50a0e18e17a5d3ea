//! The files of a model: one, or the parts of a split one, each checked to be what its name and header say.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::gguf::{Gguf, TensorInfo};
use super::names::{later_parts, part_number};
use super::stamp::FileStamp;

/// Alignment of tensors where the header names none (`GGUF_DEFAULT_ALIGNMENT`).
const ALIGNMENT: u64 = 32;

/// Zeros after the last tensor that are looked through for something else.
const MOST_PADDING_BYTES: u64 = 64 << 20;

/// Bytes after the last tensor in which another file's beginning is looked for.
const BEGINNING_BYTES: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its name; it lies in the folder of the model's first file.
    pub file: String,
    /// Lower-case hex; `None` until [`ModelFacts::hash`](super::ModelFacts::hash) was called.
    pub sha256: Option<String>,
    /// What the system said of it before its header was read.
    #[serde(flatten)]
    pub stamp: FileStamp,
    /// Zeros at its end, beyond what the last tensor's alignment needs: nobody reads them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unused_bytes: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl ModelFile {
    /// Where it is; `first` is the model's first file.
    #[must_use]
    pub fn path(&self, first: &Path) -> PathBuf {
        first.with_file_name(&self.file)
    }
}

/// The headers of a model's files.
pub(super) struct Headers {
    /// Of the first file, which has the metadata.
    pub first: Gguf,
    /// Tensors of all files, in their order.
    pub tensors: Vec<TensorInfo>,
    pub files: Vec<ModelFile>,
}

impl Headers {
    /// Reads the header of `path`, and those of the other parts where it is the first of several.
    ///
    /// # Errors
    /// See [`ModelError`]: the file that is wrong is named.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let (first, tensors, file) = open(path)?;
        let mut headers = Self {
            first,
            tensors,
            files: vec![file],
        };
        let n_parts = headers.first.uint("split.count").unwrap_or(1).max(1);
        if n_parts > 1 {
            let part = headers.first.uint("split.no").unwrap_or(0) + 1;
            check_first(path, part, n_parts)?;
            headers.read_later(path, n_parts)?;
        }
        Ok(headers)
    }

    fn read_later(&mut self, first: &Path, n_parts: u64) -> Result<(), ModelError> {
        let n_tensors = self.first.uint("split.tensors.count");
        let mut names: HashSet<String> = self.tensors.iter().map(|t| t.name.clone()).collect();
        for (number, path) in (2..).zip(later_parts(first, n_parts)?) {
            let (header, tensors, file) = open(&path)?;
            let said = PartHeader::of(&header);
            let wanted = PartHeader {
                part: Some(number),
                n_parts: Some(n_parts),
                n_tensors,
            };
            if !said.agrees_with(&wanted) {
                let detail = said.unlike(&wanted);
                return Err(ModelError::WrongPart { path, detail });
            }
            if let Some(twice) = tensors.iter().find(|t| !names.insert(t.name.clone())) {
                let detail = format!("an earlier part has its tensor {} too", twice.name);
                return Err(ModelError::WrongPart { path, detail });
            }
            self.tensors.extend(tensors);
            self.files.push(file);
        }
        match n_tensors {
            Some(all) if all != self.tensors.len() as u64 => Err(ModelError::Malformed {
                path: first.to_owned(),
                detail: format!(
                    "the {n_parts} parts have {} tensors, their headers say {all}: a part is of another model",
                    self.tensors.len()
                ),
            }),
            _ => Ok(()),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.stamp.bytes).sum()
    }
}

/// What a part's header says of its place.
struct PartHeader {
    /// From 1.
    part: Option<u64>,
    n_parts: Option<u64>,
    n_tensors: Option<u64>,
}

impl PartHeader {
    fn of(header: &Gguf) -> Self {
        Self {
            part: header.uint("split.no").map(|n| n.saturating_add(1)),
            n_parts: header.uint("split.count"),
            n_tensors: header.uint("split.tensors.count"),
        }
    }

    /// Whether it is that part; a header without the number of tensors may be of any model.
    fn agrees_with(&self, wanted: &Self) -> bool {
        let of_other_model = self
            .n_tensors
            .zip(wanted.n_tensors)
            .is_some_and(|(a, b)| a != b);
        (self.part, self.n_parts) == (wanted.part, wanted.n_parts) && !of_other_model
    }

    fn unlike(&self, wanted: &Self) -> String {
        let Self {
            part,
            n_parts,
            n_tensors,
        } = self;
        let text = |n: &Option<u64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
        match (part, n_parts) {
            (Some(part), Some(n)) if (self.part, self.n_parts) != (wanted.part, wanted.n_parts) => {
                format!("its header says part {part} of {n}")
            }
            (Some(_), Some(_)) => format!(
                "it is of a model with {} tensors, the first part says {}",
                text(n_tensors),
                text(&wanted.n_tensors)
            ),
            _ => "it is no part of a split model".to_owned(),
        }
    }
}

/// The first part must be the first one by its header; a later one is named as that, unless its name says otherwise.
fn check_first(path: &Path, part: u64, n_parts: u64) -> Result<(), ModelError> {
    let path = path.to_owned();
    match (part, part_number(&path)) {
        (1, _) => Ok(()),
        (_, Some(1)) => Err(ModelError::WrongPart {
            path,
            detail: format!("its header says part {part} of {n_parts}"),
        }),
        _ => Err(ModelError::LaterPart { path, part }),
    }
}

/// A file's header, and its stamp from before that was read.
fn open(path: &Path) -> Result<(Gguf, Vec<TensorInfo>, ModelFile), ModelError> {
    let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(ModelError::NotUtf8 {
            path: path.to_owned(),
        });
    };
    let stamp = FileStamp::of(path)?;
    let header = Gguf::open(path)?;
    let tensors = header.tensors();
    let unused_bytes = check_end(path, &header, &tensors, stamp.bytes)?;
    let file = ModelFile {
        file: file.to_owned(),
        sha256: None,
        stamp,
        unused_bytes,
    };
    Ok((header, tensors, file))
}

/// Checks that the file holds all that the tensor table promises, and nothing more but zeros, which are counted. The last
/// tensor's padding may be missing.
fn check_end(
    path: &Path,
    header: &Gguf,
    tensors: &[TensorInfo],
    bytes: u64,
) -> Result<u64, ModelError> {
    let data = header.data_offset_bytes();
    let ends = tensors.iter().try_fold(0_u64, |end, t| {
        Some(end.max(t.offset_bytes.checked_add(t.bytes)?))
    });
    let Some(end) = ends.and_then(|end| end.checked_add(data)) else {
        return Err(ModelError::Malformed {
            path: path.to_owned(),
            detail: "tensor offsets overflow".to_owned(),
        });
    };
    if !tensors.is_empty() && end > bytes {
        return Err(ModelError::Truncated {
            path: path.to_owned(),
            detail: format!("the tensors need {end} bytes, the file has {bytes}"),
        });
    }
    let alignment = header.uint("general.alignment").unwrap_or(ALIGNMENT);
    let padded = end
        .checked_next_multiple_of(alignment.max(1))
        .unwrap_or(end);
    let unused = bytes.saturating_sub(padded);
    if unused > 0 {
        check_tail(path, end, padded, bytes)?;
    }
    Ok(unused)
}

/// Names what stands between `end`, where the last tensor ends, and the file's end, unless that is zeros from `padded` on.
fn check_tail(path: &Path, end: u64, padded: u64, bytes: u64) -> Result<(), ModelError> {
    let tail = Tail::read(path, end, padded).map_err(|source| ModelError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let path = path.to_owned();
    match tail {
        Tail::Zeros => Ok(()),
        Tail::Header { at } => Err(ModelError::Joined { path, at }),
        Tail::Other => Err(ModelError::BytesAfterTensors {
            path,
            bytes: bytes - padded,
            end,
        }),
    }
}

/// What stands after the last tensor.
enum Tail {
    Zeros,
    /// Another GGUF file begins there.
    Header {
        at: u64,
    },
    Other,
}

impl Tail {
    fn read(path: &Path, end: u64, padded: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(end))?;
        let mut beginning = Vec::new();
        file.by_ref()
            .take(BEGINNING_BYTES)
            .read_to_end(&mut beginning)?;
        if let Some(at) = beginning.windows(8).position(is_header) {
            let at = end + at as u64;
            return Ok(Self::Header { at });
        }
        file.seek(SeekFrom::Start(padded))?;
        let zeros = only_zeros(&mut file.by_ref().take(MOST_PADDING_BYTES))?;
        let is_whole = file.read(&mut [0])? == 0;
        Ok(if zeros && is_whole {
            Self::Zeros
        } else {
            Self::Other
        })
    }
}

/// The magic, and one of the versions there have been.
fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GGUF") && matches!(bytes[4..], [1..=3, 0, 0, 0])
}

fn only_zeros(from: &mut dyn Read) -> io::Result<bool> {
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(true);
        }
        if buffer[..n].iter().any(|b| *b != 0) {
            return Ok(false);
        }
    }
}
