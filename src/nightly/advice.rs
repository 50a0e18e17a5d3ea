//! What to do after a night.

use std::fmt::{self, Write as _};

use super::Verdict;
use super::summary::{NightKind, NightSummary};

/// Writes what to do after this verdict.
pub(super) fn write(to: &mut String, verdict: Verdict, night: &NightSummary) -> fmt::Result {
    let text = match verdict {
        Verdict::Regression => return after_regression(to, night),
        Verdict::Inconclusive => return after_doubt(to, night),
        Verdict::Pass => "Nothing.",
        Verdict::FirstNight => "Nothing. Nights are judged from the second on.",
        Verdict::Promoted => "Nothing. Earlier nights are no longer a baseline.",
        Verdict::Interrupted => {
            "Run it again. The unfinished run is left where it is, and is not judged."
        }
        Verdict::Error => "Correct the cause. Nothing was judged, and the history did not change.",
    };
    writeln!(to, "{text}")
}

fn after_regression(to: &mut String, night: &NightSummary) -> fmt::Result {
    if night.page.has_wrong_output() {
        return after_wrong_output(to, night);
    }
    let is_slower = !night.page.cells_that("regression").is_empty();
    if !is_slower && !night.page.limits_that("fail").is_empty() {
        let text = "A limit (--require) does not ask why: look at the machine (`ggufbench doctor`), at the trend, and at the changes \
                    between the programs. If the limit was too strict, set another.";
        return writeln!(to, "{text}");
    }
    let is_same_engine = night.night.as_ref().map(|n| &n.engine) == night.old_engine.as_ref();
    let first = if night.kind == NightKind::Pairs {
        "Both programs were measured in turns, so the machine is not the cause: look at the changes between the programs."
    } else if is_same_engine {
        "Look at the machine first (`ggufbench doctor`): program and engine are those of the baseline."
    } else {
        "Look at the changes between the two programs above, and at the differences in the head of the table."
    };
    writeln!(to, "{first}")?;
    if let (NightKind::Cells, Some(command)) = (night.kind, &night.commands.in_turns) {
        let why = "To exclude the machine, measure the promoted program and tonight's in turns:";
        write!(to, "\n{why}\n\n{command}")?;
    }
    let why = "If the slow-down is accepted, make tonight the baseline (this measures once more):";
    write!(to, "\n{why}\n\n{}", night.commands.promote)
}

fn after_wrong_output(to: &mut String, night: &NightSummary) -> fmt::Result {
    let of = |side: &str| night.page.notes("WRONG").any(|text| text.starts_with(side));
    let (of_tonight, of_baseline) = (of("tonight: "), of("baseline: "));
    let what = match (of_tonight, of_baseline) {
        (true, true) => {
            "Both sides compute wrong outputs, each by itself, so the fault is not new: look at what they share, such as the backend, its \
             driver and the hardware."
        }
        (true, false) => {
            "Tonight's program computes wrong outputs by itself, and the baseline does not: look at the changes between the programs."
        }
        (false, true) => {
            "Only the baseline computes wrong outputs by itself. If a change since then corrects this, make tonight the baseline."
        }
        (false, false) if night.is_same_program => {
            "The same file computed two outputs: look at what it loads (engine, driver, model files), and at the hardware."
        }
        (false, false) => {
            "Each side agrees with itself, but not with the other: look at the changes of programs and model files, and find out which is \
             right."
        }
    };
    writeln!(to, "- {what}")?;
    let again = "An output is computed without chance, so nothing was measured again for it. The table of outputs has the figures.";
    writeln!(to, "- {again}")?;
    if !night.page.cells_that("regression").is_empty() {
        writeln!(
            to,
            "- Correct the output first: the time of wrong outputs says little."
        )?;
    }
    if of_tonight {
        let why =
            "Do not promote tonight: nothing that is measured with the fault can be relied on.";
        return writeln!(to, "- {why}");
    }
    let why = "If tonight's output is the right one, make tonight the baseline (this measures once more):";
    write!(to, "\n{why}\n\n{}", night.commands.promote)
}

