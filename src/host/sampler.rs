//! A thread that watches the machine during a run: memory, CPU, clocks, heat, one GPU.
//!
//! It opens its files once, reads them into a fixed buffer and keeps samples in a ring allocated at
//! the start, so that it neither allocates nor grows while something is measured. What it costs is
//! measured on its own thread's CPU clock and reported: about 0.1 ms a sample on a small machine
//! without a GPU, 0.05% of one core at the default interval.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::files::LiveFiles;
use super::gpu::GpuMeter;
use super::memory::page_bytes;
use super::process_usage::{ProcessUsage, cpu_ns, thread_cpu_ns};
use super::procfs::{MachineTicks, statm_resident_pages};
use super::sampler_record::Recorder;
use super::thermal;
use super::usage::{Shares, tick_ns};

pub use super::gpu::GpuUsage;
pub use super::sampler_record::{GpuSummary, Spread, UsageSummary, UsageTrace};

/// At most this many cores' clocks are read: on old kernels each read interrupts that core.
const MOST_CLOCKS: usize = 16;
/// Shares of the machine need a window of this many ticks; shorter ones give only noise.
const LEAST_TICKS: u64 = 5;

/// What to sample and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerSettings {
    /// Time between samples.
    pub interval: Duration,
    /// Process to watch.
    pub pid: u32,
    /// NVML index of the GPU to watch, if any.
    pub gpu_index: Option<u32>,
    /// Samples kept; when there are more, the oldest are overwritten (the summary counts them all).
    pub capacity: usize,
}

impl Default for SamplerSettings {
    /// This process and the first GPU every 200 ms; the last 13 minutes are kept.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            pid: std::process::id(),
            gpu_index: Some(0),
            capacity: 4096,
        }
    }
}

/// The machine and the process over one interval. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSample {
    /// Time since the sampler started.
    pub at_ns: u64,
    /// Memory that the process holds.
    pub rss_bytes: Option<u64>,
    /// The process's CPU time: 100 is one core.
    pub process_cpu_percent: Option<f64>,
    /// Everybody else's CPU time as a share of the whole machine.
    pub others_cpu_percent: Option<f64>,
    /// Capacity taken by the hypervisor, as a share of the whole machine.
    pub steal_percent: Option<f64>,
    /// Mean clock over at most 16 cores.
    pub frequency_hz: Option<u64>,
    /// Processor temperature in thousandths of a degree Celsius.
    pub temperature_mc: Option<i64>,
    /// The watched GPU.
    pub gpu: Option<GpuUsage>,
}

/// A running sampler. Dropping it ends its thread.
#[derive(Debug)]
pub struct UsageSampler {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Recorder>>,
}

impl UsageSampler {
    /// Starts sampling.
    ///
    /// # Errors
    /// The operating system's, when it gives no thread.
    pub fn start(settings: SamplerSettings) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = Builder::new()
            .name("usage-sampler".to_owned())
            .spawn(move || sample_until(&stopped, settings))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Takes a last sample, ends the thread and sums up.
    pub fn stop(self) -> UsageSummary {
        self.stop_with_samples().summary
    }

    /// As [`stop`](Self::stop), with the samples that the ring still holds, oldest first.
    pub fn stop_with_samples(mut self) -> UsageTrace {
        self.halt().map(Recorder::finish).unwrap_or_default()
    }

    /// Hanging up is the signal. A second call finds nothing left to do.
    fn halt(&mut self) -> Option<Recorder> {
        drop(self.stop.take());
        self.thread.take()?.join().ok()
    }
}

impl Drop for UsageSampler {
    fn drop(&mut self) {
        self.halt();
    }
}

fn sample_until(stopped: &Receiver<()>, settings: SamplerSettings) -> Recorder {
    let begun = Instant::now();
    let mut recorder = Recorder::new(settings.interval, settings.capacity);
    let throttled_before = thermal::throttle_events(&LiveFiles);
    let mut probe = Probe::open(&settings, begun);
    loop {
        let last = match stopped.recv_timeout(settings.interval) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        };
        // A last interval much shorter than the others would give a peak that means nothing.
        if !last || recorder.is_empty() || probe.since_last() >= settings.interval / 2 {
            recorder.push(probe.sample());
        }
        if last {
            break;
        }
    }
    let throttled = thermal::throttle_events(&LiveFiles);
    let events = throttled
        .zip(throttled_before)
        .and_then(|(now, then)| now.checked_sub(then));
    recorder.close(begun.elapsed(), thread_cpu_ns(), events);
    recorder
}

