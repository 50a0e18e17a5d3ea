//! `requests` and `compare-live`: real prompts, whole requests, one target or several in turns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::execute::{listen, make_models};
use super::offload;
use super::prepare::{self, Asked, Prepared, prepare};
use super::run::{measure, out_folder};
use super::{DONE, INTERRUPTED, note_all, say};
use crate::cli::RequestsArgs;
use crate::engine::clock::MonotonicClock;
use crate::model::ModelFacts;
use crate::plan::budget::{self, Rates};
use crate::plan::expand::Axes;
use crate::plan::protocol::ProtocolChoice;
use crate::plan::requests::{RequestsAsked, RequestsChoice};
use crate::plan::{Case, Plan, remedy};
use crate::record::jsonl::Writer;
use crate::record::requests::{PromptWarning, RequestsPlan};
use crate::record::{Outcome, RunHeader};
use crate::report::progress::requests::for_stderr;
use crate::report::rounds_of;
use crate::request::fit::FitOne;
use crate::request::http::Patience;
use crate::request::plan::{Draft, Sources, drafts};
use crate::request::prompts::{Prompt, PromptSet};
use crate::request::ready::{Wait, Waiting};
use crate::request::spec::TargetSpec;
use crate::request::{Endpoint, Forced, Job};
use crate::run::Interrupt;
use crate::run::in_process::{self, InProcess, Template};
use crate::run::requests::{DoneJobs, Seat, Serving};
use crate::run::supervisor::WorkerCommand;
use crate::streams::note;
use crate::units;

/// Requests at once in `compare-live` when nobody says how many.
const LIVE_CONCURRENCY: [u32; 3] = [1, 8, 32];

/// Most requests of a job whose texts are all different.
const MOST_TAGGED: u32 = 20_000;

/// The set that is used when none is named, and the one with matched pairs.
const PROMPTS: &str = "lab";
const PAIRS: &str = "difficulty";

/// Sends what flags describe.
///
/// # Errors
/// When nothing could be sent, or the record could not be written.
pub fn requests(args: &RequestsArgs) -> Result<u8> {
    let (axes, choice) = asked(args)?;
    carry_out(args, axes, choice, "requests")
}

/// The same requests in-process and at servers, in turns.
///
/// # Errors
/// As [`requests`], and when no server is named.
pub fn compare_live(args: &RequestsArgs) -> Result<u8> {
    let (axes, mut choice) = asked(args)?;
    let own = TargetSpec::InProcess.to_string();
    choice.target.retain(|t| *t != own);
    ensure!(
        !choice.target.is_empty(),
        "name who is compared with this program: --target ollama:llama3.1:8b or --target openai:http://127.0.0.1:8080/v1"
    );
    if axes.model.is_none() {
        bail!(
            "name the model file that the server has too: --model FILE, or --model ollama:NAME for the one in Ollama's store"
        );
    }
    choice.target.insert(0, own);
    if !choice.names_experiment() {
        choice.concurrency = LIVE_CONCURRENCY.to_vec();
    }
    carry_out(args, axes, choice, "compare-live")
}

/// The flags: those about the context, and those about requests.
fn asked(args: &RequestsArgs) -> Result<(Axes, RequestsChoice)> {
    let mut axes = args.axes.axes()?;
    ensure!(
        axes.n_depth.is_none() && axes.sample.is_none(),
        "--n-depth and --no-sample are of cells: a request's prompt is real, and so is its answer"
    );
    let n_gen = axes.n_gen.take().unwrap_or_default();
    ensure!(
        n_gen.len() < 2,
        "--n-gen: one number, the most tokens of an answer"
    );
    let (lengths, concurrency) = (axes.n_prompt.take(), axes.n_seq.take());
    let choice = args.requests.choice(
        lengths.unwrap_or_default(),
        concurrency.unwrap_or_default(),
        n_gen.first().copied(),
    );
    Ok((axes, choice))
}

