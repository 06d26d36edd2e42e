//! What probes and lifecycle hooks do: an HTTP request, a connection, a call, a command, a sleep.

mod grpc;

use std::{net::IpAddr, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::cri::{Chunk, ExecSpec, Runtime};

/// As much of an answer as is kept for the event.
const MAX_OUTPUT: usize = 10 * 1024;

/// What an attempt found; the text is for people.
pub type Found = Result<String, String>;

/// The port that a handler names.
pub fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |p| u16::try_from(p.container_port).ok())
        }
    }
}

/// Runs a command; exit code 0 is well.
pub async fn exec(runtime: &dyn Runtime, container: &str, action: &ExecAction) -> Found {
    let spec = ExecSpec {
        command: action.command.clone().unwrap_or_default(),
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    };
    let mut session = runtime.exec(container, &spec).await.map_err(|e| e.to_string())?;
    let mut output = Vec::new();
    while let Some(chunk) = session.output.next().await {
        let (Chunk::Out(bytes) | Chunk::Err(bytes)) = chunk.map_err(|e| e.to_string())?;
        if output.len() < MAX_OUTPUT {
            output.extend_from_slice(&bytes);
        }
    }
    let text = String::from_utf8_lossy(&output).into_owned();
    match exec_code(runtime, &session.id).await {
        Some(0) => Ok(text),
        Some(_) => Err(text),
        None => Err("the command's exit code is not known".into()),
    }
}

/// The exit code; the engine may need a moment after the streams closed.
pub async fn exec_code(runtime: &dyn Runtime, id: &str) -> Option<i32> {
    for _ in 0..50 {
        match runtime.exec_code(id).await {
            Ok(Some(code)) => return Some(code),
            Ok(None) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(_) => return None,
        }
    }
    None
}

/// An error of a connection in the words that Kubernetes' users know.
fn said(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connect: connection refused".to_owned(),
        Kind::HostUnreachable => "connect: no route to host".to_owned(),
        Kind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        Kind::ConnectionReset => "read: connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects.
pub async fn tcp(
    runtime: &dyn Runtime,
    container: &Container,
    ip: IpAddr,
    action: &TCPSocketAction,
) -> Found {
    if runtime.simulated() {
        return Ok(String::new());
    }
    let port = port(container, &action.port).ok_or("the port is not known")?;
    let host = action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_string());
    TcpStream::connect((host.as_str(), port))
        .await
        .map(|_| String::new())
        .map_err(|e| format!("dial tcp {host}:{port}: {}", said(&e)))
}

/// Asks for health by gRPC.
pub async fn grpc(runtime: &dyn Runtime, ip: IpAddr, action: &GRPCAction) -> Found {
    if runtime.simulated() {
        return Ok(String::new());
    }
    let port = u16::try_from(action.port).map_err(|_| "the port is not known")?;
    grpc::check(ip, port, action.service.as_deref().unwrap_or_default()).await
}

/// Where an HTTP request goes.
struct Target {
    host: String,
    port: u16,
    path: String,
    secure: bool,
}

fn target(container: &Container, ip: IpAddr, action: &HTTPGetAction) -> Result<Target, String> {
    let port = port(container, &action.port).ok_or("the port is not known")?;
    let host = action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_string());
    let path = action.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    Ok(Target { host, port, path, secure: action.scheme.as_deref() == Some("HTTPS") })
}

/// The address that an HTTP request asks.
pub fn url(container: &Container, ip: IpAddr, action: &HTTPGetAction) -> Result<String, String> {
    let Target { host, port, path, secure } = target(container, ip, action)?;
    Ok(format!("{}://{host}:{port}{path}", if secure { "https" } else { "http" }))
}

/// Asks; 200 to 399 is well.
pub async fn http(runtime: &dyn Runtime, container: &Container, ip: IpAddr, action: &HTTPGetAction) -> Found {
    if runtime.simulated() {
        return Ok(String::new());
    }
    let Target { host, port, path, secure } = target(container, ip, action)?;
    let url = url(container, ip, action)?;
    let failed = |e: &dyn std::fmt::Display| format!("Get \"{url}\": {e}");
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|e| failed(&format!("dial tcp {host}:{port}: {}", said(&e))))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let has = |name: &str| action.http_headers.iter().flatten().any(|h| h.name.eq_ignore_ascii_case(name));
    for (name, value) in [
        ("Host", format!("{host}:{port}")),
        ("User-Agent", "kube-probe/1.36".into()),
        ("Accept", "*/*".into()),
    ] {
        if !has(name) {
            request += &format!("{name}: {value}\r\n");
        }
    }
    for header in action.http_headers.iter().flatten() {
        request += &format!("{}: {}\r\n", header.name, header.value);
    }
    request += "\r\n";
    let answer = if secure {
        let name = rustls::pki_types::ServerName::from(ip).to_owned();
        let tls = crate::tls::trusting_connector().connect(name, stream).await.map_err(|e| failed(&e))?;
        talk(tls, &request).await
    } else {
        talk(stream, &request).await
    };
    let answer = answer.map_err(|e| failed(&said(&e)))?;
    let code = answer.split_whitespace().nth(1).and_then(|c| c.parse::<u16>().ok());
    match code {
        Some(200..=399) => Ok(answer),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(failed(&"malformed HTTP response")),
    }
}

/// Sends, and reads the head of the answer.
async fn talk(
    mut stream: impl tokio::io::AsyncRead + AsyncWriteExt + Unpin,
    request: &str,
) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.contains(&b'\n') && answer.len() < MAX_OUTPUT {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_where_the_handler_says() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "ports": [{ "name": "web", "containerPort": 8080 }]
        }))
        .unwrap();
        let check = |action: serde_json::Value, want: Result<&str, &str>| {
            let action: HTTPGetAction = serde_json::from_value(action).unwrap();
            let found = url(&container, IpAddr::from([10, 244, 0, 9]), &action);
            assert_eq!(found, want.map(str::to_owned).map_err(str::to_owned));
        };
        check(serde_json::json!({ "port": 80 }), Ok("http://10.244.0.9:80/"));
        check(serde_json::json!({ "port": "web", "path": "ok?a=b" }), Ok("http://10.244.0.9:8080/ok?a=b"));
        check(
            serde_json::json!({ "port": 443, "scheme": "HTTPS", "host": "a.test" }),
            Ok("https://a.test:443/"),
        );
        check(serde_json::json!({ "port": "none" }), Err("the port is not known"));
    }
}
