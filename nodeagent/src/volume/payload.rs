//! The files of configMap, secret, downwardAPI and projected volumes: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume};

use super::Inputs;
use crate::{
    error::{Error, Result},
    field,
};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// Its owner, if not root.
    pub owner: Option<u32>,
}

type Files = BTreeMap<String, File>;

const DEFAULT_MODE: i32 = 0o644;

/// The files of a volume; `None` when it is of another kind.
pub fn files(inputs: &Inputs<'_>, volume: &Volume) -> Result<Option<Files>> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        config_map(inputs, &source.name, source.items.as_ref(), source.optional, mode, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret(inputs, name, source.items.as_ref(), source.optional, mode, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward(inputs, source.items.iter().flatten(), mode, &mut files)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.config_map {
                config_map(inputs, &part.name, part.items.as_ref(), part.optional, mode, &mut files)?;
            } else if let Some(part) = &part.secret {
                secret(inputs, &part.name, part.items.as_ref(), part.optional, mode, &mut files)?;
            } else if let Some(part) = &part.downward_api {
                downward(inputs, part.items.iter().flatten(), mode, &mut files)?;
            } else if let Some(part) = &part.service_account_token {
                let token = inputs.tokens.get(&(volume.name.clone(), part.path.clone()));
                let token = token.ok_or_else(|| Error::Reference("no service account token yet".into()))?;
                files.insert(part.path.clone(), token_file(inputs, token, mode));
            } else {
                return Err(Error::Invalid("a projected source of this type is not supported".into()));
            }
        }
    } else {
        return Ok(None);
    }
    for path in files.keys() {
        if path.starts_with('/') || path.split('/').any(|p| p == ".." || p.is_empty()) {
            return Err(Error::Invalid(format!("invalid path {path:?}")));
        }
    }
    Ok(Some(files))
}

/// A token is for its pod's user alone, unless a group shares the volume or containers run as different users.
fn token_file(inputs: &Inputs<'_>, token: &str, mode: i32) -> File {
    let spec = inputs.pod.spec.clone().unwrap_or_default();
    let shared = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let users: std::collections::BTreeSet<Option<i64>> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(shared))
        .collect();
    let grouped = spec.security_context.as_ref().is_some_and(|s| s.fs_group.is_some());
    let content = token.as_bytes().to_vec();
    match users.iter().next() {
        Some(Some(user)) if users.len() == 1 && !grouped => {
            File { content, mode: 0o600, owner: u32::try_from(*user).ok() }
        }
        _ => File { content, mode: bits(if grouped { 0o600 } else { mode }), owner: None },
    }
}

fn bits(mode: i32) -> u32 {
    mode.unsigned_abs() & 0o7777
}

fn pick<'a>(
    what: &str,
    keys: impl Fn(&str) -> Option<&'a [u8]>,
    all: impl Iterator<Item = &'a String>,
    items: Option<&Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: i32,
    files: &mut Files,
) -> Result<()> {
    let file = |content: &[u8], mode| File { content: content.to_vec(), mode: bits(mode), owner: None };
    match items.filter(|i| !i.is_empty()) {
        None => files.extend(all.filter_map(|key| Some((key.clone(), file(keys(key)?, mode))))),
        Some(items) => {
            for item in items {
                match keys(&item.key) {
                    Some(content) => {
                        files.insert(item.path.clone(), file(content, item.mode.unwrap_or(mode)));
                    }
                    None if optional == Some(true) => {}
                    None => {
                        return Err(Error::Reference(format!(
                            "{what} references non-existent key: {}",
                            item.key
                        )));
                    }
                }
            }
        }
    }
    Ok(())
}

fn config_map(
    inputs: &Inputs<'_>,
    name: &str,
    items: Option<&Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: i32,
    files: &mut Files,
) -> Result<()> {
    let Some(map) = inputs.resolved.config_map(name, optional)? else { return Ok(()) };
    let (text, binary) = (map.data.clone().unwrap_or_default(), map.binary_data.clone().unwrap_or_default());
    let get =
        |key: &str| text.get(key).map(String::as_bytes).or_else(|| binary.get(key).map(|b| b.0.as_slice()));
    pick("configmap", get, text.keys().chain(binary.keys()), items, optional, mode, files)
}

fn secret(
    inputs: &Inputs<'_>,
    name: &str,
    items: Option<&Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: i32,
    files: &mut Files,
) -> Result<()> {
    let Some(secret) = inputs.resolved.secret(name, optional)? else { return Ok(()) };
    let data = secret.data.clone().unwrap_or_default();
    pick("secret", |key| data.get(key).map(|b| b.0.as_slice()), data.keys(), items, optional, mode, files)
}

fn downward<'a>(
    inputs: &Inputs<'_>,
    items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    mode: i32,
    files: &mut Files,
) -> Result<()> {
    for item in items {
        let content = if let Some(field) = &item.field_ref {
            field::pod_field(inputs.pod, inputs.pod_ip, inputs.node_ip, &field.field_path)?
        } else if let Some(resource) = &item.resource_field_ref {
            let spec = inputs.pod.spec.clone().unwrap_or_default();
            let name = resource.container_name.as_deref().unwrap_or_default();
            let container = spec.containers.iter().find(|c| c.name == name);
            let container =
                container.ok_or_else(|| Error::Reference(format!("container {name} not found")))?;
            let divisor = resource.divisor.as_ref().map(|q| q.0.as_str());
            field::resource_field(container, &resource.resource, divisor, inputs.allocatable)?
        } else {
            String::new()
        };
        let mode = bits(item.mode.unwrap_or(mode));
        files.insert(item.path.clone(), File { content: content.into_bytes(), mode, owner: None });
    }
    Ok(())
}
