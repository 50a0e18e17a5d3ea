//! A thread that watches a process while it is being measured: its CPU and memory, everybody else's,
//! clocks, heat, the GPUs that it uses.
//!
//! It belongs to another process than the one it watches, so nothing of it runs, allocates or locks in
//! there. It looks only inside *windows*: one opens before a repetition is asked for, after the counters at
//! its start are read, and closes when the answer is here. Within a window it wakes once an interval, so a
//! repetition shorter than that is not touched at all. Its files are opened once and read into a fixed
//! buffer. What it costs is measured on its own thread's CPU clock and reported; where reading is slow (the
//! kernel sums `/proc/stat` over all cores), the interval grows until the share is below [`MOST_COST`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::files::LiveFiles;
use super::gpu::usage::{GpuMeter, GpuUsage};
use super::memory::page_bytes;
use super::process_usage::{ProcessUsage, cpu_ns, thread_cpu_ns};
use super::procfs::{MachineTicks, statm_resident_pages};
use super::sampler_record::Recorder;
use super::thermal;
use super::usage::{CpuShares, tick_ns};
use crate::units::nanoseconds;

pub use super::sampler_record::{GpuSummary, Spread, UsageSummary};

/// At most this many cores' clocks are read: on old kernels each read interrupts that core.
const MOST_CLOCKS: usize = 16;
/// Shares of the machine need a window of this many ticks; shorter ones give only noise.
const LEAST_TICKS: u64 = 5;
/// A sample may cost one part in so many of the time until the next.
const MOST_COST: u32 = 1000;
/// The thread is given this long to answer. One that hangs in a driver is left alone, and no longer asked.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplerSettings {
    pub interval: Duration,
    pub pid: u32,
    /// NVML's numbers of the GPUs to watch, if any.
    pub gpus: Vec<u32>,
}

impl SamplerSettings {
    /// A process, and the GPUs that it uses, every 200 ms.
    pub fn of(pid: u32, gpus: Vec<u32>) -> Self {
        Self {
            interval: Duration::from_millis(200),
            pid,
            gpus,
        }
    }
}

/// The machine and the process over one interval. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct UsageSample {
    pub wall_ns: u64,
    pub rss_bytes: Option<u64>,
    /// 100 is one core.
    pub process_cpu_percent: Option<f64>,
    /// Share of the whole machine.
    pub others_cpu_percent: Option<f64>,
    /// Share of the whole machine.
    pub steal_percent: Option<f64>,
    pub frequency_hz: Option<u64>,
    /// Thousandths of a degree Celsius.
    pub temperature_mc: Option<i64>,
    pub gpu: Option<GpuUsage>,
}

/// What the thread is told. Within a window any order ends it.
enum SamplerOrder {
    /// Open a window, and say when it is open.
    Open(Sender<()>),
    Close,
    /// Hand over what the windows since the last time showed.
    Take(Sender<UsageSummary>),
}

/// A sampler's thread. Dropping this ends it.
#[derive(Debug)]
pub struct UsageSampler {
    orders: Sender<SamplerOrder>,
}

/// Time that is watched, until this is dropped.
#[derive(Debug)]
pub struct WatchWindow {
    orders: Sender<SamplerOrder>,
}

impl Drop for WatchWindow {
    fn drop(&mut self) {
        // A thread that is gone has nothing to close.
        let _ = self.orders.send(SamplerOrder::Close);
    }
}

impl UsageSampler {
    /// Starts the thread, which waits for a first window.
    pub fn start(settings: SamplerSettings) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        Builder::new()
            .name("usage-sampler".to_owned())
            .spawn(move || serve(&received, &settings))?;
        Ok(Self { orders })
    }

    /// Watches from now on; returns when the counters at the start are read. One window at a time.
    pub fn window(&self) -> WatchWindow {
        let (opened, is_open) = mpsc::channel();
        if self.orders.send(SamplerOrder::Open(opened)).is_ok() {
            // Whether in time or not: a late start only makes the samples fewer.
            let _ = is_open.recv_timeout(PATIENCE);
        }
        WatchWindow {
            orders: self.orders.clone(),
        }
    }

    /// What the windows since the last call showed; none when there was none.
    pub fn take(&self) -> Option<UsageSummary> {
        let (reply, taken) = mpsc::channel();
        self.orders.send(SamplerOrder::Take(reply)).ok()?;
        taken
            .recv_timeout(PATIENCE)
            .ok()
            .filter(|summary| summary.samples > 0)
    }
}

