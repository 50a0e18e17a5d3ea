//! JobFigures of requests: by class, by length, by temperature, by how many are under way, and along the time.

use super::{Axis, Figure, MOST_SERIES, Mark, Point, Series};
use crate::analysis::requests::{concurrency, length, sustained, targets, typical};
use crate::request::Experiment;
use crate::text::short;
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestView, RequestsView};

/// Most points of a line or a cloud; more are thinned.
const MOST_POINTS: usize = 512;

/// What intervals are of.
const BARS: &str = "bars: 95% interval over rounds";

/// The targets that a figure has room for, each with its look.
fn shown(requests: &RequestsView) -> impl Iterator<Item = (usize, &str)> {
    let all = targets(requests);
    all.into_iter().take(MOST_SERIES).enumerate()
}

fn seconds(m: Estimate) -> Estimate {
    scaled(m, 1e-9)
}

fn milliseconds(m: Estimate) -> Estimate {
    scaled(m, 1e-6)
}

fn scaled(m: Estimate, factor: f64) -> Estimate {
    Estimate {
        value: m.value * factor,
        interval: m.interval.map(|i| i.map(|v| v * factor)),
    }
}

/// A point that says its value and interval.
fn point(x: f64, y: Estimate, place: &str, unit: &str) -> Point {
    super::batch::with_interval(x, y.value, y.interval, place, unit)
}

/// Lengths and numbers that reach far are spread by ratio.
fn spread(title: &str, at: &[f64]) -> Axis {
    let least = at.iter().copied().fold(f64::INFINITY, f64::min);
    let most = at.iter().copied().fold(0.0, f64::max);
    let axis = if least > 0.0 && most / least >= 4.0 {
        Axis::log(title)
    } else {
        Axis::linear(title)
    };
    axis.at(at.iter().map(|v| v.round()))
}

fn places(series: &[Series]) -> Vec<f64> {
    let points = series.iter().flat_map(|s| &s.points);
    points.map(|p| p.x).collect()
}

