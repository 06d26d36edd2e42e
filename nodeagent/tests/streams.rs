//! Logs, exec and port-forward through the node's own server, as kube-rs asks for them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may")]

mod engine;
mod fake;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use engine::Engine;
use fake::{Fake, until};
use futures::StreamExt;
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, LogParams},
    client::Body,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;
use skiff_nodeagent::{Config, RuntimeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tokio_util::sync::CancellationToken;

/// An authority, and certificates of it.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn certificate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A client that asks the node itself for what an API server would hand on to it.
fn through(node: SocketAddr, ca: &str, certificate: &(String, String)) -> kube::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.0.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.1.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
    let service = tower::service_fn(move |request: Request<Body>| {
        let tls = tls.clone();
        async move { Ok::<_, Infallible>(hand_on(node, tls, request).await) }
    });
    kube::Client::new(service, "default")
}

async fn hand_on(
    node: SocketAddr,
    tls: tokio_rustls::TlsConnector,
    request: Request<Body>,
) -> Response<hyper::body::Incoming> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (namespace, pod, verb) = (words[3], words[5], words[6]);
    let to = match verb {
        "log" => format!("/containerLogs/{namespace}/{pod}/c?{query}"),
        "portforward" => format!("/portForward/{namespace}/{pod}?{query}"),
        verb => format!("/{verb}/{namespace}/{pod}/c?{query}"),
    };
    parts.uri = to.parse().unwrap();
    parts.headers.insert("host", "localhost".parse().unwrap());
    let stream = tokio::net::TcpStream::connect(node).await.unwrap();
    let stream = tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender.send_request(Request::from_parts(parts, body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_reads_logs_runs_commands_and_reaches_ports() {
    let dir = std::env::temp_dir().join(format!("skiff-streams-{}", std::process::id()));
    let engine = Engine::start(dir.clone()).await;
    engine.make_image();
    let authority = Authority::new();
    let mut config = Config::new("n2", "127.0.0.1".parse().unwrap(), dir.join("agent"));
    config.runtime = RuntimeKind::Docker { host: Some(engine.host.clone()) };
    config.pod_cidr = Some("10.213.8.0/24".into());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.listen = free;
    let (cert, key) = authority.certificate("system:node:n2");
    (config.tls_cert_pem, config.tls_key_pem) = (Some(cert), Some(key));
    config.client_ca_pem = Some(authority.pem.clone());
    let fake = Fake::new();
    fake.tell_on_panic();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(skiff_nodeagent::run(config.clone(), fake.client(), stop.clone()));
    let path = "/api/v1/namespaces/default/pods/web";
    fake.put(path, json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web", "namespace": "default" },
        "spec": { "nodeName": "n2", "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "c", "image": "skifftest/busybox:1",
            "command": ["sh", "-c", "echo one; echo two; echo three; mkdir -p /www; echo page > /www/p; httpd -f -p 127.0.0.1:8080 -h /www"],
            // Ready when it listens: 8080 is 1F90.
            "readinessProbe": { "exec": { "command": ["grep", "0100007F:1F90", "/proc/net/tcp"] }, "periodSeconds": 1 },
        }] }
    }));
    until("it serves", 30, || {
        fake.get(path).filter(|p| p["status"]["containerStatuses"][0]["ready"] == true)
    })
    .await;

    let client = through(free, &authority.pem, &authority.certificate("kube-apiserver-kubelet-client"));
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let tail = LogParams { tail_lines: Some(2), ..LogParams::default() };
    // The engine carries what a container wrote into its log in its own time.
    let all = async {
        while pods.logs("web", &LogParams::default()).await.unwrap() != "one\ntwo\nthree\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("the whole log comes");
    assert_eq!(pods.logs("web", &tail).await.unwrap(), "two\nthree\n");

    // The same by a WebSocket: an empty message first, then the log, then the end.
    let upgrade = Request::get(format!("{path}/log?tailLines=2"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "binary.k8s.io");
    let answer = client.send(upgrade.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["sec-websocket-protocol"]),
        (101, &"binary.k8s.io".parse().unwrap())
    );
    let upgraded = hyper::upgrade::on(answer).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    let mut told = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            assert_eq!(bytes.is_empty(), told.is_empty());
            told.push(bytes);
        }
    }
    assert_eq!(told.concat(), b"two\nthree\n");

    let ask = AttachParams::default().stdin(true).stderr(true);
    let mut process =
        pods.exec("web", ["sh", "-c", "read x; echo got $x; echo bad >&2; exit 7"], &ask).await.unwrap();
    process.stdin().unwrap().write_all(b"word\n").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    process.stderr().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("got word\n", "bad\n"));
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("7"));

    let mut forward = pods.portforward("web", &[8080]).await.unwrap();
    let mut port = forward.take_stream(8080).unwrap();
    port.write_all(b"GET /p HTTP/1.0\r\n\r\n").await.unwrap();
    let mut page = String::new();
    port.read_to_string(&mut page).await.unwrap();
    assert!(page.ends_with("page\n"), "{page}");

    // A node's own certificate opens nothing.
    let stranger = through(free, &authority.pem, &authority.certificate("system:node:n3"));
    let refused = Api::<Pod>::namespaced(stranger, "default").logs("web", &tail).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused:?}");

    fake.delete_gracefully(path, 1);
    until("it is gone", 30, || fake.get(path).is_none().then_some(())).await;
    stop.cancel();
    agent.await.unwrap().unwrap();
    skiff_nodeagent::clean(config).await.unwrap();
    assert_eq!(engine.docker(&["ps", "-aq", "--filter", "label=skiff.dev/node=n2"]), "");
}
