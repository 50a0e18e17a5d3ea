//! Violence against real llama.cpp runs: workers and supervisors killed at random moments, Ctrl-C.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use ggufbench::record::{Line, Outcome};
use ggufbench::view::RunView;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Place, record, repetitions, tiny_model};

/// How many processes each test kills.
const KILLS: usize = 20;

const CELLS: usize = 4;
const REPLICATES: u32 = 2;
const REPETITIONS: u32 = 3;

fn start(place: &Place) -> Child {
    let model = tiny_model().to_str().expect("text");
    spawn(
        place,
        &[
            "-m",
            model,
            "--batch",
            "1,2,4,8",
            "-p",
            "64",
            "-n",
            "48",
            "--replicates",
            "2",
            "-r",
            "3",
            "-t",
            "1",
            "--kv",
            "fit",
            "--no-report",
        ],
    )
}

fn resume(place: &Place, run: &Path) -> Child {
    let run = run.to_str().expect("text");
    spawn(place, &["--resume", run, "--no-report"])
}

fn spawn(place: &Place, args: &[&str]) -> Child {
    place
        .command()
        .args(args)
        .stdout(Stdio::null())
        // A file, not a pipe: nobody reads while the test waits.
        .stderr(std::fs::File::create(place.path().join("stderr")).expect("writable"))
        .spawn()
        .expect("the program starts")
}

/// What the program last said on standard error.
fn said(place: &Place) -> String {
    std::fs::read_to_string(place.path().join("stderr")).unwrap_or_default()
}

fn is_running(child: &mut Child) -> bool {
    child.try_wait().expect("a child of ours").is_none()
}

