//! Nights of requests, judged as nights of batches are.

use super::*;
use crate::compare::samples::{JobAtTarget, SampleUnit};
use crate::record::jsonl::Writer;
use crate::request::{Experiment, Job};
use crate::view::fixture::requests::{
    OLLAMA, OWN, in_process, job, lines, prompt, request_header, server,
};

/// Two jobs with enough requests for a 95th percentile.
fn jobs() -> Vec<Job> {
    let of = |n: u32| {
        let name = format!("concurrency/c{n}");
        Job {
            n_requests: 60,
            ..job(&name, Experiment::Concurrency, n, vec![prompt("short", 16)])
        }
    };
    vec![of(1), of(4)]
}

/// A run of the jobs at the targets, in which a job at a target takes longer by some thousandths.
fn night(
    name: &str,
    targets: &[&str],
    metric: Metric,
    slower_by: impl Fn(&Job, &str) -> u32,
) -> Side {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut header = request_header(targets, 3, jobs());
    header.run = name.to_owned();
    let mut writer = Writer::create(folder.path(), header).expect("writes");
    for (round, job) in (0..3).flat_map(|round| jobs().into_iter().map(move |job| (round, job))) {
        for target in targets {
            let slower = round + slower_by(&job, target);
            let served = match *target == OWN {
                true => in_process(&job, slower),
                false => server(&job, slower, 4),
            };
            for line in lines(&job, target, round, served) {
                writer.append(&line).expect("writes");
            }
        }
    }
    Side::read(folder.path(), metric).expect("reads what was written")
}

const BOTH: [&str; 2] = [OWN, OLLAMA];

#[test]
fn jobs_at_targets_are_judged_and_measured_again_by_every_metric_of_requests() {
    let metrics = Metric::ALL.iter().filter(|m| m.is_of_requests());
    for &metric in metrics {
        let slow = |job: &Job, target: &str| match (job.name.as_str(), target) {
            ("concurrency/c4", OWN) => 400,
            _ => 0,
        };
        let baseline = Baseline::alone(night("old", &BOTH, metric, |_, _| 0));
        let equal = night("new", &BOTH, metric, |_, _| 0);
        let rule = Rule::default();
        let pass = gate::<GateError>(&equal, &baseline, &rule, None).expect("comparable");
        assert_eq!(
            (pass.cells.len(), pass.verdict),
            (4, NightVerdict::Pass),
            "{metric}"
        );
        let mut asked = Vec::new();
        let mut again = |cells: &[CellKey]| -> Result<Confirmation, GateError> {
            asked = cells.to_vec();
            Ok(night("again", &[OWN], metric, slow).into())
        };
        let tonight = night("new", &BOTH, metric, slow);
        let report = gate(&tonight, &baseline, &rule, Some(&mut again)).expect("comparable");
        let suspect = JobAtTarget {
            job: "concurrency/c4".to_owned(),
            target: OWN.to_owned(),
            in_run: OWN.to_owned(),
            unit: SampleUnit::Process,
        };
        let keys: Vec<_> = asked.into_iter().filter_map(|key| key.job).collect();
        assert_eq!(keys, [suspect], "{metric}");
        let words: Vec<_> = report
            .cells
            .iter()
            .map(|c| (c.case_id.as_str(), c.verdict.word()))
            .collect();
        assert_eq!(
            words,
            [
                ("concurrency/c1 at in-process", "pass"),
                ("concurrency/c1 at ollama:tiny", "pass"),
                ("concurrency/c4 at in-process", "regression"),
                ("concurrency/c4 at ollama:tiny", "pass"),
            ],
            "{metric}"
        );
        assert_eq!(report.metric, metric);
    }
}

#[test]
fn a_job_that_is_gone_is_no_pass_and_cells_are_no_baseline_of_requests() {
    let metric = Metric::RequestLatencyNs;
    let baseline = Baseline::alone(night("old", &BOTH, metric, |_, _| 0));
    let half = night("new", &[OWN], metric, |_, _| 0);
    let rule = Rule::default();
    let report = gate::<GateError>(&half, &baseline, &rule, None).expect("comparable");
    let missing: Vec<_> = report.missing.iter().map(CaseId::as_str).collect();
    assert_eq!(
        missing,
        [
            "concurrency/c1 at ollama:tiny",
            "concurrency/c4 at ollama:tiny"
        ]
    );
    assert_eq!(report.verdict, NightVerdict::Inconclusive);
    let mut cells = night("cells", &[OWN], metric, |_, _| 0);
    cells.header.requests = None;
    cells.cells.clear();
    let error =
        gate::<GateError>(&half, &Baseline::alone(cells), &rule, None).expect_err("other work");
    let said = error.to_string();
    assert!(
        said.starts_with("cells: has no requests, but new is judged by request_latency"),
        "{said}"
    );
}
