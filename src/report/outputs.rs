//! Checked outputs as a table.

use super::table::{Document, Note, Table, Tone};
use super::text::plural;
use super::view::RunView;
use crate::agreement::Agreement;
use crate::compare::output::{self, ComparedOutputs, OutputComparison, OutputKind, OutputVerdict};
use crate::units;

/// What checking a run's outputs showed, where they are right.
pub fn of_run(view: &RunView) -> Option<Note> {
    let rows: Vec<OutputComparison> = output::of_run(&view.outputs);
    let n_checked = u32::try_from(view.outputs.len()).unwrap_or(u32::MAX);
    if n_checked == 0 || rows.iter().any(|r| r.verdict == OutputVerdict::Differs) {
        return None;
    }
    let worst = rows.iter().filter_map(|r| r.kld).reduce(f64::max);
    let settings = plural(n_checked, "setting", "settings");
    let text = match worst {
        Some(worst) => format!(
            "checked in {settings}: sequences together get the logits that each gets alone, up to rounding (at most {} nats)",
            nats(worst)
        ),
        None => {
            format!("checked in {settings}; nothing is computed together with another sequence")
        }
    };
    Some(Note::new("output", text))
}

/// What is wrong with a run's outputs.
pub fn wrong_of_run(view: &RunView) -> Vec<String> {
    let rows = output::of_run(&view.outputs);
    let wrong = rows.iter().filter_map(|r| wrong_text(r, ["this run"; 2]));
    wrong.map(|text| format!("WRONG OUTPUT: {text}")).collect()
}

/// Names of the two sides.
pub type SideNames = [&'static str; 2];

/// The table of a comparison's outputs.
pub fn document(outputs: &ComparedOutputs, names: SideNames) -> Document {
    let rows = &outputs.rows;
    let number =
        |of: fn(&Agreement) -> String| move |r: &OutputComparison| r.agreement.as_ref().map(of);
    let table = Table::of(rows)
        .words("output of", move |r| what(r, names))
        .numbers("batch", |r| r.case.n_seq.to_string())
        .numbers("KLD, nats", |r| r.kld.map(nats))
        .numbers("limit", |r| nats(r.most_kld))
        .numbers("NMSE", number(|a| nats(a.nmse)))
        .rank(1)
        .numbers("limit", |r| r.most_nmse.map(nats))
        .rank(2)
        .numbers("same top", number(|a| units::percent(a.same_top_share)))
        .rank(1)
        .numbers("greedy equal", |r| {
            let n = r.agreement.as_ref()?.n_greedy_equal;
            Some(format!("{n} of {}", r.n_greedy))
        })
        .rank(1)
        .words("verdict", |r| r.verdict.in_full())
        .table();
    Document::new("Output", table)
        .all_below(wrong(outputs, names).map(|text| Note::new("WRONG", text).tone(Tone::Failure)))
        .below("", LEGEND)
}

fn what(row: &OutputComparison, [a, b]: SideNames) -> String {
    match row.kind {
        OutputKind::Sides => format!("{b} against {a}"),
        OutputKind::DecodedA => format!("{a}, decoded against as a prompt"),
        OutputKind::DecodedB => format!("{b}, decoded against as a prompt"),
        OutputKind::TogetherA => format!("{a}, together against alone"),
        OutputKind::TogetherB => format!("{b}, together against alone"),
    }
}

/// What differs by more than rounding explains, in sentences.
pub fn wrong(outputs: &ComparedOutputs, names: SideNames) -> impl Iterator<Item = String> {
    let of_row = move |row: &OutputComparison| {
        let means = match row.is_same_work {
            true => "This is a regression, whatever the speed is",
            false => {
                "The sides have other files or other types of cache, so a difference may be meant; `ggufbench quality` measures what it \
                 costs"
            }
        };
        Some(format!("{}. {means}", wrong_text(row, names)?))
    };
    outputs.rows.iter().filter_map(of_row)
}

/// What a difference means.
fn wrong_text(row: &OutputComparison, names: SideNames) -> Option<String> {
    let kld = row.kld.filter(|_| row.verdict == OutputVerdict::Differs)?;
    let nmse = row.agreement?.nmse;
    let of_nmse = row.most_nmse.map_or(0.0, |most| nmse / most);
    let (figure, times) = match kld / row.most_kld {
        of_kld if of_kld >= of_nmse => (format!("KLD {} nats", nats(kld)), of_kld),
        _ => (format!("NMSE {nmse:.1e}"), of_nmse),
    };
    let what = match row.kind {
        OutputKind::Sides => format!("{} computes other logits than {}", names[1], names[0]),
        OutputKind::DecodedA | OutputKind::DecodedB => {
            let side = names[usize::from(row.kind == OutputKind::DecodedB)];
            format!(
                "{side}: a text that is decoded does not get the logits that it gets as a prompt"
            )
        }
        OutputKind::TogetherA | OutputKind::TogetherB => {
            let side = names[usize::from(row.kind == OutputKind::TogetherB)];
            let seq = row.worst_seq.unwrap_or(0);
            format!(
                "{side}: in a batch of {}, sequence {seq} does not get the logits that it gets alone",
                row.case.n_seq
            )
        }
    };
    Some(format!(
        "{what}: {figure}, {} times what rounding explains",
        units::significant(times)
    ))
}

/// A divergence.
pub fn nats(nats: f64) -> String {
    match nats == 0.0 {
        true => "0".to_owned(),
        false => format!("{nats:.1e}"),
    }
}

/// What the columns mean.
const LEGEND: &str = "KLD: mean Kullback-Leibler divergence of the next token's distribution from the other's, for a fixed text; of \
    sequences together the worst sequence's. NMSE: squared difference of the logits over their squared size. limit: 5 times what rounding alone changes, \
    the larger of two ways: token by token against as a prompt, and with flash attention against without. greedy equal: greedy tokens after the text before the first that differs; rounding alone can turn one where two \
    tokens are almost equally likely, so it is not judged.";
