//! Makes a text exactly as many tokens long as requested, for the model that will read it.
//!
//! Too long a text is cut at its end, too short a one goes on with its own words from the beginning. Where a text has several
//! paragraphs the last is its question, which stays as it is: what stands before it is cut or goes on. The count is that of the
//! finished text, template and all, tokenised anew as it will be served: tokens of parts do not add up to
//! tokens of a whole.

use serde::{Deserialize, Serialize};

use super::prompts::parts;
use crate::engine::{Engine, EngineError};

/// Most tokens that a text is padded to: longer than any model's context.
pub const MOST_TOKENS: u32 = 4 << 20;

/// Most bytes of a padded text: some characters are no token to some models, however often they stand there.
const MOST_BYTES: usize = 64 << 20;

/// How far from the best cut between words others are tried, bytes: about twenty words.
const NEIGHBOURHOOD: usize = 128;

/// A text to be fitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FitOne {
    /// The text as a user says it.
    pub text: String,
    /// Tokens of the finished text; none: as many as it has.
    pub n_tokens: Option<u32>,
    /// Whether the model's own chat template is put around it.
    pub template: bool,
}

/// A finished text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FittedText {
    /// The text, template applied, trimmed or padded.
    pub text: String,
    /// Its tokens.
    pub n_tokens: u32,
}

/// Why a text cannot have that many tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The template cannot be applied.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// There is nothing to pad with.
    #[error("the text has no word that could be repeated")]
    NoWords,
    /// The template alone, or with a first character, has more.
    #[error("{asked} tokens are too few: the shortest text has {least}")]
    TooFew {
        /// Tokens asked for.
        asked: u32,
        /// Tokens of the shortest text that was found.
        least: u32,
    },
    /// More than any context holds.
    #[error("{asked} tokens are too many: at most {MOST_TOKENS}")]
    TooMany {
        /// Tokens asked for.
        asked: u32,
    },
    /// No cut has exactly that many.
    #[error("no cut of the text has exactly {asked} tokens, the nearest has {nearest}")]
    NoSuchCut {
        /// Tokens asked for.
        asked: u32,
        /// Tokens of the best cut between words.
        nearest: u32,
    },
}

/// Applies the template if asked, and trims or pads.
///
/// # Errors
/// [`FitError`].
pub fn fit(engine: &dyn Engine, one: &FitOne) -> Result<FittedText, FitError> {
    let finish = |said: &str| -> Result<FittedText, FitError> {
        let text = if one.template {
            engine.apply_template(said)?
        } else {
            said.to_owned()
        };
        let n_tokens = engine.tokenize(&text, true, true).len();
        Ok(FittedText {
            text,
            n_tokens: u32::try_from(n_tokens).unwrap_or(u32::MAX),
        })
    };
    let whole = finish(&one.text)?;
    let asked = match one.n_tokens {
        Some(n) if n != whole.n_tokens => n,
        _ => return Ok(whole),
    };
    if asked > MOST_TOKENS {
        return Err(FitError::TooMany { asked });
    }
    let (filler, question) = parts(&one.text);
    if filler.split_whitespace().next().is_none() {
        return Err(FitError::NoWords);
    }
    let finish = |said: &str| match question {
        "" => finish(said),
        question => finish(&format!("{said}\n\n{question}")),
    };
    let mut said = filler.to_owned();
    while finish(&said)?.n_tokens < asked {
        // The whole again each time, so that few rounds are enough and its beginning is the text's own.
        said = format!("{said} {said}");
        if said.len() > MOST_BYTES {
            return Err(FitError::NoWords);
        }
    }
    cut(&said, asked, &finish)
}

