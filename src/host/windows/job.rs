//! Job objects: processes that end together, and the memory that one may take.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::Child;

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_LIMIT_PROCESS_MEMORY,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::process::memory_counters;

/// A child process and all that it starts. They end when this is dropped, and when this process ends, however it does.
#[derive(Debug)]
pub(crate) struct JobObject(OwnedHandle);

impl JobObject {
    pub(crate) fn of(child: &Child) -> io::Result<Self> {
        let job = Self::new(|limits| {
            limits.BasicLimitInformation.LimitFlags =
                JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
        })?;
        // SAFETY: both are open handles of this process.
        let joined =
            unsafe { AssignProcessToJobObject(job.0.as_raw_handle(), child.as_raw_handle()) };
        done(joined)?;
        Ok(job)
    }

    fn new(set: impl FnOnce(&mut JOBOBJECT_EXTENDED_LIMIT_INFORMATION)) -> io::Result<Self> {
        // SAFETY: no attributes and no name are valid arguments.
        let handle = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was made by the call above, and nobody else has it.
        let job = Self(unsafe { OwnedHandle::from_raw_handle(handle) });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        set(&mut limits);
        // SAFETY: the call reads a structure of this kind and of this size, which lives through it.
        let is_set = unsafe {
            SetInformationJobObject(
                job.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of_val(&limits) as u32,
            )
        };
        done(is_set)?;
        Ok(job)
    }

    /// Ends all of its processes, with exit code 1.
    pub(crate) fn kill(&self) {
        // SAFETY: the handle is open; a job without processes has nothing to end.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), 1) };
    }
}

/// Lets this process commit `bytes` more of memory than it has now; asking for more then fails.
pub(crate) fn limit_memory_of_self(bytes: u64) -> io::Result<()> {
    // SAFETY: the call takes nothing; what it gives needs no closing.
    let own = unsafe { GetCurrentProcess() };
    let held = memory_counters(own).ok_or(io::ErrorKind::InvalidData)?;
    let limit = held
        .PrivateUsage
        .saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
    let job = JobObject::new(|limits| {
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY;
        limits.ProcessMemoryLimit = limit;
    })?;
    // SAFETY: both are handles of this process. The job lives on with its process when this handle of it is closed.
    done(unsafe { AssignProcessToJobObject(job.0.as_raw_handle(), own) })
}

fn done(answer: i32) -> io::Result<()> {
    match answer {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
