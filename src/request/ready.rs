//! Waiting for a server that is not ready yet: one that loads its model, is too busy, or has not started.

use std::time::Duration;

use super::http::HttpError;
use super::{Ending, Served, Target, TargetError, TargetFacts};
use crate::engine::clock::Clock;
use crate::units;

/// The first pause between two questions, which doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often a pause looks whether the run was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// How long is waited for a server; by default not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wait {
    /// Where it says itself that its state passes.
    pub loading: Duration,
    /// Where it is there and has nothing yet: an empty list of models.
    pub empty: Duration,
    /// Where the address does not answer.
    pub absent: Duration,
}

impl Wait {
    /// As long as the user says; unsaid, a wrong address is told after some seconds.
    pub fn of(timeout: Option<Duration>) -> Self {
        let or = |default| timeout.unwrap_or(Duration::from_secs(default));
        Self {
            loading: or(300),
            empty: or(20),
            absent: or(5),
        }
    }

    fn most(&self, error: &TargetError) -> Option<Duration> {
        match error {
            TargetError::NotReady {
                is_certain: true, ..
            } => Some(self.loading),
            TargetError::NotReady { .. } => Some(self.empty),
            TargetError::Unreachable { .. } => Some(self.absent),
            _ => None,
        }
    }
}

/// Whether a status is a state that passes: too many requests, a server that loads or a gateway before one that starts.
fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 502..=504)
}

/// The server's state, where an error says that it passes.
pub(super) fn not_ready(target: &str, error: &HttpError) -> Option<TargetError> {
    match error {
        HttpError::Status {
            status,
            retry_after_s,
            ..
        } if is_passing(*status) => Some(TargetError::NotReady {
            target: target.to_owned(),
            reason: error.to_string(),
            is_certain: true,
            retry_after_s: *retry_after_s,
        }),
        _ => None,
    }
}

/// That a server refused whatever it was asked, in a state that passes.
fn refused_all(target: &str, served: &Served) -> Option<TargetError> {
    let mut first = None;
    for timeline in &served.timelines {
        match &timeline.ending {
            Ending::Http { status, .. } if is_passing(*status) => {
                first.get_or_insert_with(|| timeline.ending.to_string());
            }
            _ => return None,
        }
    }
    Some(TargetError::NotReady {
        target: target.to_owned(),
        reason: first?,
        is_certain: true,
        retry_after_s: None,
    })
}

/// What waiting needs of the program around it.
pub struct Waiting<'a> {
    /// How long.
    pub wait: Wait,
    /// By which clock.
    pub clock: &'a dyn Clock,
    /// Ctrl-C.
    pub stop: &'a dyn Fn() -> bool,
    /// Told once that is waited, and why.
    pub say: &'a mut dyn FnMut(&str),
}

impl Waiting<'_> {
    /// What the target says of itself, as soon as it is ready.
    ///
    /// # Errors
    /// [`TargetError`] when it cannot be used, or was not ready in time.
    pub fn facts(&mut self, target: &mut dyn Target) -> Result<TargetFacts, TargetError> {
        self.until_ready(&mut || target.facts())
    }

    /// Lets the target, named `name`, serve requests that are not recorded, again and again while it refuses all of them for now.
    ///
    /// # Errors
    /// As [`Waiting::facts`].
    pub fn warm(
        &mut self,
        name: &str,
        serve: &mut dyn FnMut() -> Result<Served, TargetError>,
    ) -> Result<(), TargetError> {
        self.until_ready(&mut || {
            let served = serve()?;
            refused_all(name, &served).map_or(Ok(()), Err)
        })
    }

    fn until_ready<T>(
        &mut self,
        ask: &mut dyn FnMut() -> Result<T, TargetError>,
    ) -> Result<T, TargetError> {
        let begun_ns = self.clock.now_ns();
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            let error = match ask() {
                Ok(ready) => return Ok(ready),
                Err(error) => error,
            };
            let Some(most) = self.wait.most(&error) else {
                return Err(error);
            };
            let waited_ns = self.clock.now_ns().saturating_sub(begun_ns);
            let left = most.saturating_sub(Duration::from_nanos(waited_ns));
            if left.is_zero() {
                return Err(given_up(error, waited_ns));
            }
            if !std::mem::replace(&mut told, true) {
                let most = units::duration(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX));
                (self.say)(&format!(
                    "{error}; waiting for it, {most} at most (--timeout)"
                ));
            }
            let asked = match error {
                TargetError::NotReady { retry_after_s, .. } => retry_after_s,
                _ => None,
            };
            let asked = asked.map(|s| Duration::from_secs(s.into()));
            self.pause(
                asked
                    .unwrap_or(pause)
                    .clamp(FIRST_PAUSE, left.max(FIRST_PAUSE)),
            )?;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn pause(&self, length: Duration) -> Result<(), TargetError> {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = self.clock.now_ns().saturating_add(ns(length));
        loop {
            if (self.stop)() {
                return Err(TargetError::Interrupted);
            }
            let now_ns = self.clock.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            self.clock
                .wait_until_ns(until_ns.min(now_ns.saturating_add(ns(LOOK))));
        }
    }
}

