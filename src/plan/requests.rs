//! Requests to send, as asked for: the keys of a sweep's `[requests]`, which are also the flags of `requests`.

use std::time::Duration;

use serde::Deserialize;

use super::protocol::{FEWEST_BEFORE_MORE, duration};
use super::serving::{Endpoint, Sampling, StopAt};
use super::{MAX_SEQ, PlanError, Protocol};

/// Most requests of a job: their timelines are kept in memory until it ends.
pub(crate) const MOST_REQUESTS: u32 = 1_000_000;

/// Most questions of a comparison, unless the user names a number.
pub(crate) const MOST_PAIRS: u32 = 120;

/// Wall time for the pairs and processes that are added after the planned rounds, where no budget is named.
pub(crate) const TIME_FOR_PAIRS: Duration = Duration::from_secs(30 * 60);

/// Most requests of a sustained load.
const MOST_SUSTAINED: f64 = 50_000.0;

/// What flags or a sweep name; `None` and empty lists are what they do not.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestsChoice {
    /// Who answers: `in-process`, `ollama:MODEL`, `openai:URL`.
    pub target: Vec<String>,
    /// Of a sweep with several models, the one that answers; its first otherwise.
    pub model: Option<String>,
    /// Fresh worker processes in which everything is done.
    pub replicates: Option<u32>,
    /// Most of them, where they are added until the precision.
    pub max_replicates: Option<u32>,
    /// Relative half-width of the interval of a job's mean latency.
    pub precision: Option<f64>,
    /// How often everything is done in each process.
    pub rounds: Option<u32>,
    /// Wall time, such as `3m`, after which nothing more is begun.
    pub budget: Option<String>,
    /// The prompts: the name of a bundled set, or a JSON Lines file.
    pub prompts: Option<String>,
    /// Only prompts of these classes.
    pub class: Vec<String>,
    /// Whether the model's chat template stands around them; unnamed: where it has one.
    pub chat_template: Option<bool>,
    /// Which way they reach a server.
    pub endpoint: Option<Endpoint>,
    /// Whether a server with OpenAI's completions gets OpenAI's own fields only.
    pub openai_strict: Option<bool>,
    /// Requests of each job in each round.
    pub n_requests: Option<u32>,
    /// Most tokens of an answer.
    pub n_gen: Option<u32>,
    /// When an answer is over.
    pub stop: Option<StopAt>,
    /// Temperature of every experiment but the one about it.
    pub temperature: Option<f32>,
    /// See [`Sampling`].
    pub top_k: Option<u32>,
    /// See [`Sampling`].
    pub top_p: Option<f32>,
    /// See [`Sampling`].
    pub min_p: Option<f32>,
    /// The experiment: one request after another, by class of prompt.
    pub classes: Option<bool>,
    /// The experiment: prompts of exactly these numbers of tokens.
    pub prompt_lengths: Vec<u32>,
    /// The experiment: these temperatures.
    pub temperatures: Vec<f32>,
    /// The experiment: these numbers of requests at once.
    pub concurrency: Vec<u32>,
    /// The experiment: one load for so long, such as `60s`.
    pub sustained: Option<String>,
    /// Of the sustained load: requests a second that come by themselves, instead of a closed loop.
    pub rate_per_s: Option<f64>,
    /// A request that is not over after so long is given up.
    pub timeout: Option<String>,
    /// The experiment: does a harder question cost more?
    pub difficulty: Option<bool>,
    /// Most matched pairs of easy and hard questions, and most questions at several temperatures, until the comparison is decided.
    pub max_pairs: Option<u32>,
    /// Whether rounds in which the targets take turns are added until it is decided how they compare, unless rounds are counted.
    pub compare_targets: Option<bool>,
}

impl RequestsChoice {
    /// The endpoint where none is named and no model of ours takes part: a server's own template is for chats, which
    /// every server with OpenAI's protocol has, while completions are missing in some.
    pub fn endpoint_of_servers(&self) -> Option<Endpoint> {
        let mut targets = self.target.iter();
        let are_openai = !self.target.is_empty() && targets.all(|t| t.starts_with("openai:"));
        self.endpoint.or(are_openai.then_some(Endpoint::Chat))
    }

    /// Whether it names an experiment.
    pub fn names_experiment(&self) -> bool {
        self.classes == Some(true)
            || !self.prompt_lengths.is_empty()
            || !self.temperatures.is_empty()
            || !self.concurrency.is_empty()
            || self.sustained.is_some()
            || self.difficulty == Some(true)
    }

