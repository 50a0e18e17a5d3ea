//! Figures of requests: by class, by length, by temperature, by how many are under way, and along the time.

use super::{Figure, FigureAxis, MOST_SERIES, Mark, PlotPoint, Series, cumulative, thinned};
use crate::analysis::requests::{concurrency, length, sustained, targets, typical};
use crate::request::Experiment;
use crate::request::shown_target;
use crate::text::short;
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestView, RequestsView};

const BARS: &str = "bars: 95% interval over rounds";

/// A series for each target that a figure has room for.
fn by_target<P>(
    requests: &RequestsView,
    mark: Mark,
    points: impl Fn(usize, &str) -> P,
) -> Vec<Series>
where
    P: IntoIterator<Item = PlotPoint>,
{
    let targets = targets(requests).into_iter().take(MOST_SERIES).enumerate();
    let one = |(look, target): (usize, &str)| {
        Series::new(shown_target(target), mark, look, points(look, target))
    };
    targets.map(one).collect()
}

fn ascending(mut series: Vec<Series>) -> Vec<Series> {
    for series in &mut series {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    series
}

/// Lengths and numbers of requests at the points.
fn spread(title: &str, series: &[Series]) -> FigureAxis {
    FigureAxis::spread(title, places(series))
}

fn places(series: &[Series]) -> Vec<f64> {
    let points = series.iter().flat_map(|s| &s.points);
    points.map(|p| p.x).collect()
}

/// Median TTFT of each class against the length of its prompts, a line a target.
pub fn ttft_by_class(requests: &RequestsView) -> Option<Figure> {
    let series = by_target(requests, Mark::Line, |look, target| {
        let classes = typical(requests, target).map_or(&[][..], |job| &job.classes);
        classes
            .iter()
            .filter_map(move |c| {
                let tokens = c.figures.n_prompt? as f64 / f64::from(c.figures.n_whole.max(1));
                let class = short(&c.class);
                let place = format!("{}, {class}", shown_target(target));
                let ttft = c.figures.ttft_ns.median?.scaled(1e-9);
                Some(PlotPoint {
                    // Once is enough: the others' points stand above or below.
                    label: (look == 0).then_some(class),
                    ..PlotPoint::estimated(tokens, ttft, &place, "s")
                })
            })
            .collect::<Vec<_>>()
    });
    let series = ascending(series);
    let caption =
        format!("Median; {BARS}. Each point is a class, at the mean length of its prompts.");
    let axes = (spread("prompt tokens", &series), FigureAxis::log("TTFT, s"));
    let title = "Time to first token by class of prompt";
    Figure::of("ttft_by_class", title, caption, axes, series)
}

/// The share of requests that took at most so long: a line a class of the first target, or a line a target.
pub fn latency(requests: &RequestsView) -> Option<Figure> {
    let jobs = targets(requests)
        .into_iter()
        .filter_map(|t| typical(requests, t));
    let jobs: Vec<&JobView> = jobs.take(MOST_SERIES).collect();
    let first = *jobs.first()?;
    let (series, whose): (Vec<Series>, String) = if first.classes.len() > 1 {
        let classes = first.classes.iter().take(MOST_SERIES).enumerate();
        let series = classes.map(|(look, c)| {
            let is_of = |r: &&RequestView| {
                let prompt = first.prompt_of(r.number);
                prompt.is_some_and(|p| p.class == c.class)
            };
            stairs(short(&c.class), look, first.requests.iter().filter(is_of))
        });
        (series.collect(), shown_target(&first.target))
    } else {
        let jobs = jobs.iter().enumerate();
        let series =
            jobs.map(|(look, job)| stairs(shown_target(&job.target), look, job.requests.iter()));
        (series.collect(), "each target".to_owned())
    };
    let caption = format!(
        "How many percent of the answers took at most so long, from due to their last token. {}, {} at {whose}.",
        short(&first.job.name),
        crate::analysis::requests::load(&first.job.load),
    );
    let axes = (
        FigureAxis::log("latency, s"),
        FigureAxis::linear("answers up to this long, %"),
    );
    Figure::of(
        "request_latency",
        "Latency of requests",
        caption,
        axes,
        series,
    )
}

fn stairs<'a>(
    name: String,
    look: usize,
    requests: impl Iterator<Item = &'a RequestView>,
) -> Series {
    let answered = requests.filter(|r| r.is_answered());
    let latencies = answered.map(RequestView::latency_ns).filter(|ns| *ns > 0);
    let mut all: Vec<u64> = latencies.collect();
    all.sort_unstable();
    cumulative(name, look, &all, "answers", 1e9)
}

/// TTFT and latency against the prompt's length, two lines a target.
pub fn prompt_length(requests: &RequestsView) -> Option<Figure> {
    let mut series = Vec::new();
    let targets = targets(requests).into_iter().take(MOST_SERIES / 2);
    for (look, target) in targets.enumerate() {
        let points = length::points(requests, target);
        if points.len() < 2 {
            continue;
        }
        let line = |what: &str, look, of: fn(&length::AtLength) -> Option<Estimate>| {
            let name = format!("{what}, {}", shown_target(target));
            let points = points.iter().filter_map(|p| {
                let place = format!("{name}, {} tokens", length::tokens(p.n_prompt));
                let time = of(p)?.scaled(1e-9);
                Some(PlotPoint::estimated(p.n_prompt, time, &place, "s"))
            });
            let points: Vec<PlotPoint> = points.collect();
            Series::new(name, Mark::Line, look, points)
        };
        series.push(line("TTFT", 2 * look, |p| p.ttft_ns));
        series.push(line("latency", 2 * look + 1, |p| p.latency_ns));
    }
    let axes = (spread("prompt tokens", &series), FigureAxis::log("s"));
    let title = "Impact of the prompt's length on requests";
    let caption = format!("Medians; {BARS}.");
    Figure::of("prompt_length_requests", title, caption, axes, series)
}

