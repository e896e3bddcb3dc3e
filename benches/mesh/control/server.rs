//! The controller's process: its own code with a synthetic cluster, which changes as standard
//! input says. A line `FIRST TIMES PAUSE` moves endpoints so many times, those of the service
//! FIRST where that is 0, else of all services from FIRST on in turn, with PAUSE microseconds after
//! each. The answer says how often endpoints have moved, when the last time was, and what CPU time
//! it took.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context;
use outrigger::controller::{self, Store};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use super::world::World;

#[derive(clap::Args)]
pub struct Args {
    registry: PathBuf,
    ca_dir: PathBuf,
    listen: SocketAddr,
    services: usize,
    /// For each service.
    pods: usize,
    /// How often endpoints have moved before.
    generation: u32,
}

/// Nanoseconds of a clock. The monotonic one is the same in all processes.
pub fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut options =
        controller::Options::new(args.registry.clone(), args.listen, args.ca_dir.clone());
    // The file stays as it is: what would be measured is the reading of it.
    options.poll = Duration::from_secs(3600);
    runtime.block_on(async {
        let controller = controller::Controller::bind(options).await?;
        let store = controller.store();
        let world = World::new(args.services, args.pods, args.generation)?;
        let mut moves = Moves {
            store,
            world,
            services: args.services,
            generation: args.generation,
        };
        moves.put_in_force();
        say("ready")?;
        let ended = async {
            let ended = moves.follow(lines()).await;
            ended.context("standard input")
        };
        let mut result = Ok(());
        controller.run(async { result = ended.await }).await;
        result
    })
}

/// Lines of standard input, read on a thread of their own.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn say(words: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{words}")?;
    out.flush()
}

struct Moves {
    store: Arc<Store>,
    world: World,
    services: usize,
    generation: u32,
}

impl Moves {
    /// Until standard input ends.
    async fn follow(&mut self, mut lines: mpsc::UnboundedReceiver<String>) -> anyhow::Result<()> {
        while let Some(line) = lines.recv().await {
            let words: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
            let [first, times, pause] = words?[..] else {
                anyhow::bail!("{line:?} is not FIRST TIMES PAUSE");
            };
            let before = nanoseconds(ClockId::ProcessCPUTime);
            let mut at = 0;
            for nth in 0..times {
                at = self.move_one(first as usize, nth as usize);
                match pause {
                    0 => tokio::task::yield_now().await,
                    pause => tokio::time::sleep(Duration::from_micros(pause)).await,
                }
            }
            let cpu = nanoseconds(ClockId::ProcessCPUTime) - before;
            say(&format!("{} {at} {cpu}", self.generation))?;
        }
        Ok(())
    }

    /// Returns when.
    fn move_one(&mut self, first: usize, nth: usize) -> u64 {
        let service = match first {
            0 => 0,
            first => first + nth % (self.services - first),
        };
        self.generation += 1;
        let at = nanoseconds(ClockId::Monotonic);
        self.world.move_endpoint(service, self.generation);
        self.put_in_force();
        at
    }

    fn put_in_force(&mut self) {
        let update = self.world.flush();
        self.store.apply_hosts(update.hosts);
        self.store.apply(update.resources);
    }
}
