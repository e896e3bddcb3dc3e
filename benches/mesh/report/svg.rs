//! Two kinds of plots as SVG: bars in groups, and lines over a logarithmic axis.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const PLOT_HEIGHT: f64 = 240.0;
const BOTTOM: f64 = 72.0;
/// Told apart by the colour-blind too (after Okabe and Ito).
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#999999",
];

pub struct Series {
    pub name: String,
    /// A value for each group or position; nothing where it was not measured.
    pub values: Vec<Option<f64>>,
}

pub struct Plot<'a> {
    pub title: &'a str,
    /// What the values are.
    pub unit: &'a str,
    /// The groups of bars, or the positions on the axis.
    pub labels: Vec<String>,
    pub series: Vec<Series>,
}

impl Plot<'_> {
    /// A group of bars for each label, a bar for each series.
    pub fn bars(&self) -> String {
        let mut svg = self.frame();
        let group = self.step();
        let bar = group * 0.8 / self.series.len().max(1) as f64;
        for (nth, series) in self.series.iter().enumerate() {
            for (at, value) in series.values.iter().enumerate() {
                let Some(value) = value else { continue };
                let x = LEFT + group * (at as f64 + 0.1) + bar * nth as f64;
                let y = self.y(*value);
                let height = TOP + PLOT_HEIGHT - y;
                let colour = colour(nth);
                let name = escaped(&format!("{}: {}", series.name, short(*value)));
                put(
                    &mut svg,
                    &format!(
                        "<rect x='{x:.1}' y='{y:.1}' width='{:.1}' height='{height:.1}' \
                         fill='{colour}'><title>{name}</title></rect>",
                        bar * 0.92
                    ),
                );
                if bar >= 22.0 {
                    let middle = x + bar * 0.46;
                    put(
                        &mut svg,
                        &text(middle, y - 4.0, "middle", 10, &short(*value)),
                    );
                }
            }
        }
        svg + "</svg>\n"
    }

    /// A line for each series, the labels evenly spaced.
    pub fn lines(&self) -> String {
        let mut svg = self.frame();
        for (nth, series) in self.series.iter().enumerate() {
            let points = series.values.iter().enumerate().filter_map(|(at, value)| {
                let x = LEFT + self.step() * (at as f64 + 0.5);
                value.map(|value| (x, self.y(value), value))
            });
            let points: Vec<_> = points.collect();
            let path: String = points
                .iter()
                .map(|(x, y, _)| format!("{x:.1},{y:.1} "))
                .collect();
            let colour = colour(nth);
            put(
                &mut svg,
                &format!(
                    "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
                    path.trim_end()
                ),
            );
            for (x, y, value) in points {
                put(
                    &mut svg,
                    &format!("<circle cx='{x:.1}' cy='{y:.1}' r='3.5' fill='{colour}'/>"),
                );
                put(&mut svg, &text(x, y - 8.0, "middle", 10, &short(value)));
            }
        }
        svg + "</svg>\n"
    }

    fn step(&self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.labels.len().max(1) as f64
    }

    /// The end of the vertical axis: 1, 2 or 5 times a power of ten, or a multiple of it.
    fn top(&self) -> f64 {
        let values = self.series.iter().flat_map(|series| &series.values);
        let largest = values.flatten().fold(0.0, |a: f64, b| a.max(*b)).max(1e-9);
        let step = 10_f64.powf(largest.log10().floor()) / 2.0;
        (largest * 1.05 / step).ceil() * step
    }

    fn y(&self, value: f64) -> f64 {
        TOP + PLOT_HEIGHT * (1.0 - value / self.top())
    }

    /// Title, legend, axes and labels.
    fn frame(&self) -> String {
        let height = TOP + PLOT_HEIGHT + BOTTOM;
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
             font-family='sans-serif' fill='#222'>\n\
             <rect width='{WIDTH}' height='{height}' fill='#fff'/>\n"
        );
        let heading = format!("{} ({})", self.title, self.unit);
        put(&mut svg, &text(LEFT, 22.0, "start", 15, &heading));
        let mut x = LEFT;
        for (nth, series) in self.series.iter().enumerate() {
            let colour = colour(nth);
            put(
                &mut svg,
                &format!("<rect x='{x:.0}' y='34' width='11' height='11' fill='{colour}'/>"),
            );
            put(&mut svg, &text(x + 16.0, 44.0, "start", 12, &series.name));
            x += 34.0 + 7.0 * series.name.chars().count() as f64;
        }
        for tick in 0..=4 {
            let value = self.top() * f64::from(tick) / 4.0;
            let y = self.y(value);
            let end = WIDTH - RIGHT;
            put(
                &mut svg,
                &format!("<path d='M{LEFT} {y:.1}H{end}' stroke='#ddd' fill='none'/>"),
            );
            put(
                &mut svg,
                &text(LEFT - 6.0, y + 4.0, "end", 11, &short(value)),
            );
        }
        for (at, label) in self.labels.iter().enumerate() {
            let x = LEFT + self.step() * (at as f64 + 0.5);
            for (nth, line) in wrapped(label, self.step()).iter().enumerate() {
                let y = TOP + PLOT_HEIGHT + 16.0 + 12.0 * nth as f64;
                put(&mut svg, &text(x, y, "middle", 10, line));
            }
        }
        svg
    }
}

/// A label in lines that are as wide as there is room, and anew after each comma.
fn wrapped(label: &str, room: f64) -> Vec<String> {
    const CHARACTER: f64 = 5.6;
    let mut lines: Vec<String> = Vec::new();
    for words in label.split(", ") {
        let mut line = String::new();
        for word in words.split(' ') {
            let length = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && length as f64 * CHARACTER > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line += " ";
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}

fn colour(nth: usize) -> &'static str {
    COLOURS[nth % COLOURS.len()]
}

fn put(svg: &mut String, element: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(svg, "{element}");
}

fn text(x: f64, y: f64, anchor: &str, size: u32, words: &str) -> String {
    let words = escaped(words);
    format!("<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' font-size='{size}'>{words}</text>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        large if large >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        large if large >= 1000.0 => format!("{:.1}k", value / 1000.0),
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
