//! What the sample service has been told to do wrong.

use std::{fmt, time::Duration};

use http::StatusCode;

use crate::units::duration;

/// Written as a query: `status=500&delay=250ms`; nothing is no fault.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fault {
    pub status: Option<StatusCode>,
    pub delay: Duration,
}

impl Fault {
    /// Reads the query of `POST /fault`.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut fault = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let invalid =
                || format!("{part:?} is not a fault: write status=500, delay=250ms or both\n");
            match part.split_once('=') {
                Some(("status", status)) => {
                    fault.status = Some(status.parse().map_err(|_| invalid())?);
                }
                Some(("delay", delay)) => {
                    fault.delay = duration::parse(delay).map_err(|_| invalid())?;
                }
                _ => return Err(invalid()),
            }
        }
        Ok(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self
            .status
            .map(|status| format!("status={}", status.as_u16()));
        let delay =
            (!self.delay.is_zero()).then(|| format!("delay={}", duration::format(self.delay)));
        let parts: Vec<_> = status.into_iter().chain(delay).collect();
        match parts.is_empty() {
            true => f.write_str("no fault"),
            false => f.write_str(&parts.join("&")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_it_is_written() {
        for query in ["status=503&delay=1s", "status=500", "delay=250ms"] {
            assert_eq!(Fault::parse(query).unwrap().to_string(), query);
        }
        assert_eq!(Fault::default().to_string(), "no fault");
    }

    #[test]
    fn reads_a_query() {
        assert_eq!(Fault::parse(""), Ok(Fault::default()));
        assert_eq!(
            Fault::parse("status=503&delay=1s"),
            Ok(Fault {
                status: Some(StatusCode::SERVICE_UNAVAILABLE),
                delay: Duration::from_secs(1),
            })
        );
        for query in ["status", "status=99", "delay=1", "speed=2"] {
            assert!(Fault::parse(query).is_err(), "{query}");
        }
    }
}
