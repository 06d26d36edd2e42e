//! `ctl port-forward`: local ports to a pod's.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::exec;
use crate::error::{Error, Result};
use crate::select::{Item, Selection};
use crate::session::Session;
use crate::term;

/// Flags of `port-forward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD, or TYPE/NAME of a workload or Service
    pub target: String,
    /// REMOTE or LOCAL:REMOTE; LOCAL empty or 0 for any free port
    #[arg(required = true)]
    pub ports: Vec<String>,
    /// Addresses to listen on
    #[arg(long, default_value = "localhost", value_delimiter = ',')]
    pub address: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let owner = owner(session, &args.target).await?;
    let pod = exec::pod(session, &args.target).await?;
    if pod.object["status"]["phase"] != "Running" {
        let phase = pod.object["status"]["phase"].as_str().unwrap_or("Unknown");
        return Err(Error::usage(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let api: Api<Pod> = Api::namespaced(session.rest().await?.client(), &pod.namespace);
    let mut tasks = tokio::task::JoinSet::new();
    for spec in &args.ports {
        let (local, remote) = parse(spec, &owner, &pod)?;
        for address in &args.address {
            let hosts: &[&str] =
                if address == "localhost" { &["127.0.0.1", "[::1]"] } else { &[address.as_str()] };
            let mut bound = local;
            for (index, host) in hosts.iter().enumerate() {
                let listener = match TcpListener::bind(format!("{host}:{bound}")).await {
                    Ok(listener) => listener,
                    // A machine without IPv6 still has localhost.
                    Err(_) if index > 0 => continue,
                    Err(source) => {
                        return Err(Error::usage(format!("unable to listen on port {local}: {source}")));
                    }
                };
                bound = listener.local_addr().map(|address| address.port()).unwrap_or(bound);
                term::out(format!("Forwarding from {host}:{bound} -> {remote}"));
                tasks.spawn(serve(listener, api.clone(), pod.name.clone(), remote));
            }
        }
    }
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = tasks.join_next() => Err(Error::usage("lost connection to pod")),
    }
}

/// The Service, if that is what was named: its port numbers mean other ones at the pod.
async fn owner(session: &Session, target: &str) -> Result<Option<Item>> {
    let Some((kind, _)) = target.split_once('/') else { return Ok(None) };
    if session.kind(kind).await?.kind != "Service" {
        return Ok(None);
    }
    let selection = Selection { args: vec![target.to_owned()], ..Selection::default() };
    selection.items(session).await?.into_iter().next().transpose()
}

fn parse(spec: &str, owner: &Option<Item>, pod: &Item) -> Result<(u16, u16)> {
    let (local, remote) = spec.split_once(':').map_or((None, spec), |(local, remote)| (Some(local), remote));
    let bad = || Error::usage(format!("invalid port {spec:?}: write it as REMOTE or LOCAL:REMOTE"));
    let target = match owner {
        None => number(remote, pod).ok_or_else(bad)?,
        Some(service) => {
            let ports: &[Value] =
                service.object["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
            let port = ports
                .iter()
                .find(|port| {
                    port["name"] == remote
                        || port["port"].as_u64().map(|port| port.to_string()).as_deref() == Some(remote)
                })
                .ok_or_else(|| {
                    Error::usage(format!("Service {} does not have a service port {remote}", service.name))
                })?;
            match &port["targetPort"] {
                Value::String(name) => number(name, pod).ok_or_else(bad)?,
                Value::Number(target) => {
                    target.as_u64().and_then(|target| u16::try_from(target).ok()).ok_or_else(bad)?
                }
                _ => port["port"].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or_else(bad)?,
            }
        }
    };
    let local = match local {
        Some("") => 0,
        Some(local) => local.parse().map_err(|_| bad())?,
        None => remote.parse().unwrap_or(target),
    };
    Ok((local, target))
}

/// A port by number, or by the name that a container gives it.
fn number(text: &str, pod: &Item) -> Option<u16> {
    if let Ok(number) = text.parse::<u16>() {
        return Some(number).filter(|number| *number > 0);
    }
    let containers = pod.object["spec"]["containers"].as_array()?;
    let mut ports =
        containers.iter().flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.find(|port| port["name"] == text)?["containerPort"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
}

async fn serve(listener: TcpListener, api: Api<Pod>, pod: String, port: u16) {
    while let Ok((connection, _)) = listener.accept().await {
        term::out(format!("Handling connection for {port}"));
        let (api, pod) = (api.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(error) = forward(connection, &api, &pod, port).await {
                crate::report(&error);
            }
        });
    }
}

async fn forward(mut connection: TcpStream, api: &Api<Pod>, pod: &str, port: u16) -> Result<()> {
    let mut forwarder = api.portforward(pod, &[port]).await?;
    let failure = forwarder.take_error(port);
    let Some(mut stream) = forwarder.take_stream(port) else { return Ok(()) };
    // An end by either side is ordinary; what went wrong at the pod is told by the error stream.
    let _ = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
    drop(stream);
    forwarder.abort();
    if let Some(failure) = failure
        && let Some(text) = failure.await
    {
        return Err(Error::usage(format!("an error occurred forwarding {port}: {text}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Kind;
    use serde_json::json;

    fn item(object: Value) -> Item {
        Item { kind: Kind::default(), namespace: "n".into(), name: "x".into(), object }
    }

    #[test]
    fn ports_are_read_by_number_name_and_service() {
        let pod =
            item(json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}}));
        let service = item(
            json!({"spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 9}, {"port": 82}]}}),
        );
        let cases = [
            ("80", None, (80, 80)),
            ("5000:80", None, (5000, 80)),
            (":80", None, (0, 80)),
            ("http", None, (8080, 8080)),
            ("9:http", None, (9, 8080)),
            ("80", Some(&service), (80, 8080)),
            ("web", Some(&service), (8080, 8080)),
            ("1:81", Some(&service), (1, 9)),
            ("82", Some(&service), (82, 82)),
        ];
        for (spec, owner, want) in cases {
            assert_eq!(parse(spec, &owner.cloned(), &pod).expect(spec), want, "{spec}");
        }
        assert!(parse("nope", &None, &pod).is_err());
        assert!(parse("99", &Some(service), &pod).is_err());
    }
}