/// The error when it was waited in vain.
fn given_up(error: TargetError, waited_ns: u64) -> TargetError {
    let waited = units::duration(waited_ns);
    match error {
        TargetError::NotReady {
            target,
            reason,
            is_certain: true,
            ..
        } => TargetError::Unfit {
            target,
            reason: format!("still loading or busy after {waited} ({reason}); raise --timeout"),
        },
        TargetError::NotReady { target, reason, .. } => TargetError::Unfit { target, reason },
        TargetError::Unreachable { target, reason } => TargetError::Unreachable {
            target,
            reason: format!("{reason} (tried for {waited}; --timeout waits longer)"),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::FakeClock;

    fn loading(retry_after_s: Option<u32>) -> TargetError {
        TargetError::NotReady {
            target: "openai:x".into(),
            reason: "HTTP 503: Loading model".into(),
            is_certain: true,
            retry_after_s,
        }
    }

    fn absent() -> TargetError {
        TargetError::Unreachable {
            target: "openai:x".into(),
            reason: "no connection: refused".into(),
        }
    }

    /// What comes of a server that gives `error` until `ready_s`, how often it was asked, and what was told.
    fn waited(
        timeout_s: Option<u64>,
        ready_s: u64,
        error: &TargetError,
    ) -> (Result<u64, TargetError>, u32, Vec<String>) {
        let clock = FakeClock::default();
        let mut told = Vec::new();
        let mut n_asked = 0;
        let mut waiting = Waiting {
            wait: Wait::of(timeout_s.map(Duration::from_secs)),
            clock: &clock,
            stop: &|| false,
            say: &mut |text| told.push(text.to_owned()),
        };
        let ready = waiting.until_ready(&mut || {
            n_asked += 1;
            match clock.now_ns() >= ready_s * 1_000_000_000 {
                true => Ok(clock.now_ns()),
                false => Err(error.clone()),
            }
        });
        (ready, n_asked, told)
    }

    #[test]
    fn a_server_that_loads_is_waited_for_and_that_is_said_once() {
        let (ready, n_asked, told) = waited(None, 60, &loading(None));
        let at_ns = ready.expect("ready in time");
        assert!((60_000_000_000..63_000_000_000).contains(&at_ns), "{at_ns}");
        assert!(n_asked < 40, "{n_asked}");
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("HTTP 503: Loading model; waiting for it"),
            "{told:?}"
        );
        let (ready, n_asked, told) = waited(None, 0, &loading(None));
        assert!(ready.is_ok() && n_asked == 1 && told.is_empty());
    }

    #[test]
    fn it_is_asked_when_it_says_and_no_later_than_the_timeout() {
        let (ready, n_asked, _) = waited(Some(60), 20, &loading(Some(30)));
        assert_eq!((ready, n_asked), (Ok(30_000_000_000), 2));
        let (ready, ..) = waited(Some(10), 9, &loading(Some(3600)));
        assert_eq!(ready, Ok(10_000_000_000));
    }

    #[test]
    fn waiting_in_vain_ends_with_the_timeout_in_one_line() {
        let (ready, _, told) = waited(Some(3), 60, &loading(None));
        let error = ready.expect_err("never ready").to_string();
        assert!(error.contains("still loading"), "{error}");
        assert!(
            error.contains("Loading model") && error.contains("--timeout"),
            "{error}"
        );
        assert_eq!((error.lines().count(), told.len()), (1, 1));
    }

    #[test]
    fn a_server_that_starts_has_some_seconds_unless_a_timeout_is_named() {
        assert!(waited(None, 3, &absent()).0.is_ok());
        let (ready, _, told) = waited(None, 60, &absent());
        assert!(matches!(ready, Err(TargetError::Unreachable { .. })));
        assert_eq!(told.len(), 1);
        assert!(waited(Some(90), 60, &absent()).0.is_ok());
    }

    #[test]
    fn what_does_not_pass_is_final() {
        let unfit = TargetError::Unfit {
            target: "openai:x".into(),
            reason: "has several models".into(),
        };
        let (ready, n_asked, told) = waited(Some(60), 5, &unfit);
        assert_eq!((ready, n_asked, told.len()), (Err(unfit), 1, 0));
    }

    #[test]
    fn an_interrupt_ends_the_waiting() {
        let clock = FakeClock::default();
        let mut waiting = Waiting {
            wait: Wait::of(None),
            clock: &clock,
            stop: &|| clock.now_ns() > 1_000_000_000,
            say: &mut |_| {},
        };
        let ended = waiting.until_ready(&mut || Err::<(), _>(loading(None)));
        assert_eq!(ended, Err(TargetError::Interrupted));
        assert!(clock.now_ns() < 2_000_000_000);
    }
}
