//! `outrigger sample-app`: a small service to try the mesh with. It calls other services, says
//! what it saw of them, and fails or dawdles when it is told to.
//!
//! It knows nothing of the mesh, except that it forwards the trace headers, as every application
//! must.

mod downstream;
mod fault;
mod server;

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use http::Uri;
use tokio::net::TcpListener;

use super::values;

pub use downstream::Call;
pub use server::Answer;

/// Run a sample service.
#[derive(Args)]
pub struct SampleAppArgs {
    /// What the service calls itself in its answers.
    #[arg(long)]
    name: String,
    /// Where it takes requests.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080", value_parser = values::socket_addr)]
    listen: SocketAddr,
    /// A service to call for every request: http://HOST:PORT. May be given several times.
    #[arg(long = "call", value_name = "URL", value_parser = downstream)]
    calls: Vec<Uri>,
    /// Requests answered at a time; the others wait.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    capacity: u32,
}

fn downstream(text: &str) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    url.filter(|url| url.scheme_str() == Some("http") && url.authority().is_some())
        .ok_or_else(|| format!("{text:?} is not a service's address: write http://HOST:PORT"))
}

impl SampleAppArgs {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn run(self) -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async {
                let listener = TcpListener::bind(self.listen).await.with_context(|| {
                    format!("cannot listen on {}: is the port taken?", self.listen)
                })?;
                let app = server::App::new(self.name, self.calls, self.capacity);
                server::serve(listener, app).await
            })
    }
}
