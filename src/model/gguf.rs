//! The engine's GGUF context, made safe: a value of the wrong type is `None`, not an abort.

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::stamp::absent;
use super::{LogCapture, ModelError};

/// One tensor as the table lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub name: String,
    pub ty: sys::ggml_type,
    /// Elements in each of four dimensions, the row width first.
    pub ne: [u64; 4],
    /// From the start of the data section.
    pub offset_bytes: u64,
    pub bytes: u64,
}

impl TensorInfo {
    pub fn elements(&self) -> u64 {
        self.ne.iter().product()
    }
}

/// Owns a `gguf_context`: metadata and tensor table, never tensor data.
pub(crate) struct Gguf(NonNull<sys::gguf_context>);

impl Drop for Gguf {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the engine, is owned by us alone and freed once.
        unsafe { sys::gguf_free(self.0.as_ptr()) }
    }
}

impl Gguf {
    /// An empty context to be filled by the generator.
    pub fn empty() -> Self {
        // SAFETY: no arguments; allocates with C++ `new`, which never returns null.
        let ptr = unsafe { sys::gguf_init_empty() };
        Self(NonNull::new(ptr).expect("operator new does not return null"))
    }

    pub fn open(path: &Path) -> Result<Self, ModelError> {
        check_regular_file(path)?;
        let c_path = c_path(path)?;
        let params = sys::gguf_init_params {
            no_alloc: true,
            ctx: std::ptr::null_mut(),
        };
        let capture = LogCapture::ggml();
        // SAFETY: the path is NUL-terminated and lives for the call; with a null `ctx` the reader
        // touches nothing but the file.
        let ptr = unsafe { sys::gguf_init_from_file(c_path.as_ptr(), params) };
        let log = capture.finish();
        NonNull::new(ptr)
            .map(Self)
            .ok_or_else(|| refusal(path, &log))
    }

    pub fn as_ptr(&self) -> *mut sys::gguf_context {
        self.0.as_ptr()
    }

    fn find(&self, key: &str) -> Option<i64> {
        let key = CString::new(key).ok()?;
        // SAFETY: valid context and NUL-terminated key.
        let id = unsafe { sys::gguf_find_key(self.as_ptr(), key.as_ptr()) };
        (id >= 0).then_some(id)
    }

    fn kind(&self, id: i64) -> sys::gguf_type {
        // SAFETY: `id` came from `find`, so it is in range.
        unsafe { sys::gguf_get_kv_type(self.as_ptr(), id) }
    }

    /// A scalar integer of any width; `None` when missing, negative or of another type.
    pub fn uint(&self, key: &str) -> Option<u64> {
        let id = self.find(key)?;
        let ctx = self.as_ptr();
        // SAFETY: each getter aborts unless the stored type is its own, which the match ensures.
        unsafe {
            match self.kind(id) {
                sys::GGUF_TYPE_UINT8 => Some(u64::from(sys::gguf_get_val_u8(ctx, id))),
                sys::GGUF_TYPE_UINT16 => Some(u64::from(sys::gguf_get_val_u16(ctx, id))),
                sys::GGUF_TYPE_UINT32 => Some(u64::from(sys::gguf_get_val_u32(ctx, id))),
                sys::GGUF_TYPE_UINT64 => Some(sys::gguf_get_val_u64(ctx, id)),
                sys::GGUF_TYPE_INT8 => u64::try_from(sys::gguf_get_val_i8(ctx, id)).ok(),
                sys::GGUF_TYPE_INT16 => u64::try_from(sys::gguf_get_val_i16(ctx, id)).ok(),
                sys::GGUF_TYPE_INT32 => u64::try_from(sys::gguf_get_val_i32(ctx, id)).ok(),
                sys::GGUF_TYPE_INT64 => u64::try_from(sys::gguf_get_val_i64(ctx, id)).ok(),
                sys::GGUF_TYPE_BOOL => Some(u64::from(sys::gguf_get_val_bool(ctx, id))),
                _ => None,
            }
        }
    }

