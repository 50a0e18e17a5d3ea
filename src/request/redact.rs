//! Takes the key that opens a server out of all that the server said, at the one place where its words become part of a
//! record: decoded, whatever the wire looked like. Every field is named here, so that none can be forgotten.

use super::http::ApiKey;
use super::{CountCaveat, Ending, KEPT_TEXT_BYTES, Served, TargetError, TargetFacts, Timeline};

/// What a target said of itself, without the key.
pub fn facts(
    key: Option<&ApiKey>,
    said: Result<TargetFacts, TargetError>,
) -> Result<TargetFacts, TargetError> {
    let Some(key) = key else { return said };
    let mut said = said.map_err(|e| error(key, e))?;
    let TargetFacts {
        kind: _,
        // As the user typed it.
        name: _,
        version,
        model,
        sha256,
        file_type,
        size_bytes: _,
        size_vram_bytes: _,
        n_ctx: _,
        n_parallel: _,
        notes,
    } = &mut said;
    let told = [version, model, sha256, file_type].into_iter().flatten();
    for text in told.chain(notes) {
        key.hide(text, false);
    }
    Ok(said)
}

/// What became of a job, without the key.
pub fn served(
    key: Option<&ApiKey>,
    said: Result<Served, TargetError>,
) -> Result<Served, TargetError> {
    let Some(key) = key else { return said };
    let mut said = said.map_err(|e| error(key, e))?;
    for one in &mut said.timelines {
        timeline(key, one);
    }
    Ok(said)
}

fn timeline(key: &ApiKey, said: &mut Timeline) {
    let Timeline {
        number: _,
        due_ns: _,
        sent_ns: _,
        admitted_ns: _,
        arrivals: _,
        ended_ns: _,
        ending,
        n_prompt: _,
        n_generated: _,
        caveat,
        sample_ns: _,
        server: _,
        text,
    } = said;
    // Cut between letters, of which one has up to four bytes.
    let is_cut = text.len() + 4 > KEPT_TEXT_BYTES;
    key.hide(text, is_cut);
    if let Some(CountCaveat::NotACount { said }) = caveat {
        key.hide(said, false);
    }
    match ending {
        Ending::Refused { reason }
        | Ending::Http { status: _, reason }
        | Ending::Stream { reason }
        | Ending::Excess { reason }
        | Ending::Failed { reason } => key.hide(reason, false),
        Ending::Stop
        | Ending::Length
        | Ending::Stalled { .. }
        | Ending::TimedOut { .. }
        | Ending::Truncated
        | Ending::NotSent
        | Ending::Interrupted => {}
    }
}

fn error(key: &ApiKey, mut said: TargetError) -> TargetError {
    match &mut said {
        TargetError::Unreachable { target: _, reason }
        | TargetError::Unfit { target: _, reason }
        | TargetError::NotReady {
            target: _,
            reason,
            is_certain: _,
            retry_after_s: _,
        }
        | TargetError::Worker(reason) => key.hide(reason, false),
        TargetError::Interrupted => {}
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_key_at_the_end_of_a_kept_answer_goes_too() {
        let key = ApiKey::new("sk-0123456789abcdef").unwrap();
        let mut said = Timeline::unanswered(0, 0, 0, Ending::Stop);
        let n = KEPT_TEXT_BYTES - 5;
        said.text = "x".repeat(n) + "sk-01";
        timeline(&key, &mut said);
        assert_eq!(said.text, "x".repeat(n) + "[key]");
    }

    #[test]
    fn errors_say_no_key() {
        let key = ApiKey::new("sk-0123456789abcdef").unwrap();
        let said = error(
            &key,
            TargetError::Unfit {
                target: "openai:x".into(),
                reason: "has no model `sk-0123456789abcdef`".into(),
            },
        );
        assert_eq!(said.to_string(), "openai:x: has no model `[key]`");
    }
}
