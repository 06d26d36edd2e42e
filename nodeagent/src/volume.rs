//! A pod's volumes as folders of the host.

mod atomic;
mod payload;
mod tokens;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Pod, Volume};

pub use payload::File;
pub use tokens::Tokens;

use crate::{
    error::{Context, Error, Result},
    field::Allocatable,
    quantity,
    references::Resolved,
};

/// What volumes are made from.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The pod's folder.
    pub dir: &'a Path,
    /// Its ConfigMaps and Secrets.
    pub resolved: &'a Resolved,
    /// Its service-account tokens, by volume and path.
    pub tokens: &'a BTreeMap<(String, String), String>,
    /// The pod's address.
    pub pod_ip: Option<IpAddr>,
    /// The node's address.
    pub node_ip: IpAddr,
    /// What the node has.
    pub allocatable: Allocatable,
}

/// Where each volume is on the host.
pub type Paths = BTreeMap<String, PathBuf>;

/// Makes all volumes, or brings those with content up to date. Does it again without harm.
pub fn set_up(inputs: &Inputs<'_>) -> Result<Paths> {
    let spec = inputs.pod.spec.clone().unwrap_or_default();
    let fs_group = spec.security_context.as_ref().and_then(|s| s.fs_group);
    let mut paths = Paths::new();
    for volume in spec.volumes.iter().flatten() {
        let path = one(inputs, volume, fs_group).map_err(|error| match error {
            Error::Reference(text) => {
                Error::Reference(format!("MountVolume.SetUp failed for volume \"{}\" : {text}", volume.name))
            }
            other => other,
        })?;
        paths.insert(volume.name.clone(), path);
    }
    Ok(paths)
}

fn one(inputs: &Inputs<'_>, volume: &Volume, fs_group: Option<i64>) -> Result<PathBuf> {
    if let Some(host) = &volume.host_path {
        return host_path(&host.path, host.type_.as_deref().unwrap_or_default());
    }
    let base = inputs.dir.join("volumes");
    if let Some(empty) = &volume.empty_dir {
        let path = base.join("empty-dir").join(&volume.name);
        make_dir(&path)?;
        if empty.medium.as_deref() == Some("Memory") && !is_mount(&path) {
            let size = empty.size_limit.as_ref().and_then(|q| quantity::units(&q.0)).filter(|s| *s > 0);
            let size = size.map(|s| format!("size={s}"));
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), flags, size.as_deref())
                .map_err(std::io::Error::from)
                .context(|| format!("mount tmpfs at {}", path.display()))?;
        }
        mode(&path, 0o777)?;
        if let Some(group) = fs_group {
            own(&path, group)?;
            mode(&path, 0o2777)?;
        }
        return Ok(path);
    }
    let files = payload::files(inputs, volume)?;
    let Some(files) = files else {
        return Err(Error::Invalid(format!(
            "volume \"{}\" is of a type that this node does not support",
            volume.name
        )));
    };
    let path = base.join("content").join(&volume.name);
    make_dir(&path)?;
    mode(&path, 0o755)?;
    atomic::write(&path, &files, fs_group)?;
    Ok(path)
}

fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("create {}", path.display()))
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .context(|| format!("chmod {}", path.display()))
}

fn own(path: &Path, group: i64) -> Result<()> {
    let group = u32::try_from(group).map_err(|_| Error::Invalid(format!("group {group} is out of range")))?;
    std::os::unix::fs::chown(path, None, Some(group)).context(|| format!("chown {}", path.display()))
}

/// A mount point is on another device than its parent.
fn is_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |p: &Path| std::fs::metadata(p).map(|m| m.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn host_path(path: &str, kind: &str) -> Result<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let path = PathBuf::from(path);
    let found = std::fs::metadata(&path).ok();
    let is = |test: &dyn Fn(&std::fs::Metadata) -> bool| found.as_ref().is_some_and(test);
    let fits = match kind {
        "" => {
            if found.is_none() {
                make_dir(&path)?;
            }
            true
        }
        "DirectoryOrCreate" => {
            if found.is_none() {
                make_dir(&path)?;
            }
            found.is_none() || is(&|m| m.is_dir())
        }
        "FileOrCreate" => {
            if found.is_none() {
                std::fs::File::create(&path).context(|| format!("create {}", path.display()))?;
            }
            found.is_none() || is(&|m| m.is_file())
        }
        "Directory" => is(&|m| m.is_dir()),
        "File" => is(&|m| m.is_file()),
        "Socket" => is(&|m| m.file_type().is_socket()),
        "CharDevice" => is(&|m| m.file_type().is_char_device()),
        "BlockDevice" => is(&|m| m.file_type().is_block_device()),
        _ => false,
    };
    if fits {
        Ok(path)
    } else {
        let wanted = match kind {
            "Socket" => "socket file".to_owned(),
            "CharDevice" => "character device".to_owned(),
            "BlockDevice" => "block device".to_owned(),
            "FileOrCreate" => "file".to_owned(),
            "DirectoryOrCreate" => "directory".to_owned(),
            other => other.to_lowercase(),
        };
        Err(Error::Reference(format!("hostPath type check failed: {} is not a {wanted}", path.display())))
    }
}

/// The place inside a volume that `subPath` names; made if absent. It must not lead out of the volume.
pub fn sub_path(volume: &Path, sub: &str) -> Result<PathBuf> {
    if sub.is_empty() {
        return Ok(volume.to_owned());
    }
    if sub.starts_with('/') || sub.split('/').any(|part| part == "..") {
        return Err(Error::Invalid(format!("subPath {sub:?} must stay within the volume")));
    }
    let wanted = volume.join(sub);
    // What exists is resolved before anything is created, so that no link leads the creation outside.
    let root = volume.canonicalize().context(|| format!("resolve {}", volume.display()))?;
    let mut known = wanted.as_path();
    while !known.exists() {
        known = known.parent().unwrap_or(volume);
    }
    let resolved = known.canonicalize().context(|| format!("resolve {}", known.display()))?;
    if !resolved.starts_with(&root) {
        return Err(Error::Invalid(format!("subPath {sub:?} leads out of the volume")));
    }
    if !wanted.exists() {
        make_dir(&wanted)?;
        mode(&wanted, 0o777)?;
    }
    wanted.canonicalize().context(|| format!("resolve {}", wanted.display()))
}

/// Removes a pod's folder, and unmounts what is mounted in it.
pub fn tear_down(dir: &Path) -> Result<()> {
    let memory = dir.join("volumes/empty-dir");
    for entry in std::fs::read_dir(&memory).into_iter().flatten().flatten() {
        if is_mount(&entry.path()) {
            nix::mount::umount2(&entry.path(), nix::mount::MntFlags::MNT_DETACH)
                .map_err(std::io::Error::from)
                .context(|| format!("unmount {}", entry.path().display()))?;
        }
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove {}", dir.display())),
    }
}
