//! The trace-context headers that an application is sent for those that a client sent: the cases
//! of the W3C's suite, in trace_context.yaml.

use serde::Deserialize;

use super::report;
use crate::harness::{Mesh, free_addr, mesh::Plan, recorder::Recorder};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    send: Vec<String>,
    trace: Trace,
    parent: Option<Trace>,
    state: Option<String>,
    /// Sends this many members, and a traceparent.
    members: Option<usize>,
    /// Sends a member whose key has this length, and a traceparent.
    key: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Trace {
    Kept,
    New,
}

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";

impl Row {
    fn lines(&self) -> Vec<String> {
        let parent = format!("00-{TRACE_ID}-{PARENT_ID}-01");
        let mut lines: Vec<_> = self
            .send
            .iter()
            .map(|line| line.replace("{t}", &parent))
            .collect();
        if let Some(state) = self.generated() {
            lines.extend([
                format!("traceparent: {parent}"),
                format!("tracestate: {state}"),
            ]);
        }
        lines
    }

    fn generated(&self) -> Option<String> {
        let members = |n| {
            (0..n)
                .map(|m| format!("m{m}=1"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let key = |length| format!("{}=1", "z".repeat(length));
        self.members.map(members).or(self.key.map(key))
    }

    fn state(&self) -> String {
        match self.state.as_deref() {
            Some("members") => self.generated().unwrap_or_default(),
            other => other.unwrap_or_default().to_owned(),
        }
    }

    /// What is wrong with the head that the application got.
    fn fault(&self, head: &str) -> Option<String> {
        let values = |name: &str| -> Vec<String> {
            let fields = head.lines().filter_map(|line| line.split_once(':'));
            let named = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.trim().to_owned()).collect()
        };
        let parents = values("traceparent");
        let [parent] = &parents[..] else {
            return Some(format!("traceparents {parents:?}"));
        };
        let parts: Vec<_> = parent.split('-').collect();
        let [version, trace, span, flags] = parts[..] else {
            return Some(format!("traceparent {parent:?}"));
        };
        let hex = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let is_valid = (version, trace.len(), span.len(), flags.len()) == ("00", 32, 16, 2)
            && [trace, span, flags].iter().all(|part| hex(part));
        let is_same = span == PARENT_ID;
        let is_kept = self.parent == Some(Trace::Kept);
        if !is_valid || is_same != is_kept || (trace == TRACE_ID) != (self.trace == Trace::Kept) {
            return Some(format!("traceparent {parent:?}"));
        }
        let without_blanks = |text: String| text.replace([' ', '\t'], "");
        let members = |text: &str| -> Vec<String> {
            let members = text
                .split(',')
                .map(|member| without_blanks(member.to_owned()));
            members.filter(|member| !member.is_empty()).collect()
        };
        let state = values("tracestate").join(",");
        (members(&state) != members(&self.state())).then(|| format!("tracestate {state:?}"))
    }
}

#[test]
fn the_context_goes_on_as_the_w3c_has_it() {
    let rows: Vec<Row> = serde_saphyr::from_str(include_str!("trace_context.yaml"))
        .unwrap_or_else(|error| panic!("trace_context.yaml: {error}"));
    let app = Recorder::start();
    // Proxies without a collector make no spans, and nothing of the context is theirs. This one
    // takes nothing.
    let collector = format!("http://{}", free_addr());
    let mesh: Mesh = Plan::new(app.addr)
        .protocol("http")
        .args(["--otlp", &collector])
        .start();
    let mut faults = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let mut lines = vec![
            format!("GET /case-{at} HTTP/1.1"),
            "Host: app.test".to_owned(),
        ];
        lines.extend(row.lines());
        let mut wire = mesh.connect();
        wire.send(lines.join("\r\n") + "\r\n\r\n");
        assert_eq!(wire.response("GET").status, 200, "{}", row.name);
        let heard = app.heard();
        let mut heads = heard.split("\r\n\r\n");
        let start = format!("GET /case-{at} HTTP/1.1\r\n");
        let head = heads
            .find(|head| head.starts_with(&start))
            .expect("it was answered");
        faults.extend(row.fault(head).map(|fault| (row.name.clone(), fault)));
    }
    let text = format!(
        "{} of {} cases pass through two proxies, each of which is a parent in the trace. The cases are those \
         of the W3C's suite at Level 1, in our words: the suite is in no package registry.\n",
        rows.len() - faults.len(),
        rows.len()
    );
    report::write("40-trace-context", "W3C trace context", &text);
    assert!(faults.is_empty(), "{faults:#?}");
}
