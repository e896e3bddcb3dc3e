//! Which plots there are.

use super::svg::{Plot, Series};
use crate::{
    control,
    results::{Metric, Part, Results},
};

/// A plot that is drawn.
pub struct Drawn {
    pub part: Part,
    pub file: String,
    pub title: &'static str,
    pub svg: String,
}

/// Those for which something was measured.
pub fn all(results: &Results) -> Vec<Drawn> {
    let bars = |part, file, title, metric| {
        let plot = by_case(results, part, title, metric)?;
        Some(Drawn {
            part,
            file: format!("{file}.svg"),
            title,
            svg: plot.bars(),
        })
    };
    use Metric::{
        ConnectionsPerSecond, CpuPerMessage, CpuPerRequest, MegabytesPerSecond, P50, P99,
        RequestsPerSecond, Resident, Started,
    };
    let drawn = [
        bars(Part::Http, "http-cpu", "CPU of both hops", CpuPerRequest),
        bars(
            Part::Http,
            "http-rate",
            "Requests a second",
            RequestsPerSecond,
        ),
        bars(Part::Latency, "latency-p50", "Latency at 1,000/s, p50", P50),
        bars(Part::Latency, "latency-p99", "Latency at 1,000/s, p99", P99),
        bars(
            Part::Gateway,
            "gateway-cpu",
            "CPU of one hop",
            CpuPerRequest,
        ),
        bars(
            Part::Streaming,
            "streaming-cpu",
            "CPU of both hops",
            CpuPerMessage,
        ),
        bars(Part::Tcp, "tcp", "Opaque TCP", MegabytesPerSecond),
        bars(
            Part::Connections,
            "connections",
            "New mTLS connections",
            ConnectionsPerSecond,
        ),
        bars(Part::Memory, "memory", "Memory of the larger hop", Resident),
        bars(
            Part::Features,
            "features",
            "CPU of both hops",
            CpuPerRequest,
        ),
        bars(Part::Start, "start", "Start to first answer", Started),
        growth(results),
    ];
    drawn.into_iter().flatten().collect()
}

/// A group for each case, a bar for each setup.
fn by_case<'a>(results: &Results, part: Part, title: &'a str, metric: Metric) -> Option<Plot<'a>> {
    let (mut cases, mut setups) = (Vec::new(), Vec::new());
    for entry in results.of(part).filter(|entry| entry.metric == metric) {
        if !cases.contains(&entry.case) {
            cases.push(entry.case.clone());
        }
        if !setups.contains(&entry.setup) {
            setups.push(entry.setup.clone());
        }
    }
    if cases.is_empty() {
        return None;
    }
    let series = setups.into_iter().map(|name| Series {
        values: cases
            .iter()
            .map(|case| results.median(part, case, &name, metric))
            .collect(),
        name,
    });
    Some(Plot {
        title,
        unit: metric.form().0,
        series: series.collect(),
        labels: cases
            .iter()
            .map(|case| {
                case.replace("connection", "conn.")
                    .replace("conn.s", "conn.")
            })
            .collect(),
    })
}

/// The cost of a change as the cluster grows.
fn growth(results: &Results) -> Option<Drawn> {
    let title = "Controller's CPU for one change, by services";
    let value = |case: &str| {
        let metric = Metric::CpuPerChange;
        results.median(Part::Control, case, control::SETUP, metric)
    };
    let series: Vec<_> = [false, true]
        .map(|watched| Series {
            name: control::watched(watched).into(),
            values: control::SERVICES
                .map(|services| value(&control::change(services, watched)))
                .into(),
        })
        .into();
    let measured = series.iter().flat_map(|series| &series.values);
    if measured.flatten().count() == 0 {
        return None;
    }
    let plot = Plot {
        title,
        unit: Metric::CpuPerChange.form().0,
        labels: control::SERVICES
            .map(|services| services.to_string())
            .into(),
        series,
    };
    Some(Drawn {
        part: Part::Control,
        file: "control-growth.svg".into(),
        title,
        svg: plot.lines(),
    })
}
