//! Sweep files: the wire form (TOML, unknown keys refused) and its way into [`Axes`].

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::expand::{Axes, Exclude};
use super::requests::RequestsChoice;
use super::{PlanError, Protocol, axis};

/// Processes a cell begins with when it may get more: METHODOLOGY.md, section 2, has the coverage.
const FEWEST_BEFORE_MORE: u32 = 6;

/// A sweep file, read and understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Name of the run's folder; the file's stem when it names none.
    pub name: String,
    /// The axes it spans.
    pub axes: Axes,
    /// Further cells: each a table of axes that stand over the sweep's.
    pub also: Vec<Axes>,
    /// Combinations left out.
    pub exclude: Vec<Exclude>,
    /// How it is measured, where it says.
    pub protocol: ProtocolChoice,
    /// Requests that are sent besides.
    pub requests: Option<RequestsChoice>,
}

/// The protocol's settings as asked for; `None` leaves the default.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)] // named as the fields of `Protocol`, which has their docs
pub struct ProtocolChoice {
    pub seed: Option<u64>,
    pub replicates: Option<u32>,
    pub max_replicates: Option<u32>,
    pub min_repetitions: Option<u32>,
    pub max_repetitions: Option<u32>,
    pub precision: Option<f64>,
    pub budget: Option<Duration>,
    pub timeout: Option<Duration>,
}

impl ProtocolChoice {
    /// These settings, each taken from `over` where it names one.
    #[must_use]
    pub fn overridden_by(self, over: ProtocolChoice) -> ProtocolChoice {
        ProtocolChoice {
            seed: over.seed.or(self.seed),
            replicates: over.replicates.or(self.replicates),
            max_replicates: over.max_replicates.or(self.max_replicates),
            min_repetitions: over.min_repetitions.or(self.min_repetitions),
            max_repetitions: over.max_repetitions.or(self.max_repetitions),
            precision: over.precision.or(self.precision),
            budget: over.budget.or(self.budget),
            timeout: over.timeout.or(self.timeout),
        }
    }

    /// The protocol, defaults filled in.
    ///
    /// # Errors
    /// [`PlanError::Axis`] for a setting that is out of range.
    pub fn resolve(self) -> Result<Protocol, PlanError> {
        let d = Protocol::default();
        // Whoever names one end only means the other to follow it where it must.
        let min = self.min_repetitions.unwrap_or_else(|| {
            d.min_repetitions
                .min(self.max_repetitions.unwrap_or(u32::MAX))
        });
        let max = self
            .max_repetitions
            .unwrap_or_else(|| d.max_repetitions.max(min));
        if min == 0 || max < min {
            return Err(PlanError::axis(
                "repetitions",
                format!("at least 1, and no more than the most: {min} to {max}"),
            ));
        }
        // Stopping at the first narrow interval costs coverage, and less of it the more processes one begins with.
        let fewest = match self.max_replicates {
            Some(max) => FEWEST_BEFORE_MORE.min(max).max(1),
            None => d.replicates,
        };
        let replicates = self.replicates.unwrap_or(fewest);
        if !(1..=1000).contains(&replicates) {
            return Err(PlanError::axis(
                "replicates",
                format!("{replicates} processes; 1 to 1000"),
            ));
        }
        let max_replicates = self.max_replicates.filter(|max| *max != replicates);
        if max_replicates.is_some_and(|max| !(replicates..=1000).contains(&max)) {
            return Err(PlanError::axis(
                "max_replicates",
                format!("no fewer than the {replicates} replicates, and at most 1000"),
            ));
        }
        if self.timeout.is_some_and(|t| t.is_zero()) {
            return Err(PlanError::axis(
                "timeout",
                "0 kills every worker at once; leave it out for the default",
            ));
        }
        let precision = self.precision.unwrap_or(d.precision);
        if !(precision.is_finite() && precision > 0.0 && precision < 1.0) {
            return Err(PlanError::axis(
                "precision",
                format!("{precision} is not a share between 0 and 1 (0.02 is 2%)"),
            ));
        }
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Ok(Protocol {
            seed: self.seed.unwrap_or(d.seed),
            replicates,
            max_replicates,
            min_repetitions: min,
            max_repetitions: max,
            precision,
            budget_ns: self.budget.map(ns),
            timeout_ns: self.timeout.map(ns),
        })
    }
}

