//! Ctrl-C, Ctrl-Break, a window that closes, and colours.

use std::io;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode, GetStdHandle, STD_ERROR_HANDLE,
    STD_OUTPUT_HANDLE, SetConsoleCtrlHandler, SetConsoleMode,
};
use windows_sys::core::BOOL;

use super::super::signals::EndSignal;

type Act = Box<dyn FnMut(EndSignal) + Send>;

static ACT: Mutex<Option<Act>> = Mutex::new(None);

/// Calls `act`, in a thread of Windows' own, for every such event from now on.
pub(crate) fn on_ending(act: impl FnMut(EndSignal) + Send + 'static) -> io::Result<()> {
    *ACT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    install(heed)
}

/// Lives on when these events come, until the parent ends this process.
pub(crate) fn leave_to_parent() {
    // Without a console there are no such events either.
    let _ = install(ignore);
}

fn install(handler: unsafe extern "system" fn(u32) -> BOOL) -> io::Result<()> {
    // SAFETY: the handler is a function of this program, which is there as long as the process.
    match unsafe { SetConsoleCtrlHandler(Some(handler), 1) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

unsafe extern "system" fn heed(event: u32) -> BOOL {
    let signal = match event {
        CTRL_C_EVENT | CTRL_BREAK_EVENT => EndSignal::Asked,
        CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => EndSignal::HungUp,
        _ => return 0,
    };
    if let Some(act) = ACT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        act(signal);
    }
    if signal == EndSignal::HungUp {
        stay();
    }
    1
}

unsafe extern "system" fn ignore(event: u32) -> BOOL {
    match event {
        CTRL_C_EVENT | CTRL_BREAK_EVENT => 1,
        _ => stay(),
    }
}

/// Windows ends the process when the handler of a closing window returns, else after some seconds: what is in hand has this time.
fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

/// Has the console understand colours, as Windows Terminal does without being asked. One that cannot is left as it is.
pub(crate) fn show_colours() {
    for stream in [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: the calls take a handle, which they check, and a place for a number.
        unsafe {
            let handle = GetStdHandle(stream);
            let mut mode = 0;
            if GetConsoleMode(handle, &raw mut mode) != 0 {
                SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
            }
        }
    }
}
