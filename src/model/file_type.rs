//! Names of whole-file quantisation types (`Q4_K_M`), as llama-quantize spells them.

use llama_cpp_sys_2 as sys;

use super::ModelError;

/// A llama.cpp file type: which tensor type the quantiser gives to which tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileType(sys::llama_ftype);

/// Whether the quantiser needs an importance matrix
/// (`tensor_requires_imatrix` and `ggml_quantize_requires_imatrix` in llama.cpp).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Matrix,
    /// Read from files, never written: no quantiser, or only for mixtures of experts.
    ReadOnly,
}

/// Name, number, default tensor type (`llama_ftype_get_default_type`), what it needs.
type FileTypeRow = (&'static str, sys::llama_ftype, sys::ggml_type, Needs);

use Needs::{Matrix, Nothing, ReadOnly};
#[rustfmt::skip]
const TABLE: &[FileTypeRow] = &[
    ("F32",       sys::LLAMA_FTYPE_ALL_F32,          sys::GGML_TYPE_F32,     Nothing),
    ("F16",       sys::LLAMA_FTYPE_MOSTLY_F16,       sys::GGML_TYPE_F16,     Nothing),
    ("BF16",      sys::LLAMA_FTYPE_MOSTLY_BF16,      sys::GGML_TYPE_BF16,    Nothing),
    ("Q8_0",      sys::LLAMA_FTYPE_MOSTLY_Q8_0,      sys::GGML_TYPE_Q8_0,    Nothing),
    ("Q6_K",      sys::LLAMA_FTYPE_MOSTLY_Q6_K,      sys::GGML_TYPE_Q6_K,    Nothing),
    ("Q5_K_M",    sys::LLAMA_FTYPE_MOSTLY_Q5_K_M,    sys::GGML_TYPE_Q5_K,    Nothing),
    ("Q5_K_S",    sys::LLAMA_FTYPE_MOSTLY_Q5_K_S,    sys::GGML_TYPE_Q5_K,    Nothing),
    ("Q5_1",      sys::LLAMA_FTYPE_MOSTLY_Q5_1,      sys::GGML_TYPE_Q5_1,    Nothing),
    ("Q5_0",      sys::LLAMA_FTYPE_MOSTLY_Q5_0,      sys::GGML_TYPE_Q5_0,    Nothing),
    ("Q4_K_M",    sys::LLAMA_FTYPE_MOSTLY_Q4_K_M,    sys::GGML_TYPE_Q4_K,    Nothing),
    ("Q4_K_S",    sys::LLAMA_FTYPE_MOSTLY_Q4_K_S,    sys::GGML_TYPE_Q4_K,    Nothing),
    ("Q4_1",      sys::LLAMA_FTYPE_MOSTLY_Q4_1,      sys::GGML_TYPE_Q4_1,    Nothing),
    ("Q4_0",      sys::LLAMA_FTYPE_MOSTLY_Q4_0,      sys::GGML_TYPE_Q4_0,    Nothing),
    ("IQ4_NL",    sys::LLAMA_FTYPE_MOSTLY_IQ4_NL,    sys::GGML_TYPE_IQ4_NL,  Nothing),
    ("IQ4_XS",    sys::LLAMA_FTYPE_MOSTLY_IQ4_XS,    sys::GGML_TYPE_IQ4_XS,  Nothing),
    ("Q3_K_L",    sys::LLAMA_FTYPE_MOSTLY_Q3_K_L,    sys::GGML_TYPE_Q3_K,    Nothing),
    ("Q3_K_M",    sys::LLAMA_FTYPE_MOSTLY_Q3_K_M,    sys::GGML_TYPE_Q3_K,    Nothing),
    ("Q3_K_S",    sys::LLAMA_FTYPE_MOSTLY_Q3_K_S,    sys::GGML_TYPE_Q3_K,    Nothing),
    ("IQ3_M",     sys::LLAMA_FTYPE_MOSTLY_IQ3_M,     sys::GGML_TYPE_IQ3_S,   Nothing),
    ("IQ3_S",     sys::LLAMA_FTYPE_MOSTLY_IQ3_S,     sys::GGML_TYPE_IQ3_S,   Nothing),
    ("IQ3_XS",    sys::LLAMA_FTYPE_MOSTLY_IQ3_XS,    sys::GGML_TYPE_IQ3_S,   Matrix),
    ("IQ3_XXS",   sys::LLAMA_FTYPE_MOSTLY_IQ3_XXS,   sys::GGML_TYPE_IQ3_XXS, Matrix),
    ("Q2_K",      sys::LLAMA_FTYPE_MOSTLY_Q2_K,      sys::GGML_TYPE_Q2_K,    Nothing),
    ("Q2_K_S",    sys::LLAMA_FTYPE_MOSTLY_Q2_K_S,    sys::GGML_TYPE_Q2_K,    Matrix),
    ("Q2_0",      sys::LLAMA_FTYPE_MOSTLY_Q2_0,      sys::GGML_TYPE_Q2_0,    Nothing),
    ("IQ2_M",     sys::LLAMA_FTYPE_MOSTLY_IQ2_M,     sys::GGML_TYPE_IQ2_S,   Matrix),
    ("IQ2_S",     sys::LLAMA_FTYPE_MOSTLY_IQ2_S,     sys::GGML_TYPE_IQ2_XS,  Matrix),
    ("IQ2_XS",    sys::LLAMA_FTYPE_MOSTLY_IQ2_XS,    sys::GGML_TYPE_IQ2_XS,  Matrix),
    ("IQ2_XXS",   sys::LLAMA_FTYPE_MOSTLY_IQ2_XXS,   sys::GGML_TYPE_IQ2_XXS, Matrix),
    ("TQ2_0",     sys::LLAMA_FTYPE_MOSTLY_TQ2_0,     sys::GGML_TYPE_TQ2_0,   Nothing),
    ("TQ1_0",     sys::LLAMA_FTYPE_MOSTLY_TQ1_0,     sys::GGML_TYPE_TQ1_0,   Nothing),
    ("IQ1_M",     sys::LLAMA_FTYPE_MOSTLY_IQ1_M,     sys::GGML_TYPE_IQ1_M,   Matrix),
    ("IQ1_S",     sys::LLAMA_FTYPE_MOSTLY_IQ1_S,     sys::GGML_TYPE_IQ1_S,   Matrix),
    ("Q1_0",      sys::LLAMA_FTYPE_MOSTLY_Q1_0,      sys::GGML_TYPE_Q1_0,    Nothing),
    ("MXFP4_MOE", sys::LLAMA_FTYPE_MOSTLY_MXFP4_MOE, sys::GGML_TYPE_MXFP4,   Nothing),
    ("NVFP4",     sys::LLAMA_FTYPE_MOSTLY_NVFP4,     sys::GGML_TYPE_NVFP4,   ReadOnly),
];

/// llama-quantize's short spellings, and the name that gpt-oss' files go by.
const ALIASES: &[(&str, &str)] = &[
    ("Q3_K", "Q3_K_M"),
    ("Q4_K", "Q4_K_M"),
    ("Q5_K", "Q5_K_M"),
    ("MXFP4", "MXFP4_MOE"),
];

impl FileType {
    /// The type with this llama-quantize name or alias, in any case.
    ///
    /// # Errors
    /// [`ModelError::BadType`] names the types that exist.
    pub fn parse(name: &str) -> Result<Self, ModelError> {
        let upper = name.trim().to_ascii_uppercase();
        let full = ALIASES
            .iter()
            .find(|a| a.0 == upper)
            .map_or(&*upper, |a| a.1);
        TABLE
            .iter()
            .find(|row| row.0 == full)
            .map(|row| Self(row.1))
            .ok_or_else(|| ModelError::BadType {
                name: name.to_owned(),
                detail: format!(
                    "unknown; one of: {}",
                    Self::all().map(Self::name).collect::<Vec<_>>().join(", ")
                ),
            })
    }

    /// Every type that can be written without an importance matrix, roughly widest first.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE
            .iter()
            .filter(|row| row.3 == Nothing)
            .map(|row| Self(row.1))
    }

    /// The number in `general.file_type`, without llama.cpp's "guessed" bit.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let number = number & !u64::from(unsigned(sys::LLAMA_FTYPE_GUESSED));
        TABLE
            .iter()
            .find(|row| u64::from(unsigned(row.1)) == number)
            .map(|row| Self(row.1))
    }

    /// As llama-quantize spells it, upper-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// `name()` in lower case, as it stands in file names and ids.
    #[must_use]
    pub fn slug(self) -> String {
        self.name().to_ascii_lowercase()
    }

    /// The number in `general.file_type`.
    #[must_use]
    pub fn number(self) -> u32 {
        unsigned(self.0)
    }

    /// The same as the engine's functions take it.
    #[must_use]
    pub fn engine_number(self) -> sys::llama_ftype {
        self.0
    }

    /// The ggml type most tensors get.
    #[must_use]
    pub fn default_tensor_type(self) -> sys::ggml_type {
        self.row().2
    }

    /// Whether it can be written here without an importance matrix.
    ///
    /// # Errors
    /// [`ModelError::BadType`] says why not.
    pub fn writable(self) -> Result<Self, ModelError> {
        self.writable_with(false)
    }

    /// Whether the quantiser can write it, with an importance matrix or without.
    ///
    /// # Errors
    /// [`ModelError::BadType`] says why not.
    pub fn writable_with(self, has_matrix: bool) -> Result<Self, ModelError> {
        let detail = match self.row().3 {
            Nothing => return Ok(self),
            Matrix if has_matrix => return Ok(self),
            Matrix => {
                "needs an importance matrix: `model quantize --imatrix FILE`, with a file that llama-imatrix wrote"
            }
            ReadOnly => "the engine can read it but not write it",
        };
        Err(ModelError::BadType {
            name: self.name().to_owned(),
            detail: detail.to_owned(),
        })
    }

    fn row(self) -> &'static FileTypeRow {
        TABLE
            .iter()
            .find(|row| row.1 == self.0)
            .expect("only table rows are ever constructed")
    }
}

