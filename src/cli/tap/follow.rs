//! One pod's tap, read line by line.

use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

use super::event::Event;
use crate::cli::cluster::Proxy;

/// The longest line that is put together; a proxy's have about 500 bytes.
const MAX_LINE: usize = 64 * 1024;

/// Sends what a pod's proxy tells, until there is no more or nobody listens. A tap that ended
/// because its time was over is opened again.
///
/// # Errors
/// When the proxy cannot be asked, or refuses.
pub async fn follow(
    client: &Client,
    pod: &Pod,
    path: &str,
    events: &mpsc::Sender<(String, Event)>,
) -> anyhow::Result<()> {
    let name = pod.name_any();
    let namespace = pod.namespace().unwrap_or_default();
    loop {
        let mut proxy = Proxy::connect(client, &namespace, &name)
            .await
            .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        let mut body = proxy
            .open(path)
            .await
            .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        let mut lines = Lines::default();
        let mut over = false;
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else {
                continue;
            };
            for line in lines.push(&bytes) {
                let event = match Event::parse(&line) {
                    Some(Event::End(why)) => {
                        over = why == "the time is over";
                        continue;
                    }
                    Some(event) => event,
                    None => continue,
                };
                if events.send((name.clone(), event)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if !over {
            return Ok(());
        }
    }
}

/// Puts lines together from pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            // Nothing of ours is so long: let it go rather than keep all of it.
            if self.0.len() > MAX_LINE {
                self.0.clear();
            }
            return Vec::new();
        };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        let text = String::from_utf8_lossy(&whole);
        text.lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        assert!(lines.push(b"{\"a\"").is_empty());
        assert_eq!(lines.push(b":1}\n{\"b\":2}\n{"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(lines.push(b"}\n"), ["{}"]);
        assert!(lines.push(&vec![b'x'; MAX_LINE + 1]).is_empty());
        assert_eq!(lines.push(b"y\n"), ["y"]);
    }
}