/// Open files and the counters at the last sample.
struct Probe {
    begun: Instant,
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
    fn open(settings: &SamplerSettings, begun: Instant) -> Self {
        let clocks = thermal::frequency_files(&LiveFiles, MOST_CLOCKS);
        let mut probe = Self {
            begun,
            last: begun,
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
            gpu: settings.gpu_index.and_then(GpuMeter::open),
            ticks: None,
            cpu_ns: None,
        };
        probe.ticks = probe.machine_ticks();
        probe.cpu_ns = cpu_ns(probe.pid);
        probe.last = Instant::now();
        probe
    }

    fn since_last(&self) -> Duration {
        self.last.elapsed()
    }

    fn machine_ticks(&mut self) -> Option<MachineTicks> {
        MachineTicks::parse(self.stat.as_mut()?.text()?)
    }

    fn rss_bytes(&mut self) -> Option<u64> {
        let (Some(statm), Some(page)) = (self.statm.as_mut(), self.page_bytes) else {
            return ProcessUsage::of_pid(self.pid).rss_bytes;
        };
        statm_resident_pages(statm.text()?)?.checked_mul(page)
    }

    fn frequency_hz(&mut self) -> Option<u64> {
        let khz = self
            .clocks
            .iter_mut()
            .filter_map(|file| file.text()?.trim().parse::<u64>().ok());
        let (count, sum) = khz.fold((0u64, 0u64), |(n, sum), khz| {
            (n + 1, sum.saturating_add(khz))
        });
        sum.checked_div(count)?.checked_mul(1000)
    }

    fn sample(&mut self) -> UsageSample {
        let now = Instant::now();
        let wall_ns = as_ns(now - self.last);
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
            .and_then(|passed| Shares::of(passed, spent, self.tick_ns));
        (self.last, self.ticks, self.cpu_ns) = (now, ticks, process);
        UsageSample {
            at_ns: as_ns(now - self.begun),
            rss_bytes: self.rss_bytes(),
            process_cpu_percent: spent.map(|spent| 100.0 * spent as f64 / wall_ns.max(1) as f64),
            others_cpu_percent: shares.and_then(|shares| shares.others_percent),
            steal_percent: shares.map(|shares| shares.steal_percent),
            frequency_hz: self.frequency_hz(),
            temperature_mc: self
                .temperature
                .as_mut()
                .and_then(|file| file.text()?.trim().parse().ok()),
            gpu: self.gpu.as_ref().and_then(GpuMeter::read),
        }
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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

    #[test]
    fn a_short_run_still_gives_one_sample() {
        let settings = SamplerSettings {
            interval: Duration::from_secs(3600),
            ..SamplerSettings::default()
        };
        let sampler = UsageSampler::start(settings).expect("a thread");
        let trace = sampler.stop_with_samples();
        assert_eq!((trace.summary.samples, trace.samples.len()), (1, 1));
        assert!(trace.samples[0].rss_bytes.is_some_and(|bytes| bytes > 0));
        assert!(trace.samples[0].process_cpu_percent.is_some());
        if cfg!(target_os = "linux") {
            assert!(trace.summary.own_cost_ns.is_some_and(|ns| ns > 0));
        }
    }

    #[test]
    fn halting_joins_the_thread_once() {
        let mut sampler = UsageSampler::start(SamplerSettings::default()).expect("a thread");
        assert!(sampler.halt().is_some());
        assert!(sampler.halt().is_none());
    }

    #[test]
    fn a_process_that_is_not_there_is_unknown_not_zero() {
        let settings = SamplerSettings {
            pid: u32::MAX,
            gpu_index: None,
            ..SamplerSettings::default()
        };
        let trace = UsageSampler::start(settings)
            .expect("a thread")
            .stop_with_samples();
        let sample = trace.samples[0];
        assert_eq!(
            (sample.rss_bytes, sample.process_cpu_percent, sample.gpu),
            (None, None, None)
        );
        assert_eq!(trace.summary.rss_bytes, None);
    }
}
