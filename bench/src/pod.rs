//! One pod from `ctl apply` to Running, beside two `docker run` of the same image: a pod is two containers, its
//! sandbox and its own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use hyper::body::Bytes;
use skiff_tests::{Engine, output};

use crate::connection::Connection;
use crate::load::JSON;
use crate::subject::Subject;

/// The image that both start.
pub const IMAGE: &str = "bench/pause:v1";

/// The network of the containers that are run by hand: the engine of a test has no bridge of its own by default, as a
/// user's has, and a container without a network is no match for a pod.
const NETWORK: &str = "bench";

/// Makes [`IMAGE`] from a static busybox, and a network for who runs it by hand.
pub fn image(engine: &Engine) -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    std::fs::create_dir(root.path().join("bin"))?;
    std::fs::copy("/bin/busybox", root.path().join("bin/busybox")).context("busybox-static is installed")?;
    output(engine.docker().args(["network", "create", NETWORK]));
    engine.import(root.path(), &["CMD [\"/bin/busybox\",\"sleep\",\"1000000\"]"], IMAGE);
    Ok(())
}

/// Seconds for two containers, one after the other, as a person would start them.
pub fn two_containers(engine: &Engine) -> f64 {
    let start = Instant::now();
    let made: Vec<String> = (0..2)
        .map(|_| {
            output(engine.docker().args(["run", "--detach", "--network", NETWORK, IMAGE])).trim().to_owned()
        })
        .collect();
    let took = start.elapsed().as_secs_f64();
    output(engine.docker().args(["rm", "--force"]).args(made));
    took
}

/// Seconds from the start of `ctl apply` until the API says Running.
pub async fn apply_to_running(bin: &Path, subject: &Subject, name: &str) -> anyhow::Result<f64> {
    let manifest = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"main","image":"{IMAGE}","imagePullPolicy":"IfNotPresent"}}]}}}}"#
    );
    let mut connection = subject.server.connect().await?;
    let start = Instant::now();
    let mut apply = Command::new(bin.join("ctl"))
        .args(["apply", "-f", "-"])
        .env("KUBECONFIG", &subject.kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    apply.stdin.take().context("the input is piped")?.write_all(manifest.as_bytes())?;
    ensure!(apply.wait()?.success(), "ctl apply failed");
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    while !phase(&mut connection, &path).await?.contains("Running") {
        ensure!(start.elapsed().as_secs() < 60, "{name} does not run");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let took = start.elapsed().as_secs_f64();
    connection.call(("DELETE", path, JSON, Bytes::new())).await?;
    Ok(took)
}

async fn phase(connection: &mut Connection, path: &str) -> anyhow::Result<String> {
    let text = connection.text(("GET", path.to_owned(), JSON, Bytes::new())).await?;
    let pod: serde_json::Value = serde_json::from_str(&text)?;
    Ok(pod["status"]["phase"].as_str().unwrap_or_default().to_owned())
}
