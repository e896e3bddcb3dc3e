//! Drawing the model. Nothing here decides anything.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Paragraph, Row as TableRow, Table},
};

use super::{
    model::{Model, Row},
    switch::{Switch, Switches},
};
use crate::cli::demo::{otlp::SpanRecord, plan::Service};

/// For a terminal of 80 columns or more. `shells` is the file that tells how to look into a pod.
pub fn draw(frame: &mut Frame<'_>, model: &Model, switches: &Switches, shells: &str) {
    let pods = u16::try_from(model.rows.len()).unwrap_or(u16::MAX);
    let areas: [Rect; 4] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(pods.saturating_add(3)),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(topology(), areas[0]);
    frame.render_widget(pods_table(&model.rows, shells), areas[1]);
    frame.render_widget(waterfall(&model.trace, areas[2].width), areas[2]);
    frame.render_widget(keys(switches), areas[3]);
}

fn topology() -> Line<'static> {
    let service = |service: Service| format!("{} ×{}", service.name(), service.replicas());
    Line::from(vec![
        " outrigger ".bold().reversed(),
        format!(
            "  visitor → {} → {} → {} ← {}",
            service(Service::Web),
            service(Service::Orders),
            service(Service::Stock),
            service(Service::Batch)
        )
        .into(),
    ])
}

fn pods_table<'a>(rows: &'a [Row], shells: &str) -> Table<'a> {
    let titles = [
        "pod",
        "address",
        "req/s",
        "5xx/s",
        "by mesh/s",
        "breaker",
        "out",
        "in flight",
        "away/s",
    ];
    let widths = [9, 11, 5, 5, 9, 9, 3, 9, 6].map(Constraint::Length);
    let block = Block::bordered().title(" pods ");
    let block = block.title_bottom(Line::from(format!(" shells: {shells} ")).dim());
    Table::new(rows.iter().map(pod_row), widths)
        .header(TableRow::new(titles).style(Style::new().bold()))
        .block(block)
}

fn pod_row(row: &Row) -> TableRow<'_> {
    let alarm = |number: f64| match number {
        number if number > 0.05 => format!("{number:.1}").fg(Color::Red),
        _ => Span::from("·"),
    };
    let breaker = match row.breaker {
        "open" => "open".fg(Color::Red).bold(),
        "half-open" => "half-open".fg(Color::Yellow),
        other => Span::from(other),
    };
    TableRow::new([
        Span::from(row.pod.as_str()),
        Span::from(row.address.as_str()),
        Span::from(format!("{:.1}", row.requests)),
        alarm(row.errors),
        alarm(row.refused),
        breaker,
        Span::from(if row.endpoints_out > 0.0 {
            format!("{}", row.endpoints_out)
        } else {
            String::new()
        }),
        Span::from(match row.limit {
            // Nothing has come in yet.
            0.0 => String::new(),
            limit => format!("{}/{limit}", row.in_flight),
        }),
        alarm(row.turned_away),
    ])
}

/// Begins with the span's service, then a bar from its begin to its end.
fn waterfall(trace: &[SpanRecord], width: u16) -> Paragraph<'_> {
    const LABEL: usize = 10;
    const TIME: usize = 11;
    let start = trace.iter().map(|span| span.start).min().unwrap_or(0);
    let end = trace.iter().map(|span| span.end).max().unwrap_or(0);
    let whole = (end - start).max(1) as f64;
    let room = usize::from(width).saturating_sub(LABEL + TIME + 4) as f64;
    let column = |at: u64| ((at - start) as f64 / whole * room) as usize;
    let lines: Vec<Line<'_>> = trace
        .iter()
        .map(|span| {
            let (from, to) = (column(span.start), column(span.end));
            let millis = (span.end - span.start) as f64 / 1e6;
            Line::from(vec![
                format!("{:LABEL$}", span.service).into(),
                " ".repeat(from).into(),
                "█".repeat((to - from).max(1)).fg(colour(&span.service)),
                format!(" {millis:.1} ms").into(),
            ])
        })
        .collect();
    let id = trace.first().map_or("none yet", |span| span.trace.as_str());
    Paragraph::new(lines).block(Block::bordered().title(format!(" last trace: {id} ")))
}

fn colour(service: &str) -> Color {
    match service {
        "web" => Color::Cyan,
        "orders" => Color::Green,
        _ => Color::Magenta,
    }
}

fn keys(switches: &Switches) -> Line<'static> {
    let mut spans = Vec::new();
    for switch in Switch::ALL {
        let text = format!(" {} {} ", switch.key(), switch.label());
        spans.push(if switches.is_on(switch) {
            text.reversed()
        } else {
            text.into()
        });
    }
    spans.push(" q quit".dim());
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn span(service: &str, start: u64, end: u64) -> SpanRecord {
        SpanRecord {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            id: Vec::new(),
            parent: Vec::new(),
            service: service.to_owned(),
            name: String::new(),
            start: start * 1_000_000,
            end: end * 1_000_000,
        }
    }

    #[test]
    fn shows_pods_breakers_and_the_last_trace() {
        let row = |pod: &str, breaker, requests| Row {
            pod: pod.to_owned(),
            address: "198.18.1.1".to_owned(),
            requests,
            breaker,
            in_flight: 3.0,
            limit: 256.0,
            ..Row::default()
        };
        let orders = Row {
            errors: 2.5,
            endpoints_out: 1.0,
            ..row("orders-1", "open", 6.7)
        };
        let rows = vec![row("web-1", "closed", 10.0), orders];
        let trace = vec![
            span("web", 0, 20),
            span("orders", 5, 15),
            span("stock", 10, 12),
        ];
        let model = Model::showing(rows, trace, Instant::now());
        let mut terminal = Terminal::new(TestBackend::new(80, 14)).unwrap();
        terminal
            .draw(|frame| {
                draw(
                    frame,
                    &model,
                    &Switches::default(),
                    "/tmp/outrigger-demo-4711/shells",
                )
            })
            .unwrap();
        insta::assert_snapshot!(terminal.backend(), @r#"
        " outrigger   visitor → web ×2 → orders ×3 → stock ×3 ← batch ×1                 "
        "┌ pods ────────────────────────────────────────────────────────────────────────┐"
        "│pod       address     req/s 5xx/s by mesh/s breaker   out in flight away/s    │"
        "│web-1     198.18.1.1  10.0  ·     ·         closed        3/256     ·         │"
        "│orders-1  198.18.1.1  6.7   2.5   ·         open      1   3/256     ·         │"
        "└ shells: /tmp/outrigger-demo-4711/shells ─────────────────────────────────────┘"
        "┌ last trace: 4bf92f3577b34da6a3ce929d0e0e4736 ────────────────────────────────┐"
        "│web       ███████████████████████████████████████████████████████ 20.0 ms     │"
        "│orders                 ████████████████████████████ 10.0 ms                   │"
        "│stock                                ██████ 2.0 ms                            │"
        "│                                                                              │"
        "│                                                                              │"
        "└──────────────────────────────────────────────────────────────────────────────┘"
        " f stock fails  s stock is slow  n noisy batch  b bulkhead per caller  q quit   "
        "#);
    }
}
