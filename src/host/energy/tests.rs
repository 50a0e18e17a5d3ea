use nvml_wrapper::error::NvmlError;

use super::super::Gpu;
use super::super::files::FakeFiles;
use super::super::gpu::readings::recorded::{Recorded, RecordedGpu};
use super::*;

fn of_gpus(devices: Vec<RecordedGpu>) -> EnergyMeter {
    let indices: Vec<u32> = (0..devices.len() as u32).collect();
    let counters = GpuCounters::over(Recorded(devices), &indices).expect("they count");
    EnergyMeter {
        gpu: Some(Box::new(counters)),
        cpu: None,
    }
}

fn repetition(meter: &EnergyMeter) -> RepetitionEnergy {
    let marks = [meter.mark(), meter.mark(), meter.mark()];
    meter.between(&marks)
}

fn phases(prefill_mj: u64, decode_mj: u64) -> Option<PhaseEnergy> {
    Some(PhaseEnergy {
        prefill_mj,
        decode_mj,
    })
}

#[test]
fn phases_are_differences_and_gpus_are_added() {
    // The first value of each is read when the meter is opened. Recorded on an H200: steps of 100 ms, so a short prefill
    // sees none.
    let meter = of_gpus(vec![
        RecordedGpu::counting("0:1:0.0", &[9_000, 10_000, 10_000, 1_584_149]),
        RecordedGpu::counting("0:2:0.0", &[500, 1_000, 1_100, 2_100]),
    ]);
    let energy = repetition(&meter);
    assert_eq!(energy.gpu, phases(100, 1_574_149 + 1_000));
    assert_eq!(
        (energy.gpu_lost, energy.cpu, energy.cpu_lost),
        (None, None, None)
    );
}

#[test]
fn a_counter_that_went_backwards_is_unknown_never_negative() {
    let meter = of_gpus(vec![RecordedGpu::counting(
        "0:1:0.0",
        &[5, 9_000, 9_500, 12],
    )]);
    let energy = repetition(&meter);
    assert_eq!(energy.gpu, None);
    let why = energy.gpu_lost.expect("a reason");
    assert!(why.contains("GPU 0 went backwards"), "{why}");
}

#[test]
fn a_driver_that_disappears_is_a_reason() {
    for (error, words) in [
        (NvmlError::GpuLost, "GPU 0 was lost"),
        (NvmlError::Uninitialized, "driver is gone"),
    ] {
        let meter = of_gpus(vec![
            RecordedGpu::counting("0:1:0.0", &[1, 2, 3]).then(error),
        ]);
        let energy = repetition(&meter);
        assert_eq!(energy.gpu, None);
        let why = energy.gpu_lost.expect("a reason");
        assert!(why.contains(words), "{why}");
        // And so it stays.
        assert!(repetition(&meter).gpu_lost.is_some());
    }
}

#[test]
fn one_gpu_without_a_counter_leaves_all_unknown() {
    let devices = vec![
        RecordedGpu::counting("0:1:0.0", &[1, 2]),
        RecordedGpu::default().then(NvmlError::NotSupported),
    ];
    let why = GpuCounters::over(Recorded(devices), &[0, 1]).expect_err("half of it is no figure");
    assert!(why.contains("GPU 1 has no energy counter"), "{why}");
    assert!(GpuCounters::over(Recorded::default(), &[]).is_err());
}

/// A package whose counter gives these values, reading after reading.
#[derive(Debug)]
struct FakePackage(std::cell::RefCell<Vec<u64>>);

impl EnergyCounters for FakePackage {
    fn read_uj(&self) -> Result<Vec<u64>, String> {
        Ok(vec![self.0.borrow_mut().remove(0)])
    }

    fn range_uj(&self, _at: usize) -> Option<u64> {
        Some(262_143_328_850)
    }

    fn name(&self, _at: usize) -> String {
        "package-0".to_owned()
    }
}

fn of_cpu(values: &[u64]) -> EnergyMeter {
    EnergyMeter {
        gpu: None,
        cpu: Some(Box::new(FakePackage(values.to_vec().into()))),
    }
}

#[test]
fn the_processors_counter_begins_again_at_its_range() {
    let meter = of_cpu(&[262_143_000_000, 262_143_328_000, 49_999_150]);
    // 328,000 uJ; then 850 to the end and 49,999,150 from the beginning.
    assert_eq!(repetition(&meter).cpu, phases(328, 50_000));
}

#[test]
fn idle_power_is_the_counters_over_the_time_of_rest() {
    let mut machine = Machine {
        gpus: GpuReport {
            devices: vec![Gpu::default()],
            ..GpuReport::default()
        },
        ..Machine::default()
    };
    let mut meter = of_gpus(vec![RecordedGpu::counting("0:1:0.0", &[1, 1_000, 161_000])]);
    meter.cpu = of_cpu(&[0, 40_000_000]).cpu;
    IdlePower::measure(&meter, vec![0], || 2_000_000_000).note(&mut machine);
    assert_eq!(machine.gpus.devices[0].idle_power_mw, Some(80_000));
    assert_eq!(machine.cpu_energy.idle_power_mw, Some(20_000));
    assert_eq!(machine.idle_over_ns, Some(2_000_000_000));
    assert_eq!(machine.gpus.idle_power_w(&[0]), Some(80.0));
}

#[test]
fn a_counter_that_stands_still_measures_nothing() {
    let mut machine = Machine {
        gpus: GpuReport {
            devices: vec![Gpu::default()],
            ..GpuReport::default()
        },
        ..Machine::default()
    };
    let meter = of_gpus(vec![RecordedGpu::counting("0:1:0.0", &[7])]);
    IdlePower::measure(&meter, vec![0], || 2_000_000_000).note(&mut machine);
    let because = machine.gpus.no_energy_because(&[0]);
    assert_eq!(because, Some("the energy counter of GPU 0 stands still"));
    assert_eq!(
        (machine.gpus.idle_power_w(&[0]), machine.idle_over_ns),
        (None, None)
    );
}

#[test]
fn without_counters_nothing_is_read_and_nothing_is_zero() {
    let meter = EnergyMeter::default();
    assert!(meter.is_empty());
    assert_eq!(repetition(&meter), RepetitionEnergy::default());
    assert!(Rapl::open(FakeFiles(&[])).is_err());
}