/// The cut of `said` that has `asked` tokens when it is finished.
fn cut(
    said: &str,
    asked: u32,
    finish: &impl Fn(&str) -> Result<FittedText, FitError>,
) -> Result<FittedText, FitError> {
    let words = word_ends(said);
    // Tokens grow with the words, all but steadily: where they do not, the neighbours are tried.
    let (mut low, mut high) = (0, words.len() - 1);
    while low < high {
        let middle = (low + high) / 2;
        if finish(&said[..words[middle]])?.n_tokens < asked {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let best = finish(&said[..words[low]])?;
    if best.n_tokens == asked {
        return Ok(best);
    }
    let mut nearest = best.n_tokens;
    for end in neighbours(said, words[low]) {
        let fitted = finish(&said[..end])?;
        if fitted.n_tokens == asked {
            return Ok(fitted);
        }
        if fitted.n_tokens.abs_diff(asked) < nearest.abs_diff(asked) {
            nearest = fitted.n_tokens;
        }
    }
    let least = finish(&said[..said.len().min(first_end(said))])?.n_tokens;
    Err(if least > asked {
        FitError::TooFew { asked, least }
    } else {
        FitError::NoSuchCut { asked, nearest }
    })
}

/// Where each word ends, bytes.
fn word_ends(said: &str) -> Vec<usize> {
    let start = said.as_ptr() as usize;
    said.split_whitespace()
        .map(|word| word.as_ptr() as usize - start + word.len())
        .collect()
}

/// Where the first character that is no blank ends.
fn first_end(said: &str) -> usize {
    said.char_indices()
        .find(|(_, c)| !c.is_whitespace())
        .map_or(said.len(), |(at, c)| at + c.len_utf8())
}

/// Ends of characters around `from`, nearest first; none after a blank, which many tokenizers would join to a word that does not follow.
fn neighbours(said: &str, from: usize) -> impl Iterator<Item = usize> + '_ {
    (1..=NEIGHBOURHOOD)
        .flat_map(move |by| [from.checked_sub(by), from.checked_add(by)])
        .flatten()
        .filter(|&end| end > 0 && end <= said.len() && said.is_char_boundary(end))
        .filter(|&end| !said[..end].ends_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::FakeClock;
    use crate::engine::synthetic::{SyntheticCost, SyntheticEngine};
    use crate::request::prompts::PromptSet;

    fn engine() -> SyntheticEngine {
        SyntheticEngine::new(SyntheticCost::default(), FakeClock::default(), 0)
    }

    fn one(text: &str, n_tokens: Option<u32>, template: bool) -> FitOne {
        FitOne {
            text: text.to_owned(),
            n_tokens,
            template,
        }
    }

    fn fitted(text: &str, n_tokens: u32, template: bool) -> FittedText {
        fit(&engine(), &one(text, Some(n_tokens), template)).expect("it fits")
    }

    #[test]
    fn a_text_is_cut_between_words_or_goes_on_with_its_own() {
        let text = "why is the sky blue";
        assert_eq!(fitted(text, 3, false).text, "why is the");
        assert_eq!(fitted(text, 5, false).text, text);
        assert_eq!(
            fitted(text, 8, false).text,
            "why is the sky blue why is the"
        );
    }

    #[test]
    fn a_word_of_several_tokens_is_cut_inside() {
        // A token is at most four bytes of a word.
        let text = "incomprehensible";
        let cut = fitted(text, 3, false);
        assert_eq!(cut.n_tokens, 3);
        assert!(text.starts_with(&cut.text) && cut.text.len() > 8, "{cut:?}");
        let umlauts = "ääääää ääääää";
        for n in 1..=6 {
            assert_eq!(fitted(umlauts, n, false).n_tokens, n);
        }
    }

    #[test]
    fn every_length_is_exact_with_and_without_template() {
        let text = "Explain in two sentences why bread rises, please; then list three kinds.";
        for template in [false, true] {
            for n in 5..300 {
                let fitted = fitted(text, n, template);
                assert_eq!(fitted.n_tokens, n);
                let again = engine().tokenize(&fitted.text, true, true).len();
                assert_eq!(again, n as usize);
                assert_eq!(fitted.text.starts_with("user: Expl"), template);
                assert_eq!(fitted.text.ends_with(" answer:"), template);
            }
        }
    }

    #[test]
    fn the_question_stays_as_it_is() {
        let text = "Amber. Something happened elsewhere yesterday.\n\nHow much\nis 2 + 3?";
        let question = "\n\nHow much\nis 2 + 3?";
        for template in [false, true] {
            for n in 20..200 {
                let fitted = fitted(text, n, template);
                assert_eq!(fitted.n_tokens, n);
                let said = fitted.text.strip_suffix(" answer:").unwrap_or(&fitted.text);
                assert!(said.ends_with(question), "{said}");
                assert!(said.contains("Amber."), "{said}");
            }
        }
        let refused = fit(&engine(), &one(text, Some(5), false));
        assert!(matches!(refused, Err(FitError::TooFew { asked: 5, least }) if least > 5));
    }

    #[test]
    fn the_halves_of_every_bundled_pair_get_one_length() {
        let set = PromptSet::bundled("difficulty").expect("reads");
        for pair in set.pairs().expect("complete") {
            for half in [Some(pair.easy), pair.medium, Some(pair.hard)]
                .into_iter()
                .flatten()
            {
                let fitted = fitted(&half.text, 200, true);
                assert_eq!(fitted.n_tokens, 200, "{}", half.id);
                assert!(fitted.text.contains(parts(&half.text).1), "{}", half.id);
            }
        }
    }

    #[test]
    fn unasked_nothing_is_cut() {
        let plain = fit(&engine(), &one(" a  b ", None, false)).expect("counts");
        assert_eq!((plain.text.as_str(), plain.n_tokens), (" a  b ", 2));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let refused = |text: &str, n, template| {
            fit(&engine(), &one(text, Some(n), template)).expect_err("impossible")
        };
        assert_eq!(refused(" \n", 3, false), FitError::NoWords);
        // "user: a answer:" has two, one and two.
        assert_eq!(
            refused("a b", 3, true),
            FitError::TooFew { asked: 3, least: 5 }
        );
        assert_eq!(
            refused("a b", 0, false),
            FitError::TooFew { asked: 0, least: 1 }
        );
        assert!(matches!(
            refused("a", u32::MAX, false),
            FitError::TooMany { .. }
        ));
    }
}
