//! Whether temperature or a question's difficulty costs time: a run's requests as input of these experiments.

use std::collections::BTreeMap;

use crate::analysis::difficulty::{
    self, AtTemperature, DifficultyExperiment, PairFigures, PromptFigures, RequestFigures,
};
use crate::analysis::{Finding, Sure};
use crate::request::Experiment;
use crate::request::prompts::Difficulty;
use crate::text::short;
use crate::view::requests::{JobView, RequestsView};

/// Whether temperature costs speed at a target; none where it was not measured.
pub fn temperature(requests: &RequestsView, target: &str) -> Option<Finding> {
    let jobs: Vec<&JobView> = requests
        .of(Experiment::Temperature)
        .filter(|j| j.target == target)
        .collect();
    let points: Vec<AtTemperature> = jobs
        .iter()
        .map(|job| AtTemperature {
            temperature: job.job.sampling.temperature,
            prompts: by_prompt(job),
        })
        .collect();
    let mut found = difficulty::temperature(&points)?;
    found.see.push("temperature_impact");
    if let Some(doubt) = doubt(&jobs) {
        found.evidence.push(doubt);
        if found.sure == Sure::Shown {
            found.sure = Sure::Likely;
        }
    }
    if requests.has_several_targets() {
        found.claim = format!("{}: {}", short(target), found.claim);
    }
    Some(found)
}

/// Why nothing counts as shown between jobs: each temperature has its own time, and all its prompts share what the
/// machine did then.
fn doubt(jobs: &[&JobView]) -> Option<String> {
    let rounds = jobs.iter().map(|j| j.rounds.len()).min().unwrap_or(0);
    if rounds < FEWEST_ROUNDS {
        return Some(format!(
            "Temperatures were measured one after another, in fewer than {FEWEST_ROUNDS} rounds: what the machine did in \
             the meantime is not told from temperature, so no result counts as shown."
        ));
    }
    let disturbed = jobs.iter().any(|j| !j.warnings.is_empty());
    disturbed.then(|| {
        "The machine was disturbed at some temperature, so no result counts as shown.".to_owned()
    })
}

/// Rounds in which chance would have to repeat itself.
const FEWEST_ROUNDS: usize = 3;

/// Whether a harder question costs more compute at a target; none where it was not asked.
pub fn difficulty(requests: &RequestsView, target: &str) -> Vec<Finding> {
    let arm = |experiment| {
        let own = requests.of(experiment).filter(|j| j.target == target);
        own.flat_map(pairs).collect()
    };
    difficulty::findings(&DifficultyExperiment {
        of: short(target),
        equal: arm(Experiment::DifficultyEqual),
        natural: arm(Experiment::DifficultyNatural),
        control: arm(Experiment::DifficultyControl),
    })
}

fn by_prompt(job: &JobView) -> Vec<PromptFigures> {
    let mut prompts: BTreeMap<&str, Vec<RequestFigures>> = BTreeMap::new();
    for sent in &job.requests {
        if let Some(prompt) = job.prompt_of(sent.number) {
            let own = prompts.entry(&prompt.id).or_default();
            own.push(RequestFigures::of(sent, prompt));
        }
    }
    prompts
        .into_iter()
        .map(|(id, requests)| PromptFigures {
            prompt: id.to_owned(),
            requests,
        })
        .collect()
}

/// The matched pairs of a job; prompts without a pair or a half have no part in it.
fn pairs(job: &JobView) -> Vec<PairFigures> {
    let mut pairs: BTreeMap<&str, [Vec<RequestFigures>; 2]> = BTreeMap::new();
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
            pairs.entry(pair).or_default()[half].push(RequestFigures::of(sent, prompt));
        }
    }
    pairs
        .into_iter()
        .map(|(pair, [easy, hard])| PairFigures {
            pair: pair.to_owned(),
            easy,
            hard,
        })
        .collect()
}