    /// An array of integers or booleans, or a scalar as an array of one.
    pub fn uints(&self, key: &str) -> Option<Vec<u64>> {
        let id = self.find(key)?;
        if self.kind(id) != sys::GGUF_TYPE_ARRAY {
            return self.uint(key).map(|value| vec![value]);
        }
        // SAFETY: the entry is an array.
        let (kind, n) = unsafe {
            (
                sys::gguf_get_arr_type(self.as_ptr(), id),
                sys::gguf_get_arr_n(self.as_ptr(), id),
            )
        };
        let width = match kind {
            sys::GGUF_TYPE_UINT8 | sys::GGUF_TYPE_INT8 | sys::GGUF_TYPE_BOOL => 1,
            sys::GGUF_TYPE_UINT16 | sys::GGUF_TYPE_INT16 => 2,
            sys::GGUF_TYPE_UINT32 | sys::GGUF_TYPE_INT32 => 4,
            sys::GGUF_TYPE_UINT64 | sys::GGUF_TYPE_INT64 => 8,
            _ => return None,
        };
        if n == 0 {
            return Some(Vec::new());
        }
        // SAFETY: an array of fixed-width values holds `n * width` contiguous bytes, which live as
        // long as the context; no alignment is assumed.
        let bytes = unsafe {
            let data = sys::gguf_get_arr_data(self.as_ptr(), id).cast::<u8>();
            std::slice::from_raw_parts(data, n * width)
        };
        let signed = matches!(
            kind,
            sys::GGUF_TYPE_INT8
                | sys::GGUF_TYPE_INT16
                | sys::GGUF_TYPE_INT32
                | sys::GGUF_TYPE_INT64
        );
        bytes
            .chunks_exact(width)
            .map(|raw| integer(raw, signed))
            .collect()
    }

    /// A string, with invalid UTF-8 replaced.
    pub fn string(&self, key: &str) -> Option<String> {
        let id = self.find(key)?;
        if self.kind(id) != sys::GGUF_TYPE_STRING {
            return None;
        }
        // SAFETY: the entry is a string; the pointer lives as long as the context.
        Some(unsafe { lossy(sys::gguf_get_val_str(self.as_ptr(), id)) })
    }

    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The first string of an array of strings, with invalid UTF-8 replaced.
    pub fn first_string(&self, key: &str) -> Option<String> {
        let id = self.find(key)?;
        let ctx = self.as_ptr();
        // SAFETY: the second question is only asked of an array, the third only of strings, of which there is one; the
        // pointer lives as long as the context.
        unsafe {
            let is_strings = self.kind(id) == sys::GGUF_TYPE_ARRAY
                && sys::gguf_get_arr_type(ctx, id) == sys::GGUF_TYPE_STRING
                && sys::gguf_get_arr_n(ctx, id) > 0;
            is_strings.then(|| lossy(sys::gguf_get_arr_str(ctx, id, 0)))
        }
    }

    /// Length of an array of any kind.
    pub fn array_len(&self, key: &str) -> Option<u64> {
        let id = self.find(key)?;
        // SAFETY: only asked of an array.
        (self.kind(id) == sys::GGUF_TYPE_ARRAY)
            .then(|| unsafe { sys::gguf_get_arr_n(self.as_ptr(), id) } as u64)
    }

    /// Where the data section starts in the file (zero for a context made in memory).
    pub fn data_offset_bytes(&self) -> u64 {
        // SAFETY: valid context.
        unsafe { sys::gguf_get_data_offset(self.as_ptr()) as u64 }
    }

    pub fn tensors(&self) -> Vec<TensorInfo> {
        let ctx = self.as_ptr();
        // SAFETY: every index is below the count, and the name and the four dimensions live as
        // long as the context.
        unsafe {
            (0..sys::gguf_get_n_tensors(ctx))
                .map(|id| {
                    let ne = std::slice::from_raw_parts(sys::gguf_get_tensor_ne(ctx, id), 4);
                    TensorInfo {
                        name: lossy(sys::gguf_get_tensor_name(ctx, id)),
                        ty: sys::gguf_get_tensor_type(ctx, id),
                        ne: std::array::from_fn(|i| ne[i].max(0) as u64),
                        offset_bytes: sys::gguf_get_tensor_offset(ctx, id) as u64,
                        bytes: sys::gguf_get_tensor_size(ctx, id) as u64,
                    }
                })
                .collect()
        }
    }

