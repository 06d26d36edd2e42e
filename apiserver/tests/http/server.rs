//! A server in this process, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use skiff_api::kind::Registry;
use skiff_apiserver::app::Identity;
use skiff_apiserver::security::User;
use skiff_apiserver::{App, Config, serve};
use skiff_storage::Storage;
use skiff_storage::embedded::{Embedded, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An API server that listens.
pub struct Server {
    pub app: Arc<App>,
    address: SocketAddr,
    ca: Ca,
    shutdown: CancellationToken,
    dir: Option<tempfile::TempDir>,
}

impl Server {
    /// With the built-in kinds.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With further kinds, in the format of `api/kinds/builtin.txt`.
    pub async fn with(kinds: &str) -> Self {
        Self::with_store(kinds, Options::default()).await
    }

    /// With a store that keeps so much history.
    pub async fn with_store(kinds: &str, options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Embedded::open(&dir.path().join("store"), options).unwrap();
        let mut server = Self::on(Arc::new(storage), kinds, |_| {}).await;
        server.dir = Some(dir);
        server
    }

    /// On an empty store, with a changed configuration.
    pub async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Embedded::open(&dir.path().join("store"), Options::default()).unwrap();
        let mut server = Self::on(Arc::new(storage), "", change).await;
        server.dir = Some(dir);
        server
    }

    /// On a store that others may use too, with a changed configuration.
    pub async fn on(storage: Arc<dyn Storage>, kinds: &str, change: impl FnOnce(&mut Config)) -> Self {
        // Already installed by another server of the same process: just as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = Ca::new();
        let mut registry: Registry = skiff_api::builtin::registry();
        skiff_api::builtin::read(kinds).into_iter().for_each(|kind| registry.insert(kind));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config {
            service_cidr: "10.96.0.0/16".into(),
            node_ports: (30000, 32767),
            advertise: (address.ip(), address.port()),
            ca_pem: ca.pem.clone(),
            service_account_key_pem: KeyPair::generate().unwrap().serialize_pem(),
            node_client_pem: ca.issue("kube-apiserver", &["system:masters"]),
            aggregation: skiff_apiserver::aggregation::Options {
                ca_pem: ca.pem.clone(),
                client_pem: Some(ca.issue("front-proxy-client", &[])),
            },
            limits: skiff_apiserver::flow::Limits::default(),
            audit: skiff_apiserver::audit::Options::default(),
            admission: skiff_apiserver::admission::Switches::default(),
            tolerations: skiff_apiserver::app::Tolerations::default(),
            authentication: skiff_apiserver::security::authenticate::Options::default(),
            authorization: skiff_apiserver::security::authorize::Options::default(),
        };
        change(&mut config);
        let shutdown = CancellationToken::new();
        let app = App::start_with(config, registry, storage, shutdown.clone()).await.unwrap();
        let tls = ca.server(&app);
        tokio::spawn(serve::serve(app.clone(), listener, tls, shutdown.clone()));
        Self { app, address, ca, shutdown, dir: None }
    }

    /// Who may do everything.
    pub fn admin(&self) -> Client {
        self.user("admin", &["system:masters"])
    }

    /// Someone with a client certificate.
    pub fn user(&self, name: &str, groups: &[&str]) -> Client {
        let pair = self.ca.issue(name, groups);
        Client { connector: self.ca.connector(Some(pair)), address: self.address, token: None }
    }

    /// Someone with a certificate of any CA, made as `change` says.
    pub fn with_certificate(&self, ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Client {
        let pair = ca.issue_as(change);
        Client { connector: self.ca.connector(Some(pair)), address: self.address, token: None }
    }

    /// The cluster's CA.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Someone with a bearer token.
    pub fn bearer(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.nobody() }
    }

    /// Someone without credentials.
    pub fn nobody(&self) -> Client {
        Client { connector: self.ca.connector(None), address: self.address, token: None }
    }

    /// The certificate and key of a client, for tools that read files.
    #[allow(dead_code)]
    pub fn credentials(&self, name: &str, groups: &[&str]) -> (String, String, String) {
        let (certificate, key) = self.ca.issue(name, groups);
        (self.ca.pem.clone(), certificate, key)
    }

    /// Where it listens.
    #[allow(dead_code)]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A request of a component in this process: no socket, an identity put on it.
    pub async fn in_process(&self, user: User, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.app.handle(request, Identity::Known(user)).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What signs certificates.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, name: &str, groups: &[&str]) -> (String, String) {
        self.issue_as(|params| {
            params.distinguished_name.push(DnType::CommonName, name);
            for group in groups {
                params.distinguished_name.push(DnType::OrganizationName, *group);
            }
        })
    }

    fn issue_as(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }

    fn server(&self, app: &App) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.issue("server", &[]);
        let verifier = app.authenticator.client_verifier();
        let config = rustls::ServerConfig::builder().with_client_cert_verifier(verifier);
        Arc::new(config.with_single_cert(chain(&certificate), private(&key)).unwrap())
    }

    fn connector(&self, pair: Option<(String, String)>) -> TlsConnector {
        let config = rustls::ClientConfig::builder().with_root_certificates(self.roots());
        TlsConnector::from(Arc::new(match pair {
            Some((certificate, key)) => {
                config.with_client_auth_cert(chain(&certificate), private(&key)).unwrap()
            }
            None => config.with_no_client_auth(),
        }))
    }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()]
}

