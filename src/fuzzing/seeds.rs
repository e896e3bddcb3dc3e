//! Real inputs to begin a search from, written into the corpora where they are missing by
//! `UPDATE_SEEDS=1 cargo test --lib fuzzing::seeds`: what the tests' own fixtures, rustls, rcgen
//! and prost make, and what was said on the wire.

use std::{fs, path::Path, time::SystemTime};

use prost::Message;
use serde_json::{Value, json};

use crate::{
    controller::registry_file::Registry,
    discovery::{
        proto::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource as WireResource, Status,
        },
        resource::{Kind, version},
    },
    identity::{CertificateRequest, ca::DEFAULT_LIFETIME, testing},
    proxy::client_hello::tests::{in_records, real_hello},
};

const REGISTRY: &str = include_str!("../../manifests/registry.example.yaml");

/// A target, what the input is, and the input.
type Seed = (&'static str, String, Vec<u8>);

#[test]
fn seeds_are_there() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, name, bytes) in all() {
        let file = corpora.join(target).join(format!("seed-{name}"));
        if std::env::var_os("UPDATE_SEEDS").is_some() && !file.exists() {
            fs::write(&file, bytes).expect("the corpus can be written");
        }
        let hint = "run UPDATE_SEEDS=1 cargo test --lib fuzzing::seeds";
        assert!(file.exists(), "{} is missing: {hint}", file.display());
    }
}

fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    seeds.extend(texts());
    seeds.extend(http());
    seeds.extend(http2());
    seeds.extend(hellos());
    seeds.extend(registry());
    seeds.extend(discovery());
    seeds.extend(admission());
    seeds.extend(certificates());
    seeds
}

fn numbered(target: &'static str, inputs: &[&[u8]]) -> Vec<Seed> {
    let seed = |(at, bytes): (usize, &&[u8])| (target, format!("{at:02}"), bytes.to_vec());
    inputs.iter().enumerate().map(seed).collect()
}

fn texts() -> Vec<Seed> {
    let said: &[&[u8]] = &[
        b"8000-8099",
        b"443",
        b"10.0.0.0/8",
        b"fd00::/8",
        b"192.0.2.7",
        b"100m",
        b"64Mi",
        b"1e3",
        b"0.5",
        b"1h30m",
        b"250ms",
        b"shop/cart:80",
        b"spiffe://mesh.local/ns/shop/sa/cart",
        b"00000000000000000000000000000000000000000000000000000000000000ff",
    ];
    let traces: &[&[u8]] = &[
        b"\x0000-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n\x01congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        b"\x0001-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more\n\x01t0@sys=a b",
        b"\x0280f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
        b"\x0380f198ee56343ba864fe8b2a57d3eff7\n\x04e457b5a2e4d86bd1\n\x05true\n\x06e457b5a2e4d86bd1\n\x071",
        b"\x020",
    ];
    let paths: &[&[u8]] = &[
        b"\x00/a/b",
        b"\x03\x00\x00\x04/a/%2e%2e/b",
        b"\x02\x01\x04/a/..%5cb",
        b"\x02\x02\x04/a/..;x/b",
        b"\x01\x03/a//b",
        b"\x02\x00\x00/a/%25%32%65%25%32%65/b",
        b"\x01\x05/a/%20../b",
    ];
    // An acknowledgement, a refusal, and a message of another kind before them.
    let netlink: &[&[u8]] = &[
        b"\x24\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x14\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0\xff\xff\xff\xff",
    ];
    let mut seeds = numbered("texts", said);
    seeds.extend(numbered("trace_context", traces));
    seeds.extend(numbered("access_path", paths));
    seeds.extend(numbered("netlink", netlink));
    seeds
}

