//! Plots: lines over an axis, one chart below another, as SVG.

use std::{ops::Range, path::Path};

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::*,
};

const WIDTH: u32 = 1040;
const LEGEND_WIDTH: u32 = 190;
const CHART_HEIGHT: u32 = 420;

/// Colours that people who cannot tell red from green can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// The background of parts of the x axis that are marked.
const MARKED: RGBColor = RGBColor(235, 235, 235);

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Logarithmic,
}

/// One chart.
pub struct Chart {
    pub title: String,
    pub x: (String, Scale),
    pub y: (String, Scale),
    pub lines: Vec<Line>,
}

/// A named line through points. A value that is not finite leaves a gap.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Draws charts into a file.
pub fn draw(file: &Path, charts: &[Chart]) {
    draw_marked(file, charts, &[]);
}

/// Draws charts into a file. If parts of the x axis are marked, all charts have the same axis.
pub fn draw_marked(file: &Path, charts: &[Chart], marked: &[Range<f64>]) {
    let rows = u32::try_from(charts.len()).expect("a few");
    let root = SVGBackend::new(file, (WIDTH, CHART_HEIGHT * rows)).into_drawing_area();
    root.fill(&WHITE).expect("it can be drawn");
    for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
        let (area, beside) = area.split_horizontally(WIDTH - LEGEND_WIDTH);
        name(&beside, &chart.lines);
        let of_axis = if marked.is_empty() { std::slice::from_ref(chart) } else { charts };
        let (x, y) = (
            range(of_axis, chart.x.1, |point| point.0),
            range(std::slice::from_ref(chart), chart.y.1, |point| point.1),
        );
        match (chart.x.1, chart.y.1) {
            (Scale::Linear, Scale::Linear) => draw_on(&area, chart, marked, x, y),
            (Scale::Linear, Scale::Logarithmic) => draw_on(&area, chart, marked, x, y.log_scale()),
            (Scale::Logarithmic, Scale::Linear) => draw_on(&area, chart, marked, x.log_scale(), y),
            (Scale::Logarithmic, Scale::Logarithmic) => draw_on(&area, chart, marked, x.log_scale(), y.log_scale()),
        }
    }
    root.present().expect("target can be written to");
}

/// From zero, or from the smallest value, to a little more than the largest.
fn range(charts: &[Chart], scale: Scale, of: fn(&(f64, f64)) -> f64) -> Range<f64> {
    let lines = || charts.iter().flat_map(|chart| &chart.lines);
    let values = || lines().flat_map(|line| &line.points).map(of).filter(|value| value.is_finite());
    let most = values().filter(|value| *value > 0.0).reduce(f64::max).unwrap_or(1.0);
    match scale {
        Scale::Linear => 0.0..most * 1.05,
        Scale::Logarithmic => values().filter(|value| *value > 0.0).fold(most, f64::min) / 1.5..most * 1.5,
    }
}

fn draw_on<X, Y>(
    area: &DrawingArea<SVGBackend, Shift>,
    chart: &Chart,
    marked: &[Range<f64>],
    x: impl AsRangedCoord<CoordDescType = X, Value = f64>,
    y: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
) where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut builder = ChartBuilder::on(area);
    builder.caption(&chart.title, ("sans-serif", 20)).margin(12);
    builder.x_label_area_size(48).y_label_area_size(72);
    let mut context = builder.build_cartesian_2d(x, y).expect("it can be drawn");
    let (bottom, top) = (context.y_range().start, context.y_range().end);
    let parts = marked.iter().map(|part| Rectangle::new([(part.start, bottom), (part.end, top)], MARKED.filled()));
    context.draw_series(parts).expect("it can be drawn");
    let mut mesh = context.configure_mesh();
    mesh.x_desc(&chart.x.0).y_desc(&chart.y.0).label_style(("sans-serif", 14)).axis_desc_style(("sans-serif", 15));
    mesh.x_label_formatter(&short).y_label_formatter(&short).light_line_style(TRANSPARENT);
    mesh.draw().expect("it can be drawn");
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let style = ShapeStyle::from(colour).stroke_width(2);
        for points in line.points.split(|point| !point.1.is_finite()) {
            context.draw_series(LineSeries::new(points.iter().copied(), style)).expect("it can be drawn");
            let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            context.draw_series(dots).expect("it can be drawn");
        }
    }
}

/// Draws the legend outside the chart, so that it covers no line.
fn name(area: &DrawingArea<SVGBackend, Shift>, lines: &[Line]) {
    for ((line, colour), y) in lines.iter().zip(COLOURS.iter().cycle()).zip((60..).step_by(24)) {
        let stroke = PathElement::new([(0, y), (24, y)], ShapeStyle::from(colour).stroke_width(3));
        area.draw(&stroke).expect("it can be drawn");
        let text = Text::new(line.name.clone(), (32, y - 8), ("sans-serif", 14));
        area.draw(&text).expect("it can be drawn");
    }
}

/// A figure as an axis shows it: 20k, 1.5, 0.02.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the library passes it")]
fn short(value: &f64) -> String {
    match *value {
        millions if millions >= 1e6 => format!("{}M", rounded(millions / 1e6)),
        thousands if thousands >= 1e3 => format!("{}k", rounded(thousands / 1e3)),
        small => rounded(small),
    }
}

/// With as many decimals as are useful.
fn rounded(value: f64) -> String {
    let decimals = if value >= 10.0 || value == 0.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        // Small values need more, or all labels of an axis would be 0.
        let is_seen = |decimals: &usize| format!("{value:.decimals$}").contains(|digit| ('1'..='9').contains(&digit));
        (1..=9).find(is_seen).unwrap_or(1) + 2
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