fn carry_out(
    args: &RequestsArgs,
    axes: Axes,
    mut choice: RequestsChoice,
    name: &str,
) -> Result<u8> {
    let seed = args.seed.unwrap_or(42);
    let has_model = axes.model.is_some() || choice.has_in_process();
    if !has_model {
        choice.endpoint = choice.endpoint_of_servers();
    }
    let asked = choice.resolve(seed)?;
    let forced = Forced {
        n_threads: axes.n_threads.is_some(),
        n_ctx: has_model || axes.n_ctx.is_some(),
    };
    let name = args.output.name.clone().unwrap_or_else(|| name.to_owned());
    let of_cell = Asked {
        measures_idle_power: false,
        name,
        // The smallest cell: its lengths and its batch are the jobs' business.
        axes: Axes {
            n_prompt: Some(vec![1]),
            n_gen: Some(vec![1]),
            n_seq: Some(vec![1]),
            ..axes
        },
        also: Vec::new(),
        exclude: Vec::new(),
        protocol: ProtocolChoice {
            seed: Some(seed),
            ..ProtocolChoice::default()
        },
    };
    let command = prepare::worker_command(&args.worker)?;
    let mut prepared = match has_model {
        true => prepare(of_cell, command)?,
        false => prepare::without_model(of_cell, &asked.targets.join("-"), command)?,
    };
    note_all(&prepared.notes);
    ensure!(
        prepared.plan.cases.len() == 1,
        "requests are served by one model in one setting: give --model, --threads, --n-ctx and the like one value each"
    );
    let template = prepared.plan.cases[0].clone();
    let wanted = Wanted::of(&asked, &template, forced, seed)?;
    if args.dry_run {
        say(wanted.dry_run(&asked, &prepared))?;
        return Ok(DONE);
    }
    let out = out_folder(&args.output)?;
    prepared.plan.models = make_models(
        &prepared.plan,
        std::mem::take(&mut prepared.models),
        &prepared.fits,
    )?;
    prepared.plan.cases.clear();
    prepared.fits.clear();
    let interrupt = listen()?;
    let Some(ready) = wanted.ready(&asked, &prepared, &interrupt)? else {
        return Ok(INTERRUPTED);
    };
    measure(prepared, Some(ready), &args.output, &out, &interrupt)
}

/// The jobs that are wanted, before their model is there.
pub struct Wanted {
    drafts: Vec<Draft>,
    template: Case,
    seed: u64,
}

impl Wanted {
    /// Of what is asked for; `template` has model and context, of which servers are asked for what is `forced`.
    ///
    /// # Errors
    /// For prompts that cannot be read, and targets that are none.
    pub fn of(asked: &RequestsAsked, template: &Case, forced: Forced, seed: u64) -> Result<Self> {
        for target in &asked.targets {
            target.parse::<TargetSpec>()?;
        }
        let set = PromptSet::open(asked.prompts.as_deref().unwrap_or(PROMPTS))?;
        let mut prompts: Vec<Prompt> = Vec::new();
        for class in &asked.class {
            prompts.extend(set.of_class(class)?.into_iter().cloned());
        }
        if asked.class.is_empty() {
            prompts = set.all().to_vec();
        }
        // Prompts of the user's own may have pairs.
        let pairs_of = match &asked.prompts {
            Some(_) => set,
            None => PromptSet::bundled(PAIRS)?,
        };
        let pairs: Vec<(Prompt, Prompt)> = match asked.difficulty {
            true => pairs_of
                .pairs()?
                .iter()
                .map(|p| (p.easy.clone(), p.hard.clone()))
                .collect(),
            false => Vec::new(),
        };
        let sources = Sources {
            prompts: &prompts,
            pairs: &pairs,
        };
        let mut drafts = drafts(asked, sources, template, seed)?;
        for draft in &mut drafts {
            draft.job.forced = forced;
        }
        Ok(Self {
            drafts,
            template: template.clone(),
            seed,
        })
    }

