//! What a worker computes to show that its output is right: the same texts as prompts, decoded token by token, and decoded by all
//! sequences of the batch together.
//!
//! Every sequence of the batch has one of a few texts, so that each is held against the same text computed alone, at the cost of
//! these few. Neighbours have different texts: sequences that are exchanged, or read each other's cache, differ.

use super::output::{OutputChecked, OutputRow, SequencesAgreement};
use super::{RowsCompared, n_equal};
use crate::engine::{Engine, EngineError, Session, Token, argmax};
use crate::plan::{Case, FlashAttn, KvSizing};
use crate::quality::score::hash_of;
use crate::quality::text::BUNDLED;

/// Different texts: three tell a sequence from both of its neighbours.
const MOST_TEXTS: usize = 3;

/// Characters of the bundled text, which are more than enough tokens in any vocabulary.
const TEXT_CHARS: usize = 4096;

/// Fewest tokens that a sequence must hold.
const FEWEST_TOKENS: u32 = 8;

/// Tokens of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OutputLengths {
    /// Computed as a prompt.
    n_prompt: u32,
    /// Of the text too, decoded one after the other; their logits are compared.
    n_decoded: u32,
    /// Greedy tokens after these.
    n_greedy: u32,
}

impl OutputLengths {
    /// 32, 16 and 16 tokens, or fewer where a sequence holds fewer.
    fn of(n_ctx: u32) -> Result<Self, EngineError> {
        if n_ctx < FEWEST_TOKENS {
            return Err(EngineError::Unsupported(format!(
                "the output cannot be checked: a sequence holds {n_ctx} tokens, and {FEWEST_TOKENS} are the fewest"
            )));
        }
        let quarter = n_ctx.min(64) / 4;
        Ok(Self {
            n_prompt: 2 * quarter,
            n_decoded: quarter,
            n_greedy: quarter,
        })
    }

    /// Tokens of the text.
    fn of_text(self) -> u32 {
        self.n_prompt + self.n_decoded
    }
}

/// A token of a batch.
#[derive(Debug, Clone, Copy)]
struct BatchToken {
    token: Token,
    pos: u32,
    seq: u32,
    /// Whether its logits are compared.
    wanted: bool,
}

/// What one text gave: the logits after each of its decoded tokens, and the greedy tokens after them.
#[derive(Debug, Default)]
struct TextOutput {
    rows: Vec<Vec<f32>>,
    greedy: Vec<Token>,
}

/// Checks the output of a cell's setting, in a context of its own.
///
/// # Errors
/// What the engine says; [`EngineError::Logits`] for logits that are not finite.
pub(crate) fn check(engine: &dyn Engine, case: &Case) -> Result<OutputChecked, EngineError> {
    let lengths = OutputLengths::of(case.n_ctx)?;
    // The cell's own lengths may be shorter, and decide how large a call can be.
    let case = &Case {
        n_prompt: lengths.of_text(),
        n_gen: lengths.n_greedy,
        n_depth: 0,
        ..case.clone()
    };
    let texts = texts(engine, lengths, (case.n_seq as usize).min(MOST_TEXTS));
    let with_other_attention = with_other_attention(engine, case, lengths, &texts);
    let mut session = engine.open(case)?;
    let mut check = OutputCheck {
        session: session.as_mut(),
        n_batch: case.n_batch as usize,
        lengths,
        texts: &texts,
    };
    let as_prompts = check.each_alone(OutputCheck::as_prompt)?;
    let alone = check.each_alone(OutputCheck::decoded)?;
    let together = match case.n_seq {
        1 => None,
        n => Some(check.together(n, &alone)?),
    };
    let step = (lengths.n_decoded as usize / KEPT_ROWS).max(1);
    let kept = alone.iter().flat_map(|text| {
        let last_of_step = text.rows.iter().skip(step - 1).step_by(step);
        last_of_step.map(|row| OutputRow::of(row))
    });
    Ok(OutputChecked {
        n_vocab: engine.n_vocab() as u32,
        texts: texts.iter().map(|text| hash_of(text)).collect(),
        n_prompt: lengths.n_prompt,
        n_decoded: lengths.n_decoded,
        n_greedy: lengths.n_greedy,
        attention: with_other_attention.map(|other| of_texts(&as_prompts, &other)),
        alone: of_texts(&as_prompts, &alone),
        together,
        rows: kept.collect(),
        greedy: alone.into_iter().map(|text| text.greedy).collect(),
    })
}

