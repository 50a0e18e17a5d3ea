//! The engine's backends as plug-ins, in a build that has them so (feature `portable`): which files there are beside the
//! program and in the folder of `--backends`, which of them were loaded, and why others were not.
//!
//! A plug-in that cannot be used never stops a run on the CPU: it is named with its reason instead. Nothing is looked for
//! anywhere else; ggml's own search would also take the current folder.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

/// The backend whose devices are behind servers.
pub const RPC: &str = "RPC";

/// Whether backends are plug-ins in this build. Otherwise they are linked in, and no file is looked for.
pub const ARE_PLUGINS: bool = cfg!(feature = "portable");

/// One file of a backend, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The file's name, such as `libggml-cuda.so`.
    pub file: String,
    /// The backend that it gave the engine; `None`: it could not be loaded.
    pub backend: Option<String>,
    /// Devices that this backend found.
    pub n_devices: u64,
    /// What the engine said while loading it, a line each: the reason where it could not be used.
    pub messages: Vec<String>,
}

impl Plugin {
    /// Why the engine computes nothing with it; `None` when it can.
    pub fn unusable_because(&self) -> Option<String> {
        let said = || self.messages.join("; ");
        match (&self.backend, self.n_devices) {
            (Some(_), 1..) => None,
            // Its devices are those of servers, which are named later.
            (Some(backend), 0) if backend == RPC => None,
            (Some(backend), 0) if self.messages.is_empty() => {
                Some(format!("{backend} found no device"))
            }
            (Some(backend), 0) => Some(format!("{backend} found no device: {}", said())),
            (None, _) if self.messages.is_empty() => Some("it could not be loaded".to_owned()),
            (None, _) => Some(said()),
        }
    }
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();
static LOADED: OnceLock<Vec<Plugin>> = OnceLock::new();
/// What the engine says while a plug-in is loaded.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Plug-ins are also looked for in this folder from now on: `--backends`. Before the engine is initialised.
///
/// # Errors
/// In one line: for a build without plug-ins, and for what is not a folder.
pub fn look_also_in(folder: &Path) -> Result<(), String> {
    if !ARE_PLUGINS {
        return Err(
            "--backends: this build has its backends linked in; `make portable` builds a program that loads them"
                .to_owned(),
        );
    }
    let absolute = folder
        .canonicalize()
        .map_err(|e| format!("--backends {}: {e}", folder.display()))?;
    if !absolute.is_dir() {
        return Err(format!("--backends {}: not a folder", folder.display()));
    }
    // A second call would be a second --backends, which clap refuses.
    let _ = FOLDER.set(absolute);
    Ok(())
}

/// The folder of `--backends`, for worker processes, which need it too.
pub fn extra_folder() -> Option<&'static Path> {
    FOLDER.get().map(PathBuf::as_path)
}

/// Loads the plug-ins, once a process, and says what became of each. Nothing where backends are linked in. The engine's log
/// goes nowhere afterwards: whoever wants it elsewhere sets it again.
pub fn load() -> &'static [Plugin] {
    LOADED.get_or_init(|| {
        if ARE_PLUGINS {
            load_from(&folders())
        } else {
            Vec::new()
        }
    })
}

/// Where plug-ins may lie: beside the program, and the folder of `--backends`.
fn folders() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.and_then(|p| p.parent().map(Path::to_owned));
    let mut folders: Vec<PathBuf> = beside.into_iter().collect();
    folders.extend(extra_folder().map(Path::to_owned));
    folders.dedup();
    folders
}

fn load_from(folders: &[PathBuf]) -> Vec<Plugin> {
    // SAFETY: the callback is a plain function that never unwinds into C.
    unsafe { sys::llama_log_set(Some(collect), std::ptr::null_mut()) };
    let mut plugins = Vec::new();
    for folder in folders {
        for file in backend_files(folder) {
            plugins.push(load_one(&folder.join(&file), file));
        }
        load_best_cpu(folder);
    }
    plugins
}

/// Files that name a backend, sorted; those of CPU variants are left to [`load_best_cpu`].
fn backend_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<String> = names.filter(|name| is_backend(name)).collect();
    files.sort();
    files
}

/// `libggml-cuda.so` is one, `libggml-base.so` (the core library) and `libggml-cpu-zen4.so` are none.
fn is_backend(file: &str) -> bool {
    let stem = file
        .strip_prefix(std::env::consts::DLL_PREFIX)
        .and_then(|name| name.strip_suffix(std::env::consts::DLL_SUFFIX))
        .and_then(|name| name.strip_prefix("ggml-"));
    stem.is_some_and(|name| name != "base" && name != "cpu" && !name.starts_with("cpu-"))
}

