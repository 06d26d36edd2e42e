//! A container's mounts, and the files of its own.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::Parts;
use crate::{
    cri::MountSpec,
    env::expand,
    error::{Context, Error, Result},
    volume::sub_path,
};

/// All mounts of a container, and the file for its last words.
pub fn mounts(
    pod: &Pod,
    wanted: &Container,
    attempt: u32,
    parts: &Parts<'_>,
) -> Result<(Vec<MountSpec>, String)> {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut made = Vec::new();
    for mount in wanted.volume_mounts.iter().flatten() {
        let volume = parts.volumes.get(&mount.name);
        let volume =
            volume.ok_or_else(|| Error::Reference(format!("volume \"{}\" is not mounted", mount.name)))?;
        let lookup = |name: &str| parts.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        let sub = match &mount.sub_path_expr {
            Some(expression) if !expression.is_empty() => expand(expression, lookup),
            _ => mount.sub_path.clone().unwrap_or_default(),
        };
        let host = sub_path(volume, &sub)?;
        let source = spec.volumes.iter().flatten().find(|v| v.name == mount.name);
        // Content that the agent keeps up to date is not the container's to change.
        let agents = source.is_some_and(|v| v.empty_dir.is_none() && v.host_path.is_none());
        made.push(MountSpec {
            host: host.to_string_lossy().into_owned(),
            container: absolute(&mount.mount_path),
            read_only: mount.read_only == Some(true) || agents,
            propagation: match mount.mount_propagation.as_deref() {
                Some("Bidirectional") => "rshared",
                Some("HostToContainer") => "rslave",
                _ => "rprivate",
            },
        });
    }
    let has = |made: &[MountSpec], path: &str| made.iter().any(|m| m.container == path);
    for (file, path) in [("etc-hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")] {
        let host = parts.dir.join(file);
        if host.exists() && !has(&made, path) {
            made.push(own(&host.to_string_lossy(), path));
        }
    }
    let folder = parts.dir.join("containers").join(&wanted.name);
    std::fs::create_dir_all(&folder).context(|| format!("create {}", folder.display()))?;
    let words = folder.join(attempt.to_string());
    std::fs::write(&words, b"").context(|| format!("write {}", words.display()))?;
    // Whatever user the container runs as must be able to write it.
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&words, writable).context(|| format!("chmod {}", words.display()))?;
    let words = words.to_string_lossy().into_owned();
    let at = wanted.termination_message_path.clone().filter(|p| !p.is_empty());
    let at = absolute(&at.unwrap_or_else(|| "/dev/termination-log".into()));
    if !has(&made, &at) {
        made.push(own(&words, &at));
    }
    Ok((made, words))
}

fn own(host: &str, container: &str) -> MountSpec {
    MountSpec {
        host: host.to_owned(),
        container: container.to_owned(),
        read_only: false,
        propagation: "rprivate",
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}