fn serve(orders: &Receiver<SamplerOrder>, settings: &SamplerSettings) {
    let mut probe = Probe::open(settings);
    let mut recorder = Recorder::new(settings.interval);
    let mut spent = thread_cpu_ns();
    while let Ok(order) = orders.recv() {
        match order {
            SamplerOrder::Open(opened) => {
                probe.begin();
                // Whoever asked may have lost patience.
                let _ = opened.send(());
                watch(orders, settings.interval, &mut probe, &mut recorder);
            }
            SamplerOrder::Close => {}
            SamplerOrder::Take(reply) => {
                let now = thread_cpu_ns();
                let cost = now.zip(spent).map(|(now, then)| now.saturating_sub(then));
                spent = now;
                let _ = reply.send(recorder.take(cost));
            }
        }
    }
}

/// One window: a sample an interval, and one of what is left at its end.
fn watch(
    orders: &Receiver<SamplerOrder>,
    interval: Duration,
    probe: &mut Probe,
    recorder: &mut Recorder,
) {
    let mut wait = interval;
    let mut is_first = true;
    while let Err(RecvTimeoutError::Timeout) = orders.recv_timeout(wait) {
        let before = thread_cpu_ns();
        recorder.push(&probe.sample(Moment::Beside), true);
        let cost = thread_cpu_ns()
            .zip(before)
            .map_or(0, |(now, then)| now.saturating_sub(then));
        recorder.spent_beside(cost);
        wait = interval.max(Duration::from_nanos(cost) * MOST_COST);
        is_first = false;
    }
    // A last interval much shorter than the others would give a peak that means nothing.
    let is_whole = is_first || probe.since_last() >= interval / 2;
    recorder.push(&probe.sample(Moment::After), is_whole);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// While the process works.
    Beside,
    /// When it has answered: a core may have slowed down already.
    After,
}

/// Open files and the counters at the last sample.
struct Probe {
    last: Instant,
    pid: u32,
    tick_ns: Option<u64>,
    page_bytes: Option<u64>,
    stat: Option<Reread>,
    statm: Option<Reread>,
    clocks: Vec<Reread>,
    temperature: Option<Reread>,
    gpu: Option<GpuMeter>,
    ticks: Option<MachineTicks>,
    cpu_ns: Option<u64>,
}

impl Probe {
    fn open(settings: &SamplerSettings) -> Self {
        let clocks = thermal::frequency_files(&LiveFiles, MOST_CLOCKS);
        Self {
            last: Instant::now(),
            pid: settings.pid,
            tick_ns: tick_ns(),
            page_bytes: page_bytes(),
            stat: Reread::open("/proc/stat"),
            statm: Reread::open(&format!("/proc/{}/statm", settings.pid)),
            clocks: clocks
                .iter()
                .filter_map(|path| Reread::open(path))
                .collect(),
            temperature: thermal::temperature_file(&LiveFiles).and_then(|path| Reread::open(&path)),
            gpu: GpuMeter::open(&settings.gpus),
            ticks: None,
            cpu_ns: None,
        }
    }

    /// Reads the counters that the next sample is the difference to.
    fn begin(&mut self) {
        self.ticks = self.machine_ticks();
        self.cpu_ns = cpu_ns(self.pid);
        self.last = Instant::now();
    }

    fn since_last(&self) -> Duration {
        self.last.elapsed()
    }

    fn machine_ticks(&mut self) -> Option<MachineTicks> {
        match self.stat.as_mut() {
            Some(stat) => MachineTicks::parse(stat.text()?),
            None => MachineTicks::read(&LiveFiles),
        }
    }

    fn rss_bytes(&mut self) -> Option<u64> {
        let (Some(statm), Some(page)) = (self.statm.as_mut(), self.page_bytes) else {
            return ProcessUsage::of_pid(self.pid).rss_bytes;
        };
        let pages = statm_resident_pages(statm.text()?)?;
        // A process that has just died has none, which is no memory use of what it was measured for.
        pages.checked_mul(page).filter(|bytes| *bytes > 0)
    }

    /// The fastest core's clock: the mean would tell how many cores are idle. Windows names a clock that does not move.
    fn frequency_hz(&mut self) -> Option<u64> {
        let khz = self
            .clocks
            .iter_mut()
            .filter_map(|file| file.text()?.trim().parse::<u64>().ok());
        khz.max()?.checked_mul(1000)
    }

