//! The figures of a quality cell, each with an interval by a bootstrap over chunks.

use super::QualityCellView;
use crate::metric::ChunkScores;
use crate::record::quality::ScoredChunk;
use crate::run::stop::LEVEL;
use crate::stats::{Interval, bca_over_units};
use crate::view::Estimate;

/// Chunks below which a figure has no interval: there are too few ways to draw them.
pub const FEWEST_CHUNKS: usize = 4;
const RESAMPLES: usize = 2_000;
/// The same chunks have the same interval always.
const SEED: u64 = 42;

/// What a cell makes of a text. Figures against the base are over the chunks that both scored; the base itself has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QualityFigures {
    /// exp(mean negative log likelihood) over all of the cell's chunks.
    pub perplexity: Option<Estimate>,
    /// The cell's perplexity over the base's, both over the chunks that both have.
    pub perplexity_ratio: Option<Estimate>,
    /// Kullback-Leibler divergence from the base's distribution, nats.
    pub kld_mean: Option<Estimate>,
    pub kld_median: Option<Estimate>,
    pub kld_p99: Option<Estimate>,
    /// The largest of all positions. It has no interval: resampling never gives a larger one.
    pub kld_max: Option<f64>,
    /// Mean change of the probability of the token that really follows.
    pub right_token_mean: Option<Estimate>,
    /// Root mean square of that change.
    pub right_token_rms: Option<Estimate>,
    /// Share of positions whose most likely token is the base's.
    pub same_top: Option<Estimate>,
    /// Tokens of the text per second of the engine's calls and of the arithmetic on the logits.
    pub tokens_per_s: Option<Estimate>,
}

/// A chunk, and the base's scores of it where both scored the same tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairedChunk<'a> {
    pub own: &'a ScoredChunk,
    pub base: Option<&'a ScoredChunk>,
}

/// Sums over the scored positions of some chunks.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    nll: f64,
    /// The engine's and the arithmetic's time, and the tokens computed in it.
    ns: f64,
    n_tokens: f64,
    /// Of paired chunks alone.
    paired: PairedSums,
}

#[derive(Debug, Clone, Copy, Default)]
struct PairedSums {
    n: f64,
    /// The cell's negative log likelihood less the base's.
    more_nll: f64,
    change: f64,
    change_squared: f64,
    n_same_top: f64,
    n_kld: f64,
    kld: f64,
}

impl Sums {
    fn of(chunk: &PairedChunk<'_>, chunk_tokens: u32) -> Self {
        let own = chunk.own;
        Self {
            n: own.nll.len() as f64,
            nll: own.nll.iter().map(|v| f64::from(*v)).sum(),
            ns: own.engine_ns.saturating_add(own.score_ns) as f64,
            n_tokens: f64::from(chunk_tokens),
            paired: chunk
                .base
                .map(|base| PairedSums::of(own, base))
                .unwrap_or_default(),
        }
    }

    fn add(self, other: &Self) -> Self {
        let (p, q) = (self.paired, &other.paired);
        Self {
            n: self.n + other.n,
            nll: self.nll + other.nll,
            ns: self.ns + other.ns,
            n_tokens: self.n_tokens + other.n_tokens,
            paired: PairedSums {
                n: p.n + q.n,
                more_nll: p.more_nll + q.more_nll,
                change: p.change + q.change,
                change_squared: p.change_squared + q.change_squared,
                n_same_top: p.n_same_top + q.n_same_top,
                n_kld: p.n_kld + q.n_kld,
                kld: p.kld + q.kld,
            },
        }
    }
}

impl PairedSums {
    fn of(own: &ScoredChunk, base: &ScoredChunk) -> Self {
        let mut sums = Self {
            n: own.nll.len() as f64,
            n_kld: own.kld.len() as f64,
            kld: own.kld.iter().map(|v| f64::from(*v)).sum(),
            ..Self::default()
        };
        for (nll, of_base) in own.nll.iter().zip(&base.nll) {
            let (nll, of_base) = (f64::from(*nll), f64::from(*of_base));
            let change = (-nll).exp() - (-of_base).exp();
            sums.more_nll += nll - of_base;
            sums.change += change;
            sums.change_squared += change * change;
        }
        let tops = own.top.iter().zip(&base.top);
        sums.n_same_top = tops.filter(|(own, of_base)| own == of_base).count() as f64;
        sums
    }
}