/// C enums are signed with some compilers; no file type is negative.
#[allow(clippy::unnecessary_cast)]
fn unsigned(number: sys::llama_ftype) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn names_agree_with_the_engines_own() {
        for row in TABLE {
            // SAFETY: returns a string constant for any number.
            let engine = unsafe { CStr::from_ptr(sys::llama_ftype_name(row.1)) };
            let engine = engine.to_str().unwrap();
            // "all F32", "Q4_K - Medium", "IQ4_NL - 4.5 bpw": compare the family.
            let family = engine
                .trim_start_matches("all ")
                .split([' ', '-'])
                .next()
                .unwrap();
            let ok = row.0.starts_with(family) || (row.0 == "IQ3_M" && family == "IQ3_S");
            assert!(ok, "{} is {engine} to the engine", row.0);
        }
    }

    #[test]
    fn parses_any_case_and_aliases() {
        assert_eq!(FileType::parse("q4_k").unwrap().name(), "Q4_K_M");
        assert_eq!(FileType::parse("Q8_0").unwrap().slug(), "q8_0");
        assert_eq!(FileType::parse("mxfp4").unwrap().name(), "MXFP4_MOE");
        assert!(
            FileType::parse("q4_9")
                .unwrap_err()
                .to_string()
                .contains("Q4_0")
        );
        assert!(FileType::parse("iq1_s").unwrap().writable().is_err());
        assert!(
            FileType::parse("iq1_s")
                .unwrap()
                .writable_with(true)
                .is_ok()
        );
        assert!(
            FileType::parse("nvfp4")
                .unwrap()
                .writable_with(true)
                .is_err()
        );
        assert_eq!(FileType::from_number(1024 + 15).unwrap().name(), "Q4_K_M");
        assert_eq!(FileType::from_number(999), None);
    }
}