/// The texts as prompts, with the kind of attention that the cell does not have. `None` where the engine has one kind only.
///
/// Both kinds of attention add in another order, as another build does, and quantised kernels amplify what is rounded otherwise.
fn with_other_attention(
    engine: &dyn Engine,
    case: &Case,
    lengths: OutputLengths,
    texts: &[Vec<Token>],
) -> Option<Vec<TextOutput>> {
    let other = Case {
        n_seq: 1,
        // Without flash attention a long context needs much memory.
        kv: KvSizing::Fit,
        flash_attn: match case.flash_attn {
            FlashAttn::Off => FlashAttn::On,
            FlashAttn::On | FlashAttn::Auto => FlashAttn::Off,
        },
        ..case.clone()
    };
    // A quantised cache of values, or a device, may have one kind only.
    let mut session = engine.open(&other).ok()?;
    let mut check = OutputCheck {
        session: session.as_mut(),
        n_batch: case.n_batch as usize,
        lengths,
        texts,
    };
    check.each_alone(OutputCheck::as_prompt).ok()
}

/// Rows of each text that the record keeps.
const KEPT_ROWS: usize = 4;

/// Successive parts of the bundled text, of the same number of tokens each.
fn texts(engine: &dyn Engine, lengths: OutputLengths, n_texts: usize) -> Vec<Vec<Token>> {
    let text: String = BUNDLED.chars().take(TEXT_CHARS).collect();
    let mut tokens = engine.tokenize(&text, false, false);
    let n = lengths.of_text() as usize;
    // A vocabulary without these letters still has tokens.
    let plain = engine.prompt_tokens().iter().cycle();
    tokens.extend(plain.take((n_texts * n).saturating_sub(tokens.len())));
    let mut texts: Vec<Vec<Token>> = tokens.chunks(n).take(n_texts).map(<[_]>::to_vec).collect();
    if let Some(bos) = engine.bos() {
        texts.iter_mut().for_each(|text| text[0] = bos);
    }
    texts
}

/// Decoded texts against the same texts as prompts.
fn of_texts(as_prompts: &[TextOutput], decoded: &[TextOutput]) -> SequencesAgreement {
    let mut sums = vec![RowsCompared::default(); decoded.len()];
    let mut n_greedy_equal = u32::MAX;
    for (at, (a, b)) in as_prompts.iter().zip(decoded).enumerate() {
        for (a, b) in a.rows.iter().zip(&b.rows) {
            sums[at].add(a, b);
        }
        n_greedy_equal = n_greedy_equal.min(n_equal(&a.greedy, &b.greedy));
    }
    SequencesAgreement::of(&sums, n_greedy_equal)
}

struct OutputCheck<'a> {
    session: &'a mut dyn Session,
    n_batch: usize,
    lengths: OutputLengths,
    texts: &'a [Vec<Token>],
}