/// The worker processes of a supervisor.
fn workers(supervisor: u32) -> Vec<u32> {
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    std::fs::read_to_string(children)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn runs(place: &Place) -> Vec<PathBuf> {
    std::fs::read_dir(place.out())
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default()
}

/// Lets the program work for a random moment, or until it is done.
fn random_moment(rng: &mut ChaCha8Rng, child: &mut Child, most_ms: u64) -> bool {
    for _ in 0..rng.random_range(0..most_ms) {
        if !is_running(child) {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    is_running(child)
}

fn assert_complete_and_unique(run: &Path) {
    let done = repetitions(&record(run).1);
    let unique: BTreeSet<_> = done.iter().cloned().collect();
    assert_eq!(unique.len(), done.len(), "no repetition is recorded twice");
    assert_eq!(
        done.len(),
        CELLS * (REPLICATES * REPETITIONS) as usize,
        "every repetition is there: {done:?}"
    );
}

#[test]
fn a_killed_supervisor_loses_and_repeats_nothing() {
    let place = Place::new();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut child = start(&place);
    let mut kills = 0;
    let mut finished = Vec::new();
    while kills < KILLS {
        if random_moment(&mut rng, &mut child, 250) {
            child.kill().expect("a child of ours");
            kills += 1;
        }
        child.wait().expect("a child of ours");
        match runs(&place).as_slice() {
            [] => child = start(&place),
            [run] if support::json_lines_or_empty(run) == 0 => {
                // Killed between making the folder and writing the header: there is no run yet.
                std::fs::remove_dir_all(run).expect("removable");
                child = start(&place);
            }
            [run] => {
                let now = repetitions(&record(run).1);
                assert!(now.starts_with(&finished), "a finished repetition was lost");
                finished = now;
                if finished.len() == CELLS * (REPLICATES * REPETITIONS) as usize {
                    assert_complete_and_unique(run);
                    std::fs::remove_dir_all(run).expect("removable");
                    finished.clear();
                    child = start(&place);
                } else {
                    child = resume(&place, run);
                }
            }
            more => panic!("one run at a time: {more:?}"),
        }
    }
    let code = child.wait().expect("a child of ours").code();
    assert_eq!(code, Some(0), "{}", said(&place));
    assert_complete_and_unique(&place.the_run());
}

#[test]
fn a_killed_worker_costs_its_cell_and_nothing_else() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut kills = 0;
    while kills < KILLS {
        let place = Place::new();
        let mut child = start(&place);
        let mut killed_here = 0;
        while random_moment(&mut rng, &mut child, 300) && kills < KILLS {
            for worker in workers(child.id()) {
                // It may be gone already; then nobody is killed, which is a moment too.
                let _ = support::signal(worker, "-KILL");
                killed_here += 1;
                kills += 1;
            }
        }
        let code = child.wait().expect("a child of ours").code();
        if runs(&place).is_empty() {
            // The worker that describes the engine was killed: the run had not begun.
            assert_eq!(code, Some(2), "{}", said(&place));
            continue;
        }
        let (_, lines) = record(&place.the_run());
        let mut crashed = 0;
        let mut visits = 0;
        for line in &lines {
            let Line::Cell(c) = line else { continue };
            visits += 1;
            match &c.outcome {
                Outcome::Measured { repetitions, .. } => assert_eq!(*repetitions, REPETITIONS),
                Outcome::Crashed { how } => {
                    assert!(how.starts_with("SIGKILL"), "{how}");
                    crashed += 1;
                }
                other => panic!("{}: {other}", c.case_id),
            }
        }
        assert_eq!(
            visits,
            CELLS * REPLICATES as usize,
            "every cell was visited"
        );
        assert!(
            crashed <= killed_here,
            "{crashed} cells lost to {killed_here} kills"
        );
        assert_eq!(code, Some(i32::from(crashed > 0)), "{}", said(&place));
    }
}

#[test]
fn ctrl_c_finishes_the_repetition_in_hand() {
    let place = Place::new();
    let mut child = start(&place);
    // From the first recorded repetition on there is something to keep.
    while is_running(&mut child)
        && runs(&place)
            .first()
            .is_none_or(|run| support::json_lines_or_empty(run) < 3)
    {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(support::signal(child.id(), "-INT"));
    let code = child.wait().expect("a child of ours").code();
    assert_eq!(code, Some(130), "{}", said(&place));
    let run = place.the_run();
    let (_, lines) = record(&run);
    let Some(Line::End(end)) = lines.last() else {
        panic!("no end: {:?}", lines.last());
    };
    assert!(end.interrupted);
    let kept = repetitions(&lines);
    assert!(!kept.is_empty());
    let code = resume(&place, &run).wait().expect("a child of ours").code();
    assert_eq!(code, Some(0), "{}", said(&place));
    assert!(repetitions(&record(&run).1).starts_with(&kept));
    assert_complete_and_unique(&run);
}

const ROUNDS: u32 = 6;
const JOBS: usize = 2;
const N_REQUESTS: u32 = 24;

fn start_requests(place: &Place) -> Child {
    let model = tiny_model().to_str().expect("text");
    spawn(
        place,
        &[
            "requests",
            "-m",
            model,
            "--batch",
            "1,4",
            "-n",
            "48",
            "--n-requests",
            "24",
            "--class",
            "short",
            "--replicates",
            "3",
            "--rounds",
            "2",
            "-t",
            "1",
            "--no-report",
        ],
    )
}

#[test]
fn requests_of_a_killed_supervisor_are_resumed_without_loss_or_repetition() {
    let place = Place::new();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut child = start_requests(&place);
    let mut kills = 0;
    while kills < KILLS {
        if random_moment(&mut rng, &mut child, 500) {
            child.kill().expect("a child of ours");
            kills += 1;
        }
        child.wait().expect("a child of ours");
        child = match runs(&place).as_slice() {
            [] => start_requests(&place),
            [run] if support::json_lines_or_empty(run) == 0 => {
                std::fs::remove_dir_all(run).expect("removable");
                start_requests(&place)
            }
            [run] if served(run).len() == JOBS * ROUNDS as usize => {
                assert_every_request_once(run);
                std::fs::remove_dir_all(run).expect("removable");
                start_requests(&place)
            }
            [run] => resume(&place, run),
            more => panic!("one run at a time: {more:?}"),
        };
    }
    let code = child.wait().expect("a child of ours").code();
    assert_eq!(code, Some(0), "{}", said(&place));
    assert_every_request_once(&place.the_run());
}

fn assert_every_request_once(run: &Path) {
    let requests = RunView::read(run).expect("readable").requests;
    let jobs = requests.expect("a run of requests").jobs;
    assert_eq!(jobs.len(), JOBS);
    for job in &jobs {
        let found: Vec<(u32, u32)> = job.requests.iter().map(|r| (r.round, r.number)).collect();
        let all = (0..ROUNDS).flat_map(|round| (0..N_REQUESTS).map(move |n| (round, n)));
        assert_eq!(found, all.collect::<Vec<_>>(), "{}", job.job.name);
        assert_eq!(job.figures.n_whole, N_REQUESTS * ROUNDS, "{}", job.job.name);
        assert!(job.n_processes() >= Some(3), "a process for each replicate");
    }
}

/// Jobs and rounds that are served whole.
fn served(run: &Path) -> BTreeSet<(String, u32)> {
    let (_, lines) = record(run);
    let jobs = lines.into_iter().filter_map(|line| match line {
        Line::Job(job) if job.elapsed_ns.is_some() => Some((job.job, job.round)),
        _ => None,
    });
    jobs.collect()
}