fn load_one(path: &Path, file: String) -> Plugin {
    take_messages();
    let registry = c_path(path).and_then(|path| {
        // SAFETY: a NUL-terminated path. A library's initialisers run: the user put it there.
        let registry = unsafe { sys::ggml_backend_load(path.as_ptr()) };
        std::ptr::NonNull::new(registry)
    });
    let (backend, n_devices) = match registry {
        // SAFETY: a registry lives as long as the process; its name is a NUL-terminated constant.
        Some(registry) => unsafe {
            let name = std::ffi::CStr::from_ptr(sys::ggml_backend_reg_name(registry.as_ptr()));
            let n_devices = sys::ggml_backend_reg_dev_count(registry.as_ptr());
            (Some(name.to_string_lossy().into_owned()), n_devices)
        },
        None => (None, 0),
    };
    Plugin {
        file,
        backend,
        n_devices: n_devices as u64,
        messages: take_messages(),
    }
}

/// ggml's own choice among the CPU variants of a folder: the best that this CPU can run. What is loaded already stays as it is.
fn load_best_cpu(folder: &Path) {
    if let Some(folder) = c_path(folder) {
        // SAFETY: a NUL-terminated path.
        unsafe { sys::ggml_backend_load_all_from_path(folder.as_ptr()) };
    }
    take_messages();
}

fn c_path(path: &Path) -> Option<std::ffi::CString> {
    std::ffi::CString::new(path.to_str()?).ok()
}

fn take_messages() -> Vec<String> {
    let mut text = MESSAGES.lock().unwrap_or_else(|e| e.into_inner());
    std::mem::take(&mut *text)
}

unsafe extern "C" fn collect(
    _level: sys::ggml_log_level,
    text: *const std::ffi::c_char,
    _user_data: *mut std::ffi::c_void,
) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives through the call.
    let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy();
    let mut messages = MESSAGES.lock().unwrap_or_else(|e| e.into_inner());
    // Loading says a line at a time, and no plug-in needs more of them than this.
    if messages.len() < 32 {
        messages.extend(text.lines().map(in_short).filter(|line| !line.is_empty()));
    }
}

/// Without the name of ggml's function at its beginning, which tells a user nothing.
fn in_short(line: &str) -> String {
    let rest = match line.split_once(": ") {
        Some((function, rest)) if function.starts_with("ggml_") || function == "load_backend" => {
            rest
        }
        _ => line,
    };
    rest.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_library_and_cpu_variants_are_no_backends_of_their_own() {
        let file = |name: &str| {
            let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
            format!("{prefix}ggml-{name}{suffix}")
        };
        for name in ["cuda", "vulkan", "rpc", "blas", "cuda-90"] {
            assert!(is_backend(&file(name)), "{name}");
        }
        for name in ["base", "cpu", "cpu-zen4", "cpu-x64"] {
            assert!(!is_backend(&file(name)), "{name}");
        }
        for name in [
            "libllama.so",
            "libggml.so",
            "readme.md",
            "libggml-cuda.so.bak",
        ] {
            assert!(!is_backend(name), "{name}");
        }
    }

    #[test]
    fn a_plugin_says_why_it_is_of_no_use() {
        let plugin = |backend: Option<&str>, n_devices, message: &str| Plugin {
            file: "libggml-cuda.so".to_owned(),
            backend: backend.map(str::to_owned),
            n_devices,
            messages: if message.is_empty() {
                vec![]
            } else {
                vec![message.to_owned()]
            },
        };
        assert_eq!(plugin(Some("CUDA"), 1, "found 1").unusable_because(), None);
        assert_eq!(plugin(Some("RPC"), 0, "").unusable_because(), None);
        assert_eq!(
            plugin(Some("CUDA"), 0, "no driver")
                .unusable_because()
                .as_deref(),
            Some("CUDA found no device: no driver")
        );
        assert_eq!(
            plugin(Some("CUDA"), 0, "").unusable_because().as_deref(),
            Some("CUDA found no device")
        );
        assert_eq!(
            plugin(None, 0, "libcublas.so.13: cannot open")
                .unusable_because()
                .as_deref(),
            Some("libcublas.so.13: cannot open")
        );
    }

    #[test]
    fn messages_lose_the_name_of_the_function() {
        assert_eq!(
            in_short("ggml_cuda_init: found 1 CUDA devices"),
            "found 1 CUDA devices"
        );
        assert_eq!(
            in_short("load_backend: failed to load x.so: why"),
            "failed to load x.so: why"
        );
        assert_eq!(
            in_short("  Device 0: NVIDIA H200, compute capability 9.0"),
            "Device 0: NVIDIA H200, compute capability 9.0"
        );
    }
}
