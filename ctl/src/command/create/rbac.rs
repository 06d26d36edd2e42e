//! Roles and their bindings.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::session::Session;

/// What a role may do.
#[derive(Debug, clap::Args)]
pub struct Rule {
    /// Verbs
    #[arg(long, value_delimiter = ',', required = true)]
    pub verb: Vec<String>,
    /// Resources, as pods or deployments.apps or pods/log
    #[arg(long, value_delimiter = ',')]
    pub resource: Vec<String>,
    /// Names of objects
    #[arg(long, value_delimiter = ',')]
    pub resource_name: Vec<String>,
    /// URL paths (cluster roles)
    #[arg(long, value_delimiter = ',')]
    pub non_resource_url: Vec<String>,
}

/// Who gets what.
#[derive(Debug, clap::Args)]
pub struct Binding {
    /// A ClusterRole
    #[arg(long)]
    pub clusterrole: Option<String>,
    /// A Role
    #[arg(long)]
    pub role: Option<String>,
    /// Users; here it does not choose the kubeconfig's user
    #[arg(long)]
    pub user: Vec<String>,
    /// Groups
    #[arg(long, value_delimiter = ',')]
    pub group: Vec<String>,
    /// NAMESPACE:NAME
    #[arg(long, value_delimiter = ',')]
    pub serviceaccount: Vec<String>,
}

impl Binding {
    pub(super) fn object(&self, kind: &str, name: &str) -> Result<Value> {
        const GROUP: &str = "rbac.authorization.k8s.io";
        let (role_kind, role) = match (&self.clusterrole, &self.role) {
            (Some(role), None) => ("ClusterRole", role),
            (None, Some(role)) => ("Role", role),
            _ => return Err(Error::usage("exactly one of clusterrole or role must be specified")),
        };
        let plain = |kind: &'static str| {
            move |name: &String| Ok(json!({"apiGroup": GROUP, "kind": kind, "name": name}))
        };
        let accounts = self.serviceaccount.iter().map(|account| {
            let (namespace, name) = account
                .split_once(':')
                .ok_or_else(|| Error::usage("serviceaccount must be <namespace>:<name>"))?;
            Ok(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}))
        });
        let subjects: Result<Vec<Value>> = self
            .user
            .iter()
            .map(plain("User"))
            .chain(self.group.iter().map(plain("Group")))
            .chain(accounts)
            .collect();
        Ok(json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role}, "subjects": subjects?,
        }))
    }
}

/// A Role or ClusterRole.
pub(super) async fn role(kind: &str, name: &str, rule: &Rule, session: &Session) -> Result<Value> {
    // One rule for each API group.
    let mut by_group: Vec<(String, Vec<String>)> = Vec::new();
    for resource in &rule.resource {
        let (plain, sub) =
            resource.split_once('/').map_or((resource.as_str(), None), |(plain, sub)| (plain, Some(sub)));
        let (group, plural) = if plain == "*" {
            ("*".to_owned(), "*".to_owned())
        } else {
            let kind = session.kind(plain).await?;
            (kind.group.clone(), kind.plural.clone())
        };
        let resource = sub.map_or(plural.clone(), |sub| format!("{plural}/{sub}"));
        match by_group.iter_mut().find(|(known, _)| *known == group) {
            Some((_, resources)) => resources.push(resource),
            None => by_group.push((group, vec![resource])),
        }
    }
    let mut rules: Vec<Value> = by_group
        .into_iter()
        .map(|(group, resources)| {
            let mut value = json!({"apiGroups": [group], "resources": resources, "verbs": rule.verb});
            if !rule.resource_name.is_empty() {
                value["resourceNames"] = json!(rule.resource_name);
            }
            value
        })
        .collect();
    if !rule.non_resource_url.is_empty() {
        rules.push(json!({"nonResourceURLs": rule.non_resource_url, "verbs": rule.verb}));
    }
    if rules.is_empty() {
        return Err(Error::usage("at least one resource must be specified"));
    }
    Ok(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}),
    )
}
