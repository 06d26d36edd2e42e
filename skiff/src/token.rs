//! `skiff token`: bootstrap tokens, as Secrets of `kube-system` that kubeadm could have made.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use skiff_api::bootstrap_token::{CLUSTER_INFO, KUBECONFIG, SECRET_TYPE, Token, key, pin, secret_name};
use skiff_api::certificate::blocks;

use crate::cli::token::{Action, Create, Token as Words};

const NAMESPACE: &str = "kube-system";
const USAGES: [&str; 2] = ["authentication", "signing"];

/// Runs `skiff token`.
pub async fn run(words: Words) -> anyhow::Result<()> {
    let kubeconfig = words.kubeconfig.unwrap_or_else(|| words.data_dir.join("kubeconfig"));
    let client = skiff_runtime::client::from_kubeconfig(&kubeconfig)
        .await
        .with_context(|| format!("cannot use {}", kubeconfig.display()))?;
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    match words.action {
        Action::Create(create) => {
            let token = make(&api, &create).await?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", join_command(&client, &kubeconfig, &token).await?)?;
        }
        Action::List => list(&api).await?,
        Action::Delete { tokens } => {
            for token in tokens {
                let id = token.split('.').next().unwrap_or_default().to_owned();
                match api.delete(&secret_name(&id), &DeleteParams::default()).await {
                    Ok(_) => writeln!(std::io::stdout(), "bootstrap token {id:?} deleted")?,
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        bail!("there is no bootstrap token {id:?}")
                    }
                    Err(error) => {
                        return Err(error).context(format!("cannot delete the bootstrap token {id:?}"));
                    }
                }
            }
        }
    }
    Ok(())
}

async fn make(api: &Api<Secret>, create: &Create) -> anyhow::Result<Token> {
    let token = match &create.token {
        Some(text) => Token::parse(text).context(
            "a bootstrap token is six letters or digits, a dot, and sixteen of them: abcdef.0123456789abcdef",
        )?,
        None => Token::from_random(crate::at_rest::random()?),
    };
    let object = secret(&token, create, Timestamp::now())?;
    api.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await
        .with_context(|| format!("cannot make the bootstrap token {:?}", token.id))?;
    Ok(token)
}

/// The Secret of a token: pure.
fn secret(token: &Token, create: &Create, now: Timestamp) -> anyhow::Result<Value> {
    if let Some(other) = create.usages.iter().find(|usage| !USAGES.contains(&usage.as_str())) {
        bail!("a bootstrap token cannot be used for {other:?}; there are {}", USAGES.join(" and "));
    }
    if let Some(bad) = create.groups.iter().find(|group| !is_group(group)) {
        bail!(
            "bootstrap group {bad:?} is invalid (must begin with system:bootstrappers: and go on in a-z, 0-9, - and :)"
        );
    }
    let mut data = json!({
        key::ID: token.id, key::SECRET: token.secret,
        key::DESCRIPTION: create.description, key::GROUPS: create.groups.join(","),
    });
    for usage in &create.usages {
        data[format!("usage-bootstrap-{usage}")] = "true".into();
    }
    if !create.ttl.is_zero() {
        let end = now.checked_add(SignedDuration::try_from(create.ttl)?)?;
        data[key::EXPIRATION] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    if let Some(fields) = data.as_object_mut() {
        fields.retain(|_, value| value.as_str().is_some_and(|text| !text.is_empty()));
    }
    Ok(json!({"metadata": {"name": token.secret_name()}, "type": SECRET_TYPE, "stringData": data}))
}

fn is_group(group: &str) -> bool {
    let rest = group.strip_prefix("system:bootstrappers:").unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":-".contains(&byte);
    rest.bytes().all(fits) && rest.ends_with(|last: char| last.is_ascii_alphanumeric()) && rest.len() <= 256
}

/// The command by which a node joins. Where the cluster is and what its CA is stands in `cluster-info`.
async fn join_command(client: &kube::Client, kubeconfig: &Path, token: &Token) -> anyhow::Result<String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let info = api.get(CLUSTER_INFO).await.context("cannot read where the cluster is")?;
    let text = info.data.and_then(|mut data| data.remove(KUBECONFIG)).unwrap_or_default();
    let (server, pins) = of_kubeconfig(&text)
        .with_context(|| format!("the ConfigMap {CLUSTER_INFO} of {} names no CA", kubeconfig.display()))?;
    let pins: Vec<String> = pins.iter().map(|pin| format!(" --ca-cert-hash {pin}")).collect();
    let address = server.trim_start_matches("https://");
    Ok(format!("skiff nodeagent --join {address} --token {}{}", token.bearer(), pins.concat()))
}