fn after_doubt(to: &mut String, night: &NightSummary) -> fmt::Result {
    let page = &night.page;
    let is_paired = night.kind == NightKind::Pairs;
    // Requests are not measured in turns.
    let in_turns = |text: &'static str| match night.kind {
        NightKind::Requests => "",
        _ => text,
    };
    let mut say = |applies: bool, text: &str| match applies {
        true => writeln!(to, "- {text}"),
        false => Ok(()),
    };
    say(!night.failures.is_empty(), "Correct what failed.")?;
    say(
        night.is_same_program && !page.cells_that("regression").is_empty(),
        "Look at the machine: `ggufbench doctor` names what disturbs it. Both sides ran the same file.",
    )?;
    say(
        page.says("would need") && is_paired,
        "If the table says that pairs are missing: give the night more time (--budget), or remove disturbances (`ggufbench doctor` names \
         them).",
    )?;
    say(
        page.says("would need") && !is_paired,
        "If the table says that processes are missing: remove disturbances (`ggufbench doctor` names them), or raise --replicates (for \
         the baseline too: promote).",
    )?;
    say(
        !page.limits_that("inconclusive").is_empty(),
        "If a limit is not decided: more processes, or more rounds of a server, narrow its interval: --replicates, or --rounds where \
         that was named, and a --budget that leaves room for them.",
    )?;
    say(
        page.says("undecided again"),
        "A slow-down that is undecided again may be real: the confirmation ended before it showed one or excluded one.",
    )?;
    say(
        page.says("not seen again"),
        "A slow-down that was not seen again was probably caused by the machine: look for other programs that ran.",
    )?;
    let elsewhere = in_turns(", or without --nights");
    say(
        page.says("(disturbed: "),
        &format!("If the table says disturbed: measure again at a quieter time{elsewhere}."),
    )?;
    let first = in_turns("measure without --nights. ");
    say(
        page.says("(nights may differ as much)"),
        &format!(
            "If nights may differ as much: {first}From seven nights of history on, the gate knows the spread between nights; until then \
             --night-sd states it."
        ),
    )?;
    let first = in_turns("a night without --nights shows whether the program is the cause. ");
    say(
        night.is_in_doubt,
        &format!("If the nights before were in doubt: {first}If it is not the program: promote."),
    )?;
    say(
        page.notes("not measured tonight").next().is_some(),
        "If cells were removed from the sweep on purpose: promote.",
    )?;
    say(
        true,
        "One such night is not an alarm. Several in a row are, because nothing is judged then.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::summary;
    use super::*;

    fn advice(kind: NightKind, verdict: Verdict, page: &str) -> String {
        let mut text = String::new();
        write(&mut text, verdict, &summary(kind, page)).expect("a string");
        text
    }

    #[test]
    fn a_wrong_output_of_tonight_is_not_promoted() {
        let of = |page| advice(NightKind::Pairs, Verdict::Regression, page);
        let tonight = of("# x\nWRONG: tonight: batch 8\n");
        assert!(tonight.contains("Do not promote") && !tonight.contains("--promote"));
        let baseline = of("# x\nWRONG: baseline: batch 8\n");
        assert!(baseline.contains("Only the baseline") && baseline.contains("--promote"));
        let other = of("# x\nWRONG: batch 8 differs\n");
        assert!(other.contains("Each side agrees with itself"));
        let both = of("# x\nWRONG: tonight: a\nWRONG: baseline: a\n");
        assert!(both.contains("the fault is not new"));
    }

    #[test]
    fn a_limit_that_is_not_decided_needs_more_rounds() {
        let page = "# x\n\n| job | limit | verdict |\n| --- | --- | --- |\n| a | ≤ 2.00 s | inconclusive |\n";
        let text = advice(NightKind::Requests, Verdict::Inconclusive, page);
        assert!(text.contains("more rounds of a server"), "{text}");
        let pass = page.replace("inconclusive", "pass");
        let text = advice(NightKind::Requests, Verdict::Inconclusive, &pass);
        assert!(!text.contains("more rounds of a server"), "{text}");
    }

    #[test]
    fn doubts_have_the_remedy_of_their_kind() {
        let page = "# x\n(nights may differ as much) would need 9 more\nnot measured tonight: a\n";
        let of = |kind| advice(kind, Verdict::Inconclusive, page);
        let cells = of(NightKind::Cells);
        assert!(cells.contains("measure without --nights. From seven nights"));
        assert!(cells.contains("raise --replicates") && cells.contains("on purpose: promote"));
        let requests = of(NightKind::Requests);
        assert!(!requests.contains("without --nights"), "{requests}");
        assert!(of(NightKind::Pairs).contains("(--budget)"));
    }
}