impl OutputCheck<'_> {
    /// Each text by itself, in the first sequence.
    fn each_alone(
        &mut self,
        compute: fn(&mut Self, &[Token]) -> Result<TextOutput, EngineError>,
    ) -> Result<Vec<TextOutput>, EngineError> {
        let texts = self.texts;
        texts.iter().map(|text| compute(self, text)).collect()
    }

    /// All tokens of a text in calls of many.
    fn as_prompt(&mut self, text: &[Token]) -> Result<TextOutput, EngineError> {
        self.session.truncate(0);
        let places: Vec<BatchToken> = (0..)
            .zip(text)
            .map(|(pos, &token)| BatchToken {
                token,
                pos,
                seq: 0,
                wanted: pos >= self.lengths.n_prompt,
            })
            .collect();
        let mut output = TextOutput::default();
        self.feed(&places, &mut |_, logits| output.rows.push(logits.to_vec()))?;
        self.go_on(&mut output)?;
        Ok(output)
    }

    /// The first tokens of a text as a prompt, the others one a call.
    fn decoded(&mut self, text: &[Token]) -> Result<TextOutput, EngineError> {
        self.session.truncate(0);
        let mut output = TextOutput::default();
        for places in self.calls(&[text]) {
            self.feed(&places, &mut |_, logits| output.rows.push(logits.to_vec()))?;
        }
        self.go_on(&mut output)?;
        Ok(output)
    }

    /// Greedy tokens after a text in the first sequence.
    fn go_on(&mut self, output: &mut TextOutput) -> Result<(), EngineError> {
        let mut next = output.rows.last().and_then(|row| argmax(row));
        for pos in self.lengths.of_text().. {
            let token = next.unwrap_or_default() as Token;
            output.greedy.push(token);
            if output.greedy.len() as u32 == self.lengths.n_greedy {
                return Ok(());
            }
            let place = BatchToken {
                token,
                pos,
                seq: 0,
                wanted: true,
            };
            self.feed(&[place], &mut |_, logits| next = argmax(logits))?;
        }
        Ok(())
    }

    /// All sequences of the batch, each against its text alone.
    fn together(
        &mut self,
        n_seq: u32,
        alone: &[TextOutput],
    ) -> Result<SequencesAgreement, EngineError> {
        self.session.truncate(0);
        let of: Vec<usize> = (0..n_seq).map(|seq| text_of(seq, alone.len())).collect();
        let texts: Vec<&[Token]> = of.iter().map(|&text| &self.texts[text][..]).collect();
        let mut sums = vec![RowsCompared::default(); of.len()];
        let mut next: Vec<Option<usize>> = vec![None; of.len()];
        let calls = self.calls(&texts);
        // The first call is the prompts, of which no row is wanted.
        for (places, row) in calls.iter().skip(1).zip(0..) {
            if row == 0 {
                self.feed(&calls[0], &mut |_, _| ())?;
            }
            self.feed(places, &mut |seq, logits| {
                sums[seq].add(&alone[of[seq]].rows[row], logits);
                next[seq] = argmax(logits);
            })?;
        }
        let mut n_greedy_equal = self.lengths.n_greedy;
        for at in 0..self.lengths.n_greedy {
            let pos = self.lengths.of_text() + at;
            let mut places = Vec::new();
            for ((seq, next), &text) in (0..).zip(&next).zip(&of) {
                let token = next.unwrap_or_default() as Token;
                if token != alone[text].greedy[at as usize] {
                    n_greedy_equal = n_greedy_equal.min(at);
                }
                places.push(BatchToken {
                    token,
                    pos,
                    seq,
                    wanted: true,
                });
            }
            if n_greedy_equal <= at || at + 1 == self.lengths.n_greedy {
                break;
            }
            self.feed(&places, &mut |seq, logits| next[seq] = argmax(logits))?;
        }
        Ok(SequencesAgreement::of(&sums, n_greedy_equal))
    }

    /// The calls that compute texts as sequences: the prompts of all, then one token of each a call.
    fn calls(&self, texts: &[&[Token]]) -> Vec<Vec<BatchToken>> {
        let place = |seq: usize, pos: u32, wanted: bool| BatchToken {
            token: texts[seq][pos as usize],
            pos,
            seq: seq as u32,
            wanted,
        };
        let n_prompt = self.lengths.n_prompt;
        let prompts = (0..texts.len())
            .flat_map(|seq| (0..n_prompt).map(move |pos| place(seq, pos, false)))
            .collect();
        let decoded = n_prompt..self.lengths.of_text();
        let steps = decoded.map(|pos| (0..texts.len()).map(|seq| place(seq, pos, true)).collect());
        std::iter::once(prompts).chain(steps).collect()
    }

    /// Computes tokens in batches, and shows the logits of the wanted ones with their numbers in `places`.
    fn feed(
        &mut self,
        places: &[BatchToken],
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        let mut first = 0;
        for batch in places.chunks(self.n_batch.max(1)) {
            self.session.begin();
            for place in batch {
                self.session
                    .push(place.token, place.pos, place.seq, place.wanted)?;
            }
            self.session.submit()?;
            self.session.wait();
            for (row, place) in batch.iter().enumerate() {
                if !place.wanted {
                    continue;
                }
                let logits = self.session.logits(row as i32);
                if logits.iter().any(|l| !l.is_finite()) {
                    return Err(EngineError::Logits { row: row as i32 });
                }
                each(first + row, logits);
            }
            first += batch.len();
        }
        Ok(())
    }
}

