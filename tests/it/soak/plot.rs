//! A run as a picture: one panel for each kind of series.

use std::fmt::Write;

use super::sample::{Samples, Series};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 70.0;
const COLOURS: [&str; 9] = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000",
    "#994f00",
];
/// The end of a series' name, a title, and what a unit is.
const PANELS: [(&str, &str, f64); 4] = [
    ("memory", "resident memory, MiB", 1024.0 * 1024.0),
    ("descriptors", "open descriptors", 1.0),
    ("tasks", "tasks", 1.0),
    ("_ms", "latency of HTTP, ms", 1.0),
];

pub fn svg(samples: &Samples) -> String {
    let height = HEIGHT * PANELS.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (n, (ending, title, unit)) in PANELS.into_iter().enumerate() {
        let chosen: Vec<&Series> = samples
            .series()
            .iter()
            .filter(|s| s.name.ends_with(ending))
            .collect();
        panel(&mut text, HEIGHT * n as f64, title, unit, &chosen);
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, top: f64, title: &str, unit: f64, chosen: &[&Series]) {
    let points = || chosen.iter().flat_map(|series| &series.points);
    let longest = points().map(|p| p.0).fold(1.0, f64::max);
    let highest = points().map(|p| p.1 / unit).fold(1.0, f64::max) * 1.1;
    let (bottom, room) = (top + HEIGHT - 25.0, HEIGHT - 50.0);
    let x = |seconds: f64| LEFT + seconds / longest * (WIDTH - LEFT - 190.0);
    let y = |value: f64| bottom - value / highest * room;
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>",
        top + 15.0
    );
    for part in [0.0, 0.5, 1.0] {
        let value = highest * part;
        let at = y(value);
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            x(longest),
            LEFT - 6.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{longest:.0} s</text>",
        x(longest),
        bottom + 14.0
    );
    for (n, series) in chosen.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let line: Vec<String> = series
            .points
            .iter()
            .map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1 / unit)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>\
             <text x=\"{}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>",
            line.join(" "),
            WIDTH - 180.0,
            top + 25.0 + 14.0 * n as f64,
            series.name
        );
    }
}
