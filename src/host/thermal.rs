//! Heat and clocks: temperature, throttle counters, current frequency.

use super::cpu::online;
use super::files::MachineFiles;

/// Thermal throttling events since boot over all cores (Documentation/admin-guide/thermal, x86 only).
/// `None` where the kernel keeps no counters, as in most virtual machines.
pub(crate) fn throttle_events(files: &impl MachineFiles) -> Option<u64> {
    let counts = online(files)?.into_iter().map_while(|cpu| {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
        files.number::<u64>(&file)
    });
    counts.reduce(u64::saturating_add)
}

/// Files that hold the processor's temperature in thousandths of a degree Celsius: the first of
/// the drivers that measure the package or the die, else an x86 package's or CPU's thermal zone.
pub(crate) fn temperature_file(files: &impl MachineFiles) -> Option<String> {
    const DRIVERS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];
    const ZONES: [&str; 4] = ["x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal"];
    let find = |class: &str, prefix: &str, name: &str, value: &str, known: &[&str]| {
        let folders = files.list(class);
        let mut folders = folders.iter().filter(|folder| folder.starts_with(prefix));
        folders.find_map(|folder| {
            let kind = files.read(&format!("{class}/{folder}/{name}"))?;
            let file = format!("{class}/{folder}/{value}");
            (known.contains(&kind.as_str()) && files.number::<i64>(&file).is_some()).then_some(file)
        })
    };
    find("/sys/class/hwmon", "hwmon", "name", "temp1_input", &DRIVERS)
        .or_else(|| find("/sys/class/thermal", "thermal_zone", "type", "temp", &ZONES))
}

/// Files that hold cores' current frequency in kHz: at most `most` of them, spread over the cores.
pub(crate) fn frequency_files(files: &impl MachineFiles, most: usize) -> Vec<String> {
    let cpus = online(files).unwrap_or_default();
    let step = cpus.len().div_ceil(most.max(1)).max(1);
    let path = |cpu: &u32| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq");
    let spread = cpus.iter().step_by(step).map(path);
    spread
        .filter(|path| files.number::<u64>(path).is_some())
        .collect()
}

/// Whether the machine runs on a battery. `None` when it names no power supply at all.
#[cfg_attr(windows, allow(dead_code))]
pub(crate) fn on_battery(files: &impl MachineFiles) -> Option<bool> {
    const CLASS: &str = "/sys/class/power_supply";
    let mut supplies = files.list(CLASS).into_iter().peekable();
    supplies.peek()?;
    Some(supplies.any(|supply| {
        let read = |file: &str| files.read(&format!("{CLASS}/{supply}/{file}"));
        // A wireless mouse has a battery as well: its scope is "Device".
        read("type").as_deref() == Some("Battery")
            && read("scope").as_deref() != Some("Device")
            && read("status").as_deref() == Some("Discharging")
    }))
}

#[cfg(test)]
mod tests {
    use super::super::files::{FakeFiles, listed};
    use super::*;

    #[test]
    fn throttle_counts_add_up_over_cores() {
        let files = FakeFiles(&listed(
            "/sys/devices/system/cpu/online 0-1
             /sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count 5
             /sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count 7",
        ));
        assert_eq!(throttle_events(&files), Some(12));
        assert_eq!(
            throttle_events(&FakeFiles(&[("/sys/devices/system/cpu/online", "0")])),
            None
        );
    }

    #[test]
    fn the_cpu_sensor_is_told_from_the_disk_sensor() {
        let files = FakeFiles(&listed(
            "/sys/class/hwmon/hwmon0/name nvme
             /sys/class/hwmon/hwmon0/temp1_input 40000
             /sys/class/hwmon/hwmon1/name k10temp
             /sys/class/hwmon/hwmon1/temp1_input 61000",
        ));
        let found = temperature_file(&files);
        assert_eq!(
            found.as_deref(),
            Some("/sys/class/hwmon/hwmon1/temp1_input")
        );
        let board = FakeFiles(&listed(
            r"/sys/class/thermal/thermal_zone0/type cpu-thermal
             /sys/class/thermal/thermal_zone0/temp 48312",
        ));
        let found = temperature_file(&board);
        assert_eq!(
            found.as_deref(),
            Some("/sys/class/thermal/thermal_zone0/temp")
        );
        assert_eq!(temperature_file(&FakeFiles(&[])), None);
    }

    #[test]
    fn few_cores_stand_for_many() {
        let mut listed: Vec<(String, &str)> = (0..8)
            .map(|cpu| {
                (
                    format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"),
                    "1",
                )
            })
            .collect();
        listed.push(("/sys/devices/system/cpu/online".to_owned(), "0-7"));
        let listed: Vec<(&str, &str)> = listed
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        assert_eq!(frequency_files(&FakeFiles(&listed), 100).len(), 8);
        let few = frequency_files(&FakeFiles(&listed), 3);
        let numbers: Vec<char> = few.iter().filter_map(|path| path.chars().nth(27)).collect();
        assert_eq!(numbers, ['0', '3', '6']);
    }

    #[test]
    fn a_mouse_is_no_laptop() {
        let mouse: &[(&str, &str)] = &[
            ("/sys/class/power_supply/mouse/type", "Battery"),
            ("/sys/class/power_supply/mouse/scope", "Device"),
            ("/sys/class/power_supply/mouse/status", "Discharging"),
        ];
        assert_eq!(on_battery(&FakeFiles(mouse)), Some(false));
        let laptop: &[(&str, &str)] = &[
            ("/sys/class/power_supply/AC/type", "Mains"),
            ("/sys/class/power_supply/BAT0/type", "Battery"),
            ("/sys/class/power_supply/BAT0/status", "Discharging"),
        ];
        assert_eq!(on_battery(&FakeFiles(laptop)), Some(true));
        assert_eq!(on_battery(&FakeFiles(&[])), None);
    }
}
