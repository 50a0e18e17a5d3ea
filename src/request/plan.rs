//! From what is asked for to jobs: which prompts, how many, how long, at which load.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::compared::Compared;
use super::prompts::{Difficulty, Prompt};
use super::{Experiment, Forced, Job, Load, StopAt};
use crate::plan::requests::RequestsSpec;
use crate::plan::{Case, PlanError, WARMUP_STEPS};
use crate::request::IN_PROCESS;

/// Requests of a job by default: enough for a median, few enough to wait for.
const N_REQUESTS: u32 = 12;

/// Of the experiment by class: with three rounds a hundred, of which a p95 can be told.
const CLASS_REQUESTS: u32 = 34;

/// Rounds of places that a load of many at once has at least: the first one starts all together, as no later one does.
const TURNS: u32 = 2;

/// Requests under way in a sustained load, unless a single concurrency is named.
const SUSTAINED_PLACES: u32 = 8;

/// Most requests of a sustained load; its length ends it.
const SUSTAINED_REQUESTS: u32 = 100_000;

/// Questions that a comparison asks in a round where questions are added until it is decided: after them the program looks.
pub const QUESTIONS_A_ROUND: u32 = 6;

/// Tokens of the easy and the hard prompts of a pair, so that both have the same number.
const PAIR_TOKENS: u32 = 192;

/// How much longer the control's prompts are.
const CONTROL_LONGER: f64 = 1.05;

/// The share by which the control of temperatures is slowed.
const PLANTED: f64 = 0.03;

/// Most answers to a question that take turns. Each has a sequence of its own, whose cache needs memory.
const MOST_IN_TURNS: u32 = 8;

/// Tokens that a job's tag may take.
const TAG_TOKENS: u32 = 16;

/// The largest assumed length of a prompt whose tokens were not counted.
const MOST_UNCOUNTED: u32 = 1 << 20;

/// The largest tag that has the width of the others.
const MOST_TAG: u32 = 9999;

/// A job whose prompts the tokenizer has not seen yet.
#[derive(Debug, Clone, PartialEq)]
pub struct UnfittedJob {
    /// The job, its prompts as they are written.
    pub job: Job,
    /// Tokens that each prompt shall have; none: as many as it has.
    pub n_tokens: Vec<Option<u32>>,
}

/// The prompts that experiments draw from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Of every experiment but the one about difficulty; at least one.
    pub prompts: &'a [Prompt],
    /// Matched pairs.
    pub pairs: &'a [(Prompt, Prompt)],
}

/// The jobs that are asked for. `template` has everything about the context but its size.
///
/// # Errors
/// [`PlanError`] when the prompts have no pair for the experiment that needs pairs.
pub fn unfitted_jobs(
    spec: &RequestsSpec,
    sources: Sources<'_>,
    template: &Case,
    seed: u64,
) -> Result<Vec<UnfittedJob>, PlanError> {
    let planner = JobPlanner {
        spec,
        template,
        seed,
    };
    let mut drafts = Vec::new();
    if spec.classes {
        drafts.push(planner.draft("classes", Experiment::Classes, 1, sources.prompts));
    }
    for &n in &spec.prompt_lengths {
        let name = format!("prompt-length/p{n}");
        let mut draft = planner.draft(&name, Experiment::PromptLength, 1, sources.prompts);
        draft.n_tokens = vec![Some(n); draft.job.prompts.len()];
        drafts.push(draft);
    }
    if !spec.temperatures.is_empty() {
        drafts.push(planner.temperatures(sources.prompts));
    }
    for &n in &spec.concurrency {
        let name = format!("concurrency/c{n}");
        drafts.push(planner.draft(&name, Experiment::Concurrency, n, sources.prompts));
    }
    if spec.sustained.is_some() {
        drafts.push(planner.sustained(sources.prompts));
    }
    if spec.difficulty {
        drafts.extend(planner.difficulty(sources.pairs)?);
    }
    Ok(drafts)
}

