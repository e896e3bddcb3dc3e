//! The table of HTTP/1.1 requests: http1.yaml says at its top what its fields mean.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    Accept,
    Refuse,
    May,
}

/// Whether the request that follows is read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum End {
    #[default]
    Always,
    Maybe,
    Never,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub name: String,
    pub rfc: String,
    pub demand: Demand,
    field: Option<String>,
    line: Option<String>,
    framing: Option<String>,
    #[serde(default)]
    body: String,
    method: Option<String>,
    send: Option<String>,
    reads: Option<Vec<String>>,
    host: Option<String>,
    x_a: Option<String>,
    #[serde(default)]
    end: End,
    #[serde(default)]
    pub cut: bool,
    #[serde(default)]
    pub known: BTreeMap<String, String>,
}

/// How somebody understood a request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Reading {
    pub method: String,
    pub target: String,
    pub host: String,
    pub x_a: String,
    pub body: String,
}

/// Shows where a reader thinks that the request before it ended.
const END: &str = "GET /end HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";

/// # Panics
/// When the table is not what it should be: the error names line and field.
pub fn rows() -> Vec<Row> {
    let rows: Vec<Row> = serde_saphyr::from_str(include_str!("http1.yaml"))
        .unwrap_or_else(|error| panic!("http1.yaml: {error}"));
    let mut names: Vec<_> = rows.iter().map(|row| &row.name).collect();
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two rows of one name");
    }
    rows
}

impl Row {
    /// The bytes that are sent: the request, and the one after it.
    pub fn bytes(&self) -> Vec<u8> {
        let request = match (&self.send, &self.line, &self.field, &self.framing) {
            (Some(bytes), None, None, None) => bytes.clone(),
            (None, Some(line), None, None) => format!("{line}\r\nHost: app.test\r\n\r\n"),
            (None, None, Some(field), None) => {
                format!("GET /a HTTP/1.1\r\nHost: app.test\r\n{field}\r\n\r\n")
            }
            (None, None, None, Some(framing)) => format!(
                "{} /a HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n{}",
                self.method.as_deref().unwrap_or("POST"),
                self.body
            ),
            _ => panic!("{}: one of send, line, field and framing", self.name),
        };
        bytes(&(expand(&request) + END))
    }

    /// Whether `readings` are what `reads` says, and what is read after it.
    pub fn is_read_as(&self, readings: &[Reading]) -> bool {
        let expected = self.before_end();
        match readings.strip_prefix(&expected[..]) {
            Some([]) => self.end != End::Always,
            Some([last]) => self.end != End::Never && *last == end(),
            _ => false,
        }
    }

    /// What must have been read where the request was refused.
    pub fn before_refusal(&self) -> Vec<Reading> {
        match self.demand {
            Demand::Refuse => self.before_end(),
            Demand::Accept | Demand::May => Vec::new(),
        }
    }

    fn before_end(&self) -> Vec<Reading> {
        let default = || match (&self.field, &self.framing) {
            _ if self.demand == Demand::Refuse => Vec::new(),
            (Some(_), _) => vec!["GET /a".to_owned()],
            (_, Some(_)) => vec![format!("POST /a {}", self.body)],
            _ => panic!("{}: what is read?", self.name),
        };
        let reads = self.reads.clone().unwrap_or_else(default);
        reads
            .iter()
            .map(|read| self.reading(&expand(read)))
            .collect()
    }

    fn reading(&self, text: &str) -> Reading {
        let mut parts = text.splitn(3, ' ').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Reading {
            method: part(),
            target: part(),
            body: part(),
            host: self.host.clone().unwrap_or_else(|| "app.test".to_owned()),
            x_a: expand(self.x_a.as_deref().unwrap_or_default()),
        }
    }

    /// What is not part of the table's statement about this row is taken as it was read.
    pub fn blind(&self, mut reading: Reading) -> Reading {
        if self.x_a.is_none() {
            reading.x_a.clear();
        }
        if self.host.is_none() {
            "app.test".clone_into(&mut reading.host);
        }
        reading
    }
}

pub fn end() -> Reading {
    Reading {
        method: "GET".into(),
        target: "/end".into(),
        host: "app.test".into(),
        x_a: String::new(),
        body: String::new(),
    }
}

/// Each character a byte.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |c| u8::try_from(c).expect("bytes are written as U+0000 to U+00FF");
    text.chars().map(byte).collect()
}

/// `<ab*3>` becomes `ababab`.
fn expand(text: &str) -> String {
    let repeated = |text: &str| -> Option<String> {
        let (before, rest) = text.split_once('<')?;
        let (what, rest) = rest.split_once('*')?;
        let (times, after) = rest.split_once('>')?;
        let times = times.parse().ok()?;
        Some(format!("{before}{}{after}", what.repeat(times)))
    };
    repeated(text).unwrap_or_else(|| text.to_owned())
}