/// Median TTFT of each class against the length of its prompts, a line a target.
pub fn ttft_by_class(requests: &RequestsView) -> Option<Figure> {
    let one = |(look, target): (usize, &str)| {
        let mut points: Vec<Point> = typical(requests, target)
            .into_iter()
            .flat_map(|job| &job.classes)
            .filter_map(|c| {
                let tokens = c.figures.n_prompt? as f64 / f64::from(c.figures.n_whole.max(1));
                let class = short(&c.class);
                let place = format!("{}, {class}", short(target));
                let ttft = seconds(c.figures.ttft_ns.median?);
                Some(Point {
                    // Once is enough: the others' points stand above or below.
                    label: (look == 0).then_some(class),
                    ..point(tokens, ttft, &place, "s")
                })
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series {
            name: short(target),
            mark: Mark::Line,
            look,
            points,
        }
    };
    let series: Vec<Series> = shown(requests).map(one).collect();
    Figure {
        id: "ttft_by_class",
        title: "Time to first token by class of prompt".to_owned(),
        caption: format!(
            "Median; {BARS}. Each point is a class, at the mean length of its prompts."
        ),
        x: spread("prompt tokens", &places(&series)),
        y: Axis::log("TTFT, s"),
        series,
    }
    .unless_empty()
}

/// The share of requests that took at most so long: a line a class of the first target, or a line a target.
pub fn latency(requests: &RequestsView) -> Option<Figure> {
    let jobs: Vec<&JobView> = targets(requests)
        .into_iter()
        .filter_map(|t| typical(requests, t))
        .take(MOST_SERIES)
        .collect();
    let first = *jobs.first()?;
    let mut series = Vec::new();
    if first.classes.len() > 1 {
        let names = first.classes.iter().map(|c| c.class.as_str());
        for (look, class) in names.take(MOST_SERIES).enumerate() {
            let of_class =
                |s: &&RequestView| first.prompt_of(s.number).is_some_and(|p| p.class == class);
            let own = first.requests.iter().filter(of_class);
            series.push(stairs(short(class), look, own));
        }
    } else {
        for (look, job) in jobs.iter().enumerate() {
            series.push(stairs(short(&job.target), look, job.requests.iter()));
        }
    }
    Figure {
        id: "request_latency",
        title: "Latency of requests".to_owned(),
        caption: format!(
            "How many percent of the answers took at most so long, from due to their last token. {}, {} at {}.",
            short(&first.job.name),
            crate::analysis::requests::load(&first.job.load),
            match first.classes.len() {
                0 | 1 => "each target".to_owned(),
                _ => short(&first.target),
            }
        ),
        x: Axis::log("latency, s"),
        y: Axis::linear("answers up to this long, %"),
        series,
    }
    .unless_empty()
}

fn stairs<'a>(
    name: String,
    look: usize,
    requests: impl Iterator<Item = &'a RequestView>,
) -> Series {
    let mut all: Vec<u64> = requests
        .filter(|s| s.is_answered())
        .map(RequestView::latency_ns)
        .filter(|ns| *ns > 0)
        .collect();
    all.sort_unstable();
    let n = all.len();
    let every = n.div_ceil(MOST_POINTS).max(1);
    let kept = all
        .iter()
        .enumerate()
        .filter(|(at, _)| (at + 1) % every == 0 || at + 1 == n);
    let points = kept
        .map(|(at, ns)| {
            let share = (at + 1) as f64 / n as f64 * 100.0;
            let tip = format!(
                "{name}: {share:.1}% of answers within {}",
                units::duration(*ns)
            );
            Point::at(*ns as f64 / 1e9, share).saying(tip)
        })
        .collect();
    Series {
        name,
        mark: Mark::Stairs,
        look,
        points,
    }
}

/// TTFT and latency against the prompt's length, two lines a target.
pub fn prompt_length(requests: &RequestsView) -> Option<Figure> {
    let mut series = Vec::new();
    for (look, target) in shown(requests).take(MOST_SERIES / 2) {
        let points = length::points(requests, target);
        if points.len() < 2 {
            continue;
        }
        let line = |what: &str, look, of: fn(&length::AtLength) -> Option<Estimate>| {
            let name = format!("{what}, {}", short(target));
            let points = points
                .iter()
                .filter_map(|p| {
                    let place = format!("{name}, {} tokens", length::tokens(p.n_prompt));
                    Some(point(p.n_prompt, seconds(of(p)?), &place, "s"))
                })
                .collect();
            Series {
                name,
                mark: Mark::Line,
                look,
                points,
            }
        };
        series.push(line("TTFT", 2 * look, |p| p.ttft_ns));
        series.push(line("latency", 2 * look + 1, |p| p.latency_ns));
    }
    Figure {
        id: "prompt_length_requests",
        title: "Impact of the prompt's length on requests".to_owned(),
        caption: format!("Medians; {BARS}."),
        x: spread("prompt tokens", &places(&series)),
        y: Axis::log("s"),
        series,
    }
    .unless_empty()
}

/// Time per token against temperature, a line a target.
pub fn temperature(requests: &RequestsView) -> Option<Figure> {
    let one = |(look, target): (usize, &str)| {
        let jobs = requests.of(Experiment::Temperature);
        let mut points: Vec<Point> = jobs
            .filter(|j| j.target == target)
            .filter_map(|job| {
                let at = f64::from(job.job.sampling.temperature);
                let place = format!("{}, temperature {at}", short(target));
                let tpot = milliseconds(job.figures.tpot_ns.mean?);
                Some(point(at, tpot, &place, "ms"))
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series {
            name: short(target),
            mark: Mark::Line,
            look,
            points,
        }
    };
    let mut series: Vec<Series> = shown(requests).map(one).collect();
    series.retain(|s| s.points.len() > 1);
    let at = places(&series);
    Figure {
        id: "temperature_impact",
        title: "Impact of temperature".to_owned(),
        caption: format!("Mean time per token after the first; {BARS}."),
        x: Axis::linear("temperature").at(at),
        y: Axis::linear("TPOT, ms"),
        series,
    }
    .unless_empty()
}

/// Tokens per second of all requests together against how many are under way, a line a target.
pub fn throughput(requests: &RequestsView) -> Option<Figure> {
    let series = against_concurrency(requests, |job, place| {
        let x = f64::from(job.at_once());
        Some(point(x, job.tokens_per_s?, place, "tokens/s"))
    });
    Figure {
        id: "concurrent_impact",
        title: "Throughput against concurrent requests".to_owned(),
        caption: format!("Generated tokens of all requests together; {BARS}."),
        x: under_way(&series),
        y: Axis::log("tokens/s, all requests"),
        series,
    }
    .unless_empty()
}

/// Median latency against how many are under way, a line a target.
pub fn concurrent_latency(requests: &RequestsView) -> Option<Figure> {
    let series = against_concurrency(requests, |job, place| {
        let times = &job.figures.latency_ns;
        let (median, p95) = (seconds(times.median?), times.p95.map(seconds));
        let tail = p95.map_or(String::new(), |p| {
            format!(", p95 {} s", units::significant(p.value))
        });
        let tip = format!(
            "{place}: median {} s{tail}",
            units::significant(median.value)
        );
        Some(Point {
            bar: p95.map(|p| (median.value, p.value.max(median.value))),
            ..Point::at(f64::from(job.at_once()), median.value).saying(tip)
        })
    });
    Figure {
        id: "concurrent_latency",
        title: "Latency against concurrent requests".to_owned(),
        caption: "From due to the last token. Points: median; bars: up to p95 where there are enough requests for one."
            .to_owned(),
        x: under_way(&series),
        y: Axis::log("latency, s"),
        series,
    }
    .unless_empty()
}

fn against_concurrency(
    requests: &RequestsView,
    point: impl Fn(&JobView, &str) -> Option<Point>,
) -> Vec<Series> {
    let one = |(look, target): (usize, &str)| Series {
        name: short(target),
        mark: Mark::Line,
        look,
        points: concurrency::curve(requests, target)
            .into_iter()
            .filter_map(|job| {
                point(
                    job,
                    &format!("{}, {} at once", short(target), job.at_once()),
                )
            })
            .collect(),
    };
    shown(requests).map(one).collect()
}

fn under_way(series: &[Series]) -> Axis {
    spread("requests under way at once", &places(series))
}

/// Each request of the sustained load at the instant it was due, a cloud a target.
pub fn over_time(requests: &RequestsView) -> Option<Figure> {
    let one = |(look, target): (usize, &str)| {
        let job = sustained::job(requests, target);
        let first = job.and_then(|j| j.rounds.first()).map(|r| r.round);
        let own: Vec<&RequestView> = job
            .into_iter()
            .flat_map(|j| &j.requests)
            .filter(|s| Some(s.round) == first && s.is_answered())
            .collect();
        let every = own.len().div_ceil(MOST_POINTS).max(1);
        let points = own.iter().step_by(every).map(|s| {
            let tip = format!(
                "{}, request {}: due at {}, took {}",
                short(target),
                s.number,
                units::duration(s.due_ns),
                units::duration(s.latency_ns())
            );
            Point::at(s.due_ns as f64 / 1e9, s.latency_ns() as f64 / 1e9).saying(tip)
        });
        Series {
            name: short(target),
            mark: Mark::Points,
            look,
            points: points.collect(),
        }
    };
    let series: Vec<Series> = shown(requests).map(one).collect();
    Figure {
        id: "requests_over_time",
        title: "Requests over time under sustained load".to_owned(),
        caption: "A point for each answer of the first round: a rise to the right is a machine that slows down, or a queue \
                  that grows."
            .to_owned(),
        x: Axis::linear("due, s after the job's begin"),
        y: Axis::linear("latency, s"),
        series,
    }
    .unless_empty()
}
