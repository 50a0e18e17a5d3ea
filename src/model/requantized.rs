//! The mark of a file whose weights were quantised before: whatever its own type, it has the error of the earlier one.

use super::ModelFacts;
use super::gguf::Gguf;
use super::sums::is_quantized_type;

/// Where the mark is in a file's metadata.
pub(super) const KEY: &str = "ggufbench.requantized_from";

/// As much as the engine takes of a value.
const MOST_BYTES: usize = 127;

/// The mark of a file: types in lower case, the earliest first, with commas.
pub(super) fn read(gguf: &Gguf) -> Option<String> {
    let is_of_types = |text: &String| {
        let is_type_or_comma = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ',';
        (1..=MOST_BYTES).contains(&text.len()) && text.chars().all(is_type_or_comma)
    };
    gguf.string(KEY).filter(is_of_types)
}

/// The mark of a file that is made of `source`; `None` where its weights were never quantised.
///
/// The chain is kept: an F16 file made of Q4_1 has the error of Q4_1, and so has all that is made of it.
pub(super) fn mark_of_copies(source: &ModelFacts) -> Option<String> {
    let earlier = source.requantized_from.clone();
    if !source
        .bytes_by_type
        .keys()
        .any(|name| is_quantized_type(name))
    {
        return earlier;
    }
    let last = source.file_type.to_ascii_lowercase();
    let chain = match earlier {
        None => last,
        // The earliest types tell the most.
        Some(earlier) if earlier.len() + 1 + last.len() > MOST_BYTES => earlier,
        Some(earlier) => format!("{earlier},{last}"),
    };
    Some(chain)
}