    /// Whether llama.cpp in this process is one of the targets.
    pub fn has_in_process(&self) -> bool {
        self.target.is_empty() || self.target.iter().any(|t| t.trim() == "in-process")
    }

    /// What is meant, defaults filled in. Without an experiment it is the one by class.
    ///
    /// # Errors
    /// [`PlanError::Axis`] for a value out of range.
    pub fn resolve(self, seed: u64) -> Result<RequestsSpec, PlanError> {
        let classes = self.classes == Some(true) || !self.names_experiment();
        let d = Sampling::default();
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(d.temperature),
            top_k: self.top_k.unwrap_or(d.top_k),
            top_p: self.top_p.unwrap_or(d.top_p),
            min_p: self.min_p.unwrap_or(d.min_p),
            // A server takes 32 bits, some of them signed.
            seed: (seed % (1 << 31)) as u32,
        };
        let sustained = self.sustained.as_deref();
        let timeout = self.timeout.as_deref();
        let are_counted = self.rounds.is_some() || self.replicates.is_some();
        // A user who names rounds has said how often everything is done.
        let replicates = self
            .replicates
            .unwrap_or(match (self.max_replicates, self.rounds) {
                (Some(max), _) => FEWEST_BEFORE_MORE.min(max).max(1),
                (None, Some(_)) => 1,
                (None, None) => 3,
            });
        if self.precision.is_some() && self.max_replicates.is_none() {
            let reason =
                "is reached by more processes: name their maximum too, such as max_replicates = 20";
            return Err(PlanError::axis("precision", reason));
        }
        let asked = RequestsSpec {
            timeout: timeout.map(|t| duration("timeout", t)).transpose()?,
            targets: match self.target.is_empty() {
                true => vec!["in-process".to_owned()],
                false => self.target,
            },
            replicates,
            max_replicates: self.max_replicates.filter(|max| *max != replicates),
            precision: self
                .precision
                .unwrap_or_else(|| Protocol::default().precision),
            rounds: self.rounds.unwrap_or(1),
            budget: self
                .budget
                .as_deref()
                .map(|t| duration("budget", t))
                .transpose()?,
            prompts: self.prompts,
            class: self.class,
            chat_template: self.chat_template,
            endpoint: self.endpoint,
            openai_strict: self.openai_strict == Some(true),
            n_requests: self.n_requests,
            n_gen: self.n_gen.unwrap_or(64),
            stop_at: self.stop.unwrap_or_default(),
            sampling,
            classes,
            prompt_lengths: self.prompt_lengths,
            temperatures: self.temperatures,
            concurrency: self.concurrency,
            sustained: sustained.map(|t| duration("sustained", t)).transpose()?,
            rate_per_s: self.rate_per_s,
            difficulty: self.difficulty == Some(true),
            // A user who has said how often everything is done gets that number.
            max_pairs: self.max_pairs.or((!are_counted).then_some(MOST_PAIRS)),
            compare_targets: self.compare_targets == Some(true),
        };
        asked.check()?;
        Ok(asked)
    }
}

/// What is meant: every value is there and in range.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // named as the fields of `RequestsChoice`, which has their docs
pub struct RequestsSpec {
    pub targets: Vec<String>,
    pub replicates: u32,
    pub max_replicates: Option<u32>,
    pub precision: f64,
    pub rounds: u32,
    pub budget: Option<Duration>,
    pub prompts: Option<String>,
    pub class: Vec<String>,
    pub chat_template: Option<bool>,
    /// `None`: the prompt as it is.
    pub endpoint: Option<Endpoint>,
    pub openai_strict: bool,
    pub n_requests: Option<u32>,
    pub n_gen: u32,
    pub stop_at: StopAt,
    pub sampling: Sampling,
    pub classes: bool,
    pub prompt_lengths: Vec<u32>,
    pub temperatures: Vec<f32>,
    pub concurrency: Vec<u32>,
    pub sustained: Option<Duration>,
    pub rate_per_s: Option<f64>,
    pub timeout: Option<Duration>,
    pub difficulty: bool,
    /// `None`: the planned rounds only.
    pub max_pairs: Option<u32>,
    pub compare_targets: bool,
}

impl RequestsSpec {
    /// Rounds of all targets in turns at most, where their comparison is to be decided: `None` with a fixed number.
    pub fn most_rounds(&self) -> Option<u32> {
        let has_others = self.compare_targets && self.targets.len() > 1;
        self.max_pairs.filter(|_| has_others)
    }

