//! What is under load: a server behind a server over HTTP, a gRPC server that ends without regard
//! to its calls, and clients of both.

use std::fmt::Write as _;

use crate::harness::{GRPC, Load, NODE, Namespace, kubectl};

/// Every Deployment that serves.
pub const SERVERS: [&str; 3] = ["back", "front", "grpc"];

/// A namespace with servers and clients.
pub struct World<'a> {
    pub namespace: &'a Namespace,
    http: Load<'a>,
    grpc: Load<'a>,
}

impl<'a> World<'a> {
    /// Returns when requests and calls succeed.
    pub async fn start(namespace: &'a Namespace) -> Self {
        namespace.inject().await;
        namespace.apply(&nginx()).await;
        namespace.apply(&grpc()).await;
        for name in SERVERS {
            namespace.rolled_out(&format!("deployment/{name}")).await;
        }
        Self {
            namespace,
            http: Load::http(namespace, "load", "http://front/", &["GET", "POST"]).await,
            grpc: Load::grpc(namespace, "grpc-load", "http://grpc").await,
        }
    }

    /// # Panics
    /// When a request or a call failed since the start.
    pub async fn assert_none_failed(&self, during: &str) {
        for (load, what) in [(&self.http, "HTTP"), (&self.grpc, "gRPC")] {
            load.assert_none_failed(&format!("{during} ({what})")).await;
        }
    }

    pub async fn rollout_restart(&self, name: &str) {
        let (deployment, namespace) = (format!("deployment/{name}"), &self.namespace.name);
        kubectl(&["rollout", "restart", &deployment, "-n", namespace]).await;
        self.namespace.rolled_out(&deployment).await;
    }

    pub async fn scale(&self, name: &str, replicas: u32) {
        let (deployment, namespace) = (format!("deployment/{name}"), &self.namespace.name);
        let replicas = format!("--replicas={replicas}");
        kubectl(&["scale", &deployment, &replicas, "-n", namespace]).await;
        self.namespace.rolled_out(&deployment).await;
    }
}

/// A server, and a server that is a client too: nginx before nginx.
fn nginx() -> String {
    let mut yaml = String::new();
    for (name, location, replicas) in [
        ("back", "return 200 'from the back\\n';", 3),
        (
            "front",
            "proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection '';",
            2,
        ),
    ] {
        write!(
            yaml,
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  nginx.conf: |
    pid /tmp/nginx.pid;
    error_log /dev/stderr;
    events {{}}
    http {{
      access_log off;
      client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy;
      fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
      server {{ listen 8080; listen [::]:8080; location / {{ {location} }} }}
    }}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: nginx
        image: docker.io/library/nginx:1.27-alpine
        command: [nginx, -c, /etc/shop/nginx.conf, -g, 'daemon off;']
        readinessProbe: {{httpGet: {{port: 8080, path: /}}, periodSeconds: 1}}
        volumeMounts: [{{name: conf, mountPath: /etc/shop}}]
      volumes: [{{name: conf, configMap: {{name: {name}}}}}]
---
"
        )
        .expect("a String takes everything");
    }
    yaml
}

/// The gRPC server, under two names.
fn grpc() -> String {
    let indented = |line: &str| format!("    {line}\n");
    let script: String = GRPC.lines().map(indented).collect();
    let service = |name: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: grpc}}
  ports: [{{name: grpc, port: 80, targetPort: 8080}}]
---"
        )
    };
    format!(
        "{}{}
apiVersion: v1
kind: ConfigMap
metadata: {{name: grpc-code}}
data:
  grpc.js: |
{script}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: grpc}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: grpc}}}}
  template:
    metadata: {{labels: {{app: grpc}}}}
    spec:
      containers:
      - name: grpc
        image: {NODE}
        command: [node, /opt/grpc.js, serve]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
        volumeMounts: [{{name: code, mountPath: /opt}}]
      volumes: [{{name: code, configMap: {{name: grpc-code}}}}]
",
        service("grpc"),
        service("grpc-too"),
    )
}
