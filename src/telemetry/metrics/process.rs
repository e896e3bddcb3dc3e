//! The process as the kernel sees it, and the runtimes inside it. Read only when asked for.

use std::{
    fmt, fs,
    sync::{Mutex, PoisonError},
};

use prometheus_client::registry::Unit;
use tokio::runtime::RuntimeMetrics;

use super::page::Page;

/// The runtimes of the process, by thread name.
#[derive(Debug, Default)]
pub(super) struct Runtimes(Mutex<Vec<(String, RuntimeMetrics)>>);

impl Runtimes {
    pub fn add(&self, name: String, metrics: RuntimeMetrics) {
        self.lock().push((name, metrics));
    }

    pub fn encode(&self, page: &mut Page) -> fmt::Result {
        let all = self.lock();
        page.counters(
            ("runtime_busy", Some(Unit::Seconds)),
            "Time that a runtime's threads spent other than waiting; its rate is the share they are busy",
            all.iter().map(|(name, runtime)| ([("runtime", &**name)], busy_seconds(runtime))),
        )?;
        page.gauges(
            ("runtime_tasks", None),
            "Tasks alive on a runtime",
            all.iter()
                .map(|(name, r)| ([("runtime", &**name)], r.num_alive_tasks())),
        )?;
        page.gauges(
            ("runtime_queue_depth", None),
            "Tasks woken from other threads that wait for a runtime",
            all.iter()
                .map(|(name, r)| ([("runtime", &**name)], r.global_queue_depth())),
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, RuntimeMetrics)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn busy_seconds(runtime: &RuntimeMetrics) -> f64 {
    let workers = 0..runtime.num_workers();
    workers
        .map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64())
        .sum()
}

/// The names that Prometheus client libraries agree on. What cannot be read is left out.
pub(super) fn encode(page: &mut Page) -> fmt::Result {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = parse_stat(&stat);
    page.gauges(
        ("process_resident_memory", Some(Unit::Bytes)),
        "Resident memory",
        stat.as_ref()
            .map(|stat| ([], stat.rss_pages * rustix::param::page_size() as u64)),
    )?;
    page.gauges(
        ("process_threads", None),
        "Threads of the process",
        stat.as_ref().map(|stat| ([], stat.threads)),
    )?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    page.counters(
        ("process_cpu", Some(Unit::Seconds)),
        "User and system time",
        stat.as_ref()
            .map(|stat| ([], stat.cpu_ticks as f64 / ticks)),
    )?;
    let fds = fs::read_dir("/proc/self/fd").map(|fds| fds.count() as u64);
    page.gauges(
        ("process_open_fds", None),
        "Open file descriptors",
        fds.ok().map(|count| ([], count)),
    )
}

#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    rss_pages: u64,
}

/// Fields by proc_pid_stat(5), counted after the command, which may itself hold spaces.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    // The first field here is the third of the manual page.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        rss_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_past_a_command_with_spaces() {
        let text =
            "7 (a) b) S 1 7 7 0 -1 4 5 0 0 0 11 22 0 0 20 0 3 0 99 1000 456 18446744073709551615";
        let expected = Stat {
            cpu_ticks: 33,
            threads: 3,
            rss_pages: 456,
        };
        assert_eq!(parse_stat(text), Some(expected));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }
}