    fn check(&self) -> Result<(), PlanError> {
        self.check_counts()?;
        self.check_sampling()?;
        self.check_times()
    }

    fn check_counts(&self) -> Result<(), PlanError> {
        let range = |key: &str, n: u32, most: u32| match (1..=most).contains(&n) {
            true => Ok(()),
            false => Err(PlanError::axis(key, format!("{n}; 1 to {most}"))),
        };
        range("replicates", self.replicates, 1000)?;
        range("rounds", self.rounds, 1000)?;
        if let Some(max) = self.max_replicates.filter(|max| *max < self.replicates) {
            let fewest = self.replicates;
            let reason = format!("{max}; no fewer than the {fewest} replicates");
            return Err(PlanError::axis("max_replicates", reason));
        }
        range("max_replicates", self.max_replicates.unwrap_or(1), 1000)?;
        if !(self.precision.is_finite() && self.precision > 0.0 && self.precision < 1.0) {
            let reason = format!(
                "{} is not a share between 0 and 1 (0.02 is 2%)",
                self.precision
            );
            return Err(PlanError::axis("precision", reason));
        }
        range("n_requests", self.n_requests.unwrap_or(1), MOST_REQUESTS)?;
        range("n_gen", self.n_gen, 1 << 20)?;
        range("max_pairs", self.max_pairs.unwrap_or(1), 100_000)?;
        for n in &self.prompt_lengths {
            range("prompt_lengths", *n, 1 << 20)?;
        }
        for n in &self.concurrency {
            range("concurrency", *n, MAX_SEQ)?;
        }
        twice("target", &self.targets)?;
        twice("prompt_lengths", &self.prompt_lengths)?;
        twice("temperatures", &self.temperatures)?;
        twice("concurrency", &self.concurrency)
    }

