//! Where the texts of a picture are, measured in the letters of the built-in font: none may be cut off or touch another.

use resvg::usvg::{Group, Node, Rect};

use super::png::tree;

/// A text of a picture and the room that its letters take.
#[derive(Debug)]
struct PlacedText {
    text: String,
    room: Rect,
}

/// What is wrong with the texts of a picture, a sentence each.
pub(crate) fn faults(svg: &str) -> Vec<String> {
    let tree = tree(svg).expect("is valid SVG");
    let mut texts = Vec::new();
    gather(tree.root(), &mut texts);
    let (width, height) = (tree.size().width(), tree.size().height());
    let mut faults = Vec::new();
    for (at, one) in texts.iter().enumerate() {
        let r = one.room;
        if r.left() < 0.0 || r.top() < 0.0 || r.right() > width || r.bottom() > height {
            faults.push(format!(
                "'{}' is cut off: {r:?} of {width} x {height}",
                one.text
            ));
        }
        for other in &texts[at + 1..] {
            if touch(r, other.room) {
                faults.push(format!("'{}' and '{}' touch: {r:?}", one.text, other.text));
            }
        }
    }
    faults
}

/// Number of texts in a picture.
pub(crate) fn n_texts(svg: &str) -> usize {
    let tree = tree(svg).expect("is valid SVG");
    let mut texts = Vec::new();
    gather(tree.root(), &mut texts);
    texts.len()
}

fn gather(group: &Group, into: &mut Vec<PlacedText>) {
    for node in group.children() {
        match node {
            Node::Group(inner) => gather(inner, into),
            Node::Text(text) => into.push(PlacedText {
                text: text.chunks().iter().map(|c| c.text()).collect(),
                room: text.flattened().abs_bounding_box(),
            }),
            Node::Path(_) | Node::Image(_) => {}
        }
    }
}

fn touch(a: Rect, b: Rect) -> bool {
    // Letters beside each other would be read as one word.
    const GAP: f32 = 1.5;
    a.left() < b.right() + GAP
        && b.left() < a.right() + GAP
        && a.top() < b.bottom()
        && b.top() < a.bottom()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Figure, FigureAxis, MOST_SERIES, Mark, Medium, PlotPoint, Series, svg};
    use super::*;

    fn picture(texts: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 100 50\" width=\"100\" height=\"50\">{texts}</svg>"
        )
    }

    #[test]
    fn a_text_that_is_cut_or_touches_another_is_found() {
        let text =
            |x: i32, y: i32| format!("<text x=\"{x}\" y=\"{y}\" font-size=\"13\">word</text>");
        let found = |texts: &[String]| faults(&picture(&texts.concat()));
        assert_eq!(found(&[text(2, 20), text(2, 40), text(50, 20)]), [""; 0]);
        assert_eq!(n_texts(&picture(&text(2, 20))), 1);
        for cut in [text(-3, 20), text(80, 20), text(2, 5), text(2, 51)] {
            let found = found(&[cut]);
            assert!(
                found.len() == 1 && found[0].contains("is cut off"),
                "{found:?}"
            );
        }
        let found = found(&[text(2, 20), text(20, 24)]);
        assert!(found.len() == 1 && found[0].contains("touch"), "{found:?}");
    }

    #[test]
    fn labels_stay_apart_where_the_last_one_makes_the_axis_shorter() {
        let xs = [1.0, 3_196_708.619_194_982_6, 5_301_995.792_741_979_5];
        let points = xs.map(|x| PlotPoint::at(x, 1.0)).to_vec();
        let axes = (
            FigureAxis::linear("step, ms".to_owned()).at(xs),
            FigureAxis::date("step, ms".to_owned()),
        );
        let series = vec![Series::new("a".to_owned(), Mark::Line, 0, points)];
        let figure = Figure::of("throughput", "A", String::new(), axes, series).expect("measured");
        assert_eq!(faults(&svg(&figure, Medium::File)), [""; 0]);
    }

    fn axis() -> impl Strategy<Value = FigureAxis> {
        let title = prop_oneof![Just("step, ms".to_owned()), "[A-Z][A-Z %@]{0,89}"];
        (title, 0..3).prop_map(|(title, kind)| match kind {
            0 => FigureAxis::linear(title),
            1 => FigureAxis::log(title),
            _ => FigureAxis::date(title),
        })
    }

    fn point() -> impl Strategy<Value = PlotPoint> {
        let label = proptest::option::of("[a-z0-9]{1,30}");
        (-6.0..7.0_f64, -9.0..12.0_f64, 0.0..3.0_f64, label).prop_map(|(x, y, bar, label)| {
            let (x, y) = (10_f64.powf(x), 10_f64.powf(y));
            PlotPoint {
                bar: (bar > 1.0).then(|| (y / bar, y * bar)),
                label,
                ..PlotPoint::at(x, y)
            }
        })
    }

    fn figure() -> impl Strategy<Value = Figure> {
        let series = (
            "[A-Za-z0-9%_-]{1,70}",
            proptest::collection::vec(point(), 1..12),
        );
        let series = proptest::collection::vec(series, 1..MOST_SERIES);
        (axis(), axis(), series, any::<bool>(), "[A-Z]{1,80}").prop_map(
            |(x, y, series, at_points, title)| {
                let named = series.into_iter().enumerate();
                let series =
                    named.map(|(look, (name, points))| Series::new(name, Mark::Line, look, points));
                let series: Vec<Series> = series.collect();
                let xs = series.iter().flat_map(|s| &s.points).map(|p| p.x);
                let x = match at_points {
                    true => x.at(xs),
                    false => x,
                };
                Figure::of("throughput", &title, String::new(), (x, y), series).expect("measured")
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_text_of_any_figure_is_cut_or_touches_another(figure in figure()) {
            for medium in [Medium::Inline, Medium::File] {
                let picture = svg(&figure, medium);
                prop_assert!(n_texts(&picture) >= 2, "has axes' titles");
                prop_assert_eq!(faults(&picture), Vec::<String>::new());
            }
        }
    }
}
