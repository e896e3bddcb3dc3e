//! `outrigger tap`: the requests of a pod or a workload, live.

mod event;
mod follow;

use tokio::sync::mpsc;

use super::{
    cluster::{self, ClusterArgs, Output, Progress, Target},
    stdout,
};
use crate::failure;

/// Watch the requests of a pod, or of a workload's pods, as they end.
///
/// No header and no body is shown, of a path no query. It takes the rights to get and to create
/// pods/portforward, for a workload also to get it, and ends with Ctrl-C.
#[derive(clap::Args)]
pub struct TapArgs {
    /// A pod's name, or deploy/NAME, sts/NAME, ds/NAME, job/NAME.
    target: Target,
    /// Only requests that come in, or only those that go out.
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,
    /// Only paths that begin so.
    #[arg(long)]
    path: Option<String>,
    /// Only this method.
    #[arg(long)]
    method: Option<String>,
    /// Only these answers: 503, 5xx or 400-499.
    #[arg(long)]
    status: Option<String>,
    /// Only requests to this service (cart, shop/cart, shop/cart:80) or address.
    #[arg(long)]
    to: Option<String>,
    /// Only requests from this service account (web, shop/web) or address.
    #[arg(long)]
    from: Option<String>,
    /// End after so many requests.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Events that wait to be printed.
const QUEUE: usize = 1_024;
/// Pods that are watched at once.
const MAX_PODS: usize = 20;

impl TapArgs {
    /// # Errors
    /// When a pod cannot be watched, or says that the filter is none.
    pub fn run(self) -> anyhow::Result<()> {
        cluster::block_on(self.tap())
    }

    async fn tap(self) -> anyhow::Result<()> {
        let cluster = self.cluster.connect().await?;
        let progress = Progress::new();
        progress.step("looking for the pods");
        let mut pods = self
            .target
            .pods(&cluster.client, &cluster.namespace)
            .await?;
        drop(progress);
        let found = pods.len();
        pods.retain(cluster::is_injected);
        anyhow::ensure!(
            !pods.is_empty(),
            "none of {found} pods has a proxy to tap: `outrigger diagnose` says why"
        );
        if pods.len() > MAX_PODS {
            eprintln!(
                "There are {} pods: watching {MAX_PODS} of them.",
                pods.len()
            );
            pods.truncate(MAX_PODS);
        }
        let several = pods.len() > 1;
        let path = format!("/tap?{}", self.query());
        let (events, mut received) = mpsc::channel(QUEUE);
        let mut watching = tokio::task::JoinSet::new();
        for pod in pods {
            let (client, path, events) = (cluster.client.clone(), path.clone(), events.clone());
            watching.spawn(async move {
                let followed = follow::follow(&client, &pod, &path, &events).await;
                // The others go on.
                if let (Err(error), true) = (&followed, several) {
                    eprintln!("outrigger: {}", failure::in_full(error));
                }
                followed
            });
        }
        drop(events);
        let mut left = self.max.unwrap_or(u64::MAX);
        while left > 0 {
            let event = tokio::select! {
                event = received.recv() => event,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            let Some((pod, event)) = event else {
                return all_ended(watching).await;
            };
            let line = match self.cluster.output {
                Output::Json => event.json(&pod),
                Output::Text => event.text(several.then_some(pod.as_str())),
            };
            if stdout::write(&format!("{line}\n"))?.is_break() {
                return Ok(());
            }
            left -= u64::from(event.is_request());
        }
        Ok(())
    }

    /// The filter as the proxy takes it.
    fn query(&self) -> String {
        let max = self.max.map(|max| max.to_string());
        let parameters = [
            ("direction", &self.direction),
            ("path", &self.path),
            ("method", &self.method),
            ("status", &self.status),
            ("to", &self.to),
            ("from", &self.from),
            ("max", &max),
        ];
        let given = parameters.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            Some(format!("{name}={}", encode(value)))
        });
        given.collect::<Vec<_>>().join("&")
    }
}

/// An error when no pod at all could be watched.
async fn all_ended(mut watching: tokio::task::JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut ended = Ok(());
    while let Some(one) = watching.join_next().await {
        ended = one?;
        if ended.is_ok() {
            break;
        }
    }
    ended
}

/// Percent-encodes all but what is safe anywhere in a query.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b':' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tap::Query;

    #[test]
    fn the_proxy_understands_the_filter() {
        let args = TapArgs {
            target: "cart".parse().unwrap(),
            direction: Some("inbound".into()),
            path: Some("/a b&c=ü%".into()),
            method: None,
            status: Some("5xx".into()),
            to: None,
            from: Some("spiffe://cluster.local/ns/shop/sa/web".into()),
            max: Some(3),
            cluster: ClusterArgs::for_tests(),
        };
        let query = Query::parse(&args.query()).unwrap();
        assert_eq!(query.max, 3);
        assert_eq!(query.filter.path.as_deref(), Some("/a b&c=ü%"));
        assert_eq!(query.filter.status, Some(500..=599));
        let from = query.filter.from.as_deref();
        assert_eq!(from, Some("spiffe://cluster.local/ns/shop/sa/web"));
    }
}
