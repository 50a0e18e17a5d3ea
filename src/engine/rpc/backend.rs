//! Both ends of the engine's RPC backend: devices of servers for this process, and this process as a server.

use std::ffi::{CStr, CString, c_char, c_void};

use llama_cpp_sys_2 as sys;

use crate::plan::RpcServers;

/// Found by name, so that the backend may be linked in or a plug-in.
const BACKEND: &CStr = c"RPC";

/// `ggml_backend_rpc_add_server`.
type AddServer = unsafe extern "C" fn(*const c_char) -> sys::ggml_backend_reg_t;

/// `ggml_backend_rpc_start_server`.
type StartServer = unsafe extern "C" fn(
    endpoint: *const c_char,
    cache_dir: *const c_char,
    n_threads: usize,
    n_devices: usize,
    devices: *mut sys::ggml_backend_dev_t,
);

/// Makes the servers' devices the engine's, in the servers' order, after greeting each; those that are so already stay. Before a
/// model is loaded.
///
/// # Errors
/// In one line.
pub fn connect(servers: &RpcServers) -> Result<(), String> {
    if servers.is_none() {
        return Ok(());
    }
    let add = function(c"ggml_backend_rpc_add_server")?;
    // SAFETY: the backend's registry gives this name to a function of this type (`ggml-rpc.h`).
    let add: AddServer = unsafe { std::mem::transmute(add) };
    for endpoint in servers.endpoints() {
        super::check(endpoint, super::HELLO_TIMEOUT)?;
        let text = CString::new(endpoint.as_str()).map_err(|e| e.to_string())?;
        // SAFETY: a NUL-terminated text, which the engine copies.
        let registry = unsafe { add(text.as_ptr()) };
        if registry.is_null() {
            return Err(format!("RPC server {endpoint}: it has no device"));
        }
        register(registry);
    }
    Ok(())
}

/// Makes the registry's devices known to the engine, unless they are.
fn register(registry: sys::ggml_backend_reg_t) {
    // SAFETY: a registry with a device; both live as long as the process, and the name is NUL-terminated.
    unsafe {
        let first = sys::ggml_backend_dev_name(sys::ggml_backend_reg_dev_get(registry, 0));
        if sys::ggml_backend_dev_by_name(first).is_null() {
            sys::ggml_backend_register(registry);
        }
    }
}

/// Serves these devices, by their names, until the process ends. Returns only when that fails.
///
/// # Errors
/// In one line, before anything is served.
pub fn serve(endpoint: &str, n_threads: usize, devices: &[String]) -> Result<(), String> {
    let start = function(c"ggml_backend_rpc_start_server")?;
    // SAFETY: as above.
    let start: StartServer = unsafe { std::mem::transmute(start) };
    let endpoint = CString::new(endpoint).map_err(|e| e.to_string())?;
    let mut devices = devices
        .iter()
        .map(|name| device(name).ok_or_else(|| format!("the engine has no device {name}")))
        .collect::<Result<Vec<_>, _>>()?;
    // SAFETY: the text and the list live through the call; no cache folder is a null pointer.
    unsafe {
        start(
            endpoint.as_ptr(),
            std::ptr::null(),
            n_threads,
            devices.len(),
            devices.as_mut_ptr(),
        );
    }
    Ok(())
}

/// A device by its name, in whatever case; `None` where there is none.
pub fn device(name: &str) -> Option<sys::ggml_backend_dev_t> {
    let name = CString::new(name).ok()?;
    // SAFETY: a NUL-terminated text; devices live as long as the process.
    let device = unsafe { sys::ggml_backend_dev_by_name(name.as_ptr()) };
    (!device.is_null()).then_some(device)
}

fn function(name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: NUL-terminated texts; a registry lives as long as the process.
    let found = unsafe {
        let registry = sys::ggml_backend_reg_by_name(BACKEND.as_ptr());
        match registry.is_null() {
            true => std::ptr::null_mut(),
            false => sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr()),
        }
    };
    if found.is_null() {
        return Err(no_backend().to_owned());
    }
    Ok(found)
}

fn no_backend() -> &'static str {
    if super::super::plugins::ARE_PLUGINS {
        "the RPC backend (libggml-rpc.so) is not among the plug-ins; `scripts/portable.sh` puts it beside the program"
    } else {
        "this program was built without the RPC backend; build it again in its own folder, where .cargo/config.toml asks for it, \
         after `cargo clean --release -p llama-cpp-sys-2`"
    }
}
