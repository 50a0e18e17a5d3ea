//! What the targets' counts of tokens leave in doubt.

use super::request::RequestView;
use crate::request::CountCaveat;

/// Tokens and pieces may differ by this number, and by this share of the larger one, before it is noted: a piece waits
/// for the rest of a letter, a stop word is held back.
const FEW: u32 = 2;
const SHARE: f64 = 0.25;

/// Whole answers whose tokens are not simply counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counting {
    /// Answers with reasoning that arrived.
    pub n_reasoned: u32,
    /// Of these, those without any visible text.
    pub n_reasoning_only: u32,
    /// Counts that are not believed, and so left out.
    pub n_left_out: u32,
    /// The first of them.
    pub left_out: Option<CountCaveat>,
    /// Counts of the visible tokens alone, although reasoning arrived.
    pub n_visible_only: u32,
    /// Counts that hold reasoning which never arrived.
    pub n_hidden: u32,
    /// Answers whose tokens came in one go.
    pub n_at_once: u32,
    /// Tokens, where they are known, and pieces of the first of them.
    pub at_once: Option<(Option<u32>, u32)>,
    /// Answers whose tokens are far fewer or more than their pieces.
    pub n_unlike: u32,
    /// Tokens and pieces of the first of them.
    pub unlike: Option<(u32, u32)>,
}

impl Counting {
    pub(super) fn of<'a>(answers: impl Iterator<Item = &'a RequestView>) -> Self {
        let mut counting = Self::default();
        for sent in answers {
            counting.note(sent);
        }
        counting
    }

    fn note(&mut self, sent: &RequestView) {
        self.n_reasoned += u32::from(sent.n_reasoning > 0);
        self.n_reasoning_only += u32::from(sent.is_reasoning_only());
        let mut n_pieces = sent.n_arrivals;
        let mut n_tokens = sent.n_generated;
        match &sent.caveat {
            Some(caveat @ (CountCaveat::TooMany { .. } | CountCaveat::NotACount { .. })) => {
                self.n_left_out += 1;
                self.left_out.get_or_insert_with(|| caveat.clone());
            }
            Some(CountCaveat::VisibleOnly) => {
                self.n_visible_only += 1;
                n_pieces = n_pieces.saturating_sub(sent.n_reasoning);
            }
            Some(CountCaveat::HiddenReasoning { n_tokens: hidden }) => {
                self.n_hidden += 1;
                n_tokens = n_tokens.map(|n| n.saturating_sub(*hidden));
            }
            None => {}
        }
        if sent.came_at_once {
            self.n_at_once += 1;
            self.at_once
                .get_or_insert((sent.n_generated, sent.n_arrivals));
            return;
        }
        if let Some(n_tokens) = n_tokens.filter(|n| are_unlike(*n, n_pieces)) {
            self.n_unlike += 1;
            self.unlike.get_or_insert((n_tokens, n_pieces));
        }
    }
}

fn are_unlike(n_tokens: u32, n_pieces: u32) -> bool {
    let apart = n_tokens.abs_diff(n_pieces);
    apart > FEW && f64::from(apart) > SHARE * f64::from(n_tokens.max(n_pieces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Arrival, Ending, Timeline};

    fn arrived(at_ns: &[u64], n_reasoned: usize, n_generated: u32) -> Timeline {
        let arrivals = at_ns.iter().enumerate().map(|(i, at_ns)| Arrival {
            at_ns: *at_ns,
            n_tokens: None,
            is_reasoning: i < n_reasoned,
        });
        Timeline {
            arrivals: arrivals.collect(),
            n_generated: Some(n_generated),
            ..Timeline::unanswered(0, 0, 0, Ending::Length)
        }
    }

    /// Pieces that arrive every 10 ns.
    fn sent(
        n_reasoned: usize,
        n_visible: usize,
        n_generated: u32,
        caveat: Option<CountCaveat>,
    ) -> RequestView {
        let instants: Vec<u64> = (0..n_reasoned + n_visible).map(|i| i as u64 * 10).collect();
        let timeline = arrived(&instants, n_reasoned, n_generated);
        RequestView::of(0, &Timeline { caveat, ..timeline })
    }

    fn counted(sent: RequestView) -> Counting {
        Counting::of([sent].iter())
    }

    #[test]
    fn tokens_far_from_the_pieces_are_noted() {
        assert_eq!(counted(sent(0, 16, 16, None)), Counting::default());
        assert_eq!(counted(sent(0, 2, 4, None)).n_unlike, 0);
        assert_eq!(counted(sent(0, 90, 100, None)).n_unlike, 0);
        assert_eq!(counted(sent(0, 3, 16, None)).unlike, Some((16, 3)));
        assert_eq!(counted(sent(0, 40, 10, None)).unlike, Some((10, 40)));
    }

    #[test]
    fn an_answer_that_comes_in_one_go_has_no_time_of_its_tokens() {
        let at = |instants: &[u64], n| RequestView::of(0, &arrived(instants, 0, n));
        let ms = 1_000_000;
        // One document, one read of a stream, a proxy's buffer in several reads.
        let buffered = [0, 20_000, 50_000, 60_000].map(|ns| 90 * ms + ns);
        let all = [at(&[90 * ms], 16), at(&[90 * ms; 16], 16), at(&buffered, 4)];
        for sent in all {
            let times = (sent.ttft_ns(), sent.ttft_visible_ns(), sent.tpot_ns);
            assert_eq!(times, (None, None, None));
            let counting = counted(sent);
            assert_eq!((counting.n_at_once, counting.n_unlike), (1, 0));
        }
        // Few tokens arrive together by chance, and a stream goes on.
        let streamed = [90, 91, 92, 93].map(|n| n * ms);
        for sent in [at(&[90 * ms; 2], 2), at(&streamed, 4)] {
            assert_eq!(sent.ttft_ns(), Some(90 * ms));
            assert_eq!(counted(sent).n_at_once, 0);
        }
    }

    #[test]
    fn what_a_count_covers_decides_what_it_is_held_against() {
        let visible = counted(sent(40, 5, 5, Some(CountCaveat::VisibleOnly)));
        assert_eq!((visible.n_visible_only, visible.n_unlike), (1, 0));
        let hidden = CountCaveat::HiddenReasoning { n_tokens: 40 };
        let hidden = counted(sent(0, 5, 45, Some(hidden)));
        assert_eq!((hidden.n_hidden, hidden.n_unlike), (1, 0));
    }

    #[test]
    fn time_and_tokens_of_reasoning_are_of_the_same_pieces() {
        assert_eq!(sent(40, 5, 45, None).tpot_ns, Some(10.0));
        assert_eq!(
            sent(40, 5, 5, Some(CountCaveat::VisibleOnly)).tpot_ns,
            Some(10.0)
        );
        let hidden = CountCaveat::HiddenReasoning { n_tokens: 40 };
        assert_eq!(sent(0, 5, 45, Some(hidden)).tpot_ns, Some(10.0));
        let both = sent(40, 5, 45, None);
        assert_eq!(
            (both.ttft_ns(), both.ttft_visible_ns()),
            (Some(0), Some(400))
        );
        let only = sent(40, 0, 40, None);
        assert_eq!((only.ttft_ns(), only.ttft_visible_ns()), (Some(0), None));
        assert!(only.is_reasoning_only());
    }
}