/// A span of time as people type it: `90s`, `3m`, `1h30m`, `500ms`, or bare seconds.
///
/// # Errors
/// [`PlanError::Axis`] naming `key` and the forms that are right.
pub fn duration(key: &str, text: &str) -> Result<Duration, PlanError> {
    let text = text.trim();
    let bad = || {
        PlanError::axis(
            key,
            format!("'{text}' is no length of time; 90s, 3m, 1h30m or 500ms"),
        )
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    Duration::try_from(span).map_err(|_| bad())
}

/// A value, an array of values, or the text forms of [`axis`].
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number, a word, an array of them, or a text such as \"1-128*2\""
)]
enum Values {
    Number(u32),
    Switch(bool),
    Text(String),
    Many(Vec<Values>),
}

impl Values {
    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Switch(b) => b.to_string(),
            Self::Text(t) => t.clone(),
            Self::Many(vs) => vs.iter().map(Self::text).collect::<Vec<_>>().join(","),
        }
    }

    fn strings(&self) -> Vec<String> {
        match self {
            Self::Many(vs) => vs.iter().map(Self::text).collect(),
            one => vec![one.text()],
        }
    }
}

/// A table with every axis as a key. serde cannot refuse unknown keys in a flattened part, hence a macro for
/// the two tables that have the axes.
macro_rules! table_with_axes {
    ($(#[$doc:meta])* $name:ident { $($extra:tt)* }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $($extra)*
            #[serde(alias = "n_seq")]
            batch: Option<Values>,
            n_prompt: Option<Values>,
            n_gen: Option<Values>,
            n_depth: Option<Values>,
            #[serde(alias = "n_threads", alias = "num_thread")]
            threads: Option<Values>,
            #[serde(alias = "num_ctx")]
            n_ctx: Option<Values>,
            kv: Option<Values>,
            n_batch: Option<Values>,
            n_ubatch: Option<Values>,
            type_k: Option<Values>,
            type_v: Option<Values>,
            flash_attn: Option<Values>,
            n_gpu_layers: Option<Values>,
            split_mode: Option<Values>,
            main_gpu: Option<Values>,
            sample: Option<bool>,
        }

        impl $name {
            /// The axes it names, `under` standing before the key in messages.
            fn axes(&self, under: &str) -> Result<Axes, PlanError> {
                let key = |name: &str| format!("{under}{name}");
                Ok(Axes {
                    model: None,
                    n_seq: numbers(&key("batch"), &self.batch)?,
                    n_prompt: numbers(&key("n_prompt"), &self.n_prompt)?,
                    n_gen: numbers(&key("n_gen"), &self.n_gen)?,
                    n_depth: numbers(&key("n_depth"), &self.n_depth)?,
                    n_threads: numbers(&key("threads"), &self.threads)?,
                    n_ctx: numbers(&key("n_ctx"), &self.n_ctx)?,
                    kv: words(&key("kv"), &self.kv)?,
                    n_batch: numbers(&key("n_batch"), &self.n_batch)?,
                    n_ubatch: numbers(&key("n_ubatch"), &self.n_ubatch)?,
                    type_k: words(&key("type_k"), &self.type_k)?,
                    type_v: words(&key("type_v"), &self.type_v)?,
                    flash_attn: words(&key("flash_attn"), &self.flash_attn)?,
                    n_gpu_layers: numbers(&key("n_gpu_layers"), &self.n_gpu_layers)?,
                    split_mode: words(&key("split_mode"), &self.split_mode)?,
                    main_gpu: numbers(&key("main_gpu"), &self.main_gpu)?,
                    sample: self.sample.map(|s| vec![s]),
                })
            }
        }
    };
}

table_with_axes!(
    /// The whole file.
    Wire {
        name: Option<String>,
        #[serde(alias = "models")]
        model: Option<Values>,
        #[serde(default)]
        also: Vec<WireAlso>,
        #[serde(default)]
        exclude: Vec<WireExclude>,
        #[serde(default)]
        protocol: WireProtocol,
        requests: Option<RequestsChoice>,
    }
);

table_with_axes!(
    /// Further cells.
    WireAlso {
        #[serde(alias = "models")]
        model: Option<Values>,
    }
);

table_with_axes!(
    /// A combination that is left out.
    WireExclude {
        model: Option<String>,
    }
);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WireProtocol {
    seed: Option<u64>,
    replicates: Option<u32>,
    max_replicates: Option<u32>,
    repetitions: Option<u32>,
    min_repetitions: Option<u32>,
    max_repetitions: Option<u32>,
    precision: Option<f64>,
    budget: Option<String>,
    timeout: Option<String>,
}

