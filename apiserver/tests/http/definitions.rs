//! Definitions that are taken or refused as kube-apiserver does it: a table of what it said of each.

use serde_json::Value;

use crate::custom::DEFINITIONS;
use crate::server::Server;

#[tokio::test]
async fn definitions_are_refused_in_upstreams_words_at_upstreams_paths() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = format!("{DEFINITIONS}?dryRun=All");
    let mut wrong = Vec::new();
    let table = include_str!("definitions.txt");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (definition, expected) = line.split_once(" => ").expect("a definition and what is said of it");
        let definition: Value = serde_json::from_str(definition).unwrap();
        let expected: Vec<String> = serde_json::from_str(expected).unwrap();
        let answer = admin.post(&path, &definition).await;
        let object = answer.json();
        let causes = object["details"]["causes"].as_array().cloned().unwrap_or_default();
        let told = |cause: &Value| {
            let text = |key: &str| cause[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("field"), text("message"))
        };
        let mut said: Vec<String> = causes.iter().map(told).collect();
        said.sort();
        let code = if expected.is_empty() { 201 } else { 422 };
        if answer.code != code || said != expected {
            wrong.push(format!("{definition}\n  {}: {said:#?}\n  instead of {expected:#?}", answer.code));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