    fn check_sampling(&self) -> Result<(), PlanError> {
        let one = [self.sampling.temperature];
        for t in self.temperatures.iter().chain(&one) {
            if !(0.0..=10.0).contains(t) {
                return Err(PlanError::axis("temperature", format!("{t}; 0 to 10")));
            }
        }
        for (key, share) in [
            ("top_p", self.sampling.top_p),
            ("min_p", self.sampling.min_p),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(PlanError::axis(key, format!("{share}; 0 to 1")));
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), PlanError> {
        let rate = self.rate_per_s.unwrap_or(1.0);
        if !(rate.is_finite() && rate > 0.0 && rate <= 1e4) {
            return Err(PlanError::axis(
                "rate_per_s",
                format!("{rate}; more than 0, at most 10000 requests a second"),
            ));
        }
        let length_s = self.sustained.map_or(0.0, |t| t.as_secs_f64());
        if self
            .rate_per_s
            .is_some_and(|rate| rate * length_s > MOST_SUSTAINED)
        {
            return Err(PlanError::axis(
                "rate_per_s",
                format!("{rate} a second for {length_s} s are more than {MOST_SUSTAINED} requests"),
            ));
        }
        if self.rate_per_s.is_some() && self.sustained.is_none() {
            return Err(PlanError::axis(
                "rate_per_s",
                "is the rate of a sustained load: name its length too, such as sustained = \"60s\"",
            ));
        }
        if self.timeout.is_some_and(|t| t.is_zero()) {
            return Err(PlanError::axis(
                "timeout",
                "0 gives every request up at once; leave it out for the default",
            ));
        }
        if self.sustained.is_some_and(|t| t.is_zero()) {
            return Err(PlanError::axis("sustained", "0 is no load; such as 60s"));
        }
        Ok(())
    }
}

/// Two jobs of one name could not be told apart in the record.
fn twice<T: PartialEq + std::fmt::Display>(key: &str, values: &[T]) -> Result<(), PlanError> {
    let mut numbered = values.iter().enumerate();
    match numbered.find(|(i, v)| values[..*i].contains(v)) {
        Some((_, v)) => Err(PlanError::axis(key, format!("{v} is named twice"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Result<RequestsSpec, String> {
        let choice: RequestsChoice = toml::from_str(toml).map_err(|e| e.message().to_owned())?;
        choice.resolve(42).map_err(|e| e.to_string())
    }

    #[test]
    fn without_an_experiment_it_is_the_one_by_class() {
        assert!(of("").expect("valid").classes);
        assert!(!of("concurrency = [1, 8]").expect("valid").classes);
        let both = of("concurrency = [1, 8]\nclasses = true").expect("valid");
        assert!(both.classes && both.concurrency == [1, 8]);
        assert_eq!(of("").expect("valid").targets, ["in-process"]);
    }

    #[test]
    fn everything_is_done_in_three_processes_unless_rounds_are_counted() {
        let counts = |toml: &str| {
            let asked = of(toml).expect("valid");
            (asked.replicates, asked.rounds)
        };
        assert_eq!(counts(""), (3, 1));
        assert_eq!(counts("rounds = 5"), (1, 5));
        assert_eq!(counts("rounds = 2\nreplicates = 5"), (5, 2));
        assert_eq!(counts("replicates = 5"), (5, 1));
    }

    #[test]
    fn processes_are_added_from_six_on_until_the_precision() {
        let counts = |toml: &str| {
            let asked = of(toml).expect("valid");
            (asked.replicates, asked.max_replicates, asked.precision)
        };
        assert_eq!(counts("max_replicates = 20"), (6, Some(20), 0.02));
        let few = counts("max_replicates = 4\nprecision = 0.1");
        assert_eq!(few, (4, None, 0.1), "none can be added");
        assert_eq!(counts("max_replicates = 20\nreplicates = 3").0, 3);
        assert_eq!(counts("max_replicates = 20\nrounds = 2").0, 6);
    }

    #[test]
    fn comparisons_go_on_until_decided_unless_rounds_are_counted() {
        let most = |toml: &str| of(toml).expect("valid").max_pairs;
        assert_eq!(most(""), Some(MOST_PAIRS));
        assert_eq!((most("rounds = 2"), most("replicates = 3")), (None, None));
        assert_eq!(most("rounds = 2\nmax_pairs = 40"), Some(40));
        assert!(of("max_pairs = 0").is_err());
    }

    #[test]
    fn targets_are_compared_until_decided_where_that_is_asked_for() {
        let most = |toml: &str| of(toml).expect("valid").most_rounds();
        let two = "target = [\"in-process\", \"openai:http://h/v1\"]\ncompare_targets = true\n";
        assert_eq!(most(two), Some(MOST_PAIRS));
        assert_eq!(most(&format!("{two}max_pairs = 20")), Some(20));
        assert_eq!(most(&format!("{two}rounds = 5")), None);
        assert_eq!(most("compare_targets = true"), None, "one target");
        assert_eq!(most(""), None);
    }

    #[test]
    fn servers_alone_get_messages_where_every_server_knows_them() {
        let alone = |toml: &str| {
            let choice: RequestsChoice = toml::from_str(toml).expect("valid");
            assert!(!choice.has_in_process(), "{toml}");
            choice.endpoint_of_servers()
        };
        assert_eq!(
            alone("target = [\"openai:http://h/v1\"]"),
            Some(Endpoint::Chat)
        );
        assert_eq!(
            alone("target = [\"openai:http://h/v1\"]\nendpoint = \"completion\""),
            Some(Endpoint::Completion)
        );
        assert_eq!(alone("target = [\"ollama:m\"]"), None);
        let choice: RequestsChoice = toml::from_str("").expect("valid");
        assert!(choice.has_in_process(), "the default target");
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (toml, needle) in [
            ("rounds = 0", "rounds"),
            ("replicates = 1001", "replicates"),
            ("max_replicates = 1001", "max_replicates"),
            ("replicates = 5\nmax_replicates = 4", "no fewer than the 5"),
            ("max_replicates = 9\nprecision = 0.0", "precision"),
            ("precision = 0.1", "max_replicates"),
            ("budget = \"soon\"", "budget"),
            ("concurrency = [0]", "concurrency"),
            ("concurrency = [257]", "concurrency"),
            ("temperature = -1.0", "temperature"),
            ("temperatures = [nan]", "temperature"),
            ("concurrency = [8, 8]", "8 is named twice"),
            ("target = [\"in-process\", \"in-process\"]", "named twice"),
            ("sustained = \"1h\"\nrate_per_s = 100.0", "more than 50000"),
            ("top_p = 1.5", "top_p"),
            ("rate_per_s = 2.0", "sustained"),
            ("sustained = \"60s\"\nrate_per_s = 0.0", "rate_per_s"),
            ("sustained = \"soon\"", "sustained"),
            ("timeout = \"0s\"", "timeout"),
            ("stop = \"never\"", "unknown variant"),
            ("colour = 1", "unknown field"),
        ] {
            let error = of(toml).expect_err(toml);
            assert!(error.contains(needle), "{toml}: {error}");
        }
    }
}
