//! Pictures, whole, and what they must not do.

use insta::assert_snapshot;

use super::*;
use crate::view::RunView;
use crate::view::fixture;

fn every_figure(view: &RunView) -> Vec<Figure> {
    [
        batch::throughput(view, &[]),
        batch::latency(view),
        batch::tradeoff(view),
        batch::per_sequence(view),
        batch::ttft(view),
        latency::histogram(view),
        latency::cumulative(view),
        latency::along_generation(view),
        resources::memory(view),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn pictures_of_a_mixed_run() {
    let view = fixture::mixed();
    let throughput = batch::throughput(&view, &[]).expect("three batches");
    assert_snapshot!("throughput_in_a_page", svg(&throughput, Medium::Inline));
    assert_snapshot!("throughput_in_a_file", svg(&throughput, Medium::File));
}

#[test]
fn a_figure_without_data_is_none() {
    let view = fixture::mixed();
    assert_eq!(length::threads(&view), None);
    assert_eq!(length::prompt(&view), None);
    assert_eq!(every_figure(&view).len(), 9);
}

#[test]
fn every_picture_is_valid_and_has_a_bitmap() {
    for figure in every_figure(&fixture::mixed()) {
        let bytes = png(&figure).expect("an image");
        assert!(
            bytes.starts_with(b"\x89PNG") && bytes.len() > 5_000,
            "{}",
            figure.id
        );
    }
}

#[test]
fn absurd_values_draw_something_all_the_same() {
    let values = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300];
    for mark in [Mark::Line, Mark::Bars, Mark::Stairs, Mark::Dashed] {
        for axis in [FigureAxis::linear("x, <&>\""), FigureAxis::log("x")] {
            let points = values.iter().map(|v| PlotPoint {
                bar: Some((*v, 1.0)),
                until: Some(*v),
                label: Some("<b>".to_owned()),
                ..PlotPoint::at(*v, *v).saying("\"<script>")
            });
            let figure = Figure {
                id: "absurd",
                title: "<script>alert(1)</script>".to_owned(),
                caption: String::new(),
                x: axis.clone(),
                y: axis,
                series: vec![Series {
                    name: "a\"'<&>".repeat(2000),
                    mark,
                    look: 7,
                    points: points.collect(),
                }],
                limits: None,
            };
            assert!(!svg(&figure, Medium::Inline).contains("<script"));
            png(&figure).expect("an image");
        }
    }
}
