//! `~` at the beginning of a path that no shell has seen: after `=` in `--out=~/runs`, in quotes, in a sweep, in a variable.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

/// The path that is meant: `~` and what stands below it are in the home folder, as a shell has it. A folder of the name `~` is
/// `./~`.
pub fn expanded(path: &Path) -> Result<PathBuf, String> {
    let mut parts = path.components();
    let Some(Component::Normal(first)) = parts.next() else {
        return Ok(path.to_owned());
    };
    if first == "~" {
        return home().map(|home| match parts.as_path() {
            rest if rest.as_os_str().is_empty() => home,
            rest => home.join(rest),
        });
    }
    let name = first.to_string_lossy();
    if name.starts_with('~')
        && !path.starts_with("./")
        && Path::new(first).symlink_metadata().is_err()
    {
        return Err(format!(
            "'{name}' is not expanded, only ~ for your own home folder; write the whole path, or ./{name} for a file of this name"
        ));
    }
    Ok(path.to_owned())
}

/// [`expanded`], for texts that may be something else than a path.
pub fn expanded_text(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.starts_with('~') {
        return Ok(Cow::Borrowed(text));
    }
    let path = expanded(Path::new(text))?.into_os_string();
    let path = path.into_string();
    path.map(Cow::Owned)
        .map_err(|path| format!("{}: is not UTF-8", path.display()))
}

fn home() -> Result<PathBuf, String> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    home.ok_or_else(|| "no home folder for ~: HOME is not set; write the whole path".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_at_the_beginning_is_the_home_folder() {
        let home = std::env::home_dir().expect("tests have a home");
        let is = |path: &str, expected: PathBuf| {
            assert_eq!(expanded(Path::new(path)), Ok(expected), "{path}");
        };
        is("~", home.clone());
        is("~/", home.clone());
        is("~/o/p", home.join("o/p"));
        for same in ["o", "/o", "./~", "./~/o", "a~", "a/~/b", "../~", ""] {
            is(same, PathBuf::from(same));
        }
        assert_eq!(
            expanded_text("~/a b").unwrap(),
            home.join("a b").to_str().unwrap()
        );
        assert_eq!(expanded_text("synth:x").unwrap(), "synth:x");
    }

    #[test]
    fn the_home_of_others_is_refused() {
        for path in ["~nobody-of-this-name", "~nobody-of-this-name/o", "~~"] {
            let e = expanded(Path::new(path)).expect_err(path);
            assert!(e.contains("write the whole path, or ./~"), "{e}");
        }
        assert!(expanded(Path::new("./~nobody")).is_ok());
    }
}