    /// The header as it stands in a file, padded to where the data section starts.
    pub fn header_bytes(&self) -> Vec<u8> {
        // SAFETY: the buffer has exactly the size that the engine says it will write.
        unsafe {
            let mut bytes = vec![0_u8; sys::gguf_get_meta_size(self.as_ptr())];
            sys::gguf_get_meta_data(self.as_ptr(), bytes.as_mut_ptr().cast());
            bytes
        }
    }
}

/// ggml's name of a tensor type, upper-case as file types are written (`Q4_K`, `F32`).
pub(crate) fn tensor_type_name(ty: sys::ggml_type) -> String {
    // SAFETY: types come from the reader (which checks the range) or from constants; the name is
    // a string constant.
    unsafe { lossy(sys::ggml_type_name(ty)) }.to_ascii_uppercase()
}

/// The tensor type of this name, in any case; types that the engine no longer has are none.
pub(crate) fn tensor_type_of(name: &str) -> Option<sys::ggml_type> {
    let upper = name.to_ascii_uppercase();
    (0..sys::GGML_TYPE_COUNT).find(|&ty| block_elements(ty) > 0 && tensor_type_name(ty) == upper)
}

/// Elements that are quantised together.
pub(crate) fn block_elements(ty: sys::ggml_type) -> u64 {
    // SAFETY: a table look-up by a valid type.
    unsafe { sys::ggml_blck_size(ty) }.max(0) as u64
}

pub(crate) fn block_bytes(ty: sys::ggml_type) -> u64 {
    // SAFETY: a table look-up by a valid type.
    unsafe { sys::ggml_type_size(ty) as u64 }
}

/// A path as the engine's C functions take it: bytes on Unix, UTF-8 on Windows.
pub(crate) fn c_path(path: &Path) -> Result<CString, ModelError> {
    #[cfg(unix)]
    let bytes = {
        use std::os::unix::ffi::OsStrExt;
        Some(path.as_os_str().as_bytes())
    };
    #[cfg(not(unix))]
    let bytes = path.to_str().map(str::as_bytes);
    bytes
        .and_then(|bytes| CString::new(bytes).ok())
        .ok_or_else(|| ModelError::Unreadable {
            path: path.to_owned(),
            source: io::Error::new(
                io::ErrorKind::InvalidInput,
                "the engine cannot take this path",
            ),
        })
}

/// One value in the machine's byte order; `None` when negative. Widths are 1, 2, 4 and 8.
fn integer(raw: &[u8], signed: bool) -> Option<u64> {
    macro_rules! read {
        ($unsigned:ty, $signed:ty) => {{
            let raw = raw.try_into().ok()?;
            if signed {
                u64::try_from(<$signed>::from_ne_bytes(raw)).ok()
            } else {
                Some(u64::from(<$unsigned>::from_ne_bytes(raw)))
            }
        }};
    }
    match raw.len() {
        1 => read!(u8, i8),
        2 => read!(u16, i16),
        4 => read!(u32, i32),
        _ => read!(u64, i64),
    }
}

