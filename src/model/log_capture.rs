//! Keeps the engine's log lines of one thread, instead of letting them reach standard error.
//!
//! The engine has one log callback for the whole process. While a capture lives, a callback of
//! ours stands in front: lines of capturing threads are kept, lines of all others are passed to
//! the callback that was there before, which is put back when the last capture ends.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2 as sys;

/// The callback that stood there before ours. The address is kept as a number because raw
/// pointers are not `Send`; it belongs to the callback and is only handed back to it.
struct Previous {
    callback: sys::ggml_log_callback,
    user_data: usize,
    depth: usize,
    // llama.cpp's own logger was taken over too, not only ggml's.
    llama: bool,
}

static PREVIOUS: Mutex<Previous> = Mutex::new(Previous {
    callback: None,
    user_data: 0,
    depth: 0,
    llama: false,
});

/// Hears each piece of the log as it comes; a piece may be part of a line.
type Listener = Box<dyn FnMut(&str)>;

struct Captured {
    text: String,
    listener: Option<Listener>,
}

thread_local! {
    static CAPTURED: RefCell<Vec<Captured>> = const { RefCell::new(Vec::new()) };
}

/// Captures this thread's engine log until it is dropped. Captures nest.
///
/// Whoever installed a callback before gets it back. A callback installed by another thread
/// *while* a capture lives is replaced when the capture ends.
#[must_use = "the capture ends when this is dropped"]
pub struct LogCapture {
    // Thread-local state: the capture must end on the thread that began it.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl LogCapture {
    /// Captures what ggml logs, which includes its GGUF reader.
    pub fn ggml() -> Self {
        Self::start(false, None)
    }

    /// Captures what llama.cpp logs, and ggml with it.
    ///
    /// The engine has no way to ask for llama.cpp's own callback (`llama_log_get` answers with
    /// ggml's), so afterwards both log through ggml's earlier one.
    pub fn llama() -> Self {
        Self::start(true, None)
    }

    /// The same, with a listener for what is done while the log is written; it must not log itself.
    pub(super) fn llama_heard_by(listener: impl FnMut(&str) + 'static) -> Self {
        Self::start(true, Some(Box::new(listener)))
    }

    fn start(llama: bool, listener: Option<Listener>) -> Self {
        let text = String::new();
        CAPTURED.with_borrow_mut(|stack| stack.push(Captured { text, listener }));
        let mut previous = PREVIOUS.lock().unwrap_or_else(|e| e.into_inner());
        if previous.depth == 0 {
            let mut user_data: *mut c_void = std::ptr::null_mut();
            // SAFETY: both pointers are valid for the call, and the new callback lives as long as
            // the program and needs no user data.
            unsafe {
                sys::ggml_log_get(&raw mut previous.callback, &raw mut user_data);
                sys::ggml_log_set(Some(on_log), std::ptr::null_mut());
            }
            previous.user_data = user_data as usize;
        }
        if llama && !previous.llama {
            previous.llama = true;
            // SAFETY: as above; this sets ggml's callback to the same function again.
            unsafe { sys::llama_log_set(Some(on_log), std::ptr::null_mut()) };
        }
        previous.depth += 1;
        Self {
            _not_send: std::marker::PhantomData,
        }
    }

    /// Ends the capture and returns what this thread logged.
    #[must_use]
    pub fn finish(self) -> String {
        CAPTURED.with_borrow_mut(|stack| {
            let last = stack.last_mut();
            last.map(|captured| std::mem::take(&mut captured.text))
                .unwrap_or_default()
        })
    }
}

impl Drop for LogCapture {
    fn drop(&mut self) {
        // Dropped after the borrow ends: a listener may have something to do then.
        let _ended = CAPTURED.with_borrow_mut(Vec::pop);
        let mut previous = PREVIOUS.lock().unwrap_or_else(|e| e.into_inner());
        previous.depth -= 1;
        if previous.depth == 0 {
            let user_data = previous.user_data as *mut c_void;
            // SAFETY: hands back exactly the pair that `ggml_log_get` returned; its owner keeps it
            // valid, as it had to before the capture began.
            unsafe {
                if std::mem::take(&mut previous.llama) {
                    sys::llama_log_set(previous.callback, user_data);
                } else {
                    sys::ggml_log_set(previous.callback, user_data);
                }
            }
        }
    }
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    let kept = CAPTURED
        .try_with(|stack| {
            let Ok(mut stack) = stack.try_borrow_mut() else {
                return false;
            };
            let Some(captured) = stack.last_mut() else {
                return false;
            };
            // SAFETY: the engine passes a NUL-terminated string that lives for the call.
            let piece = unsafe { CStr::from_ptr(text) }.to_string_lossy();
            captured.text.push_str(&piece);
            if let Some(listener) = &mut captured.listener {
                listener(&piece);
            }
            true
        })
        .unwrap_or(false);
    if kept {
        return;
    }
    let (callback, user_data) = {
        let previous = PREVIOUS.lock().unwrap_or_else(|e| e.into_inner());
        (previous.callback, previous.user_data as *mut c_void)
    };
    if let Some(callback) = callback {
        // SAFETY: the earlier callback with its own user data, called as the engine would have.
        unsafe { callback(level, text, user_data) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_this_threads_lines_and_restores_the_callback() {
        let before = current();
        let outer = LogCapture::ggml();
        read_nonsense();
        let inner = LogCapture::ggml();
        read_nonsense();
        assert!(inner.finish().contains("magic"));
        assert!(outer.finish().contains("magic"));
        // Other tests capture at the same time, so only the pair's own bookkeeping is compared
        // when nobody else is capturing.
        if PREVIOUS.lock().unwrap().depth == 0 {
            assert_eq!(before.1, current().1);
        }
    }

    fn current() -> (bool, usize) {
        let (mut callback, mut data) = (None, std::ptr::null_mut());
        // SAFETY: both pointers are valid for the call.
        unsafe { sys::ggml_log_get(&raw mut callback, &raw mut data) };
        (callback.is_some(), data as usize)
    }

    fn read_nonsense() {
        let bytes = *b"nonsense";
        let params = sys::gguf_init_params {
            no_alloc: true,
            ctx: std::ptr::null_mut(),
        };
        // SAFETY: the buffer outlives the call, and a refused buffer gives a null pointer.
        let ctx = unsafe { sys::gguf_init_from_buffer(bytes.as_ptr().cast(), bytes.len(), params) };
        assert!(ctx.is_null());
    }
}
