//! The controller is killed and started anew, and all its proxies come back at once.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow};

use super::{controller::Controller, fleet::Fleet};
use crate::{
    client::{self, Target},
    process::Process,
    setup::{Traffic, eventually},
};

/// Between two requests that must not be lost.
const PACE: Duration = Duration::from_millis(5);

pub struct Seen {
    /// From when the new controller listened until every proxy had the change it came with.
    pub served: Duration,
    /// What it took of the new controller, CPU time and memory in bytes.
    pub cpu: Duration,
    pub most_resident: u64,
    /// Requests through the mesh meanwhile, and how many of them failed.
    pub requests: u64,
    pub lost: u64,
}

pub fn measure(controller: &mut Controller, fleet: &Fleet) -> anyhow::Result<Seen> {
    let target = Target {
        addr: controller.mesh.entry,
        traffic: Traffic::Http1,
        body: 1024,
    };
    let proxies = controller.proxies()?;
    eventually(|| client::once(target)).with_context(|| controller.place.logs())?;
    let stop = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let requests = scope.spawn(|| ask(target, &stop));
        let stormed = restart(controller, fleet);
        stop.store(true, Relaxed);
        let (requests, lost) = requests.join().map_err(|_| anyhow!("a client panicked"))?;
        let (served, new) = stormed?;
        Ok(Seen {
            served,
            cpu: new.cpu()?,
            most_resident: new.most_resident()?,
            requests,
            lost,
        })
    });
    drop(proxies);
    seen
}

fn restart<'a>(
    controller: &'a mut Controller,
    fleet: &Fleet,
) -> anyhow::Result<(Duration, &'a Process)> {
    let ready = controller.restart()?;
    fleet.all_know(controller.generation())?;
    Ok((ready.elapsed(), &controller.process))
}

/// Requests on new connections until it is told to stop: how many, and how many were lost.
fn ask(target: Target, stop: &AtomicBool) -> (u64, u64) {
    let (mut requests, mut lost) = (0, 0);
    while !stop.load(Relaxed) {
        requests += 1;
        if let Err(error) = client::once(target) {
            eprintln!("  lost: {error:#}");
            lost += 1;
        }
        thread::sleep(PACE);
    }
    (requests, lost)
}
