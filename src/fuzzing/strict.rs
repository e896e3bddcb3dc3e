//! A second reader of HTTP/1.1, for comparison: RFC 9112 to the letter, and nothing beside it. It
//! shares no code and no leniency with the first.

/// Names and values.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// One request, whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub version_1_1: bool,
    /// Names in lower case.
    pub fields: Fields,
    pub body: Vec<u8>,
}

impl Message {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .fields
            .iter()
            .filter(|(known, _)| known == name.as_bytes());
        named.map(|(_, value)| &value[..])
    }
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Not {
    /// The bytes end within it.
    Complete,
    /// A grammar is broken that does not touch where the message ends.
    Grammar,
    /// Nobody can say for certain where the message ends.
    Framing,
    /// Both a length and chunks: a server may take the chunks, if it closes after it (6.3).
    TwoFramings,
}

/// Reads one request and moves `rest` behind it.
pub fn request(rest: &mut &[u8]) -> Result<Message, Not> {
    // 2.2: empty lines before a request line are no part of it.
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        *rest = after;
    }
    let start = line(rest)?;
    let mut words = start.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Not::Grammar);
    };
    // More than a URI may hold, but a blank, a control character or a fragment none of it.
    let in_target = |byte: &u8| matches!(byte, b'!'..=b'~' | 0x80..) && *byte != b'#';
    let version_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(Not::Grammar),
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(in_target) {
        return Err(Not::Grammar);
    }
    let fields = fields(rest)?;
    let mut message = Message {
        method: method.to_vec(),
        target: target.to_vec(),
        version_1_1,
        fields,
        body: Vec::new(),
    };
    message.body = body(&message, rest)?;
    Ok(message)
}

/// Up to the CRLF, which a bare CR or LF is not.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Not> {
    let end = rest
        .iter()
        .position(|byte| b"\r\n".contains(byte))
        .ok_or(Not::Complete)?;
    let found = &rest[..end];
    match rest[end..] {
        [b'\r', b'\n', ..] => {
            *rest = &rest[end + 2..];
            Ok(found)
        }
        [b'\r'] => Err(Not::Complete),
        _ => Err(Not::Grammar),
    }
}

fn fields(rest: &mut &[u8]) -> Result<Fields, Not> {
    let mut fields = Vec::new();
    loop {
        let line = line(rest)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(Not::Grammar)?;
        let (name, value) = (&line[..colon], blanks_off(&line[colon + 1..]));
        let in_value = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if !is_token(name) || !value.iter().all(in_value) {
            return Err(Not::Grammar);
        }
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
}

/// Section 6.3.
fn body(message: &Message, rest: &mut &[u8]) -> Result<Vec<u8>, Not> {
    let codings: Vec<_> = message.all("transfer-encoding").collect();
    let lengths: Vec<_> = message.all("content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(Vec::new()),
        ([], [length]) => take(rest, digits(length)?),
        ([coding], lengths) if message.version_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            if !lengths.is_empty() {
                return Err(Not::TwoFramings);
            }
            chunks(rest)
        }
        _ => Err(Not::Framing),
    }
}

/// One response, whole; of the interim ones before it nothing stays.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
}

/// Reads one response to a request, to a HEAD one if `head`, and moves `rest` behind it.
pub fn response(rest: &mut &[u8], head: bool) -> Result<Answer, Not> {
    loop {
        let status = status(line(rest)?).ok_or(Not::Grammar)?;
        let fields = fields(rest)?;
        match status {
            101 => return Err(Not::Grammar),
            100..=199 => continue,
            _ => {}
        }
        let body = match head || matches!(status, 204 | 304) {
            true => Vec::new(),
            false => response_body(&fields, rest)?,
        };
        return Ok(Answer {
            status,
            fields,
            body,
        });
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', a, b, c, reason @ ..] = rest else {
        return None;
    };
    let text = [*a, *b, *c];
    let status: u16 = str::from_utf8(&text).ok()?.parse().ok()?;
    (matches!(reason, [] | [b' ', ..]) && (100..=999).contains(&status)).then_some(status)
}

fn response_body(fields: &Fields, rest: &mut &[u8]) -> Result<Vec<u8>, Not> {
    let all = |name: &[u8]| {
        let named = fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| &value[..]).collect::<Vec<_>>()
    };
    match (&all(b"transfer-encoding")[..], &all(b"content-length")[..]) {
        ([], []) => take(rest, rest.len()),
        // The same length several times over is that length (6.3).
        ([], lengths) => {
            let all = lengths
                .iter()
                .flat_map(|line| line.split(|byte| *byte == b','));
            let all: Vec<_> = all.map(|length| digits(blanks_off(length))).collect();
            let same = all.iter().all(|length| *length == all[0]);
            let length = if same { all[0] } else { Err(Not::Framing) };
            take(rest, length?)
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => chunks(rest),
        // What else a client may make of codings is no business of ours.
        _ => Err(Not::TwoFramings),
    }
}

fn digits(length: &[u8]) -> Result<usize, Not> {
    let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(length).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(Not::Framing)
}

fn take(rest: &mut &[u8], length: usize) -> Result<Vec<u8>, Not> {
    let (taken, after) = rest.split_at_checked(length).ok_or(Not::Complete)?;
    *rest = after;
    Ok(taken.to_vec())
}

/// Section 7.1.
fn chunks(rest: &mut &[u8]) -> Result<Vec<u8>, Not> {
    let mut body = Vec::new();
    loop {
        let line = line(rest).map_err(in_chunk)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, extensions) = line.split_at(digits);
        if !are_extensions(extensions) {
            return Err(Not::Framing);
        }
        let size = str::from_utf8(size)
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok());
        match size.ok_or(Not::Framing)? {
            0 => {
                fields(rest)?;
                return Ok(body);
            }
            size => body.extend(take(rest, size)?),
        }
        if !line_end(rest)? {
            return Err(Not::Framing);
        }
    }
}

fn line_end(rest: &mut &[u8]) -> Result<bool, Not> {
    let end = take(rest, 2)?;
    Ok(end == b"\r\n")
}

fn in_chunk(not: Not) -> Not {
    match not {
        Not::Grammar => Not::Framing,
        other => other,
    }
}

/// 7.1.1. What they hold a proxy drops, and where they end is the line's end.
fn are_extensions(text: &[u8]) -> bool {
    matches!(blanks_off(text), [] | [b';', ..])
}

fn blanks_off(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_token(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(allowed)
}
