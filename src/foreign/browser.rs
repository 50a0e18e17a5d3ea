//! The user's own browser, which renders a page without a window: pages whose texts are written by scripts have none otherwise.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, ChildError, FinishedChild};
use crate::host::process;
use crate::run::Interrupt;
use crate::text::{cut_end, plain, quoted};

/// Programs that are looked for, in this order: all of one family, with the same flags.
const NAMES: [&str; 8] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
    "microsoft-edge-stable",
];

/// Where installers put one that is not on the PATH.
const PLACES: &[&str] = if cfg!(target_os = "macos") {
    &[
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ]
} else if cfg!(windows) {
    &[
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    ]
} else {
    &[]
};

/// A page that takes longer is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long the page's own clock runs before its elements are read. It stands still while the page waits for the network.
const PAGE_TIME_MS: u32 = 10_000;

/// Columns of the browser's last words in a message.
const COLUMNS: usize = 200;

/// A browser of the Chromium family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Browser {
    pub program: PathBuf,
    /// Whether it shuts pages in. It refuses to do so for root.
    pub has_sandbox: bool,
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrowserError {
    #[error(
        "--browser: found none of {} on the PATH; name it: --browser=/path/to/chrome",
        NAMES.join(", ")
    )]
    NotFound,
    #[error("--browser: no program '{0}' there, nor on the PATH")]
    NoSuchProgram(String),
    #[error("{address}: {program} {reason}")]
    Failed {
        address: String,
        program: String,
        reason: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Browser {
    /// The named program, or the first known one on `path`, a list of folders as in the variable `PATH`.
    ///
    /// # Errors
    /// [`BrowserError::NotFound`] and [`BrowserError::NoSuchProgram`].
    pub fn find(named: Option<&str>, path: Option<&OsStr>) -> Result<Self, BrowserError> {
        let program = match named {
            Some(name) => {
                let file = Path::new(name);
                let found = match file.components().count() {
                    1 => on_path(name, path),
                    _ => file.is_file().then(|| file.to_owned()),
                };
                found.ok_or_else(|| BrowserError::NoSuchProgram(plain(name)))?
            }
            None => {
                let on_path = NAMES.iter().find_map(|name| on_path(name, path));
                let installed = || PLACES.iter().map(PathBuf::from).find(|p| p.is_file());
                on_path.or_else(installed).ok_or(BrowserError::NotFound)?
            }
        };
        Ok(Self {
            program,
            has_sandbox: !process::is_root(),
        })
    }

    /// The elements of a page as HTML, once its scripts have run. The browser has a profile of its own, which is empty and thrown away.
    ///
    /// # Errors
    /// [`BrowserError::Failed`] when it does not start, does not reach the page or takes longer than `patience`.
    pub fn rendered(
        &self,
        address: &str,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Result<String, BrowserError> {
        let failed = |reason: String| BrowserError::Failed {
            address: plain(address),
            program: quoted(&self.program),
            reason: cut_end(&plain(&reason), COLUMNS),
        };
        let profile = tempfile::Builder::new()
            .prefix("ggufbench-browser-")
            .tempdir();
        let profile = profile.map_err(|e| failed(format!("has no folder for a profile: {e}")))?;
        let mut command = self.command(address, profile.path());
        match child::run(&mut command, Some(patience), interrupt) {
            Ok(finished) => page_of(&finished).map_err(failed),
            Err(ChildError::Start(reason)) => Err(failed(reason)),
            Err(ChildError::TimedOut(after)) => Err(failed(format!(
                "has not shown the page after {} s; save it and import the file",
                after.as_secs()
            ))),
            Err(ChildError::Interrupted) => Err(BrowserError::Interrupted),
        }
    }

    fn command(&self, address: &str, profile: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args([
            "--headless",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--mute-audio",
            "--dump-dom",
        ]);
        command.arg(format!("--virtual-time-budget={PAGE_TIME_MS}"));
        let mut folder = std::ffi::OsString::from("--user-data-dir=");
        folder.push(profile);
        command.arg(folder);
        if !self.has_sandbox {
            command.arg("--no-sandbox");
        }
        // An address begins with http, so it is never taken for a flag.
        command.arg(address);
        command
    }
}

/// What the browser printed; of a page that it could not reach it prints nothing, and ends as if all were well.
fn page_of(finished: &FinishedChild) -> Result<String, String> {
    if finished.status.success() && !finished.stdout.trim().is_empty() {
        return Ok(finished.stdout.clone());
    }
    if let Some(reason) = network_error(&finished.stderr) {
        return Err(format!("cannot load the page: {reason}"));
    }
    if finished.status.success() {
        return Err("shows an empty page".to_owned());
    }
    let ended = process::describe_exit(finished.status);
    match last_words(&finished.stderr) {
        Some(words) => Err(format!("ended with {ended}: {words}")),
        None => Err(format!("ended with {ended}")),
    }
}

/// `ERR_CONNECTION_REFUSED`, from `Page load failed: net::ERR_CONNECTION_REFUSED`.
fn network_error(log: &str) -> Option<&str> {
    let (_, from) = log
        .split_once("net::")
        .filter(|(_, name)| name.starts_with("ERR_"))?;
    let end = from.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    Some(&from[..end.unwrap_or(from.len())])
}

/// The last line of a log that is no complaint about a desktop's services, which servers do not have; without the place in the
/// browser's source before it.
fn last_words(log: &str) -> Option<&str> {
    let lines = log.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.contains("dbus/"));
    let line = lines.next_back()?;
    let place = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    Some(place.map_or(line, |(_, words)| words))
}

fn on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let names = match cfg!(windows) {
        true => vec![format!("{name}.exe"), name.to_owned()],
        false => vec![name.to_owned()],
    };
    let folders = std::env::split_paths(path?);
    let files = folders.flat_map(|folder| {
        names
            .iter()
            .map(move |n| folder.join(n))
            .collect::<Vec<_>>()
    });
    let mut programs = files.filter(|file| file.is_file());
    programs.next()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A folder with a program of this name that does what the script says.
    fn with_program(name: &str, script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        // Written by another process: a file that a test beside this one holds open, between fork and exec, does not start.
        let write = r#"printf '%s\n' "$1" > "$0" && chmod +x "$0""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", write]).arg(folder.path().join(name));
        let written = shell.arg(format!("#!/bin/sh\n{script}")).status();
        assert!(written.expect("starts").success());
        folder
    }

    fn found(folder: &tempfile::TempDir) -> Browser {
        Browser::find(None, Some(folder.path().as_os_str())).expect("found")
    }

    fn rendered(script: &str) -> Result<String, BrowserError> {
        let folder = with_program("chromium", script);
        let browser = found(&folder);
        browser.rendered("http://a.example/x", PATIENCE, &Interrupt::default())
    }

    #[test]
    fn a_browser_is_found_by_its_name_or_path() {
        let folder = with_program("google-chrome", "exit 0");
        let path = Some(folder.path().as_os_str());
        let program = folder.path().join("google-chrome");
        assert_eq!(found(&folder).program, program);
        let named = Browser::find(Some("google-chrome"), path).expect("on the path");
        assert_eq!(named.program, program);
        let whole = program.display().to_string();
        let named = Browser::find(Some(&whole), None).expect("a file");
        assert_eq!(named.program, program);
        for (named, path) in [
            (None, None),
            (Some("opera"), path),
            (Some("/no/chrome"), path),
        ] {
            let error = Browser::find(named, path).expect_err("none").to_string();
            assert!(error.starts_with("--browser: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let error = Browser::find(None, None).expect_err("none").to_string();
        assert!(
            error.contains("chromium, chromium-browser, google-chrome"),
            "{error}"
        );
        assert!(error.contains("--browser=/path/to/chrome"), "{error}");
    }

    #[test]
    fn it_gets_a_profile_of_its_own_that_is_gone_afterwards() {
        let told = rendered("for a in \"$@\"; do echo \"$a\"; done; touch \"${0%/*}/used\"")
            .expect("a page");
        let flags: Vec<&str> = told.lines().collect();
        assert!(
            flags.contains(&"--headless") && flags.contains(&"--dump-dom"),
            "{told}"
        );
        assert_eq!(flags.last(), Some(&"http://a.example/x"));
        assert_eq!(
            flags.contains(&"--no-sandbox"),
            process::is_root(),
            "{told}"
        );
        let profile = flags
            .iter()
            .find_map(|f| f.strip_prefix("--user-data-dir="));
        let profile = Path::new(profile.expect("a profile"));
        assert!(profile.is_absolute() && !profile.exists(), "{told}");
    }

    #[test]
    fn what_goes_wrong_is_one_line() {
        let log = "echo '[1:2:ERROR:dbus/bus.cc:405] Failed to connect' >&2";
        for (script, needle) in [
            (
                "echo '[9:9:ERROR:h.cc:403] Page load failed: net::ERR_CONNECTION_REFUSED' >&2"
                    .to_owned(),
                "cannot load the page: ERR_CONNECTION_REFUSED",
            ),
            ("exit 0".to_owned(), "shows an empty page"),
            (
                format!("echo '[1:1:FATAL:z.cc:1] No usable sandbox!' >&2; {log}; exit 1"),
                "ended with exit code 1: No usable sandbox!",
            ),
            (format!("{log}; kill -9 $$"), "ended with SIGKILL"),
        ] {
            let error = rendered(&script).expect_err(needle).to_string();
            assert!(error.starts_with("http://a.example/x: "), "{error}");
            assert!(error.contains(needle), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_page_without_end_is_given_up() {
        let folder = with_program("chromium", "exec sleep 600");
        let interrupt = Interrupt::default();
        let late = found(&folder).rendered("http://a.example/", Duration::ZERO, &interrupt);
        let error = late.expect_err("late").to_string();
        assert!(error.contains("save it and import the file"), "{error}");
        interrupt.set();
        let ended = found(&folder).rendered("http://a.example/", PATIENCE, &interrupt);
        assert_eq!(ended, Err(BrowserError::Interrupted));
    }
}