/// The first byte is the size of a read.
fn http2() -> Vec<Seed> {
    const GET: &[u8] = b"\x82\x86\x84\x01\x04shop";
    const POST: &[u8] = b"\x83\x86\x44\x03/a?\x01\x04shop\x0f\x0d\x015";
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).expect("a short frame");
        let [high, low] = length.to_be_bytes();
        [&[0, high, low, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let huffman = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
    let window = |by: u8| frame(8, 0, 0, &[0, 0, 0, by]);
    let settings = [&[0, 1, 0, 0, 0, 64][..], &[0, 4, 0, 0, 1, 0]].concat();
    let server: [Vec<Vec<u8>>; 8] = [
        vec![
            frame(1, 5, 1, GET),
            frame(1, 5, 3, huffman),
            frame(1, 5, 5, b"\x82\x86\x84\xbe"),
        ],
        vec![
            frame(1, 4, 1, POST),
            frame(0, 0, 1, b"he"),
            frame(0, 9, 1, b"\x02llo\0\0"),
        ],
        vec![
            frame(1, 0, 1, &GET[..3]),
            frame(9, 0, 1, &[]),
            frame(9, 4, 1, &GET[3..]),
        ],
        vec![
            frame(1, 0x24, 1, &[b"\0\0\0\0\x10", POST].concat()),
            frame(1, 5, 1, b"\x40\x01x\x01y"),
        ],
        vec![
            frame(1, 5, 1, GET),
            frame(3, 0, 1, &[0, 0, 0, 8]),
            frame(6, 0, 0, b"12345678"),
        ],
        vec![
            frame(4, 0, 0, &settings),
            window(9),
            frame(7, 0, 0, &[0; 8]),
            frame(1, 5, 1, GET),
        ],
        vec![
            frame(1, 5, 1, b"\x3f\xe1\x1f\x82\x86\x84\x10\x01a\x01b\x50\x80"),
            frame(2, 0, 1, b"\0\0\0\x01\0"),
        ],
        vec![
            frame(1, 4, 1, GET),
            frame(0, 0, 1, &[]),
            window(0),
            frame(0, 0, 7, b"a"),
        ],
    ];
    let client: [Vec<Vec<u8>>; 3] = [
        vec![
            frame(1, 4, 1, b"\x08\x03103"),
            frame(1, 4, 1, b"\x88"),
            frame(0, 1, 1, b"hello"),
        ],
        vec![
            frame(1, 4, 3, b"\x88\x5f\x03a/b"),
            frame(1, 5, 3, b"\x00\x0bgrpc-status\x010"),
        ],
        vec![
            frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            frame(3, 0, 1, &[0, 0, 0, 7]),
        ],
    ];
    let role = |first: u8, frames: &Vec<Vec<u8>>| [&[first], &frames.concat()[..]].concat();
    let servers = server.iter().map(|frames| role(4, frames));
    let all: Vec<_> = servers
        .chain(client.iter().map(|frames| role(5, frames)))
        .collect();
    numbered("http2", &all.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn http() -> Vec<Seed> {
    let requests: &[&[u8]] = &[
        b"\xffGET /a?b=c HTTP/1.1\r\nHost: shop:80\r\nConnection: keep-alive, X-One\r\nX-One: 1\r\n\r\nGET / HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX-T: 1\r\n\r\nGET /next HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"\x06POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: Chunked\r\nTE: trailers\r\n\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"\xffGET http://shop:80/a HTTP/1.1\r\nHost: shop:80\r\n\r\n",
        b"\xffGET / HTTP/1.0\r\n\r\n",
        b"\xffPOST / HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nokGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xffOPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"\xffCONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xffGET /chat HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\xffGET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
        b"\xff\r\nGET / HTTP/1.1\nHost: shop\n\n",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        b"\xffGET / HTTP/1.1\r\nHost: shop\r\nX: a\r\n b\r\n\r\n",
        b"\xffPOST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n000000000000000000000000000000000000000000000000000000000000000000000019\r\nGET /evil HTTP/1.1\nA: b\n\n\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: shop\r\n\r\n",
    ];
    let responses: &[&[u8]] = &[
        b"\x00HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nX-T: 1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\x02HTTP/1.0 200\r\nServer: old\r\n\r\nuntil the end",
        b"\x01HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"\x00HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
        b"\x00HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nKeep-Alive: timeout=5\r\n\r\n",
        b"\x00HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x00HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ];
    let beginnings: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\r\nget\t/\thttp/1.0\n",
        b"GET key\r\n",
        b"EHLO client.example\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        b"CONNECT shop:443 HTTP/1.1\r\n",
    ];
    let mut seeds = numbered("http1", requests);
    seeds.extend(numbered("http1_response", responses));
    seeds.extend(numbered("detect", beginnings));
    seeds
}

fn hellos() -> Vec<Seed> {
    let mesh = real_hello(&[b"or-h2"], "cart.shop");
    let own = real_hello(&[b"h2", b"http/1.1"], "shop.example");
    let bare = real_hello(&[], "192.0.2.1");
    let pieces = in_records(&mesh, 100);
    numbered("client_hello", &[&mesh, &own, &bare, &pieces])
}

fn parsed() -> Registry {
    Registry::parse(Path::new("registry.yaml"), REGISTRY).expect("the example is a registry")
}

fn registry() -> Vec<Seed> {
    let mistaken = REGISTRY.replace("failureRate: 0.4", "failureRate: 4");
    let mut seeds = numbered(
        "registry",
        &[
            REGISTRY.as_bytes(),
            mistaken.as_bytes(),
            b"trustDomain: mesh.local\n",
        ],
    );
    for (at, (name, value)) in parsed().resources.iter().enumerate() {
        let kind = Kind::ALL
            .iter()
            .position(|kind| *kind == name.kind)
            .expect("one of all") as u8;
        let input = [&[kind], name.name.as_bytes(), b"\n", &value.to_json()].concat();
        seeds.push(("resource", format!("{at:02}"), input));
    }
    seeds
}

fn discovery() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let of_kind = parsed()
            .resources
            .into_iter()
            .filter(|(name, _)| name.kind == kind);
        let resources = of_kind.map(|(name, value)| WireResource {
            version: version(&value.to_json()),
            name: name.name.to_string(),
            resource: Some(prost_types::Any {
                type_url: kind.type_url().into(),
                value: value.to_json(),
            }),
        });
        let response = DeltaDiscoveryResponse {
            type_url: kind.type_url().into(),
            nonce: "1".into(),
            resources: resources.collect(),
            removed_resources: vec!["gone".into()],
            ..Default::default()
        };
        seeds.push((
            "discovery",
            format!("response-{at}"),
            response.encode_to_vec(),
        ));
    }
    let request = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "cart-0".into(),
        }),
        type_url: Kind::Service.type_url().into(),
        resource_names_subscribe: vec!["shop/cart:80".into(), "shop/web:80".into()],
        resource_names_unsubscribe: vec!["shop/web:80".into()],
        initial_resource_versions: [("shop/cart:80".into(), "0123456789abcdef".into())].into(),
        response_nonce: "1".into(),
        error_detail: Some(Status {
            code: 3,
            message: "Service shop/cart:80: no".into(),
        }),
    };
    seeds.push(("discovery", "request".into(), request.encode_to_vec()));
    seeds
}

