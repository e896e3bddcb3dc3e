//! Finds the matches of one hostname by path.

use std::{cmp::Reverse, collections::HashMap};

use regex::bytes::Regex;

/// Where a match stands among those with the same path; the smallest is tried first. The last
/// part is the match's number, and so the order given.
pub(super) type Rank = (Reverse<bool>, Reverse<usize>, Reverse<usize>, u32);

/// How a match finds its path.
#[derive(Clone, Debug)]
pub(super) enum PathKind {
    Exact(Box<str>),
    /// Without a trailing slash; the root is empty.
    Prefix(Box<str>),
    /// The pattern's length as written ranks it.
    Pattern(PathPattern, usize),
    /// `/<any service>/<method>`.
    GrpcMethod(Box<str>),
}

#[derive(Clone, Debug)]
pub(super) enum PathPattern {
    Whole(Regex),
    /// Each for its element alone: `.*` must not reach over the slash. Absent: any.
    Grpc {
        service: Option<Regex>,
        method: Option<Regex>,
    },
}

impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        let hold = |regex: &Option<Regex>, text: &str| {
            regex
                .as_ref()
                .is_none_or(|regex| regex.is_match(text.as_bytes()))
        };
        match self {
            Self::Whole(regex) => regex.is_match(path.as_bytes()),
            Self::Grpc { service, method } => grpc_parts(path)
                .is_some_and(|parts| hold(service, parts.0) && hold(method, parts.1)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, Vec<Rank>>,
    patterns: Vec<(Reverse<usize>, Rank, PathPattern)>,
    prefixes: HashMap<Box<str>, Vec<Rank>>,
    /// The lengths that occur in `prefixes`, longest first: the cost of a lookup is bounded by
    /// what is configured, not by how many slashes a client sends.
    prefix_lengths: Vec<usize>,
    grpc_methods: HashMap<Box<str>, Vec<Rank>>,
    root: Vec<Rank>,
}

impl HostIndex {
    pub fn insert(&mut self, path: PathKind, rank: Rank) {
        match path {
            PathKind::Exact(path) => self.exact.entry(path).or_default().push(rank),
            PathKind::Pattern(pattern, length) => {
                self.patterns.push((Reverse(length), rank, pattern));
            }
            PathKind::Prefix(prefix) if prefix.is_empty() => self.root.push(rank),
            PathKind::Prefix(prefix) => self.prefixes.entry(prefix).or_default().push(rank),
            PathKind::GrpcMethod(method) => {
                self.grpc_methods.entry(method).or_default().push(rank);
            }
        }
    }

    /// To be called once, after the last `insert`.
    pub fn finish(&mut self) {
        let buckets = [&mut self.exact, &mut self.prefixes, &mut self.grpc_methods];
        for bucket in buckets.into_iter().flat_map(HashMap::values_mut) {
            bucket.sort_unstable();
        }
        self.root.sort_unstable();
        self.patterns
            .sort_unstable_by_key(|(length, rank, _)| (*length, *rank));
        self.prefix_lengths = self.prefixes.keys().map(|prefix| prefix.len()).collect();
        self.prefix_lengths
            .sort_unstable_by_key(|length| Reverse(*length));
        self.prefix_lengths.dedup();
    }

    /// The number of the best match that `holds`, and how many bytes its prefix matched.
    pub fn find(&self, path: &str, holds: impl Fn(u32) -> bool) -> Option<(u32, usize)> {
        let best = |bucket: &[Rank]| {
            let number = |rank: &Rank| rank.3;
            bucket.iter().map(number).find(|number| holds(*number))
        };
        let exact = || best(self.exact.get(path)?);
        let pattern = || {
            let mut patterns = self.patterns.iter();
            let found = patterns.find(|(_, rank, pattern)| pattern.matches(path) && holds(rank.3));
            found.map(|(_, rank, _)| rank.3)
        };
        let grpc_method = || best(self.grpc_methods.get(grpc_parts(path)?.1)?);
        let whole = |number| (number, 0);
        exact()
            .or_else(pattern)
            .map(whole)
            .or_else(|| self.find_prefix(path, best))
            .or_else(|| grpc_method().or_else(|| best(&self.root)).map(whole))
    }

    fn find_prefix(
        &self,
        path: &str,
        best: impl Fn(&[Rank]) -> Option<u32>,
    ) -> Option<(u32, usize)> {
        let ends_an_element =
            |length: &&usize| matches!(path.as_bytes().get(**length), None | Some(b'/'));
        self.prefix_lengths
            .iter()
            .filter(|length| **length <= path.len())
            .filter(ends_an_element)
            .find_map(|length| {
                let bucket = self.prefixes.get(path.get(..*length)?)?;
                best(bucket).map(|number| (number, *length))
            })
    }
}

/// `/<service>/<method>`
fn grpc_parts(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let valid = !service.is_empty() && !method.is_empty() && !method.contains('/');
    valid.then_some((service, method))
}