    /// A line for each job; in-process with the memory that it needs and about the time that it takes, where answers have all
    /// the tokens that they may have.
    pub fn dry_run(&self, asked: &RequestsAsked, prepared: &Prepared) -> String {
        let models = &prepared.plan.models;
        let model = models.iter().find(|m| m.name == self.template.model);
        let model = model.filter(|_| asked.targets.iter().any(|t| t == in_process::NAME));
        let mut whole = Duration::ZERO;
        let mut lines = Vec::new();
        for Draft { job, n_tokens } in &self.drafts {
            let cost = model.map(|model| {
                let (bytes, time) = cost(job, n_tokens, model, &prepared.rates);
                whole = whole.saturating_add(time);
                let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                format!(
                    ": {}, about {} a round",
                    units::bytes(bytes),
                    units::duration(ns)
                )
            });
            lines.push(format!(
                "{}: {} requests at most, {} at once, {} tokens at most each, x {} x {}{}",
                job.name,
                job.n_requests,
                job.load.most_at_once(),
                job.case.n_gen,
                rounds_of((asked.rounds, asked.replicates)),
                asked.targets.join(", "),
                cost.unwrap_or_default()
            ));
        }
        if let Some(model) = model {
            let load = budget::load_time(model.file_bytes);
            let each = whole.saturating_mul(asked.rounds).saturating_add(load);
            let all = each.saturating_mul(asked.replicates);
            let limit = asked.budget.map_or_else(String::new, |budget| {
                format!(
                    ", cut at {}",
                    units::duration(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX))
                )
            });
            lines.push(format!(
                "in-process about {} in all{limit}",
                units::duration(u64::try_from(all.as_nanos()).unwrap_or(u64::MAX))
            ));
        }
        lines.join("\n")
    }

    /// Everything that is needed to serve them: targets that answer, texts with their lengths. None when Ctrl-C came first.
    ///
    /// # Errors
    /// When a target cannot be reached, or a prompt fits neither the context nor the memory.
    pub fn ready(
        self,
        asked: &RequestsAsked,
        prepared: &Prepared,
        interrupt: &Interrupt,
    ) -> Result<Option<Ready>> {
        let ready = self.set_up(asked, prepared, interrupt);
        match ready {
            Err(_) if interrupt.is_set() => Ok(None),
            ready => ready.map(Some),
        }
    }

    fn set_up(
        self,
        asked: &RequestsAsked,
        prepared: &Prepared,
        interrupt: &Interrupt,
    ) -> Result<Ready> {
        let models = &prepared.plan.models;
        let mut own = match models.iter().find(|m| m.name == self.template.model) {
            Some(model) => {
                let load = self.template.load_key();
                let started = InProcess::start(&prepared.command, model, &load, Some(interrupt));
                let path = model.path.display();
                Some(started.with_context(|| format!("{path}: cannot be loaded"))?)
            }
            None => None,
        };
        let stop = || interrupt.is_set();
        let (template, warnings) = template(asked, own.as_mut(), &stop)?;
        let mut jobs = Vec::new();
        for draft in self.drafts {
            jobs.push(fitted(draft, own.as_mut(), template, &stop)?);
        }
        let seats = seats(&asked.targets, asked.timeout, own, &stop)?;
        if seats.iter().any(|s| matches!(s, Seat::InProcess(_))) {
            check_memory(&jobs, prepared)?;
        }
        if seats.iter().any(|s| matches!(s, Seat::Server(_))) {
            // The same text twice would be answered from a server's cache of prefixes.
            for job in &mut jobs {
                job.tag = Some(0);
                // Every request has a text of its own then, which is made beforehand.
                job.n_requests = job.n_requests.min(MOST_TAGGED);
            }
        }
        Ok(Ready {
            plan: RequestsPlan {
                targets: asked.targets.clone(),
                replicates: asked.replicates,
                rounds: asked.rounds,
                budget_ns: asked
                    .budget
                    .map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)),
                jobs,
                warnings,
            },
            done: DoneJobs::default(),
            seats,
            seed: self.seed,
            wait: Wait::of(asked.timeout),
        })
    }
}

