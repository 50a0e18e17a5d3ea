//! A run on one picture: its models and machine, the first answer, and its fastest cells or jobs.

use super::caption::{self, program};
use super::cells::{self, Detail};
use super::notes::{Notes, is_row};
use super::table::Table;
use super::view::RunView;
use super::{lab, quality, requests, title};
use crate::analysis::Sure;
use crate::plot::card::Card;
use crate::text::short;

/// More rows than these do not fit.
const MOST_ROWS: usize = 8;

/// What stands on the picture of a run.
pub fn of(view: &RunView, lab: &lab::Lab) -> Card {
    let answer = lab.lead.first();
    let claim = answer.map_or_else(String::new, |finding| match finding.sure {
        Sure::Likely => format!("{} ({})", finding.claim, finding.sure),
        Sure::Shown | Sure::Undetermined => finding.claim.clone(),
    });
    Card {
        title: title::of(view),
        about: vec![caption::machine(view), engine(view)],
        claim,
        columns: table(view).card_columns(),
        foot: foot(view),
    }
}

/// The engine's build, as far as it is known.
fn engine(view: &RunView) -> String {
    let (engine, program_info) = (&view.header.engine, &view.header.program);
    let build = program_info.llama_cpp_build.map(|n| format!("b{n}"));
    let commit = program_info.llama_cpp_commit.clone();
    let build: Vec<String> = build.into_iter().chain(commit).collect();
    let version = match build.is_empty() || engine.name != "llama.cpp" {
        true => engine.version.clone(),
        false => format!("{} ({})", build.join(" "), engine.version),
    };
    format!(
        "{} {}; {}",
        short(&engine.name),
        short(&version),
        program(view)
    )
}

/// What the figures are; then what makes them deserve less trust.
fn foot(view: &RunView) -> Vec<String> {
    let day = view.header.started_at.get(..10).unwrap_or_default();
    let settings = caption::lines(view);
    let line = |wanted: &str| {
        let found = settings.iter().find(|(label, _)| *label == wanted);
        found.map(|(_, text)| text.clone())
    };
    let what = match (line("cells"), line("requests"), line("text")) {
        (Some(cells), ..) => format!("t/s of all sequences of the batch; {cells}"),
        (None, Some(requests), _) => format!("Medians of whole answers; {requests}"),
        (None, None, text) => text.unwrap_or_default(),
    };
    let measured = format!(
        "Measured on {} with ggufbench; ±95%: interval over processes",
        short(day)
    );
    let first = match what.is_empty() {
        true => vec![measured],
        false => vec![what, measured],
    };
    first.into_iter().chain(line("busy")).collect()
}

/// The cells of the most tokens/s, the fastest first, or else the jobs, or else the scored files.
fn table(view: &RunView) -> Table {
    let rates = |c: &crate::view::CellView| c.decode_tokens_per_s().unwrap_or(0.0);
    let mut shown = view.clone();
    shown.cells.retain(is_row);
    keep_most(&mut shown.cells, rates);
    if !shown.cells.is_empty() {
        return cells::table(&shown, &Notes::of(&shown), Detail::Narrow);
    }
    if let Some(mut of) = shown.requests.take() {
        of.jobs.retain(|j| j.is_measured());
        keep_most(&mut of.jobs, |j| {
            j.tokens_per_s.map_or(0.0, |rate| rate.value)
        });
        return requests::job_table(&of);
    }
    match shown.quality.take() {
        Some(mut of) => {
            of.cells.truncate(MOST_ROWS);
            quality::table(&shown, &of, &quality::CellNotes::of(&of))
        }
        None => Table::default(),
    }
}

/// The items of the most, the most first: a picture has no room for the last ones where its answer is long.
fn keep_most<T>(items: &mut Vec<T>, of: impl Fn(&T) -> f64) {
    items.sort_by(|a, b| of(b).total_cmp(&of(a)));
    items.truncate(MOST_ROWS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::theory::Theory;
    use crate::plot::{card, placed};
    use crate::report::fixture;

    fn of_view(view: &RunView) -> Card {
        of(
            view,
            &lab::Lab::of(view, &Theory::of(view, &|_| None), None),
        )
    }

    #[test]
    fn cards_of_every_kind_of_run_hold_together() {
        let runs = [
            ("cells", fixture::mixed(), 4),
            ("requests", fixture::requests::both(), MOST_ROWS),
            ("quality", fixture::quality::alone(), 4),
            (
                "hostile",
                fixture::requests::hostile("<script>\u{202e}\n"),
                MOST_ROWS,
            ),
        ];
        for (kind, view, most) in runs {
            let card = of_view(&view);
            let n_rows = card.columns.iter().map(|c| c.texts.len()).max();
            assert!(
                n_rows.is_some_and(|n| n > 0 && n <= most),
                "{kind}: {n_rows:?}"
            );
            let picture = card::svg(&card);
            assert_eq!(placed::faults(&picture), [""; 0], "{kind}");
            assert!(
                !picture.contains("<script") && !picture.contains('\u{202e}'),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_card_has_the_models_the_machine_the_engine_and_the_answer() {
        let card = of_view(&fixture::mixed());
        assert_eq!(card.title, "smollm2-135m in q4_0, f16 on AMD EPYC 9655");
        assert!(
            card.about[0].starts_with("AMD EPYC 9655, 2 of 4 hardware threads"),
            "{card:?}"
        );
        assert!(card.about[1].starts_with("llama.cpp "), "{card:?}");
        assert!(card.claim.contains("tokens/s"), "{card:?}");
        assert!(card.columns.iter().all(|c| c.heads[0] != "see"));
        assert_eq!(card.foot.len(), 2);
    }

    #[test]
    fn the_fastest_come_first() {
        let mut rates: Vec<f64> = (0..20).map(|n| f64::from(n * 7 % 20)).collect();
        keep_most(&mut rates, |rate| *rate);
        assert_eq!(rates, [19.0, 18.0, 17.0, 16.0, 15.0, 14.0, 13.0, 12.0]);
    }
}
