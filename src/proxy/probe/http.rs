//! A check by HTTP, as the kubelet makes it: one connection, one GET, any certificate will do, and
//! redirects followed as long as they stay on the host.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{ACCEPT, HOST, LOCATION, USER_AGENT},
    uri::Scheme,
};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::{Asked, Verdict};
use crate::discovery::probe::HttpCheck;

/// As many as the kubelet follows.
const MAX_REDIRECTS: usize = 10;

pub(super) async fn check(asked: &Asked, check: &HttpCheck) -> Result<Verdict, String> {
    let headers = headers(asked, check)?;
    let mut target = Target {
        tls: check.tls,
        port: check.port,
        path: check.path.clone(),
    };
    for _ in 0..=MAX_REDIRECTS {
        let response = get(asked, &target, headers.clone()).await?;
        let status = response.status();
        let location = response
            .headers()
            .get(LOCATION)
            .filter(|_| status.is_redirection());
        match location.and_then(|location| target.redirected(location, asked.ip)) {
            Some(next) => target = next,
            // What leads elsewhere is an answer, and a good one.
            None if status.is_redirection() => return Ok(Verdict::good()),
            None => {
                return Ok(Verdict {
                    status,
                    detail: format!("the application answers {status}"),
                });
            }
        }
    }
    Err(format!("more than {MAX_REDIRECTS} redirects"))
}

/// Where one request goes.
struct Target {
    tls: bool,
    port: u16,
    path: String,
}

impl Target {
    /// Where a redirect leads, if that is on the same host.
    fn redirected(&self, location: &HeaderValue, ip: IpAddr) -> Option<Self> {
        let uri: Uri = location.to_str().ok()?.parse().ok()?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let Some(host) = uri.host() else {
            return path.starts_with('/').then(|| Self {
                path: path.to_owned(),
                ..*self
            });
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let same_host = host.parse() == Ok(ip);
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        same_host.then(|| Self {
            tls,
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }
}

/// The kubelet's own headers, and what the check says over them.
fn headers(asked: &Asked, check: &HttpCheck) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(agent) = &asked.user_agent {
        headers.insert(USER_AGENT, agent.clone());
    }
    let mut said = HeaderMap::new();
    for (name, value) in &check.headers {
        let invalid = || format!("the check's header {name:?} cannot be sent");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
        said.append(name, value);
    }
    // Replaces what is there by that name.
    headers.extend(said);
    Ok(headers)
}

async fn get(
    asked: &Asked,
    target: &Target,
    headers: HeaderMap,
) -> Result<Response<Incoming>, String> {
    let tcp = asked.connect(target.port).await?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target
        .path
        .parse()
        .map_err(|_| format!("{:?} is not a path", target.path))?;
    *request.headers_mut() = headers;
    let own = std::net::SocketAddr::new(asked.ip, target.port).to_string();
    let own = HeaderValue::from_str(&own).expect("an address is plain text");
    request.headers_mut().entry(HOST).or_insert(own);
    if !target.tls {
        return send(tcp, request).await;
    }
    let name = ServerName::IpAddress(asked.ip.into());
    let tls = TlsConnector::from(any_certificate())
        .connect(name, tcp)
        .await;
    send(
        tls.map_err(|error| format!("TLS failed: {error}"))?,
        request,
    )
    .await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let failed = |error: hyper::Error| format!("no valid HTTP answer: {error}");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(failed)?;
    // Ends with this: of the answer only the head counts.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    sender.send_request(request).await.map_err(failed)
}

/// The kubelet asks for no certificate that anybody would vouch for.
fn any_certificate() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = AnyCertificate(provider.clone());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the default provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(location: &str) -> Option<(bool, u16, String)> {
        let target = Target {
            tls: false,
            port: 8080,
            path: "/".into(),
        };
        let ip = "198.18.64.7".parse().unwrap();
        let location = HeaderValue::from_str(location).unwrap();
        let next = target.redirected(&location, ip)?;
        Some((next.tls, next.port, next.path))
    }

    #[test]
    fn follows_redirects_on_the_same_host_only() {
        assert_eq!(
            redirected("/ready?x=1"),
            Some((false, 8080, "/ready?x=1".into()))
        );
        let secure = redirected("https://198.18.64.7:8443/live");
        assert_eq!(secure, Some((true, 8443, "/live".into())));
        assert_eq!(
            redirected("http://198.18.64.7"),
            Some((false, 80, "/".into()))
        );
        assert_eq!(redirected("http://app.test/"), None);
        assert_eq!(redirected("http://198.18.64.8/"), None);
    }
}
