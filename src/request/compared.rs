//! Answers that are compared with each other: which prompt and which temperature each request has.
//!
//! The sides of a question follow each other without another request between them, in a random order that is drawn anew for each
//! question. What the machine does over minutes is then common to all sides, and who is first is chance.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Experiment, Job, Sampling};

/// Most sides of a question.
pub const MOST_SIDES: u32 = 1000;

/// How a job's requests are compared. Its prompts are in the order of the sides: the halves of a pair follow each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Answers to each question: the halves of a matched pair, or one answer at each temperature.
    pub n_sides: u32,
    /// The temperature of each side, whose prompts are the same; empty: the sides differ in their prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<f32>,
    /// The positive control: the last side has the first temperature, and its decode calls are slowed by this share on purpose. None:
    /// there is no such side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<f64>,
    /// After the planned rounds, questions are added until the comparison is decided, up to this number; none: nothing is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

/// What a request of a compared job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedRequest {
    /// The number of its question, from 0; the prompts begin again after the last one.
    pub question: u32,
    /// Its side of the question, from 0.
    pub side: usize,
}

impl Compared {
    /// The temperature of a side; none where sides differ in their prompts.
    fn temperature(&self, side: usize) -> Option<f32> {
        let own = self.temperatures.get(side).copied();
        own.or_else(|| {
            self.temperatures
                .first()
                .copied()
                .filter(|_| self.is_planted(side))
        })
    }

    /// Whether a side is the positive control.
    pub fn is_planted(&self, side: usize) -> bool {
        self.planted.is_some() && side + 1 == self.n_sides as usize
    }

    /// The question and the side of a request; `seed` is the job's.
    pub fn request(&self, number: u32, seed: u64) -> ComparedRequest {
        let n_sides = self.n_sides.clamp(1, MOST_SIDES);
        let question = number / n_sides;
        let mut order: Vec<usize> = (0..n_sides as usize).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(question));
        order.shuffle(&mut rng);
        ComparedRequest {
            question,
            side: order[(number % n_sides) as usize],
        }
    }
}

/// A job's requests of one side, as a job of its own: those at one temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPart {
    /// The job as it would be alone.
    pub job: Job,
    side: Option<usize>,
}

impl JobPart {
    /// The parts of a job: one for each temperature, or the whole job.
    pub fn all_of(job: &Job) -> Vec<Self> {
        let sides = job.compared.iter();
        let sides = sides.flat_map(|c| (0..job.n_sides() as usize).map(move |side| (c, side)));
        let parts: Vec<Self> = sides
            .filter_map(|(compared, side)| {
                let temperature = compared.temperature(side)?;
                Some(Self {
                    job: job.of_side(compared, side, temperature),
                    side: Some(side),
                })
            })
            .collect();
        if !parts.is_empty() {
            return parts;
        }
        vec![Self {
            job: job.clone(),
            side: None,
        }]
    }

    /// Whether it is one of several.
    pub fn is_part(&self) -> bool {
        self.side.is_some()
    }

    /// Whether a request is one of its own.
    pub fn has(&self, number: u32) -> bool {
        let of_job = self.job.compared_request(number).map(|r| r.side);
        self.side.is_none_or(|side| of_job == Some(side))
    }
}

impl Job {
    fn of_side(&self, compared: &Compared, side: usize, temperature: f32) -> Self {
        let is_planted = compared.is_planted(side);
        Self {
            name: match is_planted {
                true => format!("{}/control", self.name),
                false => format!("{}/t{temperature}", self.name),
            },
            experiment: match is_planted {
                true => Experiment::TemperatureControl,
                false => self.experiment,
            },
            n_requests: self.n_requests / self.n_sides(),
            sampling: Sampling {
                temperature,
                ..self.sampling
            },
            ..self.clone()
        }
    }

    /// The share by which a request's decode calls are slowed on purpose.
    pub(super) fn slowed_of(&self, number: u32) -> f64 {
        self.slowed.get(number as usize).copied().unwrap_or(0.0)
    }

    /// The answers to each question; 1 where none are compared.
    pub fn n_sides(&self) -> u32 {
        let compared = self.compared.as_ref();
        compared.map_or(1, |c| c.n_sides.clamp(1, MOST_SIDES))
    }

    /// The question and the side of a request; none where no answers are compared.
    pub fn compared_request(&self, number: u32) -> Option<ComparedRequest> {
        Some(self.compared.as_ref()?.request(number, self.seed))
    }

    /// The place of a request's prompt among the job's.
    pub(super) fn prompt_index(&self, number: u32) -> usize {
        let n = self.prompts.len();
        let Some(compared) = &self.compared else {
            return number as usize % n;
        };
        let request = compared.request(number, self.seed);
        match compared.temperatures.is_empty() {
            true => (request.question as usize * self.n_sides() as usize + request.side) % n,
            false => request.question as usize % n,
        }
    }

    /// How a request's tokens are chosen.
    pub fn sampling_of(&self, number: u32) -> Sampling {
        let own = self.sampling.of_request(number);
        let at = self.temperatures.get(number as usize);
        Sampling {
            temperature: at.copied().unwrap_or(own.temperature),
            ..own
        }
    }

