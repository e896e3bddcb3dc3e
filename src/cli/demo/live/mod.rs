//! The demo to watch: steady traffic, switches for faults, and a view of what the mesh does.

mod model;
mod script;
mod switch;
mod view;

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use tokio::sync::mpsc;

use super::{acts::Stage, http};
use model::Model;
pub use script::Script;
use switch::Switches;

/// Between two requests of the visitor.
const VISIT_EVERY: Duration = Duration::from_millis(50);
/// Between two looks at the proxies' metrics.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Fails early, before anything is started, where the view could not be shown.
///
/// # Errors
/// When there is no terminal, or the script has a mistake.
pub fn prepare(script: Option<&Path>) -> anyhow::Result<Script> {
    ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "the live view needs a terminal: add --once to play the scripted scenario without one"
    );
    let Some(path) = script else {
        return Ok(Script::default());
    };
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the script {}", path.display()))?;
    text.parse()
        .with_context(|| format!("in the script {}", path.display()))
}

/// Shows the mesh until the person has seen enough.
///
/// # Errors
/// When the terminal, a pod or a proxy fails.
pub async fn watch(stage: &mut Stage, script: Script) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init().context("cannot take over the terminal")?;
    let _restore = Restore;
    run(stage, script, &mut terminal).await
}

/// Gives the terminal back, also where the view is ended from outside.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn run(
    stage: &mut Stage,
    mut script: Script,
    terminal: &mut ratatui::DefaultTerminal,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut keys = keys();
    let mut model = Model::new(&stage.mesh);
    let mut switches = Switches::default();
    let shells = stage.mesh.shells().display().to_string();
    let mut visit = tokio::time::interval(VISIT_EVERY);
    let mut look = tokio::time::interval(LOOK_EVERY);
    visit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = visit.tick() => {
                let stream = stage.mesh.visit()?;
                tokio::spawn(async move {
                    // What becomes of it is in the proxies' metrics.
                    let _ = http::get(stream, "/").await;
                });
            }
            _ = look.tick() => {
                while let Some((switch, on)) = script.due(started.elapsed()) {
                    switches.set(switch, on, &mut stage.mesh).await?;
                }
                model.look(&stage.mesh, &stage.collector, Instant::now()).await?;
                terminal.draw(|frame| view::draw(frame, &model, &switches, &shells))?;
            }
            key = keys.recv() => match key {
                Some(key) => if let Some(switch) = switch::by_key(key) {
                    switches.toggle(switch, &mut stage.mesh).await?;
                    terminal.draw(|frame| view::draw(frame, &model, &switches, &shells))?;
                },
                None => return switches.end(&mut stage.mesh).await,
            },
        }
    }
}

/// The keys as they are pressed, until it is the one that ends the demo.
fn keys() -> mpsc::UnboundedReceiver<char> {
    let (pressed, keys) = mpsc::unbounded_channel();
    thread::spawn(move || {
        // A terminal that is gone ends the demo as the key does.
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
