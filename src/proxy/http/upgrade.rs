//! After `101 Switching Protocols` both connections are byte streams: joined until they end.

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{
    body::ResponseBody, exchange::Reply, received::Received, reply::Refusal, settle::Exchange,
};
use crate::telemetry::Reason;

/// Passes the 101 on and joins the two connections. No byte goes through before it, and the
/// exchange (its places, its span) lasts as long as the joined connection.
///
/// # Errors
/// When the upstream switched protocols though the client had not asked for it.
pub fn switch(
    exchange: &mut Exchange,
    mut response: Response<Received>,
    client: Option<OnUpgrade>,
) -> Result<Reply, Refusal> {
    let client = client.ok_or_else(|| {
        Refusal::new(
            Reason::UpstreamProtocol,
            "the upstream switched protocols unasked",
        )
    })?;
    let upstream = hyper::upgrade::on(&mut response);
    exchange.responded(StatusCode::SWITCHING_PROTOCOLS, response.headers());
    let held = exchange.detach();
    tokio::task::spawn_local(async move {
        let _held = held;
        match tokio::try_join!(client, upstream) {
            Ok((client, upstream)) => {
                let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
                if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await
                {
                    tracing::debug!(%error, "upgraded connection ended");
                }
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    Ok(response.map(|_| ResponseBody::Local(None)))
}
