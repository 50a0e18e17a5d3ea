//! Importance matrices: how much each column of a weight matters, measured by llama-imatrix.
//!
//! Two forms are read, both written by llama-imatrix: GGUF files, and the older `.dat` files. The values that the quantiser
//! gets are the ones that llama-quantize gives it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::path::{Path, PathBuf};

use llama_cpp_sys_2 as sys;

use super::ModelError;
use super::gguf::Gguf;

/// The matrix of a model with 400 experts in each of 60 layers takes about 2 GB.
const MOST_BYTES: u64 = 8 << 30;

/// Values are means of squared activations. The quantisers multiply and square sums of them in F32: up to here, nothing
/// overflows.
const LARGEST_VALUE: f32 = 1e15;

const DATASETS_KEY: &str = "imatrix.datasets";
const CHUNKS_KEY: &str = "imatrix.chunk_count";
const CHUNK_SIZE_KEY: &str = "imatrix.chunk_size";

/// The importance of each column, by tensor.
#[derive(Debug)]
pub struct ImportanceMatrix {
    path: PathBuf,
    /// Of what text it was made, where the file says.
    dataset: Option<String>,
    n_chunks: Option<u64>,
    /// For each tensor, one value a column; of a tensor with experts, one row of columns an expert.
    entries: BTreeMap<CString, Vec<f32>>,
}

impl ImportanceMatrix {
    /// Reads either form.
    ///
    /// # Errors
    /// [`ModelError::ImportanceMatrix`] says what is wrong with the file; those of a GGUF file where it is one.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = contents(path)?;
        let matrix = match bytes.starts_with(b"GGUF") {
            true => Self::of_gguf(path, &bytes),
            false => Self::of_dat(path, &bytes).map_err(|detail| refusal(path, detail)),
        }?;
        matrix.checked().map_err(|detail| refusal(path, detail))
    }

    fn of_gguf(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let gguf = Gguf::open(path)?;
        let wrong = |detail: String| refusal(path, detail);
        for key in [DATASETS_KEY, CHUNKS_KEY, CHUNK_SIZE_KEY] {
            if !gguf.has(key) {
                return Err(wrong(format!("its metadata has no `{key}`")));
            }
        }
        let mut sums: BTreeMap<String, [Option<Vec<f32>>; 2]> = BTreeMap::new();
        for tensor in gguf.tensors() {
            let (name, which) = match tensor.name.rsplit_once('.') {
                Some((name, "in_sum2")) => (name, 0),
                Some((name, "counts")) => (name, 1),
                _ => continue,
            };
            if tensor.ty != sys::GGML_TYPE_F32 {
                return Err(wrong(format!("`{}` is not of type F32", tensor.name)));
            }
            let start = gguf.data_offset_bytes().checked_add(tensor.offset_bytes);
            let end = start.and_then(|start| start.checked_add(tensor.bytes));
            let values = start
                .zip(end)
                .and_then(|(start, end)| bytes.get(index(start)?..index(end)?))
                .ok_or_else(|| wrong(format!("the file ends within `{}`", tensor.name)))?;
            sums.entry(name.to_owned()).or_default()[which] = Some(floats(values));
        }
        let mut entries = BTreeMap::new();
        for (name, pair) in sums {
            let [Some(sums), Some(counts)] = pair else {
                return Err(wrong(format!("`{name}` has no sums or no counts")));
            };
            let means = means(sums, &counts).map_err(|why| wrong(format!("`{name}` {why}")))?;
            entries.insert(entry_name(name.as_bytes()).map_err(wrong)?, means);
        }
        Ok(Self {
            path: path.to_owned(),
            dataset: gguf.first_string(DATASETS_KEY),
            n_chunks: gguf.uint(CHUNKS_KEY),
            entries,
        })
    }

    /// The older form, in the byte order of the machine: a count of entries, then for each the length of its name, the name,
    /// a count of calls, a count of values and the values; optionally the number of chunks and the name of the text.
    fn of_dat(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let mut rest = Bytes(bytes);
        let n_entries = rest.count("the number of entries")?;
        let mut entries = BTreeMap::new();
        for number in 1..=n_entries {
            let length = rest.count(&format!("the length of name {number}"))?;
            let name = entry_name(rest.take(length, &format!("name {number}"))?)?;
            let shown = name.to_string_lossy().into_owned();
            let n_calls = rest.int(&format!("the calls of `{shown}`"))?;
            let n_values = rest.count(&format!("the number of values of `{shown}`"))?;
            let n_bytes = n_values
                .checked_mul(4)
                .ok_or("it has too large a number of values")?;
            let mut values = floats(rest.take(n_bytes, &format!("the values of `{shown}`"))?);
            if n_calls > 0 {
                values.iter_mut().for_each(|v| *v /= n_calls as f32);
            }
            entries.insert(name, values);
        }
        let n_chunks = rest.int("").ok().and_then(|n| u64::try_from(n).ok());
        let dataset = rest
            .count("")
            .and_then(|length| rest.take(length, ""))
            .ok()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(Self {
            path: path.to_owned(),
            dataset,
            n_chunks,
            entries,
        })
    }

    fn checked(self) -> Result<Self, String> {
        if self.entries.is_empty() {
            return Err("it has no entries".to_owned());
        }
        for (name, values) in &self.entries {
            let is_mean = |v: &f32| (0.0..=LARGEST_VALUE).contains(v);
            if let Some(wrong) = values.iter().find(|v| !is_mean(v)) {
                let name = name.to_string_lossy();
                return Err(format!(
                    "`{name}` has the value {wrong}, which no mean of squares is"
                ));
            }
        }
        Ok(self)
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dataset(&self) -> Option<&str> {
        self.dataset.as_deref()
    }

    pub(super) fn n_chunks(&self) -> Option<u64> {
        self.n_chunks
    }

    pub(super) fn n_entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has(&self, tensor: &str) -> bool {
        CString::new(tensor).is_ok_and(|name| self.entries.contains_key(&name))
    }

    /// The table as the engine takes it, which ends with an entry without a name. It points into this matrix.
    pub(super) fn table(&self) -> Vec<sys::llama_model_imatrix_data> {
        let row = |(name, values): (&CString, &Vec<f32>)| sys::llama_model_imatrix_data {
            name: name.as_ptr(),
            data: values.as_ptr(),
            size: values.len(),
        };
        let end = sys::llama_model_imatrix_data {
            name: std::ptr::null(),
            data: std::ptr::null(),
            size: 0,
        };
        self.entries.iter().map(row).chain([end]).collect()
    }
}