/// Reads a sweep file.
///
/// # Errors
/// [`PlanError::Sweep`] naming the file, and the line where there is one.
pub fn read(path: &Path) -> Result<Sweep, PlanError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| PlanError::Sweep {
        path: shown.clone(),
        line: None,
        reason: format!("cannot read the sweep: {e}"),
    })?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("sweep");
    parse(&text, &shown, stem)
}

/// Understands a sweep's text; `path` is for messages, `stem` names a sweep that does not name itself.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str, path: &str, stem: &str) -> Result<Sweep, PlanError> {
    let wrong = |line: Option<usize>, reason: String| PlanError::Sweep {
        path: path.to_owned(),
        line,
        reason,
    };
    let wire: Wire = toml::from_str(text).map_err(|e: toml::de::Error| {
        let line = e.span().map(|span| {
            text.as_bytes()[..span.start.min(text.len())]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1
        });
        wrong(line, e.message().replace('\n', " "))
    })?;
    let understood = || -> Result<Sweep, PlanError> {
        let sweep = Sweep {
            name: wire.name.clone().unwrap_or_else(|| stem.to_owned()),
            axes: Axes {
                model: wire.model.as_ref().map(Values::strings),
                ..wire.axes("")?
            },
            also: wire.also.iter().map(also).collect::<Result<_, _>>()?,
            exclude: wire.exclude.iter().map(exclude).collect::<Result<_, _>>()?,
            protocol: protocol(&wire.protocol)?,
            requests: wire.requests.clone(),
        };
        // Flags may override it later; what is wrong in the file is told with the file's name.
        sweep.protocol.clone().resolve()?;
        sweep.requests.clone().map(|r| r.resolve(0)).transpose()?;
        Ok(sweep)
    };
    understood().map_err(|e| wrong(None, e.to_string()))
}

fn numbers(key: &str, values: &Option<Values>) -> Result<Option<Vec<u32>>, PlanError> {
    values
        .as_ref()
        .map(|v| axis::numbers(key, &v.text()))
        .transpose()
}

fn words<T>(key: &str, values: &Option<Values>) -> Result<Option<Vec<T>>, PlanError>
where
    T: std::str::FromStr<Err = String> + PartialEq,
{
    values
        .as_ref()
        .map(|v| axis::words(key, &v.text()))
        .transpose()
}

fn also(w: &WireAlso) -> Result<Axes, PlanError> {
    Ok(Axes {
        model: w.model.as_ref().map(Values::strings),
        ..w.axes("also.")?
    })
}

fn exclude(w: &WireExclude) -> Result<Exclude, PlanError> {
    let model = w.model.as_ref().map(|text| {
        glob::Pattern::new(text)
            .map_err(|e| PlanError::axis("exclude.model", format!("'{text}': {e}")))
    });
    Ok(Exclude {
        model: model.transpose()?,
        axes: w.axes("exclude.")?,
    })
}

