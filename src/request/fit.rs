//! Prompts made ready for the model that will read them: chat template around them, exactly so many tokens long.
//!
//! The count is that of the finished text, template and all, tokenised anew as it will be served: tokens of parts do
//! not add up to tokens of a whole. [`super::prompts::fit`] says what is cut and what is repeated.

use serde::{Deserialize, Serialize};

use super::prompts::{self, Prompt};
use crate::engine::{Engine, EngineError};

/// Most tokens that a text is padded to: longer than any model's context.
pub const MOST_TOKENS: u32 = 4 << 20;

/// A prompt to be made ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FitOne {
    /// The prompt, its text as a user says it.
    pub prompt: Prompt,
    /// Tokens of the finished text; none: as many as it has.
    pub n_tokens: Option<u32>,
    /// Whether the model's own chat template is put around it.
    pub template: bool,
}

/// A finished text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fitted {
    /// The text, template applied, trimmed or padded.
    pub text: String,
    /// Its tokens.
    pub n_tokens: u32,
}

/// Why a prompt cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The template cannot be applied.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// There is nothing to pad with.
    #[error("prompt '{id}': has no word that could be repeated")]
    NoWords {
        /// The prompt.
        id: String,
    },
    /// More than any context holds.
    #[error("{asked} tokens are too many: at most {MOST_TOKENS}")]
    TooMany {
        /// Tokens asked for.
        asked: u32,
    },
    /// It has no such length.
    #[error("{0}")]
    Length(#[from] prompts::FitError<EngineError>),
}

/// Applies the template if asked, and trims or pads.
///
/// # Errors
/// [`FitError`].
pub fn fit(engine: &dyn Engine, one: &FitOne) -> Result<Fitted, FitError> {
    let finish = |said: &str| -> Result<Fitted, EngineError> {
        let text = if one.template {
            engine.apply_template(said)?
        } else {
            said.to_owned()
        };
        let n_tokens = engine.tokenize(&text, true, true).len();
        Ok(Fitted {
            text,
            n_tokens: u32::try_from(n_tokens).unwrap_or(u32::MAX),
        })
    };
    let Some(asked) = one.n_tokens else {
        return Ok(finish(&one.prompt.text)?);
    };
    if asked > MOST_TOKENS {
        return Err(FitError::TooMany { asked });
    }
    if one.prompt.text.split_whitespace().next().is_none() {
        let id = one.prompt.id.clone();
        return Err(FitError::NoWords { id });
    }
    let mut count = |text: &str| finish(text).map(|f| f.n_tokens);
    let fitted = prompts::fit(&one.prompt, "", asked, &mut count)?;
    Ok(finish(&fitted.text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::FakeClock;
    use crate::engine::synthetic::{Cost, SyntheticEngine};

    fn engine() -> SyntheticEngine {
        SyntheticEngine::new(Cost::default(), FakeClock::default(), 0)
    }

    fn one(text: &str, n_tokens: Option<u32>, template: bool) -> FitOne {
        let prompt = Prompt {
            id: "p".to_owned(),
            class: "c".to_owned(),
            difficulty: None,
            pair: None,
            text: text.to_owned(),
            answer: None,
            source: "test".to_owned(),
            n_tokens: None,
        };
        FitOne {
            prompt,
            n_tokens,
            template,
        }
    }

    #[test]
    fn every_length_is_exact_with_and_without_template() {
        let text = "Bread rises, as everybody knows who bakes.\n\nExplain in two sentences why; then list three kinds.";
        for template in [false, true] {
            for n in 30..300 {
                let fitted = fit(&engine(), &one(text, Some(n), template)).expect("it fits");
                assert_eq!(fitted.n_tokens, n);
                let again = engine().tokenize(&fitted.text, true, true).len();
                assert_eq!(again, n as usize);
                assert!(fitted.text.contains("then list three kinds."), "{fitted:?}");
                assert_eq!(fitted.text.starts_with("user: Bread"), template);
                assert_eq!(fitted.text.ends_with(" answer:"), template);
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
        let refused =
            |text: &str, n| fit(&engine(), &one(text, Some(n), true)).expect_err("impossible");
        assert_eq!(refused(" \n", 3), FitError::NoWords { id: "p".to_owned() });
        assert!(matches!(refused("a b", 3), FitError::Length(_)));
        assert!(matches!(refused("a", u32::MAX), FitError::TooMany { .. }));
    }
}
