//! Files that people name: where this program writes, and what `~` means.

pub mod home;
mod output;
mod scratch;
mod target;

pub use output::{OutputFile, Replace, WriteError, check};
pub use scratch::{make_folder_of, scratch_folder};
pub use target::{is_standard_output, is_stream};
