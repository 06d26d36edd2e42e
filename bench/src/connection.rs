//! One HTTP/1.1 connection over TLS with a client certificate, as cheap as a client can be.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A request: verb, path, content type, body.
pub type Call = (&'static str, String, &'static str, Bytes);

/// Where a server is and how to be let in.
#[derive(Clone)]
pub struct Server {
    address: String,
    host: String,
    tls: Arc<rustls::ClientConfig>,
}

impl Server {
    /// Reads a kubeconfig.
    pub async fn from_kubeconfig(path: &Path) -> anyhow::Result<Self> {
        let file = kube::config::Kubeconfig::read_from(path)?;
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let host = config.cluster_url.host().context("the kubeconfig names a host")?.to_owned();
        let address = format!("{host}:{}", config.cluster_url.port_u16().unwrap_or(443));
        Ok(Self { address, host, tls: Arc::new(tls) })
    }

    /// The port it listens on.
    pub fn port(&self) -> String {
        self.address.rsplit_once(':').map_or_else(String::new, |(_, port)| port.to_owned())
    }

    /// Opens a connection.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (send, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { send, host: self.host.clone() })
    }
}

/// An open connection.
pub struct Connection {
    send: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Sends a request and reads its answer to the end, which must be a success. Answers with its length in bytes.
    pub async fn call(&mut self, (verb, path, content_type, body): Call) -> anyhow::Result<usize> {
        let (size, said) = self.answer((verb, path.clone(), content_type, body)).await?;
        ensure!(said.is_empty(), "{verb} {path}: {said}");
        Ok(size)
    }

    /// Sends a request and reads its answer as text, which must be a success.
    pub async fn text(&mut self, call: Call) -> anyhow::Result<String> {
        let response = self.send(call).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        Ok(String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned())
    }

    /// Sends a request; answers with the length of what came, and with its text if it was a failure.
    pub async fn answer(&mut self, call: Call) -> anyhow::Result<(usize, String)> {
        let response = self.send(call).await?;
        let (status, mut body) = (response.status(), response.into_body());
        let (mut size, mut said) = (0, String::new());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                size += data.len();
                if !status.is_success() && said.len() < 500 {
                    said.push_str(&String::from_utf8_lossy(&data));
                }
            }
        }
        if !status.is_success() && said.is_empty() {
            said = status.to_string();
        }
        Ok((size, said))
    }

    /// Sends any request and reads its whole answer, whatever it is.
    pub async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> anyhow::Result<(http::response::Parts, Bytes)> {
        self.send.ready().await?;
        let mut request = http::Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (head, body) = self.send.send_request(request.body(Full::new(body))?).await?.into_parts();
        Ok((head, body.collect().await?.to_bytes()))
    }

    async fn send(&mut self, (verb, path, content_type, body): Call) -> anyhow::Result<Response<Incoming>> {
        self.send.ready().await?;
        let request = http::Request::builder()
            .method(verb)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        Ok(self.send.send_request(request).await?)
    }
}
