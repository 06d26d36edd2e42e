//! Removing what `up` made on this machine.

use anyhow::Context;

use crate::{at_rest, cli, server};

/// Removes containers, networks and rules; with `purge` the data too.
pub async fn run(down: cli::Down) -> anyhow::Result<()> {
    if !down.data_dir.exists() {
        return Ok(());
    }
    let lock = server::lock(&down.data_dir)?;
    let nodes = down.data_dir.join("nodes");
    if nodes.exists() {
        for entry in std::fs::read_dir(&nodes).with_context(|| format!("cannot read {}", nodes.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let config = skiff_nodeagent::Config::new(name.clone(), server::host_ip(), entry.path());
            skiff_nodeagent::clean(config).await.with_context(|| format!("cannot clean up node {name}"))?;
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    if nix::unistd::geteuid().is_root() {
        skiff_proxy::clean().await.context("cannot remove the rules")?;
    }
    if down.purge {
        drop(lock);
        let dir = &down.data_dir;
        // Only what is ours: the directory may hold other things.
        for name in ["pki", "store", "nodes", "simulated"] {
            let path = dir.join(name);
            if path.exists() {
                std::fs::remove_dir_all(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        for name in ["kubeconfig", at_rest::KEY_FILE, "lock"] {
            let _ = std::fs::remove_file(dir.join(name));
        }
        let _ = std::fs::remove_dir(dir);
    }
    Ok(())
}