struct JobPlanner<'a> {
    spec: &'a RequestsSpec,
    template: &'a Case,
    seed: u64,
}

impl JobPlanner<'_> {
    /// Whether nothing but this program answers.
    fn is_alone(&self) -> bool {
        let is_own = |target: &String| target.trim() == IN_PROCESS;
        self.spec.targets.iter().all(is_own)
    }

    /// The answers of a job to each question are compared. They take turns where this program answers alone: a server's decode calls
    /// are its own, and all targets get the same requests.
    fn compare(&self, job: &mut Job, compared: Compared) {
        if self.is_alone() && compared.n_sides <= MOST_IN_TURNS {
            job.in_turns = compared.n_sides;
            job.case.n_seq = job.n_places();
        }
        job.compared = Some(compared);
    }

    /// A closed loop of `concurrency`, the prompts of all classes mixed.
    fn draft(
        &self,
        name: &str,
        experiment: Experiment,
        concurrency: u32,
        prompts: &[Prompt],
    ) -> UnfittedJob {
        let spec = self.spec;
        let usual = match experiment {
            Experiment::Classes => CLASS_REQUESTS,
            _ => N_REQUESTS,
        };
        let n_requests = spec.n_requests.unwrap_or(usual).max(TURNS * concurrency);
        let mut prompts = mixed(prompts);
        prompts.truncate(n_requests as usize);
        let n_tokens = vec![None; prompts.len()];
        let job = Job {
            name: name.to_owned(),
            experiment,
            prompts,
            n_requests,
            load: Load::Closed { concurrency },
            most_ns: None,
            case: Case {
                n_seq: concurrency,
                n_gen: spec.n_gen,
                n_depth: 0,
                ..self.template.clone()
            },
            sampling: spec.sampling,
            temperatures: Vec::new(),
            slowed: Vec::new(),
            in_turns: 0,
            compared: None,
            stop_at: spec.stop_at,
            endpoint: spec.endpoint.unwrap_or_default(),
            openai_strict: spec.openai_strict,
            tag: None,
            said_at: Vec::new(),
            forced: Forced::default(),
            seed: self.seed,
        };
        UnfittedJob { job, n_tokens }
    }

    /// Each prompt at all temperatures, the lowest first in the record and in random order when it is sent.
    fn temperatures(&self, prompts: &[Prompt]) -> UnfittedJob {
        let spec = self.spec;
        let mut temperatures = spec.temperatures.clone();
        temperatures.sort_by(f32::total_cmp);
        let mut draft = self.draft("temperature", Experiment::Temperature, 1, prompts);
        // Until decided, all prompts take turns over the rounds.
        if spec.max_pairs.is_some() {
            draft.job.prompts = mixed(prompts);
            draft.n_tokens = vec![None; prompts.len()];
        }
        let n_questions = spec.n_requests.unwrap_or(match spec.max_pairs {
            Some(most) => QUESTIONS_A_ROUND.min(most),
            None => N_REQUESTS,
        });
        // A server's decode calls cannot be slowed from here. All targets get the same requests, so that beside a server no target
        // has a control, and the result of this process counts as undetermined.
        let planted = self.is_alone().then_some(PLANTED);
        let n_temperatures = u32::try_from(temperatures.len()).unwrap_or(u32::MAX);
        let n_sides = n_temperatures.saturating_add(u32::from(planted.is_some()));
        draft.job.n_requests = n_questions.saturating_mul(n_sides);
        // Answers of one length: what is asked is the price of a token, not how many there are.
        draft.job.stop_at = StopAt::Length;
        let compared = Compared {
            n_sides,
            temperatures,
            planted,
            most: spec.max_pairs,
        };
        self.compare(&mut draft.job, compared);
        draft
    }

    fn sustained(&self, prompts: &[Prompt]) -> UnfittedJob {
        let most = match self.spec.concurrency[..] {
            [one] => one,
            _ => SUSTAINED_PLACES,
        };
        let mut draft = self.draft(
            &format!("sustained/c{most}"),
            Experiment::Sustained,
            most,
            prompts,
        );
        let length = self.spec.sustained.unwrap_or_default();
        draft.job.prompts = mixed(prompts);
        draft.n_tokens = vec![None; prompts.len()];
        draft.job.most_ns = u64::try_from(length.as_nanos()).ok();
        draft.job.n_requests = SUSTAINED_REQUESTS;
        if let Some(rate_per_s) = self.spec.rate_per_s {
            draft.job.name = format!("sustained/r{rate_per_s}");
            draft.job.load = Load::Open { rate_per_s, most };
        }
        draft
    }

    /// Both arms and the control, each in one job. The halves of a pair follow each other in random order, the pairs too.
    fn difficulty(&self, pairs: &[(Prompt, Prompt)]) -> Result<Vec<UnfittedJob>, PlanError> {
        if pairs.is_empty() {
            return Err(PlanError::axis(
                "difficulty",
                "the prompts have no pair of an easy and a hard one",
            ));
        }
        let mut pairs = pairs.to_vec();
        pairs.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        let halves = |(easy, hard): &(Prompt, Prompt)| [easy.clone(), hard.clone()];
        let equal: Vec<Prompt> = pairs.iter().flat_map(halves).collect();
        let natural = equal.clone();
        let control: Vec<Prompt> = pairs.iter().flat_map(longer).collect();
        Ok(vec![
            self.arm(
                "difficulty/equal",
                Experiment::DifficultyEqual,
                equal,
                StopAt::Length,
            ),
            self.arm(
                "difficulty/natural",
                Experiment::DifficultyNatural,
                natural,
                StopAt::EndOfText,
            ),
            self.arm(
                "difficulty/control",
                Experiment::DifficultyControl,
                control,
                StopAt::Length,
            ),
        ])
    }

    fn arm(
        &self,
        name: &str,
        experiment: Experiment,
        prompts: Vec<Prompt>,
        stop_at: StopAt,
    ) -> UnfittedJob {
        let mut draft = self.draft(name, experiment, 1, &[]);
        let is_natural = experiment == Experiment::DifficultyNatural;
        draft.job.n_requests = 2 * self.pairs_a_round(prompts.len() as u32 / 2, is_natural);
        let compared = Compared {
            n_sides: 2,
            temperatures: Vec::new(),
            planted: None,
            // The length of a natural answer is the same each time, so that further rounds tell nothing.
            most: self.spec.max_pairs.filter(|_| !is_natural),
        };
        self.compare(&mut draft.job, compared);
        let control_tokens = (f64::from(PAIR_TOKENS) * CONTROL_LONGER).ceil() as u32;
        let length = |p: &Prompt| match (experiment, p.difficulty) {
            (Experiment::DifficultyControl, Some(Difficulty::Hard)) => control_tokens,
            _ => PAIR_TOKENS,
        };
        draft.n_tokens = prompts.iter().map(|p| Some(length(p))).collect();
        draft.job.prompts = prompts;
        draft.job.stop_at = stop_at;
        draft
    }

    /// All pairs where rounds are counted. Until decided, few pairs, and each natural pair once over the planned rounds.
    fn pairs_a_round(&self, n_pairs: u32, is_natural: bool) -> u32 {
        let Some(most) = self.spec.max_pairs else {
            return n_pairs;
        };
        let n_rounds = self.spec.replicates.saturating_mul(self.spec.rounds);
        match is_natural {
            true => n_pairs.div_ceil(n_rounds.max(1)),
            false => QUESTIONS_A_ROUND.min(most),
        }
    }
}

