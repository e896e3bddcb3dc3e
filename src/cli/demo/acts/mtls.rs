//! What passes between two pods is TLS 1.3, and the called service knows who calls.

use anyhow::Context as _;

use super::{Seen, Stage, marker};
use crate::cli::demo::plan::Service;

pub const ACT: (&str, &str) = (
    "mtls",
    "a request's path is not among the bytes on the veth of the called pods, a TLS 1.3 handshake \
     of the mesh is, and the called application is told who calls",
);

pub async fn play(stage: &mut Stage) -> anyhow::Result<Seen> {
    let marker = marker();
    let answer = stage.mesh.ask(&format!("/{marker}")).await?;
    let call = answer.calls.first().context("web called nobody")?;
    let caller = call.answer["caller"]
        .as_str()
        .unwrap_or("nobody")
        .to_owned();

    let mut wire = Wire::default();
    // The visitor has no sidecar: there the same search must find the marker.
    let mut control = Wire::default();
    for replica in &mut stage.mesh.replicas {
        match replica.plan.service {
            Service::Orders | Service::Stock => wire.read(&replica.capture.take()?, &marker),
            Service::Web => control.read(&replica.capture.take()?, &marker),
            Service::Batch => {}
        }
    }
    let ok = wire.markers == 0
        && control.markers > 0
        && wire.client_hellos > 0
        && wire.server_hellos > 0
        && caller == Service::Web.identity().as_str();
    let Wire {
        frames,
        bytes,
        markers,
        client_hellos,
        server_hellos,
    } = wire;
    Ok(Seen {
        seen: format!(
            "{frames} frames ({bytes} bytes) at orders and stock: the path in {markers}, a mesh \
             ClientHello in {client_hellos}, a TLS 1.3 ServerHello in {server_hellos}; the path in \
             {} frames of the visitor's plaintext at web; orders was called by {caller}",
            control.markers
        ),
        ok,
    })
}

#[derive(Default)]
struct Wire {
    frames: usize,
    bytes: usize,
    markers: usize,
    client_hellos: usize,
    server_hellos: usize,
}

impl Wire {
    fn read(&mut self, frames: &[Vec<u8>], marker: &str) {
        for frame in frames {
            self.frames += 1;
            self.bytes += frame.len();
            self.markers += usize::from(contains(frame, marker.as_bytes()));
            self.client_hellos += usize::from(is_client_hello(frame));
            self.server_hellos += usize::from(is_server_hello(frame));
        }
    }
}

/// A handshake record with a ClientHello, and the mesh's protocol names (RFC 8446, 7301).
fn is_client_hello(frame: &[u8]) -> bool {
    has_handshake(frame, 1) && contains(frame, b"\x05or-h2")
}

/// A handshake record with a ServerHello whose `supported_versions` is TLS 1.3.
fn is_server_hello(frame: &[u8]) -> bool {
    has_handshake(frame, 2) && contains(frame, &[0x00, 0x2b, 0x00, 0x02, 0x03, 0x04])
}

/// Record type 22, any version 3.x, any length, then the message's type.
fn has_handshake(frame: &[u8], message: u8) -> bool {
    frame
        .windows(6)
        .any(|part| part[0] == 22 && part[1] == 3 && part[5] == message)
}

fn contains(frame: &[u8], wanted: &[u8]) -> bool {
    frame.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_handshakes_from_other_bytes() {
        let hello = |message: u8, extension: &[u8]| {
            [&[0x45, 0, 22, 3, 1, 2, 0, message][..], extension].concat()
        };
        assert!(is_client_hello(&hello(1, b"\0\x10\0\x08\0\x06\x05or-h2")));
        assert!(!is_client_hello(&hello(1, b"\0\x10\0\x05\0\x03\x02h2")));
        assert!(is_server_hello(&hello(2, &[0, 0x2b, 0, 2, 3, 4])));
        assert!(!is_server_hello(&hello(2, &[0, 0x2b, 0, 2, 3, 3])));
        assert!(!is_server_hello(&hello(1, &[0, 0x2b, 0, 2, 3, 4])));
    }
}
