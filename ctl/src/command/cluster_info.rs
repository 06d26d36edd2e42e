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
    line("Control plane", address);
    if rest.call(Call::get("/api/v1/namespaces/kube-system/services/kube-dns")).await.is_ok() {
        line("CoreDNS", &format!("{address}/api/v1/namespaces/kube-system/services/kube-dns:dns/proxy"));
    }
    Ok(())
}