/// The control's pair: the easy prompt, and the same one made longer in the hard one's place.
fn longer((easy, _): &(Prompt, Prompt)) -> [Prompt; 2] {
    let longer = Prompt {
        id: format!("{}-longer", easy.id),
        difficulty: Some(Difficulty::Hard),
        ..easy.clone()
    };
    [easy.clone(), longer]
}

/// The prompts so that classes follow each other in turn: any few of them are of all classes.
fn mixed(prompts: &[Prompt]) -> Vec<Prompt> {
    let mut classes: Vec<(&str, Vec<&Prompt>)> = Vec::new();
    for prompt in prompts {
        match classes.iter_mut().find(|(class, _)| *class == prompt.class) {
            Some((_, members)) => members.push(prompt),
            None => classes.push((&prompt.class, vec![prompt])),
        }
    }
    let longest = classes.iter().map(|(_, members)| members.len()).max();
    let turn = |i: usize| {
        classes
            .iter()
            .filter_map(move |(_, members)| members.get(i))
    };
    (0..longest.unwrap_or(0))
        .flat_map(turn)
        .map(|p| (*p).clone())
        .collect()
}

impl UnfittedJob {
    /// The job with its final texts and their lengths in tokens; none where no tokenizer was at hand. What fits is then for
    /// the server to say, and the case is as large as the bytes, of which a token has at least one.
    ///
    /// # Errors
    /// [`PlanError`] when a prompt of known length and its answer do not fit `n_ctx`.
    pub fn with_texts(mut self, texts: Vec<(String, Option<u32>)>) -> Result<Job, PlanError> {
        for (prompt, (text, n_tokens)) in self.job.prompts.iter_mut().zip(texts) {
            self.job.said_at.push(said_at(&prompt.text, &text));
            (prompt.text, prompt.n_tokens) = (text, n_tokens);
        }
        if self.job.said_at.iter().all(|at| *at == 0) {
            self.job.said_at.clear();
        }
        let is_counted = self.job.prompts.iter().all(|p| p.n_tokens.is_some());
        let bytes = |p: &Prompt| u32::try_from(p.text.len()).unwrap_or(u32::MAX);
        let length = |p: &Prompt| p.n_tokens.unwrap_or(bytes(p).min(MOST_UNCOUNTED));
        let longest = self.job.prompts.iter().max_by_key(|p| length(p));
        let n_prompt = longest.map_or(0, length).saturating_add(TAG_TOKENS);
        let case = &mut self.job.case;
        let needed = n_prompt.saturating_add(case.n_gen);
        if !is_counted {
            if !self.job.forced.n_ctx {
                case.n_ctx = case.n_ctx.max(needed);
            }
            case.n_prompt = n_prompt.min(case.n_ctx.saturating_sub(case.n_gen));
            return Ok(self.job);
        }
        if needed > case.n_ctx {
            return Err(PlanError::Impossible(format!(
                "{}: prompt '{}' has {} tokens, with {} of an answer {needed}, more than n_ctx {}: raise --n-ctx",
                self.job.name,
                longest.map_or("", |p| &p.id),
                n_prompt - TAG_TOKENS,
                case.n_gen,
                case.n_ctx
            )));
        }
        case.n_prompt = n_prompt;
        Ok(self.job)
    }
}

/// Where a prompt begins in the finished text: behind what a template puts before it.
fn said_at(said: &str, finished: &str) -> u32 {
    /// Longer than any beginning that a template has by chance.
    const OPENING: usize = 24;
    let opening: String = said.trim_start().chars().take(OPENING).collect();
    // A text that was cut shorter has less of it.
    let first_word = opening.split_whitespace().next().unwrap_or_default();
    let at = finished
        .find(&opening)
        .or_else(|| finished.find(first_word));
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0)
}

/// A short job of the same shape that is not recorded: it loads what is loaded late, and fills the caches of code.
pub fn warm_up(job: &Job) -> Job {
    let n_gen = job.case.n_gen.min(WARMUP_STEPS);
    let places = job.n_places();
    Job {
        name: format!("{}/warm-up", job.name),
        n_requests: places,
        load: Load::Closed {
            concurrency: places,
        },
        most_ns: None,
        case: Case {
            n_gen,
            ..job.case.clone()
        },
        // From the other end, so that no job has this number.
        tag: job.tag.map(|tag| MOST_TAG.saturating_sub(tag)),
        ..job.clone()
    }
}

#[cfg(test)]
mod tests;
