//! The processors that OpenMP takes from a program that has not computed yet.
//!
//! Where `OMP_PROC_BIND`, `OMP_PLACES` or `GOMP_CPU_AFFINITY` is set, GNU's OpenMP binds a program's first thread to one place as
//! soon as it is loaded, before `main`. Whoever only starts other processes is bound too, and they inherit it: then all threads of
//! a worker share that place.

/// Gives this thread, and the processes that it starts, all processors of OpenMP's places back. Those are the ones that the
/// program began with, unless the variables name fewer. For the supervisor: a worker's threads are bound as the variables say.
pub fn leave_openmp_places() {
    #[cfg(target_os = "linux")]
    linux::leave();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{CStr, c_int};

    use rustix::thread::{CpuSet, sched_setaffinity};

    /// Variables that bind.
    const BINDING: [&str; 3] = ["OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"];

    pub(super) fn leave() {
        if !BINDING.iter().any(|name| std::env::var_os(name).is_some()) {
            return;
        }
        let all = processors_of_places();
        let mut set = CpuSet::new();
        for cpu in all.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
            set.set(*cpu);
        }
        if !all.is_empty() {
            // A program that stays bound is measured so, and that is said.
            let _ = sched_setaffinity(None, &set);
        }
    }

    /// What OpenMP's runtime, where one is loaded, has places on.
    fn processors_of_places() -> Vec<usize> {
        let (Some(n_places), Some(n_procs), Some(ids)) = (
            function(c"omp_get_num_places"),
            function(c"omp_get_place_num_procs"),
            function(c"omp_get_place_proc_ids"),
        ) else {
            return Vec::new();
        };
        // SAFETY: the three functions have these types in every OpenMP since 4.5 (section 3.2), and may be called at any time.
        let (n_places, n_procs, ids) = unsafe {
            (
                std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_int>(n_places),
                std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int) -> c_int>(n_procs),
                std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int, *mut c_int)>(ids),
            )
        };
        let mut all = Vec::new();
        for place in 0..n_places() {
            let mut of_place = vec![-1; usize::try_from(n_procs(place)).unwrap_or(0)];
            ids(place, of_place.as_mut_ptr());
            all.extend(
                of_place
                    .into_iter()
                    .filter_map(|cpu| usize::try_from(cpu).ok()),
            );
        }
        all
    }

    fn function(name: &CStr) -> Option<*mut libc::c_void> {
        // SAFETY: the name ends in a zero, and the default handle searches what is loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
}
