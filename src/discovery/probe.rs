//! Health checks that the proxy makes on request: who injected the proxy tells it, and points the
//! platform at the proxy's probe port. So an application that takes mesh TLS only is still
//! checked by a platform that speaks none.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::units;

/// The checks by the path that asks for them.
pub type Probes = BTreeMap<String, Probe>;

/// One check of the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    pub check: Check,
    /// The longest that it may take; absent: as long as the asker waits.
    #[serde(
        default,
        with = "units::duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
}

/// What is asked of the application, at the address that the asker reached the proxy at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Check {
    Http(HttpCheck),
    /// Good when a connection comes about.
    Tcp {
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`, without TLS; good when the service is serving.
    Grpc {
        port: u16,
        /// Empty: the server as a whole.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
}

/// A GET; good with a status from 200 to 399.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    pub port: u16,
    /// Over TLS, whatever certificate is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// With the query, if there is one.
    pub path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}
