//! Small GGUF files taken apart, changed and written again.

use std::path::Path;

/// Types of metadata values.
pub const U32: u32 = 4;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

const ALIGNMENT: usize = 32;

/// A file.
#[derive(Clone)]
pub struct Gguf {
    /// Key, type and bytes of the values, in the order of the file.
    pub values: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
    /// What follows the header.
    pub data: Vec<u8>,
}

/// A tensor as the table lists it.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub ty: u32,
    pub offset: u64,
}

impl Gguf {
    /// Reads a sound file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("readable");
        let mut at = Reader {
            bytes: &bytes,
            at: 8,
        };
        let (n_tensors, n_values) = (at.u64(), at.u64());
        let values = (0..n_values)
            .map(|_| {
                let (key, ty) = (at.string(), at.u32());
                let start = at.at;
                at.skip_value(ty);
                (key, ty, bytes[start..at.at].to_vec())
            })
            .collect();
        let tensors = (0..n_tensors)
            .map(|_| {
                let name = at.string();
                let n_dims = at.u32();
                Tensor {
                    name,
                    dims: (0..n_dims).map(|_| at.u64()).collect(),
                    ty: at.u32(),
                    offset: at.u64(),
                }
            })
            .collect();
        let data = bytes[at.at.next_multiple_of(ALIGNMENT)..].to_vec();
        Self {
            values,
            tensors,
            data,
        }
    }

    /// Sets a value, which is added where it is missing.
    pub fn set(&mut self, key: &str, ty: u32, value: &[u8]) {
        let value = value.to_vec();
        match self.values.iter_mut().find(|(known, ..)| known == key) {
            Some(entry) => (entry.1, entry.2) = (ty, value),
            None => self.values.push((key.to_owned(), ty, value)),
        }
    }

    pub fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, U32, &value.to_le_bytes());
    }

    pub fn set_u64(&mut self, key: &str, value: u64) {
        self.set(key, U64, &value.to_le_bytes());
    }

    /// The header, padded to where the data begin.
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.values.len() as u64).to_le_bytes());
        for (key, ty, value) in &self.values {
            put(&mut out, key);
            out.extend(ty.to_le_bytes());
            out.extend(value);
        }
        for tensor in &self.tensors {
            put(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|n| n.to_le_bytes()));
            out.extend(tensor.ty.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, [self.header(), self.data.clone()].concat()).expect("writable");
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..self.at + N].try_into();
        self.at += N;
        taken.expect("N bytes")
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn string(&mut self) -> String {
        let n = self.u64() as usize;
        let text = String::from_utf8_lossy(&self.bytes[self.at..self.at + n]).into_owned();
        self.at += n;
        text
    }

    fn skip_value(&mut self, ty: u32) {
        self.at += match ty {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            STRING => {
                self.string();
                0
            }
            ARRAY => {
                let (ty, n) = (self.u32(), self.u64());
                (0..n).for_each(|_| self.skip_value(ty));
                0
            }
            other => panic!("no type {other}"),
        };
    }
}

/// GGUF's number of the type F16.
const F16: u32 = 1;

/// Writes a copy of a model with the values of one tensor doubled, which costs no time.
pub fn with_doubled_tensor(model: &Path, name: &str, copy: &Path) {
    let mut file = Gguf::read(model);
    let tensor = file.tensors.iter().find(|tensor| tensor.name == name);
    let tensor = tensor.expect("a tensor of that name").clone();
    assert_eq!(tensor.ty, F16, "its values have 16 bits");
    let n_bytes = 2 * tensor.dims.iter().product::<u64>() as usize;
    for value in file.data[tensor.offset as usize..][..n_bytes].chunks_exact_mut(2) {
        let bits = u16::from_le_bytes([value[0], value[1]]);
        let exponent = (bits >> 10) & 0x1f;
        // One more in the exponent; zero and subnormal values are too small to matter.
        if exponent > 0 && exponent < 0x1e {
            value.copy_from_slice(&(bits + (1 << 10)).to_le_bytes());
        }
    }
    file.write(copy);
}
