//! `requests` and `compare-live`: real prompts, whole requests, one target or several in turns.

use anyhow::{Result, bail, ensure};

use super::execute::{listen, make_models};
use super::measuring::{measure, out_folder};
use super::prepare::{self, RunSpec, prepare};
use super::quiet::{self, CpuUseWindow};
use super::requests_plan::PlannedRequests;
use super::{DONE, INTERRUPTED, note_all, say};
use crate::cli::RequestsArgs;
use crate::plan::expand::Axes;
use crate::plan::protocol::ProtocolChoice;
use crate::plan::requests::RequestsChoice;
use crate::request::Forced;
use crate::request::IN_PROCESS;

/// Requests at once in `compare-live` by default.
const LIVE_CONCURRENCY: [u32; 3] = [1, 8, 32];

/// Sends what flags describe.
///
/// # Errors
/// When nothing could be sent, or the record could not be written.
pub fn requests(args: &RequestsArgs) -> Result<u8> {
    let (axes, choice) = flags(args)?;
    carry_out(args, axes, choice, "requests")
}

/// The same requests in-process and at servers, in turns.
///
/// # Errors
/// As [`requests`], and when no server is named.
pub fn compare_live(args: &RequestsArgs) -> Result<u8> {
    let (axes, mut choice) = flags(args)?;
    choice.target.retain(|t| t != IN_PROCESS);
    ensure!(
        !choice.target.is_empty(),
        "name who is compared with this program: --target ollama:llama3.1:8b or --target openai:http://127.0.0.1:8080/v1"
    );
    if axes.model.is_none() {
        bail!(
            "name the model file that the server has too: --model FILE, or --model ollama:NAME for the one in Ollama's store"
        );
    }
    choice.target.insert(0, IN_PROCESS.to_owned());
    choice.compare_targets = Some(true);
    if !choice.names_experiment() {
        choice.concurrency = LIVE_CONCURRENCY.to_vec();
    }
    carry_out(args, axes, choice, "compare-live")
}

/// The flags: those about the context, and those about requests.
fn flags(args: &RequestsArgs) -> Result<(Axes, RequestsChoice)> {
    let mut axes = args.axes.axes()?;
    ensure!(
        axes.n_depth.is_none() && axes.sample.is_none(),
        "--n-depth and --no-sample apply to cells only: a request has a real prompt and a real answer"
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
    let window = CpuUseWindow::begin();
    let seed = args.seed.unwrap_or(42);
    let has_model = axes.model.is_some() || choice.has_in_process();
    if !has_model {
        choice.endpoint = choice.endpoint_of_servers();
    }
    let spec = choice.resolve(seed)?;
    let forced = Forced {
        n_threads: axes.n_threads.is_some(),
        n_ctx: has_model || axes.n_ctx.is_some(),
    };
    let name = args.output.name.clone().unwrap_or_else(|| name.to_owned());
    let settings = RunSpec {
        measures_idle_power: false,
        has_cells: true,
        name,
        // The smallest cell of each setting: lengths and batch are the jobs'.
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
        true => prepare(settings, command)?,
        false => prepare::without_model(settings, &spec.targets.join("-"), command)?,
    };
    note_all(&prepared.notes);
    let planned = PlannedRequests::of(spec, &prepared.plan.cases, forced, seed)?;
    if args.dry_run {
        say(planned.dry_run(&prepared).for_stdout())?;
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
    quiet::before_measuring(window, &args.output, &interrupt)?;
    let Some(requests) = planned.connected(&prepared, &interrupt)? else {
        return Ok(INTERRUPTED);
    };
    measure(
        prepared,
        (Some(requests), None),
        &args.output,
        &out,
        &interrupt,
    )
}
