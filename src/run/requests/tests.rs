//! Servers that load, refuse and take time, on a fake clock.

use super::*;
use crate::engine::clock::FakeClock;
use crate::record::jsonl;
use crate::request::{Target, TargetFacts, TargetKind};
use crate::view::fixture::requests::{facts, jobs, request_header, server};

/// A server that loads its model until it was asked this often; its warm-ups count.
struct Loading {
    name: &'static str,
    n_refused: u32,
}

impl Target for Loading {
    fn facts(&mut self) -> Result<TargetFacts, TargetError> {
        Ok(facts(self.name, TargetKind::Openai, None))
    }

    fn serve(&mut self, job: &Job, _: &dyn Fn() -> bool) -> Result<Served, TargetError> {
        if self.n_refused > 0 {
            self.n_refused -= 1;
            return Err(TargetError::NotReady {
                target: self.name.to_owned(),
                reason: "Loading model".to_owned(),
                is_certain: true,
                retry_after_s: None,
            });
        }
        Ok(server(job, 0, 1))
    }
}

#[derive(Default)]
struct Heard {
    served: Vec<(String, bool)>,
    /// The time left when each began, and when it ended.
    begun: Vec<Option<Duration>>,
    ended: Vec<Option<Duration>>,
}

impl RequestsProgress for Heard {
    fn waits(&mut self, _: &str) {}
    fn begun(&mut self, _: &Job, _: &str, _: u32, at: RequestsPosition) {
        self.begun.push(at.left.map(|left| left.all));
    }
    fn ended(&mut self, line: &JobLine, served: Option<&Served>, at: RequestsPosition) {
        self.served.push((line.target.clone(), served.is_some()));
        self.ended.push(at.left.map(|left| left.all));
    }
}

/// One job at servers that refuse this often, in two rounds; waited for each is a minute at most.
fn heard(refuse: [(&'static str, u32); 2], budget: Option<Duration>) -> Heard {
    let mut plan = request_header(&refuse.map(|(name, _)| name), 2, jobs()[..1].to_vec());
    let requests = plan.requests.as_mut().expect("has requests");
    requests.budget_ns = budget.map(ns);
    let folder = tempfile::tempdir().expect("a folder for the test");
    let targets = refuse
        .map(|(name, n_refused)| ConnectedTarget::Server(Box::new(Loading { name, n_refused })));
    let wait = Wait {
        loading: Duration::from_secs(60),
        ..Wait::default()
    };
    let mut run = RequestsRun {
        plan: requests.clone(),
        targets: targets.into(),
        seed: 1,
        wait,
        done: DoneJobs::default(),
        estimates: JobEstimates::default(),
        first_tag: 0,
    };
    let eta = RequestsEta::of(&run.plan, &run.estimates);
    let mut heard = Heard::default();
    let mut writer = jsonl::Writer::create(folder.path(), plan).expect("writes");
    let execution = RequestsExecution {
        waits: vec![wait; 2],
        run: &mut run,
        writer: &mut writer,
        started: Instant::now(),
        interrupt: &Interrupt::default(),
        progress: &mut heard,
        clock: &FakeClock::default(),
        n_done: 0,
        n_added: 0,
        answers: Vec::new(),
        eta,
        group_end: None,
    };
    execution.run().expect("a record that can be written");
    heard
}

#[test]
fn each_server_is_waited_for_whatever_another_refused() {
    for names in [["openai:a", "openai:b"], ["openai:b", "openai:a"]] {
        let of = |name| (name, if name == "openai:a" { u32::MAX } else { 3 });
        let heard = heard(names.map(of), None);
        assert_eq!(heard.served.len(), 4);
        for (target, is_served) in heard.served {
            assert_eq!(is_served, target == "openai:b", "{target}");
        }
    }
}

#[test]
fn the_time_that_is_left_is_known_once_a_job_was_served() {
    let heard = heard([("openai:a", 0), ("openai:b", 0)], None);
    let is_known =
        |left: &[Option<Duration>]| -> Vec<bool> { left.iter().map(Option::is_some).collect() };
    assert_eq!(is_known(&heard.begun), [false, true, true, true]);
    assert_eq!(is_known(&heard.ended), [true; 4]);
    assert_eq!(heard.ended[3], Some(Duration::ZERO));
}

#[test]
fn a_server_that_serves_nothing_says_nothing_of_the_time_left() {
    let heard = heard([("openai:a", u32::MAX), ("openai:b", u32::MAX)], None);
    assert_eq!(heard.begun, [None; 4]);
}

#[test]
fn no_more_time_is_left_than_of_the_budget() {
    let nothing = heard(
        [("openai:a", 0), ("openai:b", 0)],
        Some(Duration::from_nanos(1)),
    );
    assert!(nothing.served.is_empty());
    let hour = Duration::from_secs(3600);
    let some = heard([("openai:a", 0), ("openai:b", 0)], Some(hour));
    let mut known = some.ended.iter().flatten();
    assert!(known.all(|left| *left <= hour));
}
