//! Secrets of each sort.

use std::path::Path;

use base64::Engine;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::data::{Data, read};
use crate::error::Result;

/// Which Secret.
#[derive(Debug, Subcommand)]
pub enum SecretSort {
    /// Any data
    Generic {
        /// Its name
        name: String,
        /// Its type
        #[arg(long = "type")]
        kind: Option<String>,
        /// Where the data is
        #[command(flatten)]
        data: Data,
    },
    /// A certificate and its key
    Tls {
        /// Its name
        name: String,
        /// The certificate's file
        #[arg(long)]
        cert: String,
        /// The key's file
        #[arg(long)]
        key: String,
    },
    /// A registry's credentials
    DockerRegistry {
        /// Its name
        name: String,
        /// The registry
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        /// The user
        #[arg(long)]
        docker_username: String,
        /// The password
        #[arg(long)]
        docker_password: String,
        /// The e-mail address
        #[arg(long, default_value = "")]
        docker_email: String,
    },
}

/// The Secret.
pub(super) fn secret(sort: &SecretSort) -> Result<Value> {
    let (name, kind, data) = match sort {
        SecretSort::Generic { name, kind, data } => (name, kind.as_deref(), data.read()?),
        SecretSort::Tls { name, cert, key } => {
            let data = vec![
                ("tls.crt".to_owned(), read(Path::new(cert))?),
                ("tls.key".to_owned(), read(Path::new(key))?),
            ];
            (name, Some("kubernetes.io/tls"), data)
        }
        SecretSort::DockerRegistry {
            name,
            docker_server,
            docker_username,
            docker_password,
            docker_email,
        } => {
            let auth = encode(format!("{docker_username}:{docker_password}").as_bytes());
            let mut entry = json!({"username": docker_username, "password": docker_password, "auth": auth});
            if !docker_email.is_empty() {
                entry["email"] = json!(docker_email);
            }
            let config = json!({"auths": {docker_server.as_str(): entry}}).to_string();
            (
                name,
                Some("kubernetes.io/dockerconfigjson"),
                vec![(".dockerconfigjson".to_owned(), config.into_bytes())],
            )
        }
    };
    let data: Map<String, Value> =
        data.into_iter().map(|(key, bytes)| (key, json!(encode(&bytes)))).collect();
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
    if let Some(kind) = kind {
        secret["type"] = json!(kind);
    }
    Ok(secret)
}

/// Base64, as objects carry bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
