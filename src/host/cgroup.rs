//! Limits that a container puts on this process: memory, CPU quota, out-of-memory kills.
//!
//! A limit may sit on any ancestor of the process's own cgroup, so every level up to the mount
//! point is asked. Sources: cgroups(7), the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory.

use super::files::{MachineFiles, space_value};
use super::kernel::LimitState;

/// Where one controller's files lie for this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Mount point of the hierarchy, as `/sys/fs/cgroup`.
    mount: String,
    /// This process's place below it: empty, or `/a/b`.
    path: String,
    /// The unified hierarchy (version 2), whose files have other names.
    unified: bool,
}

impl Cgroup {
    /// Finds the hierarchy that has `controller` (`memory`, `cpu`) switched on for this process.
    pub(crate) fn find(files: &impl MachineFiles, controller: &str) -> Option<Self> {
        let own = files.read("/proc/self/cgroup")?;
        let mounts = files.read("/proc/self/mountinfo")?;
        // Version 1 first: on a hybrid system the unified hierarchy exists without controllers.
        for unified in [false, true] {
            let found =
                own_path(&own, controller, unified).zip(mount_of(&mounts, controller, unified));
            if let Some((path, (root, mount))) = found {
                return Some(Self {
                    mount: mount.to_owned(),
                    path: below(path, root),
                    unified,
                });
            }
        }
        None
    }

    /// The folder of the process's own cgroup, then its parents up to the mount point.
    fn levels(&self) -> impl Iterator<Item = String> + '_ {
        let mut next = Some(self.path.as_str());
        std::iter::from_fn(move || {
            let path = next?;
            next = path.rfind('/').map(|slash| &path[..slash]);
            Some(format!("{}{path}", self.mount))
        })
    }

    /// Bytes this process may still take before a limit stops it: over all levels the smallest
    /// `limit - usage + inactive file cache` (the cache that the kernel drops first, counted as
    /// the kubelet's working set does). `None` without a limit.
    pub(crate) fn memory_headroom_bytes(&self, files: &impl MachineFiles) -> Option<u64> {
        self.levels()
            .filter_map(|dir| self.headroom_of(files, &dir))
            .min()
    }

    /// The smallest memory limit of all levels.
    pub(crate) fn memory_limit(&self, files: &impl MachineFiles) -> LimitState<u64> {
        let limits = self
            .levels()
            .filter_map(|dir| self.memory_limit_of(files, &dir));
        self.limit(files, limits.min(), "memory.limit_in_bytes")
    }

    /// The smallest CPU quota of all levels, in cores.
    pub(crate) fn cpu_limit(&self, files: &impl MachineFiles) -> LimitState<f64> {
        self.limit(files, self.cpu_quota_cores(files), "cpu.cfs_quota_us")
    }

    /// Without a limit found: whether its absence is known. Version 2 leaves a controller's files out where the
    /// controller is off, but always lists the controllers; version 1 has `file` everywhere.
    fn limit<T>(&self, files: &impl MachineFiles, found: Option<T>, file: &str) -> LimitState<T> {
        let mark = if self.unified {
            "cgroup.controllers"
        } else {
            file
        };
        let is_readable = files
            .read(&format!("{}{}/{mark}", self.mount, self.path))
            .is_some();
        match found {
            Some(limit) => LimitState::At(limit),
            None if is_readable => LimitState::Without,
            None => LimitState::Unknown,
        }
    }

    fn memory_limit_of(&self, files: &impl MachineFiles, dir: &str) -> Option<u64> {
        let number = |file: &str| files.number::<u64>(&format!("{dir}/{file}"));
        if self.unified {
            // "max" does not parse, which is what no limit should be.
            let limits = [number("memory.max"), number("memory.high")];
            limits.into_iter().flatten().min()
        } else {
            // Version 1 writes "no limit" as the largest multiple of the page size in an i64.
            number("memory.limit_in_bytes").filter(|limit| *limit < 1 << 60)
        }
    }

    fn headroom_of(&self, files: &impl MachineFiles, dir: &str) -> Option<u64> {
        let number = |file: &str| files.number::<u64>(&format!("{dir}/{file}"));
        let limit = self.memory_limit_of(files, dir)?;
        let (usage, cache_key) = if self.unified {
            (number("memory.current")?, "inactive_file")
        } else {
            (number("memory.usage_in_bytes")?, "total_inactive_file")
        };
        let stat = files
            .read(&format!("{dir}/memory.stat"))
            .unwrap_or_default();
        let cache = space_value(&stat, cache_key).unwrap_or(0);
        Some(limit.saturating_sub(usage.saturating_sub(cache)))
    }

    /// Cores' worth of CPU time this process may use per second, when a quota is set anywhere above.
    pub(crate) fn cpu_quota_cores(&self, files: &impl MachineFiles) -> Option<f64> {
        let quotas = self.levels().filter_map(|dir| self.quota_of(files, &dir));
        quotas.min_by(f64::total_cmp)
    }

    fn quota_of(&self, files: &impl MachineFiles, dir: &str) -> Option<f64> {
        let (quota, period) = if self.unified {
            let text = files.read(&format!("{dir}/cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            (
                quota.parse::<i64>().ok()?,
                period.trim().parse::<i64>().ok()?,
            )
        } else {
            let number = |file: &str| files.number::<i64>(&format!("{dir}/{file}"));
            (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
        };
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }

    /// Total time that tasks of this cgroup were kept off the CPU by a quota.
    pub(crate) fn quota_throttled_ns(&self, files: &impl MachineFiles) -> Option<u64> {
        let stat = files.read(&format!("{}{}/cpu.stat", self.mount, self.path))?;
        if self.unified {
            space_value(&stat, "throttled_usec")?.checked_mul(1000)
        } else {
            space_value(&stat, "throttled_time")
        }
    }

    /// Processes of this cgroup that the out-of-memory killer has ended.
    pub(crate) fn oom_kills(&self, files: &impl MachineFiles) -> Option<u64> {
        let file = if self.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = files.read(&format!("{}{}/{file}", self.mount, self.path))?;
        space_value(&text, "oom_kill")
    }
}

/// The path in `/proc/self/cgroup`: lines of `id:controllers:path`, version 2 as `0::path`.
fn own_path<'a>(own: &'a str, controller: &str, unified: bool) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = if unified {
            id == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|name| name == controller)
        };
        fits.then_some(path)
    })
}

