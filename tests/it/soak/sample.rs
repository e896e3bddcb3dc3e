//! What is looked at, every few seconds.

use std::{fmt::Write, time::Duration};

use crate::harness::{Mesh, mesh::Proxy};

/// One series of a run, in the order in which it was taken.
pub struct Series {
    pub name: String,
    /// Seconds since the begin, and the value.
    pub points: Vec<(f64, f64)>,
    pub is_memory: bool,
    /// Something that a process holds, and not a latency.
    pub is_held: bool,
}

/// All of a run.
#[derive(Default)]
pub struct Samples(Vec<Series>);

impl Samples {
    pub fn series(&self) -> &[Series] {
        &self.0
    }

    fn put(&mut self, at: Duration, name: String, value: f64) {
        let point = (at.as_secs_f64(), value);
        match self.0.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => self.0.push(Series {
                is_memory: name.ends_with("memory"),
                is_held: !name.ends_with("_ms"),
                name,
                points: vec![point],
            }),
        }
    }

    /// `latencies`: of the requests since the last sample.
    pub fn take(&mut self, at: Duration, meshes: &[(&str, Mesh)], latencies: &[Duration]) {
        for (mesh_name, mesh) in meshes {
            for (proxy_name, proxy) in [("client", &mesh.client), ("server", &mesh.server)] {
                let mut put = |what: &str, value: f64| {
                    self.put(at, format!("{mesh_name} {proxy_name} {what}"), value);
                };
                put("memory", proxy.process.memory() as f64);
                put("descriptors", proxy.process.open_files() as f64);
                put("tasks", tasks(proxy));
            }
            let memory = mesh.controller.memory() as f64;
            self.put(at, format!("{mesh_name} controller memory"), memory);
        }
        let mut sorted = latencies.to_vec();
        sorted.sort_unstable();
        for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99)] {
            let place =
                ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
            let value = sorted
                .get(place)
                .map_or(0.0, |time| time.as_secs_f64() * 1000.0);
            self.put(at, format!("http {name}"), value);
        }
    }

    /// One line a sample, one column a series.
    pub fn csv(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|series| &*series.name).collect();
        let mut text = format!("seconds,{}\n", names.join(","));
        let samples = self.0.first().map_or(0, |series| series.points.len());
        for n in 0..samples {
            let at = self.0[0].points[n].0;
            let _ = write!(text, "{at:.1}");
            for series in &self.0 {
                let value = series.points.get(n).map_or(0.0, |point| point.1);
                let _ = write!(text, ",{value:.3}");
            }
            text.push('\n');
        }
        text
    }
}

fn tasks(proxy: &Proxy) -> f64 {
    let page = proxy.metrics();
    let lines = page
        .lines()
        .filter(|line| line.starts_with("outrigger_runtime_tasks{"));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}
