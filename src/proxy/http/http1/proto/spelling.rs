use bytes::Bytes;
use http::HeaderName;
use memchr::memchr;

/// How a peer wrote the names of its fields, and its reason phrase: HTTP does not care, but some
/// applications do.
#[derive(Clone, Debug)]
pub struct Spelling(Bytes);

impl Spelling {
    /// Of a whole head that was understood.
    pub(super) fn of(head: Bytes) -> Self {
        Self(head)
    }

    /// What stands behind the status in a response's first line.
    pub fn reason(&self, status: &str) -> Option<&[u8]> {
        let line = lines(&self.0).next()?;
        let rest = line.get("HTTP/1.1 ".len()..)?;
        let phrase = rest.strip_prefix(status.as_bytes())?.strip_prefix(b" ")?;
        Some(phrase.strip_suffix(b"\r").unwrap_or(phrase))
    }

    pub(super) fn names(&self) -> Names<'_> {
        let first = memchr(b'\n', &self.0).map_or(self.0.len(), |end| end + 1);
        Names {
            head: &self.0,
            first,
            next: first,
        }
    }
}

/// Finds names as they were spelled. Asked in the order in which they came it looks at each once.
pub(super) struct Names<'a> {
    head: &'a [u8],
    /// Where the first field begins.
    first: usize,
    /// Where the field begins that stands behind the one found last.
    next: usize,
}

impl<'a> Names<'a> {
    pub fn find(&mut self, name: &HeaderName) -> Option<&'a [u8]> {
        self.find_between(name, self.next, self.head.len())
            .or_else(|| self.find_between(name, self.first, self.next))
    }

    fn find_between(&mut self, name: &HeaderName, from: usize, to: usize) -> Option<&'a [u8]> {
        let wanted = name.as_str().as_bytes();
        let mut at = from;
        for line in lines(&self.head[from..to]) {
            at += line.len() + 1;
            let Some((spelled, [b':', ..])) = line.split_at_checked(wanted.len()) else {
                continue;
            };
            if spelled.eq_ignore_ascii_case(wanted) {
                self.next = at;
                return Some(spelled);
            }
        }
        None
    }
}

/// Without the LF at their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line)
    })
}