/// Sums become means, each expert with its own count. An expert that no token chose has columns that count alike.
fn means(mut sums: Vec<f32>, counts: &[f32]) -> Result<Vec<f32>, String> {
    if counts.is_empty() || sums.is_empty() || !sums.len().is_multiple_of(counts.len()) {
        let (sums, counts) = (sums.len(), counts.len());
        return Err(format!("has {sums} sums and {counts} counts"));
    }
    if let Some(wrong) = counts.iter().find(|n| !n.is_finite() || **n < 0.0) {
        return Err(format!("has the count {wrong}"));
    }
    let n_columns = sums.len() / counts.len();
    for (row, count) in sums.chunks_exact_mut(n_columns).zip(counts) {
        let count = count.round();
        match count > 0.0 {
            true => row.iter_mut().for_each(|sum| *sum /= count),
            false => row.fill(1.0),
        }
    }
    Ok(sums)
}

fn contents(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let meta = fs::metadata(path).map_err(|source| super::stamp::absent(path, source))?;
    let wrong = |detail: &str| Err(refusal(path, detail.to_owned()));
    if !meta.is_file() {
        return wrong("it is no regular file");
    }
    if meta.len() > MOST_BYTES {
        return wrong("it is larger than any importance matrix");
    }
    fs::read(path).map_err(unreadable)
}

fn refusal(path: &Path, detail: String) -> ModelError {
    ModelError::ImportanceMatrix {
        path: path.to_owned(),
        detail,
    }
}

fn entry_name(bytes: &[u8]) -> Result<CString, String> {
    let name = CString::new(bytes).map_err(|_| "a tensor's name has a NUL byte".to_owned())?;
    // Longer names than a tensor can have (GGML_MAX_NAME), and what is no name at all.
    let is_name = |name: &CStr| (1..64).contains(&name.count_bytes()) && name.to_str().is_ok();
    match is_name(&name) {
        true => Ok(name),
        false => Err("a name in it is no tensor's".to_owned()),
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let value = |raw: &[u8]| f32::from_ne_bytes([raw[0], raw[1], raw[2], raw[3]]);
    bytes.chunks_exact(4).map(value).collect()
}

fn index(n: u64) -> Option<usize> {
    usize::try_from(n).ok()
}

/// What is left of a file.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8], String> {
        let (head, tail) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| format!("the file ends within {what}"))?;
        self.0 = tail;
        Ok(head)
    }

    fn int(&mut self, what: &str) -> Result<i32, String> {
        let raw = self.take(4, what)?;
        Ok(i32::from_ne_bytes([raw[0], raw[1], raw[2], raw[3]]))
    }

    /// A number of things, of which there is at least one.
    fn count(&mut self, what: &str) -> Result<usize, String> {
        let n = self.int(what)?;
        usize::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| format!("{what} is {n}"))
    }
}
