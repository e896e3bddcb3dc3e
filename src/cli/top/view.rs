//! Rows as a table, once or on a screen. Nothing here decides anything.

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize as _},
    text::Line,
    widgets::{Cell, Row as ScreenRow, Table as ScreenTable},
};

use super::{Top, rates::Row};
use crate::cli::cluster::Table;

const HEADINGS: [&str; 9] = [
    "WORKLOAD",
    "CALLS",
    "PODS",
    "RPS",
    "SUCCESS",
    "P50",
    "P95",
    "P99",
    "IN FLIGHT",
];

fn cells(row: &Row) -> [String; 9] {
    [
        row.workload.clone(),
        row.service.clone().unwrap_or_else(|| "-".to_owned()),
        row.pods.to_string(),
        format!("{:.1}", row.rate),
        row.success
            .map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0)),
        millis(row.p50),
        millis(row.p95),
        millis(row.p99),
        format!("{:.0}", row.in_flight),
    ]
}

fn millis(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "> 30 s".to_owned(),
        Some(seconds) if seconds >= 1.0 => format!("{seconds:.2} s"),
        Some(seconds) => format!("{:.1} ms", seconds * 1_000.0),
    }
}

pub fn table(top: &Top) -> String {
    let mut table = Table::new(&HEADINGS);
    top.workloads.iter().for_each(|row| table.row(cells(row)));
    let silent: String = top.silent.iter().map(|one| format!("{one}\n")).collect();
    match (table.is_empty(), silent.is_empty()) {
        (true, true) => "No pod here has a proxy.\n".to_owned(),
        (true, false) => silent,
        (false, _) => format!("{table}{silent}"),
    }
}

/// `note` is what is being done, or what went wrong with it.
pub fn draw(frame: &mut Frame<'_>, top: &Top, scope: &str, note: &str) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(1),
    ]);
    let [head, body, foot] = areas.areas(frame.area());
    let what = format!(
        "  {} in {scope}, {} workloads",
        top.direction,
        top.workloads.len()
    );
    frame.render_widget(
        Line::from(vec![" outrigger top ".bold().reversed(), what.into()]),
        head,
    );
    let rows = top.workloads.iter().map(|row| {
        let style = match row.success {
            Some(share) if share < 0.95 => Style::new().fg(Color::Red),
            Some(share) if share < 0.999 => Style::new().fg(Color::Yellow),
            Some(_) => Style::new(),
            None => Style::new().dim(),
        };
        ScreenRow::new(cells(row).map(Cell::from)).style(style)
    });
    let widths = [24, 18, 4, 8, 9, 9, 9, 9, 9].map(Constraint::Min);
    let header = ScreenRow::new(HEADINGS).bold();
    frame.render_widget(ScreenTable::new(rows, widths).header(header), body);
    let silent = match top.silent.len() {
        0 => String::new(),
        n => format!("   {n} pods not asked"),
    };
    frame.render_widget(format!(" d direction   q quit{silent}   {note}"), foot);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn top() -> Top {
        let row = |workload: &str, rate, success| Row {
            workload: workload.into(),
            pods: 2,
            rate,
            success,
            p50: success.map(|_| 0.0012),
            p95: success.map(|_| 1.5),
            p99: success.map(|_| f64::INFINITY),
            in_flight: 3.0,
            ..Row::default()
        };
        Top {
            direction: "inbound",
            seconds: 2.0,
            workloads: vec![
                row("shop/deploy/cart", 120.25, Some(0.9312)),
                row("shop/deploy/idle", 0.0, None),
            ],
            silent: vec!["shop/web-1: no answer within 10 s".into()],
        }
    }

    #[test]
    fn shows_a_table() {
        insta::assert_snapshot!(table(&top()), @r#"
        WORKLOAD           CALLS   PODS   RPS     SUCCESS   P50      P95      P99      IN FLIGHT
        shop/deploy/cart   -       2      120.2   93.12 %   1.2 ms   1.50 s   > 30 s   3
        shop/deploy/idle   -       2      0.0     -         -        -        -        3
        shop/web-1: no answer within 10 s
        "#);
        let none = Top {
            workloads: Vec::new(),
            silent: Vec::new(),
            ..top()
        };
        assert_eq!(table(&none), "No pod here has a proxy.\n");
    }

    #[test]
    fn shows_a_screen() {
        let mut terminal = Terminal::new(TestBackend::new(112, 6)).unwrap();
        let draw = |frame: &mut Frame<'_>| draw(frame, &top(), "namespace shop", "");
        terminal.draw(draw).unwrap();
        insta::assert_snapshot!(terminal.backend(), @r#"
        " outrigger top   inbound in namespace shop, 2 workloads                                                         "
        "WORKLOAD                 CALLS              PODS      RPS      SUCCESS   P50       P95       P99       IN FLIGHT"
        "shop/deploy/cart         -                  2         120.2    93.12 %   1.2 ms    1.50 s    > 30 s    3        "
        "shop/deploy/idle         -                  2         0.0      -         -         -         -         3        "
        "                                                                                                                "
        " d direction   q quit   1 pods not asked                                                                        "
        "#);
    }
}
