//! Everything at once for as long as it is told: mixed traffic, churn, edits of the configuration,
//! rotation of certificates. What a proxy holds must not grow. `OUTRIGGER_SOAK=1h` says for how
//! long; a few seconds where nobody says, to see that it works.

mod plot;
mod sample;
mod slope;
mod traffic;

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use outrigger::{identity::ca::CaDirectory, units::duration};

use self::{sample::Samples, slope::Trend, traffic::Traffic};
use crate::harness::{
    MIB, Mesh, apps,
    mesh::{Plan, TRUST_DOMAIN},
};

const SAMPLES: u32 = 240;
/// The authority changes this often, and certificates of two minutes are renewed about as often.
const ROTATION: Duration = Duration::from_secs(60);
const LIFETIME: &str = "2m";
/// A rise below this is noise, however regular: the allocator's granularity.
const NOISE: f64 = 3.0 * MIB as f64;
/// What does not count: pools, tables and the allocator fill up.
const WARM_UP: f64 = 0.25;

fn length() -> Duration {
    let text = env::var("OUTRIGGER_SOAK").unwrap_or_else(|_| "8s".into());
    duration::parse(&text).expect("a duration like 90s, 10m or 1h30m")
}

fn meshes(
    web: &apps::App,
    grpc: &apps::App,
    bytes: std::net::SocketAddr,
) -> Vec<(&'static str, Mesh)> {
    let start = |plan: Plan| {
        plan.controller_args(["--certificate-lifetime", LIFETIME])
            .start()
    };
    vec![
        (
            "http",
            start(Plan::new(web.addr).policy("{retry: {attempts: 1}}")),
        ),
        (
            "grpc",
            start(
                Plan::new(grpc.addr)
                    .protocol("http2")
                    .policy("{retry: {attempts: 1}}"),
            ),
        ),
        (
            "tcp",
            start(
                Plan::new(bytes)
                    .protocol("tcp")
                    .policy("{retry: {attempts: 1}}"),
            ),
        ),
    ]
}

/// Changes the policy there and back: every proxy compiles its routes anew.
fn edit(mesh: &Mesh, round: u32) {
    let (from, to) = match round % 2 {
        0 => ("attempts: 1", "attempts: 2"),
        _ => ("attempts: 2", "attempts: 1"),
    };
    mesh.edit_registry(from, to);
}

/// In turn a new root, new issuers under it, and, when all that the old root stood for has expired,
/// the old root's end.
fn rotate(mesh: &Mesh, round: u32) {
    let ca = CaDirectory::load_or_create(&mesh.file("ca"), TRUST_DOMAIN).expect("an authority");
    let now = SystemTime::now();
    let rotated = match round % 4 {
        0 => ca.rotate_root(now),
        1 | 2 => ca.rotate_issuer(now),
        _ => ca.retire_roots(),
    };
    rotated.expect("an own folder");
}

#[test]
fn memory_does_not_grow() {
    let length = length();
    let every = (length / SAMPLES).max(Duration::from_millis(100));
    let (web, grpc, bytes) = (apps::go(), apps::grpc_interop(), traffic::echo());
    let meshes = meshes(&web, &grpc, bytes);
    let traffic = Traffic::start(&meshes);
    let started = Instant::now();
    let (mut samples, mut rotations, mut round) = (Samples::default(), 1, 0);
    while started.elapsed() < length {
        thread::sleep(every);
        samples.take(started.elapsed(), &meshes, &traffic.drain());
        for (_, mesh) in &meshes {
            edit(mesh, round);
        }
        round += 1;
        if started.elapsed() > ROTATION * rotations {
            meshes
                .iter()
                .for_each(|(_, mesh)| rotate(mesh, rotations - 1));
            rotations += 1;
        }
    }
    let done = traffic.stop();
    report(&samples);
    println!(
        "{length:?}: {done}, {round} edits of each registry, {} rotations",
        rotations - 1
    );
    assert_eq!(done.failed, 0, "{done}");
    assert!(done.all_went(), "{done}");
    judge(&samples);
}

fn report(samples: &Samples) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("soak");
    fs::create_dir_all(&dir).expect("the target folder is ours");
    fs::write(dir.join("soak.csv"), samples.csv()).expect("an own folder");
    fs::write(dir.join("soak.svg"), plot::svg(samples)).expect("an own folder");
    println!("{}: soak.csv, soak.svg", dir.display());
}

/// Grown means both: the slope is above zero by three times its standard error, and the rise that
/// it makes over the run is more than noise. The same for descriptors and tasks, of which ten are
/// noise. A short run is too short for a slope: it must only stay small.
fn judge(samples: &Samples) {
    let mut grown = Vec::new();
    for series in samples.series() {
        let from = (series.points.len() as f64 * WARM_UP) as usize;
        let trend = Trend::of(&series.points[from..]);
        let noise = if series.is_memory { NOISE } else { 10.0 };
        println!("{}: {trend}", series.name);
        if series.is_held && trend.is_above_zero() && trend.rise > noise {
            grown.push(format!("{}: {trend}", series.name));
        }
    }
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}
