//! Interim answers on their way from an exchange to the task that serves its connection.

use std::{cell::RefCell, mem};

use http::{HeaderMap, StatusCode, Version};

use super::proto::{Encoder, Fields, Line, Output};
use crate::proxy::http::ahead::Ahead;

/// Taken whenever the exchange was polled, by the task that polls it.
#[derive(Debug, Default)]
pub struct Early(RefCell<Vec<(StatusCode, HeaderMap)>>);

impl Ahead for Early {
    fn say(&self, status: StatusCode, headers: HeaderMap) {
        self.0.borrow_mut().push((status, headers));
    }
}

impl Early {
    /// Writes what waits for a client of this version: HTTP/1.0 knows none of it (RFC 9110, section
    /// 15.2), and for one that does not read it is not kept.
    pub fn write(&self, version: Version, out: &mut Output) {
        if self.0.borrow().is_empty() {
            return;
        }
        for (status, headers) in mem::take(&mut *self.0.borrow_mut()) {
            if version == Version::HTTP_10 || out.is_full() {
                continue;
            }
            let fields = Fields {
                headers: &headers,
                without: &[],
                with: None,
                spelling: None,
            };
            let line = Line::Response { status, version };
            fields.write(&line, &Encoder::None(None), out);
        }
    }
}