/// Root and mount point from `/proc/self/mountinfo`, whose lines are
/// `id parent major:minor root mount-point options ... - type source super-options`.
fn mount_of<'a>(mounts: &'a str, controller: &str, unified: bool) -> Option<(&'a str, &'a str)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, _source) = (right.next()?, right.next()?);
        let options = right.next().unwrap_or_default();
        let fits = if unified {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|option| option == controller)
        };
        let mut left = left.split(' ').skip(3);
        fits.then_some((left.next()?, left.next()?))
    })
}

/// The part of a cgroup's path below the mount. A container may see only its own subtree mounted
/// while `/proc/self/cgroup` still names the host's path: then the mount point is the cgroup.
fn below(path: &str, root: &str) -> String {
    let rest = match root {
        "/" => path,
        _ => match path.strip_prefix(root) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => "",
        },
    };
    if rest.contains("/..") {
        return String::new();
    }
    rest.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::files::{FakeFiles, listed};
    use super::*;

    const V2_MOUNT: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    const V1_MOUNT: &str = "22 27 0:21 / /proc rw - proc proc rw\n\
        35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
        32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn the_tightest_ancestor_decides() {
        let mut files = listed(
            r"/proc/self/cgroup 0::/user.slice/app.scope
             /sys/fs/cgroup/user.slice/app.scope/memory.max max
             /sys/fs/cgroup/user.slice/app.scope/memory.current 500
             /sys/fs/cgroup/user.slice/memory.max 4000
             /sys/fs/cgroup/user.slice/memory.high 3000
             /sys/fs/cgroup/user.slice/memory.current 1500
             /sys/fs/cgroup/user.slice/app.scope/cpu.max max 100000
             /sys/fs/cgroup/user.slice/cpu.max 150000 100000
             /sys/fs/cgroup/user.slice/memory.stat anon 900\ninactive_file 200
             /sys/fs/cgroup/user.slice/app.scope/cpu.stat usage_usec 9\nthrottled_usec 25
             /sys/fs/cgroup/user.slice/app.scope/memory.events low 0\noom 4\noom_kill 3",
        );
        files.push(("/proc/self/mountinfo", V2_MOUNT));
        let files = FakeFiles(&files);
        let memory = Cgroup::find(&files, "memory").expect("a unified hierarchy");
        assert_eq!(
            memory.memory_headroom_bytes(&files),
            Some(3000 - (1500 - 200))
        );
        assert_eq!(memory.oom_kills(&files), Some(3));
        let cpu = Cgroup::find(&files, "cpu").expect("a unified hierarchy");
        assert_eq!(cpu.cpu_quota_cores(&files), Some(1.5));
        assert_eq!(cpu.quota_throttled_ns(&files), Some(25_000));
    }

    #[test]
    fn version_1_in_a_container_that_sees_only_its_subtree() {
        let mut files = listed(
            r"/sys/fs/cgroup/memory/memory.limit_in_bytes 2147483648
             /sys/fs/cgroup/memory/memory.usage_in_bytes 1073741824
             /sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us 50000
             /sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us 100000
             /proc/self/cgroup 4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/
             /sys/fs/cgroup/memory/memory.stat inactive_file 1\ntotal_inactive_file 1000
             /sys/fs/cgroup/memory/memory.oom_control under_oom 0\noom_kill 2
             /sys/fs/cgroup/cpu,cpuacct/cpu.stat nr_throttled 3\nthrottled_time 77",
        );
        files.push(("/proc/self/mountinfo", V1_MOUNT));
        let files = FakeFiles(&files);
        let memory = Cgroup::find(&files, "memory").expect("a memory hierarchy");
        assert_eq!(
            memory.memory_headroom_bytes(&files),
            Some(1_073_741_824 + 1000)
        );
        assert_eq!(memory.oom_kills(&files), Some(2));
        let cpu = Cgroup::find(&files, "cpu").expect("a cpu hierarchy");
        assert_eq!(cpu.cpu_quota_cores(&files), Some(0.5));
        assert_eq!(cpu.quota_throttled_ns(&files), Some(77));
    }

    #[test]
    fn no_limit_is_none() {
        let mut files = listed(
            r"/sys/fs/cgroup/memory/memory.limit_in_bytes 9223372036854771712
             /sys/fs/cgroup/memory/memory.usage_in_bytes 1073741824
             /sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us -1
             /sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us 100000
             /proc/self/cgroup 4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc",
        );
        files.push(("/proc/self/mountinfo", V1_MOUNT));
        let files = FakeFiles(&files);
        let memory = Cgroup::find(&files, "memory").expect("a memory hierarchy");
        assert_eq!(memory.memory_headroom_bytes(&files), None);
        let cpu = Cgroup::find(&files, "cpu").expect("a cpu hierarchy");
        assert_eq!(cpu.cpu_quota_cores(&files), None);
        assert_eq!(Cgroup::find(&FakeFiles(&[]), "memory"), None);
    }

    #[test]
    fn usage_above_the_limit_leaves_nothing() {
        let mut files = listed(
            r"/proc/self/cgroup 0::/
             /sys/fs/cgroup/memory.max 1000
             /sys/fs/cgroup/memory.current 1200",
        );
        files.push(("/proc/self/mountinfo", V2_MOUNT));
        let files = FakeFiles(&files);
        let memory = Cgroup::find(&files, "memory").expect("a unified hierarchy");
        assert_eq!(memory.memory_headroom_bytes(&files), Some(0));
    }

    #[test]
    fn paths_outside_the_mount_fall_back_to_it() {
        assert_eq!(below("/docker/abc/x", "/docker/abc"), "/x");
        assert_eq!(below("/docker/abcd", "/docker/abc"), "");
        assert_eq!(below("/../../other", "/"), "");
        assert_eq!(below("/", "/"), "");
    }
}
