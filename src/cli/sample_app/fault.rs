//! What the sample service has been told to do wrong.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
