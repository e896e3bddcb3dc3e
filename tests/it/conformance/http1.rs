//! Every request of http1.yaml, byte for byte, to five origins: once directly, once through two
//! proxies. Behind the proxies it arrives as it was sent or is refused; no origin reads it in
//! another way.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
};

use super::{
    origins::Origin,
    report,
    table::{self, Demand, Reading, Row, end},
};
use crate::harness::{Mesh, mesh::Plan, wait::DEADLINE};

/// What became of a row.
struct Outcome {
    /// Of the answers, provisional ones left out.
    statuses: Vec<u16>,
    readings: Vec<Reading>,
    /// Whether the server ended the connection, or said nothing more for too long.
    closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    AsSent,
    /// With this status; 0 where the connection was broken instead.
    Refused(u16),
    /// The origin would not have it, with or without proxies.
    NotTaken(u16),
    Otherwise(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsSent => f.write_str("as sent"),
            Self::Refused(0) => f.write_str("cut"),
            Self::Refused(status) => write!(f, "{status}"),
            Self::NotTaken(status) => write!(f, "origin: {status}"),
            Self::Otherwise(_) => f.write_str("**otherwise**"),
        }
    }
}

/// Sends bytes and reads until the end. A client that is done says so where `finish`: a proxy
/// would take it for one that has given up.
fn converse(addr: SocketAddr, bytes: &[u8], finish: bool) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    // Who refuses may close before all is sent, which is for the caller to see in the answer.
    let sent = stream.write_all(bytes);
    if finish && sent.is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let reset = |error: std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    let closed = end.map_or_else(reset, |_| true);
    (answer, closed)
}

fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let status = |at: usize| text.get(at + 9..at + 12)?.parse().ok();
    let heads = text.match_indices("HTTP/1.").map(|(at, _)| at);
    let spaced = heads.filter(|at| text.as_bytes().get(at + 8) == Some(&b' '));
    spaced
        .filter_map(status)
        .filter(|status| *status >= 200)
        .collect()
}

fn outcome(origin: &mut Origin, row: &Row, addr: SocketAddr, finish: bool) -> Outcome {
    let (answer, closed) = converse(addr, &row.bytes(), finish);
    let readings = origin.readings().into_iter();
    Outcome {
        statuses: statuses(&answer),
        readings: readings.map(|reading| row.blind(reading)).collect(),
        closed,
    }
}

impl Outcome {
    fn verdict(&self, row: &Row, direct: Option<&Self>) -> Verdict {
        let before = row.before_refusal();
        let fine = |statuses: &[u16]| statuses.iter().all(|status| *status < 300);
        if row.is_read_as(&self.readings)
            && self.statuses.len() == self.readings.len()
            && fine(&self.statuses)
        {
            return Verdict::AsSent;
        }
        if let Some((last, first)) = self.statuses.split_last()
            && self.readings == before
            && first.len() == before.len()
            && *last >= 400
        {
            return Verdict::Refused(*last);
        }
        if self.statuses.len() == before.len() && self.readings == before && self.closed && row.cut
        {
            return Verdict::Refused(0);
        }
        // The answer of an origin that would not have it goes through, and the connection goes on.
        let refusal = |outcome: &Self| outcome.statuses.first().copied().filter(|s| *s >= 400);
        let only_end = self.readings.iter().all(|reading| *reading == end());
        match (refusal(self), direct.map_or_else(|| refusal(self), refusal)) {
            (Some(status), Some(alone)) if status == alone && only_end => Verdict::NotTaken(status),
            _ => Verdict::Otherwise(format!("{:?}, read {:?}", self.statuses, self.readings)),
        }
    }
}

fn is_demanded(row: &Row, verdict: &Verdict) -> bool {
    match (row.demand, verdict) {
        (_, Verdict::Otherwise(_)) => false,
        (Demand::Accept, Verdict::AsSent | Verdict::NotTaken(_)) => true,
        (Demand::Accept, Verdict::Refused(_)) => false,
        (Demand::Refuse, Verdict::Refused(_)) => true,
        (Demand::Refuse, _) => false,
        (Demand::May, _) => true,
    }
}

