//! The pages of roles, their bindings, and service accounts.

use serde_json::Value;

use super::{Page, head, items, pairs, text};

fn labels(page: &mut Page, object: &Value) {
    // Upstream's pages of roles leave the namespace out.
    page.field(0, "Name:", text(&object["metadata"]["name"]));
    pairs(page, 0, "Labels:", &object["metadata"]["labels"], "=");
    pairs(page, 0, "Annotations:", &object["metadata"]["annotations"], ": ");
}

fn list(values: &Value) -> String {
    format!("[{}]", items(values).iter().map(text).collect::<Vec<_>>().join(" "))
}

/// One line for each resource and each path, in the order of resources.
pub(super) fn role(page: &mut Page, role: &Value) {
    labels(page, role);
    page.line(0, "PolicyRule:");
    let mut rows: Vec<[String; 4]> = Vec::new();
    for rule in items(&role["rules"]) {
        for group in items(&rule["apiGroups"]) {
            for resource in items(&rule["resources"]) {
                let name = match group.as_str().unwrap_or_default() {
                    "" => text(resource),
                    group => format!("{}.{group}", text(resource)),
                };
                rows.push([name, "[]".to_owned(), list(&rule["resourceNames"]), list(&rule["verbs"])]);
            }
        }
        for path in items(&rule["nonResourceURLs"]) {
            rows.push([String::new(), format!("[{}]", text(path)), "[]".to_owned(), list(&rule["verbs"])]);
        }
    }
    rows.sort_by_key(|[name, path, ..]| (name.is_empty(), name.clone(), path.clone()));
    page.cells(1, ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"].map(str::to_owned));
    page.cells(1, ["---------", "-----------------", "--------------", "-----"].map(str::to_owned));
    rows.into_iter().for_each(|row| page.cells(1, row));
}

pub(super) fn binding(page: &mut Page, binding: &Value) {
    labels(page, binding);
    page.line(0, "Role:");
    page.field(1, "Kind:", text(&binding["roleRef"]["kind"]));
    page.field(1, "Name:", text(&binding["roleRef"]["name"]));
    page.line(0, "Subjects:");
    page.cells(1, ["Kind", "Name", "Namespace"].map(str::to_owned));
    page.cells(1, ["----", "----", "---------"].map(str::to_owned));
    for subject in items(&binding["subjects"]) {
        let namespace = subject["namespace"].as_str().unwrap_or_default().to_owned();
        page.cells(1, [text(&subject["kind"]), text(&subject["name"]), namespace]);
    }
}

pub(super) fn service_account(page: &mut Page, account: &Value) {
    head(page, account);
    pairs(page, 0, "Labels:", &account["metadata"]["labels"], "=");
    pairs(page, 0, "Annotations:", &account["metadata"]["annotations"], ": ");
    for (label, key) in [
        ("Image pull secrets:", "imagePullSecrets"),
        ("Mountable secrets:", "secrets"),
        ("Tokens:", "tokens"),
    ] {
        let names: Vec<String> = items(&account[key]).iter().map(|secret| text(&secret["name"])).collect();
        if names.is_empty() {
            page.field(0, label, "<none>");
        }
        for (index, name) in names.into_iter().enumerate() {
            page.field(0, if index == 0 { label } else { "" }, name);
        }
    }
}
