//! Whether an answer is right: the known one stands in it as a word of its own.

use super::PairFigures;

/// Whether the right answer stands in a text: not as a part of another word or number, upper and lower case alike,
/// `1,234` read as `1234`. A model that names several numbers passes with any of them, so this is kind to the model.
pub fn is_right(text: &str, answer: &str) -> bool {
    let (text, answer) = (folded(text), folded(answer.trim()));
    if answer.is_empty() {
        return false;
    }
    text.match_indices(&answer)
        .any(|(at, found)| stands_alone(&text[..at], &answer, &text[at + found.len()..]))
}

/// Lower case, without the commas that group the digits of a number.
fn folded(text: &str) -> String {
    let lower: Vec<char> = text.to_lowercase().chars().collect();
    let digits_after = |at: usize| {
        let after = lower[at + 1..].iter();
        after.take_while(|c| c.is_ascii_digit()).count()
    };
    let groups = |at: usize| {
        at > 0 && lower[at] == ',' && lower[at - 1].is_ascii_digit() && digits_after(at) == 3
    };
    (0..lower.len())
        .filter(|&at| !groups(at))
        .map(|at| lower[at])
        .collect()
}

fn stands_alone(before: &str, answer: &str, after: &str) -> bool {
    let is_number = answer.starts_with(|c: char| c.is_ascii_digit());
    let mut back = before.chars().rev();
    let joined_before = match (back.next(), back.next()) {
        (Some(c), _) if c.is_alphanumeric() || c == '_' => true,
        // 12 is not the answer in -12, nor in 3.12; in 5-12 it stands alone.
        (Some('-'), second) => is_number && !second.is_some_and(|c| c.is_alphanumeric()),
        (Some('.'), second) => is_number && second.is_some_and(|c| c.is_ascii_digit()),
        _ => false,
    };
    let mut next = after.chars();
    let joined_after = match (next.next(), next.next()) {
        (Some(c), _) if c.is_alphanumeric() || c == '_' => true,
        (Some('.'), second) => {
            answer.ends_with(|c: char| c.is_ascii_digit())
                && second.is_some_and(|c| c.is_ascii_digit())
        }
        _ => false,
    };
    !joined_before && !joined_after
}

/// Right answers and answers judged, of easy and hard; none where no answer is known.
pub(super) fn shares(pairs: &[PairFigures]) -> Option<[(usize, usize); 2]> {
    let (mut easy, mut hard) = ((0, 0), (0, 0));
    for pair in pairs {
        for (half, (right, judged)) in [(&pair.easy, &mut easy), (&pair.hard, &mut hard)] {
            let known = half.iter().filter(|r| r.is_whole()).filter_map(|r| r.right);
            for is_right in known {
                *judged += 1;
                *right += usize::from(is_right);
            }
        }
    }
    (easy.1 + hard.1 > 0).then_some([easy, hard])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_of_its_own() {
        for text in [
            "12",
            "It is 12.",
            "= 12, I think",
            "**12**",
            "5-12",
            "The Answer: Green",
            "the GREEN one",
        ] {
            assert!(is_right(text, "12") || is_right(text, "green"), "{text}");
        }
        assert!(is_right("about 1,234 in all", "1234"));
        assert!(is_right("x = -12", "-12"));
        for text in [
            "112", "120", "-12", "3.12", "12.5", "a12", "12th", "", "1,200",
        ] {
            assert!(!is_right(text, "12"), "{text}");
        }
        assert!(!is_right("evergreen", "green"));
        assert!(!is_right("anything", " "));
    }

    #[test]
    fn commas_of_a_list_are_kept() {
        assert!(is_right("1, 12, 3", "12"));
        assert!(is_right("7,12,9", "12"));
        assert!(!is_right("1,120", "120"));
    }
}