fn admission() -> Vec<Seed> {
    let review = |object: Value| {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "7d", "namespace": "shop", "object": object, "dryRun": false},
        });
        review.to_string().into_bytes()
    };
    let pod = json!({
        "kind": "Pod",
        "metadata": {
            "name": "cart",
            "labels": {"app": "cart"},
            "annotations": {"outrigger.dev/opaque-ports": "3306", "outrigger.dev/mtls": "strict"},
        },
        "spec": {
            "containers": [{
                "name": "app",
                "ports": [{"name": "web", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"port": "web", "path": "/live"}, "periodSeconds": 5},
                "readinessProbe": {"grpc": {"port": 9000, "service": "cart"}, "timeoutSeconds": 3},
                "startupProbe": {"tcpSocket": {"port": 80}},
                "lifecycle": {"preStop": {"httpGet": {"port": 8080, "path": "/quit"}}},
            }],
            "initContainers": [{"name": "migrate", "newer": true}],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "imagePullSecrets": [{"name": "own"}],
        },
    });
    let deployment = json!({"kind": "Deployment", "spec": {"template": pod}});
    let host = json!({"spec": {"hostNetwork": true, "containers": [{"name": "app"}]}});
    let reviews = [pod, deployment, host].map(review);
    let reviews: Vec<_> = reviews.iter().map(Vec::as_slice).collect();
    numbered("admission", &reviews)
}

fn certificates() -> Vec<Seed> {
    let ca = testing::TestCa::new();
    let request = CertificateRequest::generate().csr_der;
    let signed = ca.ca.sign(
        &testing::id("cart"),
        &request,
        DEFAULT_LIFETIME,
        SystemTime::now(),
    );
    let chain = signed.expect("a good request");
    let roots = ca.bundle().roots;
    let read = |name: &str| fs::read_to_string(ca.dir.path().join(name)).expect("the CA has it");
    let authority = [&*roots, &read("issuer.pem"), &read("issuer.key")].join("\n---\n");
    numbered(
        "certificate",
        &[
            &chain[0],
            &chain[1],
            &request,
            roots.as_bytes(),
            authority.as_bytes(),
            b"-----BEGIN CERTIFICATE-----\nMIIB",
        ],
    )
}
