//! A text of exactly so many tokens, with the question left as it is.
//!
//! A prompt's last paragraph is its question; what stands before it is filler, of which words are dropped from its end or
//! which is repeated. Tokens are not words, so the last few are made up of small words until the tokenizer agrees.

use std::fmt;

use super::Prompt;

/// Small words that most vocabularies hold as one token each.
const SMALL: [&str; 8] = [" and", " so", " it", " is", ".", ",", " a", " I"];
/// Words dropped before small ones are tried again: tokens merge across words.
const STEPS_BACK: usize = 8;

/// A text that cannot be made that long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError<E: fmt::Debug + fmt::Display> {
    /// The tokenizer said no.
    #[error("{0}")]
    Count(E),
    /// Even without filler it is longer.
    #[error(
        "prompt '{id}': {n_tokens} tokens are too few, its question takes {at_least}; ask for at least so many"
    )]
    TooShort {
        /// The prompt.
        id: String,
        /// Tokens asked for.
        n_tokens: u32,
        /// Tokens of what must stay.
        at_least: u32,
    },
    /// It is all question: a half of a pair with a single paragraph.
    #[error(
        "prompt '{id}': is one paragraph, so it is all question and nothing of it may be cut or padded; put a \
         paragraph before it"
    )]
    NoFiller {
        /// The prompt.
        id: String,
    },
    /// No small word makes up the difference.
    #[error(
        "prompt '{id}': cannot be made {n_tokens} tokens long by this model's tokenizer, only {nearest}"
    )]
    Inexact {
        /// The prompt.
        id: String,
        /// Tokens asked for.
        n_tokens: u32,
        /// The nearest below that.
        nearest: u32,
    },
}

/// The prompt with exactly `n_tokens` tokens, as `count` counts them (with a template, if `count` applies one).
///
/// `opening` comes first and makes the beginning unlike that of other requests, so that no server finds it in its cache;
/// it may be empty. Of a prompt without pair and with a single paragraph all is filler; a half of a pair needs filler of
/// its own. A text that has the length already is left as it is.
///
/// # Errors
/// [`FitError`].
pub fn fit<E: fmt::Debug + fmt::Display>(
    prompt: &Prompt,
    opening: &str,
    n_tokens: u32,
    count: &mut dyn FnMut(&str) -> Result<u32, E>,
) -> Result<Prompt, FitError<E>> {
    let mut fitting = Fitting::of(prompt, opening, count);
    let text = fitting.text(n_tokens, prompt)?;
    Ok(Prompt {
        text,
        n_tokens: Some(n_tokens),
        ..prompt.clone()
    })
}

struct Fitting<'a, E> {
    opening: &'a str,
    filler: Vec<&'a str>,
    question: &'a str,
    count: &'a mut dyn FnMut(&str) -> Result<u32, E>,
}

impl<'a, E: fmt::Debug + fmt::Display> Fitting<'a, E> {
    fn of(
        prompt: &'a Prompt,
        opening: &'a str,
        count: &'a mut dyn FnMut(&str) -> Result<u32, E>,
    ) -> Self {
        let text = prompt.text.trim_end();
        let (filler, question) = match text.rsplit_once("\n\n") {
            Some((filler, question)) if !filler.trim().is_empty() => (filler, question),
            _ if prompt.pair.is_some() => ("", text),
            _ => (text, ""),
        };
        Self {
            opening,
            filler: filler.split_whitespace().collect(),
            question,
            count,
        }
    }

    fn text(&mut self, n_tokens: u32, prompt: &Prompt) -> Result<String, FitError<E>> {
        let whole = match self.opening {
            "" => prompt.text.clone(),
            opening => format!("{opening} {}", prompt.text),
        };
        if self.tokens(&whole)? == n_tokens {
            return Ok(whole);
        }
        let id = || prompt.id.clone();
        if self.filler.is_empty() {
            return Err(FitError::NoFiller { id: id() });
        }
        // The first word is the prompt's own opening.
        let least = self.with(1, "");
        let at_least = self.tokens(&least)?;
        if at_least > n_tokens {
            return Err(FitError::TooShort {
                id: id(),
                n_tokens,
                at_least,
            });
        }
        let most = self.most_words(n_tokens)?;
        let mut nearest = 0;
        for words in (1..=most).rev().take(STEPS_BACK) {
            let (text, n) = self.made_up(words, n_tokens)?;
            if n == n_tokens {
                return Ok(text);
            }
            nearest = nearest.max(n);
        }
        Err(FitError::Inexact {
            id: id(),
            n_tokens,
            nearest,
        })
    }

    fn tokens(&mut self, text: &str) -> Result<u32, FitError<E>> {
        (self.count)(text).map_err(FitError::Count)
    }

    /// The text with so many words of filler, which repeats, and something after them.
    fn with(&self, words: usize, tail: &str) -> String {
        let mut parts: Vec<&str> = Vec::with_capacity(words + 1);
        if !self.opening.is_empty() {
            parts.push(self.opening);
        }
        parts.extend(self.filler.iter().cycle().take(words));
        let filler = parts.join(" ");
        match self.question {
            "" => filler + tail,
            question => format!("{filler}{tail}\n\n{question}"),
        }
    }