fn private(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Someone who asks.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    address: SocketAddr,
    token: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<Incoming> {
        let stream = self.connect().await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header("host", "skiff");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).unwrap();
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("an answer").unwrap()
    }

    /// Sends anything.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.open(method, path, headers, body.into()).await;
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a body").unwrap().to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, &[("accept", accept)], "").await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], object.to_string()).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], object.to_string()).await
    }

    /// `sort`: `json-patch`, `merge-patch` or `strategic-merge-patch`.
    pub async fn patch(&self, path: &str, sort: &str, patch: &Value) -> Answer {
        let media = format!("application/{sort}+json");
        self.send("PATCH", path, &[("content-type", media.as_str())], patch.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.send("DELETE", path, &[("content-type", "application/json")], options.to_string()).await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Watch {
        self.watch_as(path, "application/json").await
    }

    pub async fn watch_as(&self, path: &str, accept: &str) -> Watch {
        let response = self.open("GET", path, &[("accept", accept)], Bytes::new()).await;
        assert_eq!(response.status(), 200, "{path}");
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// A request of which the body does not come.
pub struct Begun(tokio_rustls::client::TlsStream<TcpStream>);

impl Client {
    /// A connection on which nothing was sent yet.
    pub async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.connector.connect(ServerName::from(self.address.ip()), stream).await.unwrap()
    }

    /// Sends the head of a request that promises a body, and nothing more.
    pub async fn begin(&self, method: &str, path: &str, length: usize) -> Begun {
        let mut stream = self.connect().await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: skiff\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        Begun(stream)
    }
}

impl Begun {
    /// What is answered all the same.
    pub async fn answer(mut self) -> Answer {
        let mut read = Vec::new();
        let whole = async {
            loop {
                let mut headers = [httparse::EMPTY_HEADER; 32];
                let mut head = httparse::Response::new(&mut headers);
                if let Ok(httparse::Status::Complete(end)) = head.parse(&read) {
                    let code = head.code.unwrap();
                    let mut map = HeaderMap::new();
                    for header in &*head.headers {
                        let name: http::HeaderName = header.name.parse().unwrap();
                        map.append(name, http::HeaderValue::from_bytes(header.value).unwrap());
                    }
                    let length: usize = map["content-length"].to_str().unwrap().parse().unwrap();
                    if read.len() >= end + length {
                        return Answer { code, headers: map, body: Bytes::copy_from_slice(&read[end..]) };
                    }
                }
                assert_ne!(self.0.read_buf(&mut read).await.unwrap(), 0, "the connection ended");
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("an answer")
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The object, if the code is the one expected.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        self.json()
    }

    /// Checks a refusal: code, reason and message.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str, message: &str) {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["code"], code);
        let expected = if reason.is_empty() { Value::Null } else { reason.into() };
        assert_eq!((&status["reason"], status["message"].as_str().unwrap()), (&expected, message));
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all("warning").iter();
        all.map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

/// The events of a watch, one by one.
pub struct Watch {
    body: Incoming,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; `None` if the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event or the end");
            match frame {
                Some(frame) => self.rest.extend_from_slice(frame.unwrap().data_ref().unwrap()),
                None => return None,
            }
        }
    }

    /// Type and name of the next event.
    pub async fn event(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// A ConfigMap.
pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// A pod of one container. Its namespace needs the service account `default`.
pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

/// Makes the account that pods of the default namespace run as.
pub async fn make_account(admin: &Client) {
    let account = json!({"metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
}

/// The names in a list.
pub fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

/// An object's resource version.
pub fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// Where ConfigMaps of the default namespace are.
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Where pods of the default namespace are.
pub const PODS: &str = "/api/v1/namespaces/default/pods";
