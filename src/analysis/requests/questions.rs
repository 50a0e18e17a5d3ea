//! Whether temperature or a question's difficulty costs time: a run's requests as input of these experiments.

use crate::request::shown_target;
use std::collections::BTreeMap;

use crate::analysis::difficulty::{
    self, AtTemperature, DifficultyExperiment, PairFigures, PlantedControl, PromptFigures,
    RequestFigures, request_figures,
};
use crate::analysis::{Finding, Sure};
use crate::request::Experiment;
use crate::request::prompts::Difficulty;

use crate::view::requests::{JobView, RequestView, RequestsView};

/// Whether temperature costs speed at a target; none where it was not measured.
pub fn temperature(requests: &RequestsView, target: &str) -> Option<Finding> {
    let of = |experiment| requests.of(experiment).filter(|j| j.target == target);
    let jobs: Vec<&JobView> = of(Experiment::Temperature).collect();
    let points: Vec<AtTemperature> = jobs
        .iter()
        .map(|job| AtTemperature {
            temperature: job.job.sampling.temperature,
            prompts: by_prompt(job),
        })
        .collect();
    let control = of(Experiment::TemperatureControl).next().and_then(|job| {
        Some(PlantedControl {
            share: job.job.compared.as_ref()?.planted?,
            prompts: by_prompt(job),
        })
    });
    let mut found = difficulty::temperature(&points, control.as_ref())?;
    found.see.push("temperature_impact");
    let has_a_design = jobs.iter().any(|j| j.job.compared.is_some());
    let lacks_control = control.is_none() && has_a_design && jobs.iter().any(|j| j.is_in_process());
    if lacks_control && found.sure != Sure::Undetermined {
        (found.claim, found.sure) = (NO_CONTROL.to_owned(), Sure::Undetermined);
    }
    if let Some(doubt) = doubt(&jobs) {
        found.evidence.push(doubt);
        if found.sure == Sure::Shown {
            found.sure = Sure::Likely;
        }
    }
    if requests.has_several_targets() {
        found.claim = format!("{}: {}", shown_target(target), found.claim);
    }
    Some(found)
}

/// Why nothing counts as shown between jobs of which each has its own time, as in records of older programs: all prompts of a
/// temperature share what the machine did then.
fn doubt(jobs: &[&JobView]) -> Option<String> {
    if jobs.iter().all(|j| j.job.compared.is_some()) {
        return None;
    }
    let rounds = jobs.iter().map(|j| j.rounds.len()).min().unwrap_or(0);
    if rounds < FEWEST_ROUNDS {
        return Some(format!(
            "Temperatures were measured one after another, in fewer than {FEWEST_ROUNDS} rounds: what the machine did in \
             the meantime is not told from temperature, so no result counts as shown."
        ));
    }
    let disturbed = jobs.iter().any(|j| j.is_disturbed());
    disturbed.then(|| {
        "The machine was disturbed at some temperature, so no result counts as shown.".to_owned()
    })
}

/// Why nothing is shown in this process beside a server, whose decode calls cannot be slowed.
const NO_CONTROL: &str = "Undetermined: no decode calls that were slowed on purpose (the positive control) were measured, because a \
                          server was a target too; name --target in-process alone.";

/// Rounds in which chance would have to repeat itself.
const FEWEST_ROUNDS: usize = 3;

/// Whether a harder question costs more compute at a target; none where it was not asked.
pub fn difficulty(requests: &RequestsView, target: &str) -> Vec<Finding> {
    let arm = |experiment, key: fn(&JobView, &RequestView) -> (u32, u32)| {
        let own = requests.of(experiment).filter(|j| j.target == target);
        own.flat_map(|job| pairs(job, key)).collect()
    };
    difficulty::findings(&DifficultyExperiment {
        of: shown_target(target),
        equal: arm(Experiment::DifficultyEqual, question_of),
        // The length of an answer is the same in each round, so that a further round is no further pair.
        natural: arm(Experiment::DifficultyNatural, |_, _| (0, 0)),
        control: arm(Experiment::DifficultyControl, question_of),
    })
}

/// The round of a request, and its question in it. Records of older programs have one question for each pair.
fn question_of(job: &JobView, sent: &RequestView) -> (u32, u32) {
    let question = job.job.compared_request(sent.number);
    (sent.round, question.map_or(0, |q| q.question))
}

/// By question and prompt, in the order in which they were measured.
fn by_prompt(job: &JobView) -> Vec<PromptFigures> {
    let mut prompts: BTreeMap<((u32, u32), &str), Vec<RequestFigures>> = BTreeMap::new();
    for sent in &job.requests {
        if let Some(prompt) = job.prompt_of(sent.number) {
            let own = prompts
                .entry((question_of(job, sent), &prompt.id))
                .or_default();
            own.push(request_figures(sent, prompt));
        }
    }
    prompts
        .into_iter()
        .map(|((question, id), requests)| PromptFigures {
            question,
            prompt: id.to_owned(),
            requests,
        })
        .collect()
}

/// The matched pairs of a job, apart by a key and in its order; prompts without a pair or a half have no part in it.
fn pairs(job: &JobView, key: fn(&JobView, &RequestView) -> (u32, u32)) -> Vec<PairFigures> {
    type Halves = [Vec<RequestFigures>; 2];
    let mut pairs: BTreeMap<((u32, u32), &str), Halves> = BTreeMap::new();
    for sent in &job.requests {
        let Some(prompt) = job.prompt_of(sent.number) else {
            continue;
        };
        let half = match prompt.difficulty {
            Some(Difficulty::Easy) => 0,
            Some(Difficulty::Hard) => 1,
            Some(Difficulty::Medium) | None => continue,
        };
        if let Some(pair) = prompt.pair.as_deref() {
            let halves = pairs.entry((key(job, sent), pair)).or_default();
            halves[half].push(request_figures(sent, prompt));
        }
    }
    pairs
        .into_iter()
        .map(|((_, pair), [easy, hard])| PairFigures {
            pair: pair.to_owned(),
            easy,
            hard,
        })
        .collect()
}