/// Whether the model's chat template is put around the prompts here, and what may surprise about that.
fn template(
    asked: &RequestsAsked,
    own: Option<&mut InProcess>,
    stop: &dyn Fn() -> bool,
) -> Result<(bool, Vec<PromptWarning>)> {
    // A server's own template is the server's business.
    let own = match (asked.chat_template, asked.endpoint) {
        (Some(asked), _) => return Ok((asked, Vec::new())),
        (None, Some(Endpoint::Chat)) => return Ok((false, Vec::new())),
        (None, _) => own,
    };
    let Some(own) = own else {
        let bare = asked.targets.iter().filter(|_| asked.endpoint.is_none());
        let warnings = bare.map(|target| PromptWarning::NoTemplate {
            target: target.clone(),
        });
        return Ok((false, warnings.collect()));
    };
    Ok(match own.template(stop)? {
        Template::Applied => (true, Vec::new()),
        Template::None => (false, Vec::new()),
        Template::NotApplied(reason) => (false, vec![PromptWarning::TemplateNotApplied { reason }]),
    })
}

/// The targets in the order in which they are named.
fn seats(
    targets: &[String],
    timeout: Option<Duration>,
    mut own: Option<InProcess>,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Seat>> {
    let patience = Patience::of(timeout);
    let mut waiting = Waiting {
        wait: Wait::of(timeout),
        clock: &MonotonicClock::start(),
        stop,
        say: &mut |text: &str| note(text),
    };
    let mut seats = Vec::new();
    for name in targets {
        seats.push(match name.parse::<TargetSpec>()?.server(patience)? {
            None => Seat::InProcess(Box::new(own.take().context("in-process needs --model")?)),
            Some(mut server) => {
                // Whoever cannot be reached shall be told before anything is measured.
                waiting.facts(server.as_mut())?;
                Seat::Server(server)
            }
        });
    }
    Ok(seats)
}

/// Whether every job's context fits the memory, as cells' contexts must.
fn check_memory(jobs: &[Job], prepared: &Prepared) -> Result<()> {
    let plan = Plan {
        cases: jobs.iter().map(|job| job.case.clone()).collect(),
        ..prepared.plan.clone()
    };
    let fits = offload::fits(&[(&plan, &prepared.engine)]).remove(0);
    for (job, (_, outcome)) in jobs.iter().zip(fits) {
        if let Some(Outcome::Skipped {
            needs_bytes,
            has_bytes,
            device,
        }) = outcome
        {
            let remedy = remedy::of_memory([&job.case]);
            bail!(
                "{}: {} sequences of {} tokens need {} of memory{}, there are {}: {}",
                job.name,
                job.case.n_seq,
                job.case.n_ctx_seq(),
                units::bytes(needs_bytes),
                device.map_or_else(String::new, |device| format!(" on {device}")),
                units::bytes(has_bytes),
                remedy.as_deref().unwrap_or("it needs a smaller model")
            );
        }
    }
    Ok(())
}

/// The draft with its final texts.
fn fitted(
    draft: Draft,
    own: Option<&mut InProcess>,
    template: bool,
    stop: &dyn Fn() -> bool,
) -> Result<Job> {
    let texts = match own {
        Some(own) => {
            let wanted = draft.job.prompts.iter().zip(&draft.n_tokens);
            let wanted = wanted.map(|(prompt, n_tokens)| FitOne {
                text: prompt.text.clone(),
                n_tokens: *n_tokens,
                template,
            });
            let fitted = own.fit(wanted.collect(), stop);
            let fitted = fitted.with_context(|| format!("{}: its prompts", draft.job.name))?;
            fitted
                .into_iter()
                .map(|f| (f.text, Some(f.n_tokens)))
                .collect()
        }
        None => {
            ensure!(
                draft.n_tokens.iter().all(Option::is_none) && !template,
                "{}: needs the model's tokenizer or template: name its file with --model",
                draft.job.name
            );
            draft
                .job
                .prompts
                .iter()
                .map(|p| (p.text.clone(), None))
                .collect()
        }
    };
    Ok(draft.with_texts(texts)?)
}

/// Jobs with everybody who serves them.
pub struct Ready {
    /// What goes into the record's header.
    pub plan: RequestsPlan,
    /// What an interrupted run has of it.
    done: DoneJobs,
    seats: Vec<Seat>,
    seed: u64,
    wait: Wait,
}

impl Ready {
    /// What an interrupted run lacks: its own jobs, with the texts that it made, at targets which are connected anew.
    ///
    /// # Errors
    /// When a target cannot be reached, or the model cannot be loaded.
    pub fn again(
        header: &RunHeader,
        done: DoneJobs,
        command: &WorkerCommand,
        interrupt: &Interrupt,
    ) -> Result<Option<Self>> {
        let Some(plan) = header.requests.clone() else {
            return Ok(None);
        };
        if done.n() == plan.jobs.len() * plan.targets.len() * plan.all_rounds() as usize {
            return Ok(None);
        }
        let own = match plan.targets.iter().any(|t| t == in_process::NAME) {
            true => {
                let own = own_again(header, &plan, command, interrupt)?;
                Some(own.numbered_from(done.next_worker))
            }
            false => None,
        };
        let stop = || interrupt.is_set();
        // Servers have the patience of the default: a record does not say what was asked for.
        let seats = seats(&plan.targets, None, own, &stop)?;
        Ok(Some(Self {
            seed: header.plan.protocol.seed,
            wait: Wait::of(None),
            plan,
            done,
            seats,
        }))
    }

    /// Serves everything into the record.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn serve(
        mut self,
        writer: &mut Writer,
        started: Instant,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let serving = Serving {
            plan: &self.plan,
            seats: &mut self.seats,
            writer,
            started,
            seed: self.seed,
            interrupt,
            wait: self.wait,
            done: self.done,
            watcher: &mut *for_stderr(),
        };
        Ok(serving.run()?)
    }
}