/// Time per token against temperature, a line a target.
pub fn temperature(requests: &RequestsView) -> Option<Figure> {
    let series = by_target(requests, Mark::Line, |_, target| {
        let jobs = requests.of(Experiment::Temperature);
        let jobs = jobs.filter(|j| j.target == target);
        jobs.filter_map(|job| {
            let at = f64::from(job.job.sampling.temperature);
            let place = format!("{}, temperature {at}", shown_target(target));
            let tpot = job.figures.tpot_ns.mean?.scaled(1e-6);
            Some(PlotPoint::estimated(at, tpot, &place, "ms"))
        })
        .collect::<Vec<_>>()
    });
    let mut series = ascending(series);
    series.retain(|s| s.points.len() > 1);
    let axes = (
        FigureAxis::linear("temperature").at(places(&series)),
        FigureAxis::linear("TPOT, ms"),
    );
    let caption = format!("Mean time per token after the first; {BARS}.");
    Figure::of(
        "temperature_impact",
        "Impact of temperature",
        caption,
        axes,
        series,
    )
}

/// Tokens per second of all requests together against how many are under way, a line a target.
pub fn throughput(requests: &RequestsView) -> Option<Figure> {
    let series = against_concurrency(requests, |job, place| {
        let x = f64::from(job.at_once());
        Some(PlotPoint::estimated(
            x,
            job.tokens_per_s?,
            place,
            "tokens/s",
        ))
    });
    let axes = (
        under_way(&series),
        FigureAxis::log("tokens/s, all requests"),
    );
    let title = "Throughput against concurrent requests";
    let caption = format!("Generated tokens of all requests together; {BARS}.");
    Figure::of("concurrent_impact", title, caption, axes, series)
}

/// Median latency against how many are under way, a line a target.
pub fn concurrent_latency(requests: &RequestsView) -> Option<Figure> {
    let series = against_concurrency(requests, |job, place| {
        let times = &job.figures.latency_ns;
        let seconds = |m: Estimate| m.value * 1e-9;
        let (median, p95) = (seconds(times.median?), times.p95.map(seconds));
        let tail = p95.map(|p| format!(", p95 {} s", units::significant(p)));
        let median_s = units::significant(median);
        let tip = format!("{place}: median {median_s} s{}", tail.unwrap_or_default());
        Some(PlotPoint {
            bar: p95.map(|p| (median, p.max(median))),
            ..PlotPoint::at(f64::from(job.at_once()), median).saying(tip)
        })
    });
    let axes = (under_way(&series), FigureAxis::log("latency, s"));
    let title = "Latency against concurrent requests";
    let caption = "From due to the last token. Points: median; bars: up to p95 where there are enough requests for one.";
    Figure::of(
        "concurrent_latency",
        title,
        caption.to_owned(),
        axes,
        series,
    )
}

fn against_concurrency(
    requests: &RequestsView,
    point: impl Fn(&JobView, &str) -> Option<PlotPoint>,
) -> Vec<Series> {
    by_target(requests, Mark::Line, |_, target| {
        let jobs = concurrency::curve(requests, target).into_iter();
        let points = jobs.filter_map(|job| {
            let place = format!("{}, {} at once", shown_target(target), job.at_once());
            point(job, &place)
        });
        points.collect::<Vec<_>>()
    })
}

fn under_way(series: &[Series]) -> FigureAxis {
    spread("requests under way at once", series)
}

/// Each request of the sustained load at the instant it was due, a cloud a target.
pub fn over_time(requests: &RequestsView) -> Option<Figure> {
    let series = by_target(requests, Mark::Points, |_, target| {
        let job = sustained::job(requests, target);
        let first = job.and_then(|j| j.rounds.first()).map(|r| r.round);
        let all = job.map_or(&[][..], |j| &j.requests);
        let own = all
            .iter()
            .filter(|r| Some(r.round) == first && r.is_answered());
        let own: Vec<&RequestView> = own.collect();
        let points = thinned(&own).map(|r| {
            let tip = format!(
                "{}, request {}: due at {}, took {}",
                shown_target(target),
                r.number,
                units::duration(r.due_ns),
                units::duration(r.latency_ns())
            );
            PlotPoint::at(r.due_ns as f64 / 1e9, r.latency_ns() as f64 / 1e9).saying(tip)
        });
        points.collect::<Vec<_>>()
    });
    let axes = (
        FigureAxis::linear("due, s after the job's begin"),
        FigureAxis::linear("latency, s"),
    );
    let title = "Requests over time under sustained load";
    let caption = "A point for each answer of the first round: a rise to the right is a machine that slows down, or a queue \
                   that grows.";
    Figure::of(
        "requests_over_time",
        title,
        caption.to_owned(),
        axes,
        series,
    )
}
