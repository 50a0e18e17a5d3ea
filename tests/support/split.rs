//! Splits a GGUF file as llama-gguf-split does, byte for byte by the GGUF specification.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

const ALIGNMENT: usize = 32;

/// Writes the parts of a file beside it and returns their paths: `NAME-00001-of-00003.gguf`, ...
pub fn split(model: &Path, n: usize) -> Vec<PathBuf> {
    let bytes = fs::read(model).expect("readable");
    let whole = Whole::of(&bytes);
    let size = whole.tensors.len().div_ceil(n);
    let stem = model.file_stem().expect("named").to_str().expect("text");
    let parts = whole.tensors.chunks(size).enumerate();
    parts
        .map(|(i, tensors)| {
            let path = model.with_file_name(format!("{stem}-{:05}-of-{n:05}.gguf", i + 1));
            fs::write(&path, whole.part(&bytes, i, n, tensors)).expect("writable");
            path
        })
        .collect()
}

struct Whole {
    values: Range<usize>,
    n_values: u64,
    tensors: Vec<Tensor>,
}

struct Tensor {
    /// Name, dimensions and type as they stand in the header.
    description: Range<usize>,
    data: Range<usize>,
}

impl Whole {
    fn of(bytes: &[u8]) -> Self {
        let mut at = 8;
        let (n_tensors, n_values) = (u64_at(bytes, &mut at), u64_at(bytes, &mut at));
        let begin = at;
        for _ in 0..n_values {
            skip_string(bytes, &mut at);
            let kind = u32_at(bytes, &mut at);
            skip_value(bytes, &mut at, kind);
        }
        let values = begin..at;
        let mut described = Vec::new();
        for _ in 0..n_tensors {
            let begin = at;
            skip_string(bytes, &mut at);
            let n_dims = u32_at(bytes, &mut at) as usize;
            at += 8 * n_dims + 4;
            let description = begin..at;
            described.push((description, u64_at(bytes, &mut at) as usize));
        }
        let data = at.next_multiple_of(ALIGNMENT);
        let ends = described.iter().skip(1).map(|(_, offset)| data + offset);
        let ends: Vec<usize> = ends.chain([bytes.len()]).collect();
        let tensors = described.into_iter().zip(ends);
        let tensors = tensors.map(|((description, offset), end)| Tensor {
            description,
            data: data + offset..end,
        });
        Self {
            values,
            n_values,
            tensors: tensors.collect(),
        }
    }

    fn part(&self, bytes: &[u8], i: usize, n: usize, tensors: &[Tensor]) -> Vec<u8> {
        let (values, n_values) = match i {
            0 => (&bytes[self.values.clone()], self.n_values),
            _ => (&[][..], 0),
        };
        let mut part = bytes[..8].to_vec();
        part.extend((tensors.len() as u64).to_le_bytes());
        part.extend((n_values + 3).to_le_bytes());
        part.extend(values);
        let (u16_type, i32_type) = (2_u32.to_le_bytes(), 5_u32.to_le_bytes());
        let mut value = |key: &str, kind: [u8; 4], value: &[u8]| {
            part.extend((key.len() as u64).to_le_bytes());
            part.extend(key.as_bytes());
            part.extend(kind);
            part.extend(value);
        };
        value("split.no", u16_type, &(i as u16).to_le_bytes());
        value("split.count", u16_type, &(n as u16).to_le_bytes());
        let all = self.tensors.len() as i32;
        value("split.tensors.count", i32_type, &all.to_le_bytes());
        let mut offset = 0_u64;
        for tensor in tensors {
            part.extend(&bytes[tensor.description.clone()]);
            part.extend(offset.to_le_bytes());
            offset += tensor.data.len().next_multiple_of(ALIGNMENT) as u64;
        }
        for tensor in tensors {
            part.resize(part.len().next_multiple_of(ALIGNMENT), 0);
            part.extend(&bytes[tensor.data.clone()]);
        }
        part.resize(part.len().next_multiple_of(ALIGNMENT), 0);
        part
    }
}

fn u32_at(bytes: &[u8], at: &mut usize) -> u32 {
    *at += 4;
    u32::from_le_bytes(bytes[*at - 4..*at].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: &mut usize) -> u64 {
    *at += 8;
    u64::from_le_bytes(bytes[*at - 8..*at].try_into().expect("eight bytes"))
}

fn skip_string(bytes: &[u8], at: &mut usize) {
    let n = u64_at(bytes, at) as usize;
    *at += n;
}

fn skip_value(bytes: &[u8], at: &mut usize, kind: u32) {
    match kind {
        0 | 1 | 7 => *at += 1,
        2 | 3 => *at += 2,
        4..=6 => *at += 4,
        10..=12 => *at += 8,
        8 => skip_string(bytes, at),
        9 => {
            let kind = u32_at(bytes, at);
            for _ in 0..u64_at(bytes, at) {
                skip_value(bytes, at, kind);
            }
        }
        other => panic!("no GGUF type {other}"),
    }
}
