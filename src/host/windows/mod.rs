//! What Windows' own interfaces say of the machine and of processes, and how processes are ended together there.
//!
//! An answer that Windows does not give is `None`, as for a file of Linux that is not there.

mod console;
mod job;
mod machine;
mod process;

pub(crate) use console::{leave_to_parent, on_ending, show_colours};
pub(crate) use job::{JobObject, limit_memory_of_self};
pub(crate) use machine::{
    affinity, bind_to, clocks_hz, machine_ticks, on_battery, page_bytes, power_plan, product,
    tick_ns, topology,
};
pub(crate) use process::{
    crash_without_dialog, leave_at_once, process_cpu_ns, process_memory, thread_cpu_ns,
};