    fn sample(&mut self, moment: Moment) -> UsageSample {
        let now = Instant::now();
        let wall_ns = nanoseconds(now - self.last);
        let ticks = self.machine_ticks();
        let process = cpu_ns(self.pid);
        let spent = process
            .zip(self.cpu_ns)
            .and_then(|(now, then)| now.checked_sub(then));
        let passed = ticks.zip(self.ticks).map(|(now, then)| now.since(&then));
        let long_enough = self
            .tick_ns
            .is_some_and(|tick| wall_ns >= LEAST_TICKS * tick);
        let shares = passed
            .filter(|_| long_enough)
            .and_then(|passed| CpuShares::of(passed, spent, self.tick_ns));
        (self.last, self.ticks, self.cpu_ns) = (now, ticks, process);
        UsageSample {
            wall_ns,
            rss_bytes: self.rss_bytes(),
            process_cpu_percent: spent.map(|spent| 100.0 * spent as f64 / wall_ns.max(1) as f64),
            others_cpu_percent: shares.and_then(|shares| shares.others_percent),
            steal_percent: shares.map(|shares| shares.steal_percent),
            frequency_hz: match moment {
                Moment::Beside => self.frequency_hz(),
                Moment::After => None,
            },
            temperature_mc: self
                .temperature
                .as_mut()
                .and_then(|file| file.text()?.trim().parse().ok()),
            gpu: self.gpu.as_ref().and_then(GpuMeter::read),
        }
    }
}

/// A file of `/proc` or `/sys` that is read again from its start; its first 256 bytes are enough
/// for every file used here (of `/proc/stat` only the first line is wanted).
struct Reread {
    file: File,
    buffer: [u8; 256],
}

impl Reread {
    fn open(path: &str) -> Option<Self> {
        let file = File::open(path).ok()?;
        Some(Self {
            file,
            buffer: [0; 256],
        })
    }

    fn text(&mut self) -> Option<&str> {
        self.file.seek(SeekFrom::Start(0)).ok()?;
        let length = self.file.read(&mut self.buffer).ok()?;
        std::str::from_utf8(&self.buffer[..length]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interval that never passes: each window has the sample at its end alone.
    fn hourly(pid: u32) -> UsageSampler {
        let settings = SamplerSettings {
            interval: Duration::from_secs(3600),
            pid,
            gpus: Vec::new(),
        };
        UsageSampler::start(settings).expect("a thread")
    }

    #[test]
    fn each_window_gives_a_sample_and_taking_begins_anew() {
        let sampler = hourly(std::process::id());
        assert_eq!(sampler.take(), None, "nothing was watched");
        for _ in 0..3 {
            drop(sampler.window());
        }
        let summary = sampler.take().expect("three windows");
        assert_eq!(summary.samples, 3);
        assert_eq!(summary.interval_ns, 3_600_000_000_000);
        assert!(summary.rss_bytes.is_some_and(|rss| rss.min > 0.0));
        assert!(summary.process_cpu_percent.is_some());
        assert_eq!(summary.frequency_hz, None, "no sample beside the work");
        if cfg!(target_os = "linux") {
            assert!(summary.own_cost_ns.is_some_and(|ns| ns > 0));
            assert_eq!(summary.beside_cost_ns, 0, "no window lasted an hour");
        }
        assert_eq!(sampler.take(), None);
    }

    #[test]
    fn work_in_a_window_is_seen() {
        let sampler = hourly(std::process::id());
        let window = sampler.window();
        let work = (0..30_000_000u64).fold(0, |sum, n| sum ^ std::hint::black_box(n));
        std::hint::black_box(work);
        drop(window);
        let busy = sampler.take().expect("one window");
        assert!(busy.process_cpu_percent.is_some_and(|cpu| cpu.mean > 0.0));
    }

    #[test]
    fn a_process_that_is_not_there_is_unknown_not_zero() {
        let sampler = hourly(u32::MAX);
        drop(sampler.window());
        let summary = sampler.take().expect("one window");
        assert_eq!(
            (summary.rss_bytes, summary.process_cpu_percent, summary.gpu),
            (None, None, None)
        );
    }

    #[test]
    fn samples_beside_the_work_are_counted_and_their_cost_is_known() {
        let settings = SamplerSettings {
            interval: Duration::from_nanos(1),
            ..SamplerSettings::of(std::process::id(), Vec::new())
        };
        let sampler = UsageSampler::start(settings).expect("a thread");
        let mut summary = UsageSummary::default();
        // As often as it takes to be interrupted in one.
        while summary.beside_cost_ns == 0 && cfg!(target_os = "linux") {
            let window = sampler.window();
            std::thread::yield_now();
            drop(window);
            summary = sampler.take().expect("a window");
        }
        assert!(
            summary
                .own_cost_ns
                .is_none_or(|all| all >= summary.beside_cost_ns)
        );
    }
}