/// The server that a kubeconfig names, and what its CAs are pinned by.
fn of_kubeconfig(text: &str) -> Option<(String, Vec<String>)> {
    let config = kube::config::Kubeconfig::from_yaml(text).ok()?;
    let cluster = config.clusters.into_iter().next()?.cluster?;
    let ca = cluster.certificate_authority_data?;
    let ca = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, ca).ok()?;
    let pins: Vec<String> = blocks(&ca).filter_map(|block| pin(&block.ok()?.contents)).collect();
    (!pins.is_empty()).then_some((cluster.server?, pins))
}

async fn list(api: &Api<Secret>) -> anyhow::Result<()> {
    let of_type = ListParams::default().fields(&format!("type={SECRET_TYPE}"));
    let secrets = api.list(&of_type).await.context("cannot list bootstrap tokens")?;
    let now = Timestamp::now();
    let mut rows =
        vec![["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"].map(str::to_owned)];
    rows.extend(secrets.items.iter().map(|secret| row(secret, now)));
    let mut out = std::io::stdout();
    for row in &rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
            line.push_str(&format!("{cell:width$}   "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A line of the list, as kubeadm prints it.
fn row(secret: &Secret, now: Timestamp) -> [String; 6] {
    let text = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default()
    };
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    let end = text(key::EXPIRATION);
    let (ttl, expires) = match end.parse::<Timestamp>() {
        _ if end.is_empty() => ("<forever>".to_owned(), "<never>".to_owned()),
        Ok(at) if at <= now => ("<invalid>".into(), end),
        Ok(at) => (left(at.duration_since(now).as_secs()), end),
        Err(_) => ("<invalid>".into(), end),
    };
    let usages: Vec<&str> =
        USAGES.into_iter().filter(|usage| text(&format!("usage-bootstrap-{usage}")) == "true").collect();
    [
        format!("{}.{}", text(key::ID), text(key::SECRET)),
        ttl,
        expires,
        or_none(usages.join(",")),
        or_none(text(key::DESCRIPTION)),
        or_none(text(key::GROUPS)),
    ]
}

/// Two units at most.
fn left(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600, seconds / 60);
    match (days, hours, minutes) {
        (2.., ..) => format!("{days}d"),
        (_, 1.., _) => format!("{hours}h"),
        (_, _, 1..) => format!("{minutes}m"),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn create() -> Create {
        Create {
            token: None,
            ttl: Duration::from_secs(3600),
            usages: vec!["signing".into(), "authentication".into()],
            groups: vec![skiff_api::bootstrap_token::NODE_GROUP.into()],
            description: String::new(),
        }
    }

    #[test]
    fn a_token_is_kept_as_kubeadm_keeps_it() {
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            secret(&token, &create(), now).unwrap(),
            json!({
                "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
                "stringData": {
                    "token-id": "abcdef", "token-secret": "0123456789abcdef",
                    "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
                    "usage-bootstrap-signing": "true", "usage-bootstrap-authentication": "true",
                    "expiration": "2026-01-01T01:00:00Z",
                },
            })
        );
        let for_ever = Create { ttl: Duration::ZERO, ..create() };
        assert!(secret(&token, &for_ever, now).unwrap()["stringData"].get("expiration").is_none());
        for wrong in [
            Create { usages: vec!["coffee".into()], ..create() },
            Create { groups: vec!["system:masters".into()], ..create() },
        ] {
            assert!(secret(&token, &wrong, now).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_left_is_told_in_one_unit() {
        for (seconds, expected) in [(5, "5s"), (61, "1m"), (86_399, "23h"), (200_000, "2d")] {
            assert_eq!(left(seconds), expected);
        }
    }
}