/// The model of a run's jobs, loaded as they say.
fn own_again(
    header: &RunHeader,
    plan: &RequestsPlan,
    command: &WorkerCommand,
    interrupt: &Interrupt,
) -> Result<InProcess> {
    let case = plan.jobs.first().map(|job| &job.case);
    let case = case.context("the run has no job")?;
    let model = header.plan.models.iter().find(|m| m.name == case.model);
    let model = model.with_context(|| format!("{}: the run's header lacks it", case.model))?;
    let started = InProcess::start(command, model, &case.load_key(), Some(interrupt));
    started.with_context(|| format!("{}: cannot be loaded", model.path.display()))
}

/// Tokens that a chat template, or what makes texts unlike each other, may add.
const ROOM_FOR_A_TEMPLATE: u32 = 32;

/// Memory of a job, and about the time of a round in which every answer has all the tokens that it may have.
fn cost(job: &Job, n_tokens: &[Option<u32>], model: &ModelFacts, rates: &Rates) -> (u64, Duration) {
    let words = |text: &str| u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
    let prompts = job.prompts.iter().zip(n_tokens);
    let lengths: Vec<u64> = prompts
        .map(|(prompt, n)| u64::from(n.unwrap_or_else(|| words(&prompt.text))))
        .collect();
    let mean = lengths.iter().sum::<u64>() / (lengths.len() as u64).max(1);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let at_once = job.load.most_at_once().min(job.n_requests).max(1);
    let case = Case {
        n_seq: at_once,
        n_prompt: u32::try_from(mean).unwrap_or(u32::MAX),
        ..job.case.clone()
    };
    let time = budget::time(&case, model, rates);
    let whole = time.visit(job.n_requests.div_ceil(at_once));
    // A load that lasts some time ends with what is under way then.
    let most = job
        .most_ns
        .map(|ns| Duration::from_nanos(ns).saturating_add(time.visit(1)));
    let largest = Case {
        n_prompt: u32::try_from(longest)
            .unwrap_or(u32::MAX)
            .saturating_add(ROOM_FOR_A_TEMPLATE),
        ..job.case.clone()
    };
    let bytes = budget::memory(&largest, model).total_bytes();
    (bytes, most.map_or(whole, |most| whole.min(most)))
}