/// The text of a sequence. The order is shifted in every round, so that sequences that are `n_texts` apart differ too.
fn text_of(seq: u32, n_texts: usize) -> usize {
    let seq = seq as usize;
    (seq + seq / n_texts) % n_texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::Agreement;
    use crate::engine::clock::FakeClock;
    use crate::engine::faulty::{FaultyEngine, PlantedFault};
    use crate::engine::synthetic::{SyntheticCost, SyntheticEngine};
    use crate::plan::expand::Host;

    fn checked(n_seq: u32, n_batch: u32, fault: Option<PlantedFault>) -> OutputChecked {
        let clock = FakeClock::default();
        let engine = SyntheticEngine::new(SyntheticCost::default(), clock.clone(), 0);
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        let case = Case {
            n_seq,
            n_batch,
            ..host.case("m")
        };
        let faulty;
        let engine: &dyn Engine = match fault {
            None => &engine,
            Some(fault) => {
                faulty = FaultyEngine::new(&engine, &clock, fault);
                &faulty
            }
        };
        check(engine, &case).expect("computes")
    }

    #[test]
    fn an_engine_without_rounding_agrees_wholly() {
        let one = checked(1, 2048, None);
        assert_eq!((one.texts.len(), one.together), (1, None));
        assert_eq!((one.n_prompt, one.n_decoded, one.n_greedy), (32, 16, 16));
        // A batch of 7 cuts prompts and steps into several calls.
        for (n_seq, n_batch) in [(2, 2048), (8, 2048), (8, 7)] {
            let several = checked(n_seq, n_batch, None);
            let together = several.together.expect("several sequences");
            for found in [several.alone, together] {
                let Agreement {
                    nmse,
                    mean_kld,
                    same_top_share,
                    n_greedy_equal,
                    ..
                } = found.agreement;
                assert_eq!((nmse, same_top_share, n_greedy_equal), (0.0, 1.0, 16));
                assert!(mean_kld < 1e-9, "{mean_kld}");
            }
            let n_texts = n_seq.min(3);
            assert_eq!(several.rows.len() as u32, 4 * n_texts);
            let difference = several.against(&one).expect("one text in common");
            assert_eq!((difference.n_rows, difference.agreement.nmse), (4, 0.0));
        }
    }

    #[test]
    fn exchanged_sequences_differ_from_each_alone() {
        let found = checked(8, 2048, Some(PlantedFault::SwappedSequences));
        let together = found.together.expect("several sequences");
        assert!(found.alone.agreement.mean_kld < 1e-9);
        assert!(together.worst_kld > 0.001 && together.worst_seq < 2);
        assert_eq!(together.agreement.n_greedy_equal, 0);
        assert!(!found.is_right());
    }

    #[test]
    fn neighbours_have_different_texts() {
        for seq in 0..128 {
            for apart in [1, 3] {
                assert_ne!(text_of(seq, 3), text_of(seq + apart, 3), "{seq} {apart}");
            }
        }
        assert_ne!(text_of(0, 2), text_of(1, 2));
    }

    #[test]
    fn a_short_context_is_used_as_far_as_it_goes() {
        let of = OutputLengths::of;
        let short = of(9).expect("8 are enough");
        assert_eq!((short.n_prompt, short.n_decoded, short.n_greedy), (4, 2, 2));
        assert!(
            of(7)
                .expect_err("too short")
                .to_string()
                .contains("7 tokens")
        );
    }
}