fn protocol(w: &WireProtocol) -> Result<ProtocolChoice, PlanError> {
    if w.repetitions.is_some() && (w.min_repetitions.is_some() || w.max_repetitions.is_some()) {
        return Err(PlanError::axis(
            "protocol.repetitions",
            "means exactly so many; it goes without min_repetitions and max_repetitions",
        ));
    }
    let time =
        |key: &str, text: &Option<String>| text.as_ref().map(|t| duration(key, t)).transpose();
    Ok(ProtocolChoice {
        seed: w.seed,
        replicates: w.replicates,
        max_replicates: w.max_replicates,
        min_repetitions: w.repetitions.or(w.min_repetitions),
        max_repetitions: w.repetitions.or(w.max_repetitions),
        precision: w.precision,
        budget: time("protocol.budget", &w.budget)?,
        timeout: time("protocol.timeout", &w.timeout)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FlashAttn, KvSizing, KvType};

    #[test]
    fn a_sweep_spans_its_axes() {
        let s = parse(
            r#"
            model = ["a.gguf", "synth:tiny:f16"]
            batch = [1, "8-32*2"]
            n_gen = "16,64"
            num_thread = 4
            kv = "fit"
            type_k = ["f16", "q8_0"]
            flash_attn = true
            sample = false
            [[exclude]]
            model = "a*"
            batch = 32
            [protocol]
            repetitions = 5
            budget = "2m30s"
            "#,
            "x.toml",
            "x",
        )
        .expect("valid");
        assert_eq!(s.name, "x");
        assert_eq!(
            s.axes.model.as_deref(),
            Some(&["a.gguf".to_owned(), "synth:tiny:f16".to_owned()][..])
        );
        assert_eq!(s.axes.n_seq, Some(vec![1, 8, 16, 32]));
        assert_eq!(s.axes.n_gen, Some(vec![16, 64]));
        assert_eq!(s.axes.n_threads, Some(vec![4]));
        assert_eq!(s.axes.kv, Some(vec![KvSizing::Fit]));
        assert_eq!(s.axes.type_k, Some(vec![KvType::F16, KvType::Q8_0]));
        assert_eq!(s.axes.flash_attn, Some(vec![FlashAttn::On]));
        assert_eq!(s.axes.sample, Some(vec![false]));
        assert_eq!(s.exclude[0].axes.n_seq, Some(vec![32]));
        let p = s.protocol.resolve().expect("valid");
        assert_eq!((p.min_repetitions, p.max_repetitions), (5, 5));
        assert_eq!(p.budget_ns, Some(150_000_000_000));
    }

    #[test]
    fn further_cells_and_requests_stand_in_tables_of_their_own() {
        let text = "batch = [1, 8]\n[[also]]\nbatch = 1\nn_gen = [16, 64]\n[requests]\nconcurrency = [1, 8]\ndifficulty = true";
        let s = parse(text, "x.toml", "x").expect("valid");
        assert_eq!(s.also.len(), 1);
        assert_eq!(
            (s.also[0].n_seq.clone(), s.also[0].n_gen.clone()),
            (Some(vec![1]), Some(vec![16, 64]))
        );
        let requests = s.requests.expect("named").resolve(42).expect("valid");
        assert_eq!(requests.concurrency, [1, 8]);
        assert!(requests.difficulty && !requests.classes);
        assert_eq!(parse("", "x.toml", "x").expect("valid").requests, None);
    }

    #[test]
    fn mistakes_name_the_file_and_the_line() {
        for (text, needle) in [
            ("[[also]]\nspeed = 1", "x.toml:2: unknown field `speed`"),
            ("[requests]\nspeed = 1", "x.toml:2: unknown field `speed`"),
            ("[requests]\nrounds = 0", "x.toml: rounds: 0; 1 to 1000"),
            (
                "batch = 1\nbatches = 2",
                "x.toml:2: unknown field `batches`",
            ),
            ("[protocol]\n\nspeed = 2", "x.toml:3: unknown field `speed`"),
            (
                "[[exclude]]\nbatch = 1\nfoo = 1",
                "x.toml:3: unknown field `foo`",
            ),
            ("batch = [1,", "x.toml:1: "),
            ("batch = -1", "x.toml:1: expected a whole number"),
            ("[protocol]\ntimeout = \"0s\"", "timeout"),
            ("batch = \"8-1\"", "x.toml: batch: range '8-1' ends"),
            ("type_k = \"q9\"", "'q9' is no KV cache type"),
            (
                "[protocol]\nbudget = \"soon\"",
                "'soon' is no length of time",
            ),
            (
                "[protocol]\nrepetitions = 1\nmin_repetitions = 1",
                "goes without",
            ),
        ] {
            let e = parse(text, "x.toml", "x").expect_err(text).to_string();
            assert!(e.contains(needle), "{text:?}: {e}");
            assert!(!e.contains('\n'), "one line: {e:?}");
        }
    }

    #[test]
    fn protocol_ends_follow_each_other() {
        let resolve = |c: ProtocolChoice| {
            let p = c.resolve().expect("valid");
            (p.min_repetitions, p.max_repetitions)
        };
        assert_eq!(resolve(ProtocolChoice::default()), (3, 10));
        assert_eq!(
            resolve(ProtocolChoice {
                max_repetitions: Some(1),
                ..Default::default()
            }),
            (1, 1)
        );
        assert_eq!(
            resolve(ProtocolChoice {
                min_repetitions: Some(30),
                ..Default::default()
            }),
            (30, 30)
        );
        for bad in [
            ProtocolChoice {
                replicates: Some(3),
                max_replicates: Some(2),
                ..ProtocolChoice::default()
            },
            ProtocolChoice {
                replicates: Some(0),
                ..Default::default()
            },
            ProtocolChoice {
                precision: Some(f64::NAN),
                ..Default::default()
            },
            ProtocolChoice {
                min_repetitions: Some(3),
                max_repetitions: Some(2),
                ..Default::default()
            },
        ] {
            bad.clone().resolve().expect_err(&format!("{bad:?}"));
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration("k", "90").expect("s"), Duration::from_secs(90));
        assert_eq!(
            duration("k", "1h30m").expect("s"),
            Duration::from_secs(5400)
        );
        assert_eq!(
            duration("k", "500ms").expect("s"),
            Duration::from_millis(500)
        );
        assert!(duration("k", "-3s").is_err());
    }
}
