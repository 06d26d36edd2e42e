//! A small TLS server in this process: a webhook, a converter, or what else the API server calls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a server does with a request.
pub enum Act {
    /// Answers an AdmissionReview with this response; its uid is filled in.
    Review(Value),
    /// Answers with code, media type and body.
    Raw(u16, &'static str, String),
    /// Does not answer.
    Hang,
    /// Ends the connection.
    Close,
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// Whether the client showed a certificate that is believed.
    pub known: bool,
}

/// What a server answers, or how it fails.
pub type Outcome = Result<Response<UnsyncBoxBody<Bytes, &'static str>>, &'static str>;

/// A server that listens until it falls.
pub struct Hook {
    pub port: u16,
    /// Whom to believe, as a `caBundle`.
    pub bundle: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Hook {
    /// A server for these names, which does what `act` says.
    pub async fn serve(names: &[&str], act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self::serve_later(names, move |asked| std::future::ready(act(&asked))).await
    }

    /// The same, of one that asks its clients for certificates of this CA.
    pub async fn serve_to(
        names: &[&str],
        ca_pem: &str,
        act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(names, Some(ca_pem), move |asked| std::future::ready(act(&asked))).await
    }

    /// The same, of one that has to wait for something.
    pub async fn serve_later<F: Future<Output = Act> + Send + 'static>(
        names: &[&str],
        act: impl Fn(Asked) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::listen(names, None, act).await
    }

    async fn listen<F: Future<Output = Act> + Send + 'static>(
        names: &[&str],
        clients: Option<&str>,
        act: impl Fn(Asked) -> F + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, act) = (asked.clone(), Arc::new(act));
        let mut hook = Self::stand(names, clients, move |request, known| {
            answer(request, known, seen.clone(), act.clone())
        })
        .await;
        hook.asked = asked;
        hook
    }

    /// A server that does as it likes with a request; it is told whether the client is known.
    pub async fn stand<F: Future<Output = Outcome> + Send + 'static>(
        names: &[&str],
        clients: Option<&str>,
        answer: impl Fn(Request<Incoming>, bool) -> F + Send + Sync + 'static,
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (bundle, acceptor) = certificate(names, clients);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (connections.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            // Connections end with the server.
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, counted, answer) = (acceptor.clone(), counted.clone(), answer.clone());
                serving.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::Relaxed);
                    let known = stream.get_ref().1.peer_certificates().is_some();
                    let service = service_fn(|request| answer(request, known));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        });
        Self { port, bundle, asked: Arc::default(), connections, task }
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests of all reviews so far.
    pub fn reviews(&self) -> Vec<Value> {
        self.asked().iter().map(|asked| asked.body["request"].clone()).collect()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A `clientConfig` that leads here by address.
    pub fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.bundle})
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer<F: Future<Output = Act>>(
    request: Request<Incoming>,
    known: bool,
    seen: Arc<Mutex<Vec<Asked>>>,
    act: Arc<impl Fn(Asked) -> F + Send + Sync>,
) -> Outcome {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "no body")?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = Asked { method: head.method, path, headers: head.headers, body, known };
    seen.lock().unwrap().push(asked.clone());
    let uid = asked.body["request"]["uid"].clone();
    let version = asked.body["apiVersion"].clone();
    let (code, media, text) = match act(asked).await {
        Act::Review(mut response) => {
            if response["uid"].is_null() {
                response["uid"] = uid;
            }
            let review = json!({"kind": "AdmissionReview", "apiVersion": version, "response": response});
            (200, "application/json", review.to_string())
        }
        Act::Raw(code, media, text) => (code, media, text),
        Act::Hang => std::future::pending().await,
        Act::Close => return Err("closed"),
    };
    let response = Response::builder().status(code).header("content-type", media);
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    Ok(response.body(body.boxed_unsync()).unwrap())
}

/// A bundle, and what serves with a certificate that it believes.
fn certificate(names: &[&str], clients: Option<&str>) -> (String, TlsAcceptor) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "webhook-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let bundle = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let chain = vec![CertificateDer::from(params.signed_by(&key, &issuer).unwrap().der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = match clients {
        None => rustls::ServerConfig::builder().with_no_client_auth(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots));
            rustls::ServerConfig::builder()
                .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
    };
    let config = config.with_single_cert(chain, key).unwrap();
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    (bundle, TlsAcceptor::from(Arc::new(config)))
}

/// A JSON patch as an allowing response carries it.
pub fn patched(patch: &Value) -> Act {
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    Act::Review(json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"}))
}

/// A response that allows.
pub fn allowed() -> Act {
    Act::Review(json!({"allowed": true}))
}
