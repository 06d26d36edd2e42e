//! `ctl cluster-info`.

use crate::error::Result;
use crate::kubeconfig;
use crate::rest::Call;
use crate::session::Session;
use crate::term;

/// No flags.
#[derive(Debug, Default, clap::Args)]
pub struct Args {}

/// Does it.
pub async fn run(_: Args, session: &Session) -> Result<()> {
    let address = kubeconfig::config(&session.globals().overrides()).await?.cluster_url;
    let address = address.to_string();
    let address = address.trim_end_matches('/');
    let rest = session.rest().await?;
    rest.call(Call::get("/version")).await?;
    let line =
        |what: &str, at: &str| term::out(format!("\x1b[32m{what}\x1b[0m is running at \x1b[33m{at}\x1b[0m"));
    line("Kubernetes control plane", address);
    // Services that a cluster marks as its own.
    let services = Call::get("/api/v1/namespaces/kube-system/services")
        .query("labelSelector", "kubernetes.io/cluster-service=true");
    for service in rest.call(services).await?["items"].as_array().into_iter().flatten() {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let shown = service["metadata"]["labels"]["kubernetes.io/name"].as_str().unwrap_or(name);
        let port = service["spec"]["ports"][0]["name"].as_str().map(|port| format!(":{port}"));
        let path =
            format!("/api/v1/namespaces/kube-system/services/{name}{}/proxy", port.unwrap_or_default());
        line(shown, &format!("{address}{path}"));
    }
    Ok(())
}
