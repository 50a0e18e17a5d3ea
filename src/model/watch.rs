//! Whether a model's files are still those that were hashed.

use std::collections::HashMap;
use std::path::PathBuf;

use super::stamp::FileStamp;
use super::{ModelError, ModelFacts, hash};

/// Looks at the files of models while they are measured. That costs a system call each; only a file whose stamp has changed
/// is read again, and it is the same one if its hash is.
#[derive(Debug, Default)]
pub struct FileWatch {
    /// Stamps of files that were read again, and had the same bytes.
    known: HashMap<PathBuf, FileStamp>,
}

impl FileWatch {
    /// Checks every file of a model.
    ///
    /// # Errors
    /// [`ModelError::Changed`] for the first one that is not what it was, [`ModelError::Missing`] for one that is gone.
    pub fn check(&mut self, model: &ModelFacts) -> Result<(), ModelError> {
        for file in &model.files {
            let path = file.path(&model.path);
            let now = FileStamp::of(&path)?;
            if now == *self.known.get(&path).unwrap_or(&file.stamp) {
                continue;
            }
            // Another size needs no reading.
            let is_same = now.bytes == file.stamp.bytes
                && file.sha256.is_some()
                && hash::sha256_cached(&path, &now, &mut |_, _| ()).ok() == file.sha256;
            if !is_same {
                let how = file.stamp.difference(&now);
                return Err(ModelError::Changed { path, how });
            }
            self.known.insert(path, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::model::FileType;
    use crate::model::synth::SynthSpec;

    fn model(folder: &Path, type_name: &str) -> ModelFacts {
        let spec = SynthSpec::preset("tiny", FileType::parse(type_name).unwrap()).unwrap();
        let path = spec.write(folder, &mut |_, _| ()).unwrap();
        let mut facts = ModelFacts::read(&path).unwrap();
        for file in &mut facts.files {
            // Not through the user's cache.
            file.sha256 = Some(hash::sha256_file(&path, &mut |_, _| ()).unwrap());
        }
        facts
    }

    #[test]
    fn a_model_that_is_left_alone_or_only_touched_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let facts = model(dir.path(), "q8_0");
        let mut watch = FileWatch::default();
        watch.check(&facts).unwrap();
        let copy = dir.path().join("copy");
        fs::copy(&facts.path, &copy).unwrap();
        fs::rename(&copy, &facts.path).unwrap();
        watch.check(&facts).unwrap();
        assert_eq!(watch.known.len(), 1, "the copy was read once");
    }

    #[test]
    fn a_model_that_is_replaced_edited_or_gone_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = FileWatch::default();
        let facts = model(dir.path(), "q8_0");
        let whole = fs::read(&facts.path).unwrap();
        let mut says = |what: &str| {
            let error = watch.check(&facts).unwrap_err().to_string();
            let name = facts.path.display().to_string();
            assert!(error.starts_with(&name) && error.contains(what), "{error}");
        };
        let other = model(&dir.path().join("b"), "q4_0");
        fs::rename(&other.path, &facts.path).unwrap();
        says("bytes and has");
        let mut edited = whole.clone();
        *edited.last_mut().unwrap() ^= 1;
        fs::write(&facts.path, &edited).unwrap();
        says(if cfg!(unix) {
            "another file has its name"
        } else {
            "it was written to"
        });
        fs::remove_file(&facts.path).unwrap();
        says("no such file");
    }
}
