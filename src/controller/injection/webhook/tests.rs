use std::sync::Mutex;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::*;

/// A cluster that remembers what it was asked.
#[derive(Default)]
struct Known {
    annotations: Annotations,
    away: bool,
    asked: Mutex<Vec<String>>,
    ensured: Mutex<Vec<String>>,
}

#[async_trait]
impl Cluster for Known {
    async fn annotations(&self, namespace: &str) -> Result<Annotations, ClusterError> {
        self.asked.lock().unwrap().push(namespace.to_owned());
        match self.away {
            true => Err(ClusterError("connection refused".into())),
            false => Ok(self.annotations.clone()),
        }
    }

    async fn ensure_roots(&self, namespace: &str) -> Result<(), ClusterError> {
        self.ensured.lock().unwrap().push(namespace.to_owned());
        Ok(())
    }
}

fn enabled() -> Known {
    Known {
        annotations: [("outrigger.dev/inject".into(), "enabled".into())].into(),
        ..Known::default()
    }
}

fn webhook(cluster: Known) -> (Webhook, Arc<Known>) {
    let cluster = Arc::new(cluster);
    let webhook = Webhook {
        mesh: Arc::default(),
        cluster: cluster.clone(),
    };
    (webhook, cluster)
}

fn review(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "7d", "namespace": "shop", "object": object, "dryRun": false},
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "cart", "labels": {"app": "cart"}},
        "spec": {
            "containers": [{"name": "app", "readinessProbe": {"tcpSocket": {"port": 80}}}],
            "initContainers": [{"name": "migrate", "newer": true}],
            "imagePullSecrets": [],
        },
    })
}

/// What the API server makes of an answer.
fn patched(object: &Value, answer: &Value) -> Value {
    let patch: k8s_openapi::ByteString =
        serde_json::from_value(answer["response"]["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch.0).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

#[tokio::test]
async fn makes_of_a_pod_what_the_command_line_does() {
    let (webhook, cluster) = webhook(enabled());
    let answer = webhook.pod(&review(&pod())).await.unwrap();
    assert_eq!(answer["response"]["uid"], "7d");
    assert_eq!(answer["response"]["allowed"], true);
    let offline = inject_object(&pod(), &cluster.annotations, &webhook.mesh).unwrap();
    assert_eq!(Some(patched(&pod(), &answer)), offline.pod);
    assert_eq!(*cluster.ensured.lock().unwrap(), ["shop"]);
}

#[tokio::test]
async fn the_patch_applies_to_a_pod_without_metadata() {
    let (webhook, _) = webhook(enabled());
    let pod = json!({"spec": {"containers": [{"name": "app"}]}});
    let answer = webhook.pod(&review(&pod)).await.unwrap();
    let patched = patched(&pod, &answer);
    assert_eq!(
        patched["metadata"]["labels"]["outrigger.dev/injected"],
        "true"
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing_in_the_cluster() {
    let (webhook, cluster) = webhook(enabled());
    let mut review = review(&pod());
    review["request"]["dryRun"] = json!(true);
    let answer = webhook.pod(&review).await.unwrap();
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    assert!(cluster.ensured.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_did_not_ask_is_let_through_as_is() {
    let (webhook, cluster) = webhook(Known::default());
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"outrigger.dev/injct": "enabled"});
    let answer = webhook.pod(&review(&pod)).await.unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"].get("patch"), None);
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("outrigger.dev/inject?"), "{warning}");
    assert!(cluster.ensured.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_mistake_is_refused_and_a_cluster_that_is_away_waited_for() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"outrigger.dev/mtls": "lax"});
    let (there, _) = webhook(enabled());
    let refused = there.pod(&review(&pod)).await.unwrap();
    assert_eq!(refused["response"]["allowed"], false);
    assert_eq!(refused["response"]["status"]["code"], 422);
    let (away, _) = webhook(Known {
        away: true,
        ..Known::default()
    });
    let waits = away.pod(&review(&pod)).await.unwrap();
    assert_eq!(waits["response"]["status"]["code"], 503);
    assert_eq!(
        there.pod(&json!({"request": 1})).await,
        Err("no request.uid")
    );
}

/// Anybody who reaches the port can send a review.
#[tokio::test]
async fn a_name_that_no_namespace_has_is_refused_before_the_cluster_is_asked() {
    let long = "a".repeat(64);
    for name in [
        "",
        "-a",
        "a-",
        "Shop",
        "a.b",
        "..",
        "shop/secrets",
        "../../api/v1/secrets?",
        "shop%2f",
        "shop?limit=1",
        &long,
    ] {
        let (webhook, cluster) = webhook(enabled());
        let mut review = review(&pod());
        review["request"]["namespace"] = json!(name);
        assert!(webhook.pod(&review).await.is_err(), "{name}");
        assert!(webhook.template(&review).await.is_err(), "{name}");
        assert!(cluster.asked.lock().unwrap().is_empty(), "{name}");
    }
    let (webhook, cluster) = webhook(enabled());
    let mut review = review(&pod());
    review["request"]["namespace"] = json!("a".repeat(63));
    assert!(webhook.pod(&review).await.is_ok());
    assert_eq!(cluster.asked.lock().unwrap().len(), 1);
}

/// Nothing is written into a namespace on the word of a pod that may be nowhere.
#[tokio::test]
async fn only_a_namespace_that_is_to_be_injected_gets_the_trust_anchors() {
    let (webhook, cluster) = webhook(Known::default());
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"outrigger.dev/inject": "enabled"});
    let answer = webhook.pod(&review(&pod)).await.unwrap();
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    assert!(cluster.ensured.lock().unwrap().is_empty());
}

#[tokio::test]
async fn templates_are_warned_of_and_never_refused() {
    let (webhook, _) = webhook(enabled());
    let mut template = pod();
    template["metadata"]["annotations"] = json!({"outrigger.dev/mtls": "lax"});
    let object = json!({"kind": "Deployment", "spec": {"template": template}});
    let answer = webhook.template(&review(&object)).await.unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("will be refused") && warning.contains("lax"),
        "{warning}"
    );
    assert_eq!(answer["response"].get("patch"), None);
}

/// A certificate for `injector.test` under an authority of its own, and who trusts that.
fn certificate() -> (Arc<ServerConfig>, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["injector.test".into()]).unwrap();
    let der = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), client)
}

/// One review by HTTP/1.1 or HTTP/2, as API servers send them.
async fn post(
    addr: std::net::SocketAddr,
    client: &ClientConfig,
    h2: bool,
) -> anyhow::Result<Value> {
    let mut client = client.clone();
    client.alpn_protocols = vec![if h2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    let tcp = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("injector.test")?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let tls = TokioIo::new(connector.connect(name, tcp).await?);
    let body = Full::<bytes::Bytes>::from(review(&pod()).to_string());
    let request = http::Request::post("https://injector.test/inject?timeout=5s").body(body)?;
    let response = if h2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), tls).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = http1::handshake(tls).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let body = response.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

#[tokio::test]
async fn serves_either_http_under_the_certificate_of_the_day() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (server, client) = certificate();
    let (renewed, tls) = watch::channel(server);
    let (webhook, _) = webhook(enabled());
    tokio::spawn(serve(listener, tls, Arc::new(webhook)));
    for h2 in [false, true] {
        let answer = post(addr, &client, h2).await.unwrap();
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
    }
    let (server, next) = certificate();
    renewed.send_replace(server);
    assert!(post(addr, &client, true).await.is_err());
    assert!(post(addr, &next, true).await.is_ok());
}