/// # Safety
/// `text` is null or a NUL-terminated string that is valid for the call.
unsafe fn lossy(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

fn check_regular_file(path: &Path) -> Result<(), ModelError> {
    let meta = fs::metadata(path).map_err(|source| absent(path, source))?;
    let path = path.to_owned();
    if meta.is_dir() {
        return Err(ModelError::Folder { path });
    }
    if !meta.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(ModelError::Unreadable { path, source });
    }
    if meta.len() == 0 {
        return Err(ModelError::Empty { path });
    }
    match fs::File::open(&path) {
        Ok(_) => Ok(()),
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

/// Turns what the reader logged into one sentence.
///
/// The reader logs a specific line when the contents are wrong, then a general "failed to read
/// PART". The general line alone means that the bytes ran out.
fn refusal(path: &Path, log: &str) -> ModelError {
    let path = path.to_owned();
    let lines: Vec<&str> = log
        .lines()
        .map(|line| line.split_once(": ").map_or(line, |(_, text)| text).trim())
        .filter(|line| !line.is_empty())
        .collect();
    let first = lines
        .first()
        .copied()
        .unwrap_or("no reason given")
        .to_owned();
    if let Some(magic) = first.strip_prefix("invalid magic characters: ") {
        let begins = |with: &str| magic.starts_with(&format!("'{with}"));
        let hint = if begins("vers") {
            "; it may be a Git LFS pointer: run git lfs pull"
        } else if ["<!DO", "<!do", "<htm", "<HTM"].iter().any(|b| begins(b)) {
            "; it is a web page: download the file itself"
        } else if begins("PK") {
            "; it is an archive (zip): unpack it, or convert the model"
        } else if ["tjgg", "ggjt", "fmgg", "ggmf", "lmgg", "ggml"]
            .iter()
            .any(|b| begins(b))
        {
            "; it is of a format before GGUF: convert the original model again"
        } else {
            ""
        };
        return ModelError::NotGguf {
            path,
            detail: format!("it begins with {magic}{hint}"),
        };
    }
    if let Some(error) = unknown_type(&path, &first) {
        return error;
    }
    // "this GGUF file is version 99 but this software only supports up to version 3"
    if first.contains("only supports up to version") {
        return ModelError::NewerFormat {
            path,
            detail: first,
        };
    }
    let ran_out = first.contains("exceeds remaining")
        || (lines.len() == 1 && first.starts_with("failed to "));
    if ran_out {
        ModelError::Truncated {
            path,
            detail: first,
        }
    } else {
        ModelError::Malformed {
            path,
            detail: first,
        }
    }
}

/// Largest number that any llama.cpp or fork of it has given to a type; above it, the number itself is damaged.
const LARGEST_TYPE: u32 = 999;

/// A type that the engine has no code for, told from the reader's line. It speaks of a number outside its table
/// ("tensor 'x' has invalid ggml type 99. should be in [0, 42)"), or of a removed type, whose blocks have no elements
/// ("tensor 'x' of type 36 (NAME) has 6912 elements per row, not a multiple of block size (0)").
fn unknown_type(path: &Path, line: &str) -> Option<ModelError> {
    let (tensor, rest) = line.strip_prefix("tensor '")?.split_once("' ")?;
    let (text, detail) = if let Some(rest) = rest.strip_prefix("has invalid ggml type ") {
        let (number, range) = rest.split_once('.')?;
        (
            number,
            format!("its types are{}", range.replace(" should be in", "")),
        )
    } else {
        let (number, rest) = rest.strip_prefix("of type ")?.split_once(" (")?;
        let name = rest.strip_suffix("block size (0)")?.split_once(") has ")?.0;
        (number, format!("there the number means {name}"))
    };
    let type_number = text.trim().parse().ok().filter(|&n| n <= LARGEST_TYPE)?;
    Some(ModelError::UnknownTensorType {
        path: path.to_owned(),
        tensor: tensor.to_owned(),
        type_number,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_the_engine_lacks_is_not_called_malformed() {
        let text = |line: &str| refusal(Path::new("m.gguf"), line).to_string();
        let removed = text(
            "gguf_init_from_file_ptr: tensor 'blk.0.ffn_x.weight' of type 36 (TYPE_IQ4_NL_4_4 REMOVED) has 6912 \
             elements per row, not a multiple of block size (0)\ngguf_init_from_file_ptr: failed to read tensor info\n",
        );
        for word in ["m.gguf", "`blk.0.ffn_x.weight`", "type 36", "another build"] {
            assert!(removed.contains(word), "{word}: {removed}");
        }
        assert!(!removed.contains("malformed") && !removed.contains("block size"));
        let newer = text(
            "gguf_init: tensor 'x' has invalid ggml type 153. should be in [0, 42)\ngguf_init: failed to read tensor info",
        );
        assert!(
            newer.contains("type 153") && newer.contains("[0, 42)"),
            "{newer}"
        );
        let later = text(
            "gguf_init: this GGUF file is version 9 but this software only supports up to version 3",
        );
        assert!(
            later.contains("newer version") && !later.contains("malformed"),
            "{later}"
        );
    }

    #[test]
    fn damage_is_still_called_damage() {
        for line in [
            "f: tensor 'x' has invalid ggml type -1. should be in [0, 42)",
            "f: tensor 'x' has invalid ggml type 70000. should be in [0, 42)",
            "f: tensor 'x' of type 2 (q4_0) has 33 elements per row, not a multiple of block size (32)",
            "f: tensor '' of type",
        ] {
            let error = refusal(Path::new("m.gguf"), line);
            assert!(matches!(error, ModelError::Malformed { .. }), "{error}");
        }
    }
}
