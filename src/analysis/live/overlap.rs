//! Whether a target answers requests together or one after another, from when their pieces arrive.

use crate::view::requests::{JobView, RequestView};

/// How many requests were being answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Most requests between their first and last piece at one time.
    pub answered: u32,
    /// Most requests between sending and end at one time.
    pub under_way: u32,
}

/// What that says of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simultaneity {
    /// One after another, although more were under way.
    OneByOne,
    /// All that were under way together.
    Together,
    /// Some together, the others waited.
    Partly,
}

/// Of many requests under way so few in a hundred need not be answered at the instant when most are: the prompt of one
/// is being computed, which is no answer yet.
const JOINING_PERCENT: u32 = 10;

/// Few requests under way are all answered at one instant, or the others waited.
const MANY: u32 = 8;

impl Overlap {
    /// Of a job's whole answers; none where fewer than two requests were under way together, or their answers came in
    /// one piece, which has no length.
    pub fn of(job: &JobView) -> Option<Self> {
        let mut answered = 0;
        let mut under_way = 0;
        for round in &job.rounds {
            let own = || {
                let all = job.requests.iter();
                all.filter(|s| s.round == round.round && s.is_answered())
            };
            answered = answered.max(most(own().filter_map(span)));
            under_way = under_way.max(most(own().map(|s| (s.sent_ns, s.ended_ns))));
        }
        (under_way > 1 && answered > 0).then_some(Self {
            answered,
            under_way,
        })
    }

    /// In words' terms.
    pub fn serving(self) -> Simultaneity {
        match self.answered {
            1 => Simultaneity::OneByOne,
            n if n.saturating_add(self.joining()) < self.under_way => Simultaneity::Partly,
            _ => Simultaneity::Together,
        }
    }
}

impl Overlap {
    fn joining(self) -> u32 {
        match self.under_way {
            n if n < MANY => 0,
            n => n.saturating_mul(JOINING_PERCENT).div_ceil(100),
        }
    }
}

fn span(sent: &RequestView) -> Option<(u64, u64)> {
    let (first, last) = (sent.first_ns?, sent.last_ns?);
    (last > first).then_some((first, last))
}

/// Most spans that hold one instant. A span that ends when another begins does not overlap it.
fn most(spans: impl Iterator<Item = (u64, u64)>) -> u32 {
    let mut events: Vec<(u64, bool)> = Vec::new();
    for (from, to) in spans {
        // `false` sorts first: ends before beginnings.
        events.extend([(from, true), (to, false)]);
    }
    events.sort_unstable();
    let (mut now, mut most) = (0_u32, 0_u32);
    for (_, begins) in events {
        now = if begins {
            now + 1
        } else {
            now.saturating_sub(1)
        };
        most = most.max(now);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_one_may_just_be_joining() {
        let seen = |answered, under_way| {
            Overlap {
                answered,
                under_way,
            }
            .serving()
        };
        assert_eq!(seen(7, 8), Simultaneity::Together);
        assert_eq!(seen(28, 32), Simultaneity::Together);
        assert_eq!(seen(27, 32), Simultaneity::Partly);
        assert_eq!(seen(3, 4), Simultaneity::Partly);
        assert_eq!(seen(4, 8), Simultaneity::Partly);
        assert_eq!(seen(1, 8), Simultaneity::OneByOne);
    }

    #[test]
    fn spans_that_touch_do_not_overlap() {
        assert_eq!(most([(0, 10), (10, 20), (20, 30)].into_iter()), 1);
        assert_eq!(most([(0, 10), (9, 20), (9, 30)].into_iter()), 3);
        assert_eq!(most(std::iter::empty()), 0);
    }
}