impl QualityFigures {
    /// Of a cell's chunks, each of `chunk_tokens` tokens.
    pub(super) fn of(chunks: &[PairedChunk<'_>], chunk_tokens: u32) -> Self {
        let all: Vec<Sums> = chunks.iter().map(|c| Sums::of(c, chunk_tokens)).collect();
        let paired = all.iter().filter(|sums| sums.paired.n > 0.0);
        let paired: Vec<Sums> = paired.copied().collect();
        let klds = Klds::of(chunks);
        Self {
            perplexity: estimate(&all, |s| (s.nll / s.n).exp()),
            tokens_per_s: estimate(&all, |s| s.n_tokens / s.ns * 1e9),
            perplexity_ratio: estimate(&paired, |s| (s.paired.more_nll / s.paired.n).exp()),
            kld_mean: estimate(&paired, |s| s.paired.kld / s.paired.n_kld),
            kld_median: klds.quantile(0.5),
            kld_p99: klds.quantile(0.99),
            kld_max: klds.ascending.last().map(|(kld, _)| *kld),
            right_token_mean: estimate(&paired, |s| s.paired.change / s.paired.n),
            right_token_rms: estimate(&paired, |s| (s.paired.change_squared / s.paired.n).sqrt()),
            same_top: estimate(&paired, |s| s.paired.n_same_top / s.paired.n),
        }
    }

    /// Without what compares a cell with the base.
    pub(super) fn of_base(self) -> Self {
        Self {
            perplexity: self.perplexity,
            tokens_per_s: self.tokens_per_s,
            ..Self::default()
        }
    }
}

/// A figure of the sums over all chunks, and its interval over chunks.
fn estimate(chunks: &[Sums], figure: impl Fn(&Sums) -> f64) -> Option<Estimate> {
    let of = |units: &[usize]| {
        let drawn = units.iter().map(|unit| &chunks[*unit]);
        figure(&drawn.fold(Sums::default(), Sums::add))
    };
    over_chunks(chunks.len(), of)
}

fn over_chunks(n_chunks: usize, of: impl Fn(&[usize]) -> f64) -> Option<Estimate> {
    if n_chunks == 0 {
        return None;
    }
    let all: Vec<usize> = (0..n_chunks).collect();
    let value = Some(of(&all)).filter(|v| v.is_finite())?;
    let interval = bca_over_units(n_chunks, of, LEVEL, RESAMPLES, SEED);
    Some(Estimate {
        value,
        interval: interval.filter(|_| n_chunks >= FEWEST_CHUNKS),
    })
}

/// The divergences of every position of the paired chunks.
#[derive(Debug)]
struct Klds {
    /// Each with its chunk's place among the chunks that have any.
    ascending: Vec<(f64, usize)>,
    n_chunks: usize,
}

impl Klds {
    fn of(chunks: &[PairedChunk<'_>]) -> Self {
        let paired = chunks.iter().filter(|c| c.base.is_some());
        let lists = paired.map(|c| &c.own.kld).filter(|kld| !kld.is_empty());
        let mut ascending = Vec::new();
        let mut n_chunks = 0;
        for (at, list) in lists.enumerate() {
            n_chunks = at + 1;
            ascending.extend(list.iter().map(|kld| (f64::from(*kld), at)));
        }
        ascending.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        Self {
            ascending,
            n_chunks,
        }
    }

    fn quantile(&self, q: f64) -> Option<Estimate> {
        over_chunks(self.n_chunks, |units| self.quantile_of(units, q))
    }

    /// Type 7 of Hyndman & Fan, as [`quantile_type7`](crate::stats::summary::quantile_type7), over the positions of the drawn
    /// chunks: each counts as often as its chunk was drawn, so that no resample has to be sorted.
    fn quantile_of(&self, units: &[usize], q: f64) -> f64 {
        let mut times = vec![0_usize; self.n_chunks];
        for unit in units {
            times[*unit] += 1;
        }
        let n: usize = self.ascending.iter().map(|(_, chunk)| times[*chunk]).sum();
        let position = (n.saturating_sub(1)) as f64 * q;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        let mut before = 0;
        let mut lower = f64::NAN;
        for (kld, chunk) in &self.ascending {
            before += times[*chunk];
            if lower.is_nan() && before > below {
                lower = *kld;
            }
            if before > above {
                return lower + (position - below as f64) * (kld - lower);
            }
        }
        f64::NAN
    }
}

/// The scores of a single chunk.
pub(super) fn scores(chunk: &PairedChunk<'_>) -> Option<ChunkScores> {
    let sums = Sums::of(chunk, 0);
    let paired = Some(sums.paired).filter(|p| p.n > 0.0);
    (sums.n > 0.0).then(|| ChunkScores {
        n_scored: chunk.own.nll.len() as u32,
        mean_nll: sums.nll / sums.n,
        mean_kld: paired.filter(|p| p.n_kld > 0.0).map(|p| p.kld / p.n_kld),
        same_top: paired.map(|p| p.n_same_top / p.n),
        right_token_rms: paired.map(|p| (p.change_squared / p.n).sqrt()),
    })
}

/// How much more the mean KLD of `cell` is than that of `other`, over the chunks that both have; the base's is 0.
pub(super) fn more_kld(cell: &QualityCellView, other: &QualityCellView) -> Option<Interval> {
    let kld = |of: &QualityCellView, scores: &ChunkScores| match of.is_base() {
        true => Some(0.0),
        false => scores.mean_kld,
    };
    let both = cell.chunks.iter().filter_map(|(chunk, own)| {
        let theirs = other.chunks.get(chunk)?;
        let more = kld(cell, own)? - kld(other, theirs)?;
        Some((more, f64::from(own.n_scored)))
    });
    let both: Vec<(f64, f64)> = both.collect();
    let mean = |units: &[usize]| {
        let drawn = units.iter().map(|unit| both[*unit]);
        let (sum, n) = drawn.fold((0.0, 0.0), |(sum, n), (more, of)| (sum + more * of, n + of));
        sum / n
    };
    over_chunks(both.len(), mean)?.interval
}