/// What one origin made of all rows.
struct Results {
    name: &'static str,
    version: String,
    /// Directly, and through the mesh.
    verdicts: Vec<(Verdict, Verdict)>,
    wrong: Vec<String>,
}

fn run(mut origin: Origin, rows: &[Row]) -> Results {
    let mesh: Mesh = Plan::new(origin.app.addr).protocol("http").start();
    let (mut verdicts, mut wrong) = (Vec::new(), Vec::new());
    for row in rows {
        let addr = origin.app.addr;
        let direct = outcome(&mut origin, row, addr, true);
        let through = outcome(&mut origin, row, mesh.addr, false);
        let verdict = through.verdict(row, Some(&direct));
        let known = row.known.get(origin.name).or(row.known.get("all"));
        match (is_demanded(row, &verdict), known) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => wrong.push(format!(
                "{} ({}): {}: {verdict:?}; directly {:?}",
                row.name,
                row.rfc,
                origin.name,
                direct.verdict(row, None)
            )),
            (true, Some(_)) => wrong.push(format!(
                "{}: {}: known as a deviation, and is none",
                row.name, origin.name
            )),
        }
        verdicts.push((direct.verdict(row, None), verdict));
    }
    Results {
        name: origin.name,
        version: origin.version,
        verdicts,
        wrong,
    }
}

#[test]
fn no_request_is_read_in_two_ways() {
    let rows = table::rows();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    let results: Vec<Results> = thread::scope(|scope| {
        let running: Vec<_> = Origin::all()
            .into_iter()
            .map(|origin| scope.spawn(|| run(origin, &rows)))
            .collect();
        let joined = running
            .into_iter()
            .map(|thread| thread.join().expect("it says why"));
        joined.collect()
    });
    report::write(
        "10-http1",
        "HTTP/1.1, byte for byte",
        &document(&rows, &results),
    );
    let wrong: Vec<_> = results
        .into_iter()
        .flat_map(|result| result.wrong)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} deviations:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn document(rows: &[Row], results: &[Results]) -> String {
    let mut head = vec!["request", "RFC", "demanded", "through two proxies"];
    head.extend(results.iter().map(|result| result.name));
    let lines = rows.iter().enumerate().map(|(at, row)| {
        let mut through: Vec<_> = results
            .iter()
            .map(|r| r.verdicts[at].1.to_string())
            .collect();
        through.dedup();
        let through = match &through[..] {
            [one] => one.clone(),
            _ => {
                let each = results
                    .iter()
                    .map(|r| format!("{}: {}", r.name, r.verdicts[at].1));
                each.collect::<Vec<_>>().join(", ")
            }
        };
        let demand = format!("{:?}", row.demand).to_lowercase();
        let mut line = vec![row.name.clone(), row.rfc.clone(), demand, through];
        line.extend(
            results
                .iter()
                .map(|result| result.verdicts[at].0.to_string()),
        );
        line
    });
    let versions: Vec<_> = results
        .iter()
        .map(|result| result.version.clone())
        .collect();
    let alone: usize = count(results, |(direct, _)| {
        matches!(direct, Verdict::Otherwise(_))
    });
    let behind: usize = count(results, |(_, through)| {
        matches!(through, Verdict::Otherwise(_))
    });
    let known = rows.iter().flat_map(|row| {
        let all = row.known.iter();
        all.map(|(who, why)| vec![row.name.clone(), who.clone(), why.clone()])
    });
    format!(
        "{} requests to {}. The last columns say what an origin makes of them by itself. *as sent*: \
         read as the RFC has it; *otherwise*: read in another way, or not answered as it should be: \
         {alone} of {} directly, {behind} behind the proxies.\n\n{}\nKnown deviations:\n\n{}",
        rows.len(),
        versions.join(", "),
        rows.len() * results.len(),
        report::table(&head, lines),
        report::table(&["request", "origin", "why"], known),
    )
}

fn count(results: &[Results], is: impl Fn(&(Verdict, Verdict)) -> bool) -> usize {
    let all = results.iter().flat_map(|result| &result.verdicts);
    all.filter(|verdicts| is(verdicts)).count()
}