    /// The job as it is served in a round, and the number in the job of its first request. Each round asks the next questions.
    ///
    /// # Panics
    /// When the job has no prompt.
    #[must_use]
    pub fn in_round(&self, round: u32) -> (Self, u32) {
        let Some(compared) = &self.compared else {
            return (self.clone(), 0);
        };
        let first = round.wrapping_mul(self.n_requests);
        let numbers = (0..self.n_requests).map(|n| first.wrapping_add(n));
        let side = |number| compared.request(number, self.seed).side;
        let slowed = |number| match (compared.planted, compared.is_planted(side(number))) {
            (Some(share), true) => share,
            _ => 0.0,
        };
        let job = Self {
            prompts: numbers.clone().map(|n| self.prompt_of(n).clone()).collect(),
            said_at: match self.said_at.is_empty() {
                true => Vec::new(),
                false => numbers.clone().map(|n| self.said_at(n) as u32).collect(),
            },
            slowed: match compared.planted {
                Some(_) => numbers.clone().map(slowed).collect(),
                None => Vec::new(),
            },
            temperatures: numbers
                .filter_map(|n| compared.temperature(side(n)))
                .collect(),
            compared: None,
            ..self.clone()
        };
        (job, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::requests::{job, prompt};

    fn compared(n_prompts: u32, temperatures: &[f32]) -> Job {
        let prompts = (0..n_prompts).map(|n| prompt(&n.to_string(), 3)).collect();
        let n_sides = temperatures.len().max(2) as u32;
        Job {
            n_requests: 3 * n_sides,
            compared: Some(Compared {
                n_sides,
                temperatures: temperatures.to_vec(),
                planted: None,
                most: None,
            }),
            ..job("one", Experiment::Temperature, 1, prompts)
        }
    }

    fn classes(job: &Job, numbers: std::ops::Range<u32>) -> Vec<&str> {
        numbers.map(|n| job.prompt_of(n).class.as_str()).collect()
    }

    #[test]
    fn halves_follow_each_other_in_random_order() {
        let job = compared(8, &[]);
        let mut easy_first = 0;
        for question in 0..400 {
            let both = classes(&job, 2 * question..2 * question + 2);
            let easy = format!("{}", question * 2 % 8);
            let hard = format!("{}", question * 2 % 8 + 1);
            easy_first += u32::from(both[0] == easy);
            assert!(both == [&easy, &hard] || both == [&hard, &easy], "{both:?}");
        }
        assert!((150..250).contains(&easy_first), "{easy_first}");
    }

    #[test]
    fn a_round_has_the_next_questions_as_a_job_of_its_own() {
        let job = compared(5, &[0.0, 0.7, 1.5]);
        let (served, first) = job.in_round(2);
        assert_eq!((first, served.prompts.len(), served.n_requests), (18, 9, 9));
        assert_eq!(classes(&served, 0..9), classes(&job, 18..27));
        // Question 6 is prompt 1 again, of 5.
        assert_eq!(classes(&served, 0..3), ["1", "1", "1"]);
        for question in 0..3 {
            let at = |n: u32| served.sampling_of(3 * question + n).temperature;
            let mut all = [at(0), at(1), at(2)];
            all.sort_by(f32::total_cmp);
            assert_eq!(all, [0.0, 0.7, 1.5]);
        }
        let plain = Job {
            compared: None,
            ..job
        };
        assert_eq!(plain.in_round(2), (plain.clone(), 0));
    }

    #[test]
    fn each_temperature_is_a_job_of_its_own() {
        let job = compared(5, &[0.0, 0.7, 1.5]);
        let parts = JobPart::all_of(&job);
        let names: Vec<&str> = parts.iter().map(|p| p.job.name.as_str()).collect();
        assert_eq!(names, ["one/t0", "one/t0.7", "one/t1.5"]);
        assert_eq!(
            (parts[1].job.sampling.temperature, parts[1].job.n_requests),
            (0.7, 3)
        );
        let (served, first) = job.in_round(1);
        for number in 0..served.n_requests {
            let own = parts.iter().filter(|p| p.has(first + number));
            let own: Vec<f32> = own.map(|p| p.job.sampling.temperature).collect();
            assert_eq!(own, [served.sampling_of(number).temperature]);
        }
        assert!(parts[0].is_part() && served.slowed.is_empty());
        let halves = JobPart::all_of(&compared(4, &[]));
        assert!(halves.len() == 1 && !halves[0].is_part() && halves[0].has(3));
    }

    #[test]
    fn the_control_is_the_first_temperature_slowed() {
        let mut job = compared(5, &[0.0, 0.7]);
        job.n_requests = 9;
        if let Some(compared) = &mut job.compared {
            (compared.n_sides, compared.planted) = (3, Some(0.03));
        }
        let parts = JobPart::all_of(&job);
        let names: Vec<&str> = parts.iter().map(|p| p.job.name.as_str()).collect();
        assert_eq!(names, ["one/t0", "one/t0.7", "one/control"]);
        assert_eq!(parts[2].job.experiment, Experiment::TemperatureControl);
        let (served, first) = job.in_round(3);
        for number in 0..9 {
            let is_control = parts[2].has(first + number);
            assert_eq!(served.slowed_of(number) > 0.0, is_control);
            assert!(!is_control || served.sampling_of(number).temperature == 0.0);
        }
        assert_eq!(served.slowed.iter().filter(|s| **s == 0.03).count(), 3);
    }
}