    /// The most words of filler with at most so many tokens.
    fn most_words(&mut self, n_tokens: u32) -> Result<usize, FitError<E>> {
        // A word has a token at least, so more words than tokens never fit.
        let (mut fits, mut too_many) = (1, n_tokens as usize + 2);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            let text = self.with(middle, "");
            if self.tokens(&text)? <= n_tokens {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        Ok(fits)
    }

    /// As near as small words bring it.
    fn made_up(&mut self, words: usize, n_tokens: u32) -> Result<(String, u32), FitError<E>> {
        let mut tail = String::new();
        let mut text = self.with(words, &tail);
        let mut n = self.tokens(&text)?;
        while n < n_tokens {
            let mut better: Option<(String, String, u32)> = None;
            for small in SMALL {
                let longer_tail = format!("{tail}{small}");
                let longer = self.with(words, &longer_tail);
                let tokens = self.tokens(&longer)?;
                if (n + 1..=n_tokens).contains(&tokens) {
                    let is_one = tokens == n + 1;
                    better = Some((longer_tail, longer, tokens));
                    if is_one {
                        break;
                    }
                }
            }
            let Some(found) = better else { break };
            (tail, text, n) = found;
        }
        Ok((text, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str, pair: bool) -> Prompt {
        Prompt {
            id: "p".to_owned(),
            class: "c".to_owned(),
            difficulty: None,
            pair: pair.then(|| "x".to_owned()),
            text: text.to_owned(),
            answer: None,
            source: "test".to_owned(),
            n_tokens: None,
        }
    }

    /// Two letters a token, words and points apart: a word of seven letters has four.
    fn tokens(text: &str) -> Result<u32, String> {
        let of = |word: &str| word.len().div_ceil(2);
        let words = text.split_whitespace().flat_map(|w| w.split_inclusive('.'));
        Ok(u32::try_from(words.map(of).sum::<usize>()).expect("few"))
    }

    #[test]
    fn every_length_is_hit_exactly_and_the_question_stays() {
        let p = prompt(
            "Amber. Something happened elsewhere yesterday.\n\nHow much is 2 + 3?",
            true,
        );
        let question = tokens("How much is 2 + 3?").expect("counts");
        for n in question + 12..300 {
            let fitted = fit(&p, "", n, &mut tokens).unwrap_or_else(|e| panic!("{n}: {e}"));
            assert_eq!(tokens(&fitted.text), Ok(n));
            assert_eq!(fitted.n_tokens, Some(n));
            assert!(fitted.text.starts_with("Amber."), "{}", fitted.text);
            assert!(
                fitted.text.ends_with("\n\nHow much is 2 + 3?"),
                "{}",
                fitted.text
            );
        }
    }

    #[test]
    fn an_opening_comes_first() {
        let p = prompt("Amber. Something happened.\n\nWhy?", true);
        let fitted = fit(&p, "Round 3.", 40, &mut tokens).expect("fits");
        assert!(
            fitted.text.starts_with("Round 3. Amber. "),
            "{}",
            fitted.text
        );
        assert_eq!(tokens(&fitted.text), Ok(40));
    }

    #[test]
    fn what_has_the_length_is_left_alone() {
        let text = "A  text\nof  some\n\n\nlength";
        let n = tokens(text).expect("counts");
        assert_eq!(
            fit(&prompt(text, false), "", n, &mut tokens)
                .expect("fits")
                .text,
            text
        );
    }

    #[test]
    fn one_paragraph_is_cut_and_repeated_unless_it_is_half_of_a_pair() {
        let text = "one two three four";
        let cut = fit(&prompt(text, false), "", 4, &mut tokens).expect("fits");
        assert_eq!(cut.text, "one two");
        let padded = fit(&prompt(text, false), "", 12, &mut tokens).expect("fits");
        assert!(
            padded.text.starts_with("one two three four one"),
            "{}",
            padded.text
        );
        assert_eq!(
            fit(&prompt(text, true), "", 12, &mut tokens),
            Err(FitError::NoFiller { id: "p".to_owned() })
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let p = prompt("Amber. Filler.\n\nA question of some length?", true);
        let e = fit(&p, "", 5, &mut tokens).expect_err("too short");
        assert!(
            matches!(e, FitError::TooShort { n_tokens: 5, at_least, .. } if at_least > 5),
            "{e}"
        );
        // A tokenizer of which every text has an even number of tokens.
        let mut even = |text: &str| Ok::<u32, String>(2 * tokens(text).unwrap_or(0));
        let e = fit(&p, "", 51, &mut even).expect_err("odd");
        assert!(matches!(e, FitError::Inexact { nearest: 50, .. }), "{e}");
        let mut broken = |_: &str| Err::<u32, String>("no tokenizer".to_owned());
        let e = fit(&p, "", 51, &mut broken).expect_err("fails");
        assert_eq!(e.to_string(), "no tokenizer");
    }
}
