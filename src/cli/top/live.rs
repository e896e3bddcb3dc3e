//! The live view: two scrapes after another make one picture, until a key ends it.

use std::{thread, time::Duration};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use tokio::sync::mpsc;

use super::{Cluster, Progress, Scope, Top, rates, scrape, view};
use crate::{failure, telemetry::Direction};

/// # Errors
/// When the first look fails, or the terminal does.
pub async fn watch(
    cluster: &Cluster,
    scope: &Scope,
    direction: Direction,
    interval: Duration,
) -> anyhow::Result<()> {
    let progress = Progress::new();
    let first = scrape::scrape(cluster, scope, &progress).await?;
    drop(progress);
    let mut terminal = ratatui::try_init().context("cannot take over the terminal")?;
    let watched = run(&mut terminal, cluster, scope, direction, interval, first).await;
    ratatui::restore();
    watched
}

async fn run(
    terminal: &mut ratatui::DefaultTerminal,
    cluster: &Cluster,
    scope: &Scope,
    mut direction: Direction,
    interval: Duration,
    mut before: scrape::Scrape,
) -> anyhow::Result<()> {
    let mut keys = keys();
    let mut after = scrape::Scrape::default();
    let mut note = String::from("counting…");
    let place = scope.to_string();
    loop {
        let top = Top {
            direction: direction.as_str(),
            seconds: interval.as_secs_f64(),
            workloads: rates::between(&before.pages, &after.pages, direction),
            silent: after.silent.clone(),
        };
        terminal.draw(|frame| view::draw(frame, &top, &place, &note))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some('d') => direction = other(direction),
                Some(_) => {}
                None => return Ok(()),
            },
            looked = look(cluster, scope, interval) => match looked {
                Ok(new) => {
                    if !after.pages.is_empty() {
                        before = after;
                    }
                    after = new;
                    note.clear();
                }
                // The cluster may answer again: what was seen last stays on the screen.
                Err(error) => note = failure::in_full(&error),
            },
        }
    }
}

async fn look(
    cluster: &Cluster,
    scope: &Scope,
    interval: Duration,
) -> anyhow::Result<scrape::Scrape> {
    tokio::time::sleep(interval).await;
    scrape::scrape(cluster, scope, &Progress::hidden()).await
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Inbound => Direction::Outbound,
        Direction::Outbound => Direction::Inbound,
    }
}

/// The keys as they are pressed, until one that ends the view.
fn keys() -> mpsc::UnboundedReceiver<char> {
    let (pressed, keys) = mpsc::unbounded_channel();
    thread::spawn(move || {
        // A terminal that is gone ends the view as the key does.
        while let Ok(event) = event::read() {
            let Event::Key(key) = event else { continue };
            let interrupt =
                key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            match key.code {
                KeyCode::Esc | KeyCode::Char('q') => return,
                _ if interrupt => return,
                KeyCode::Char(key) if pressed.send(key).is_err() => return,
                _ => {}
            }
        }
    });
    keys
}
