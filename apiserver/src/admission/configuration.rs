//! The file of `--admission-control-config-file`: an `AdmissionConfiguration` that has a part for each plugin, or names
//! a file for it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// What plugins are told.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    plugins: BTreeMap<String, Value>,
}

const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"];
const KIND: &str = "AdmissionConfiguration";

impl Configuration {
    /// Reads the file and those that it names, which are looked for beside it.
    ///
    /// # Errors
    /// Which file cannot be read, or what in it is not understood.
    pub fn read(path: &Path) -> Result<Self, String> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&document(path)?, |name| document(&folder.join(name)))
            .map_err(|why| format!("{}: {why}", path.display()))
    }

    fn parse(document: &Value, file: impl Fn(&str) -> Result<Value, String>) -> Result<Self, String> {
        let version = document["apiVersion"].as_str().unwrap_or_default();
        if document["kind"] != KIND || !VERSIONS.contains(&version) {
            return Err(format!("this is no {KIND} of {}", VERSIONS[0]));
        }
        let mut plugins = BTreeMap::new();
        for plugin in document["plugins"].as_array().into_iter().flatten() {
            let name =
                plugin["name"].as_str().filter(|name| !name.is_empty()).ok_or("a plugin has no name")?;
            let told = match plugin["path"].as_str().filter(|path| !path.is_empty()) {
                Some(path) => file(path)?,
                None => plugin.get("configuration").cloned().unwrap_or_default(),
            };
            if plugins.insert(name.to_owned(), told).is_some() {
                return Err(format!("the plugin {name} is there twice"));
            }
        }
        Ok(Self { plugins })
    }

    /// The plugins that are told something.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// What a plugin is told.
    pub fn of(&self, plugin: &str) -> Option<&Value> {
        self.plugins.get(plugin).filter(|told| !told.is_null())
    }
}

fn document(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let (document, _) = skiff_api::yaml::decode_one(&bytes, true)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(document)
}

/// Refuses a part that is not of one of these versions and that kind.
pub(super) fn check_kind(told: &Value, group: &str, versions: &[&str], kind: &str) -> Result<(), String> {
    let version = told["apiVersion"].as_str().unwrap_or_default();
    let known = versions.iter().any(|known| version == format!("{group}/{known}"));
    if known && told["kind"] == kind {
        return Ok(());
    }
    Err(format!("this is no {kind} of {group}/{}", versions[0]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_plugin_has_its_part_in_the_file_or_in_one_of_its_own() {
        let file = |name: &str| match name {
            "b.yaml" => Ok(json!({"b": 1})),
            _ => Err(format!("cannot read {name}")),
        };
        let document = |plugins: Value| json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins});
        let parse = |plugins| Configuration::parse(&document(plugins), file);
        let told = parse(json!([{"name": "A", "configuration": {"a": 1}}, {"name": "B", "path": "b.yaml"}]))
            .unwrap();
        assert_eq!((told.of("A"), told.of("B")), (Some(&json!({"a": 1})), Some(&json!({"b": 1}))));
        assert_eq!(told.of("C"), None);
        assert!(parse(json!([{"name": "A"}, {"name": "A"}])).unwrap_err().contains("there twice"));
        assert!(parse(json!([{"name": "A", "path": "c.yaml"}])).unwrap_err().contains("c.yaml"));
        assert!(Configuration::parse(&json!({}), file).unwrap_err().contains("no AdmissionConfiguration"));
    }
}
