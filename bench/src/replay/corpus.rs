//! The requests: as they stand in files, and as they are made of an object.

use anyhow::Context;
use base64::Engine;
use hyper::body::Bytes;
use serde_json::Value;

/// A request to be sent to both servers.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What it shows; differences are known by it.
    pub title: String,
    /// Its verb.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
    /// Whether others need what it makes.
    pub always: bool,
}

/// Reads `### title`, a request line, header fields, an empty line and a body, again and again.
pub fn http(text: &str) -> Vec<Request> {
    let blocks = text.split("\n### ").skip(1);
    blocks
        .map(|block| {
            let (title, rest) = block.split_once('\n').unwrap_or((block, ""));
            let (head, body) = rest.split_once("\n\n").unwrap_or((rest.trim_end(), ""));
            let mut lines = head.lines();
            let (method, path) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/"));
            let headers = lines.filter_map(|line| line.split_once(": "));
            Request {
                title: title.trim().to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                body: body.trim_end_matches('\n').to_owned(),
                always: false,
            }
        })
        .collect()
}

/// Group and version of a collection's path, and its plural.
pub fn place(collection: &str) -> (String, &str) {
    let parts: Vec<&str> = collection.trim_matches('/').split('/').collect();
    let group_version = match parts[..] {
        ["api", version, ..] => version.to_owned(),
        [_, group, version, ..] => format!("{group}/{version}"),
        _ => String::new(),
    };
    (group_version, parts.last().copied().unwrap_or_default())
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// Every verb for one object: what is done, method, what follows the path, header and body.
#[rustfmt::skip]
const VERBS: [(&str, &str, &str, &str, &str); 25] = [
    ("create dry", "POST", "?dryRun=All", "", "{{this}}"),
    ("create", "POST", "", "", "{{this}}"),
    ("create again", "POST", "", "", "{{this}}"),
    ("get", "GET", "/", "", ""),
    ("yaml", "GET", "/", "application/yaml", ""),
    ("table", "GET", "/", TABLE, ""),
    ("list table", "GET", "?fieldSelector=metadata.name={{name}}", TABLE, ""),
    ("metadata", "GET", "/", METADATA, ""),
    ("list", "GET", "?fieldSelector=metadata.name%3D{{name}}", "", ""),
    ("get for update", "GET", "/", "", ""),
    ("update no-op", "PUT", "/", "", "{{object}}"),
    ("merge patch", "PATCH", "/?fieldManager=m", "merge", r#"{"metadata":{"labels":{"x":"y"}}}"#),
    ("json patch", "PATCH", "/", "json", r#"[{"op":"add","path":"/metadata/annotations","value":{"x":"y"}}]"#),
    ("strategic patch", "PATCH", "/", "strategic", r#"{"metadata":{"labels":{"z":"y"},"finalizers":["a.b/c"]}}"#),
    ("apply", "PATCH", "/?fieldManager=a", "apply", "{{typed}}"),
    ("status get", "GET", "/status", "", ""),
    ("status patch", "PATCH", "/status", "merge", r#"{"metadata":{"labels":{"s":"t"}},"status":{}}"#),
    ("scale get", "GET", "/scale", "", ""),
    ("scale patch", "PATCH", "/scale", "merge", r#"{"spec":{"replicas":2}}"#),
    ("unknown sub", "GET", "/nosuch", "", ""),
    ("delete", "DELETE", "/", "", ""),
    ("after delete", "GET", "/", "", ""),
    ("unfinalize", "PATCH", "/", "merge", r#"{"metadata":{"finalizers":null}}"#),
    ("delete now", "DELETE", "/?gracePeriodSeconds=0", "", ""),
    ("gone", "GET", "/", "", ""),
];

/// The requests that take an object through every verb.
pub fn verbs(
    collection: &str,
    object: &str,
    group_version: &str,
    kind: &str,
) -> anyhow::Result<Vec<Request>> {
    let mut typed: Value = serde_json::from_str(object).with_context(|| object.to_owned())?;
    let name = typed["metadata"]["name"].as_str().context("the object has a name")?.to_owned();
    typed["apiVersion"] = group_version.into();
    typed["kind"] = kind.into();
    let short = collection.replace("/namespaces/replay", "").replace("/apis/", "").replace("/api/", "");
    let made = VERBS.iter().map(|(what, method, place, media, body)| {
        let place = place.replace("{{name}}", &name);
        let path = match place.strip_prefix('/') {
            Some(sub) if sub.is_empty() || sub.starts_with('?') => format!("{collection}/{name}{sub}"),
            Some(sub) => format!("{collection}/{name}/{sub}"),
            None => format!("{collection}{place}"),
        };
        let (header, value) = match *media {
            "merge" => ("Content-Type", "application/merge-patch+json"),
            "json" => ("Content-Type", "application/json-patch+json"),
            "strategic" => ("Content-Type", "application/strategic-merge-patch+json"),
            "apply" => ("Content-Type", "application/apply-patch+yaml"),
            "" if body.is_empty() => ("Accept", "application/json"),
            "" => ("Content-Type", "application/json"),
            accept => ("Accept", accept),
        };
        Request {
            title: format!("{short} {name}: {what}"),
            method: (*method).to_owned(),
            path,
            headers: vec![(header.to_owned(), value.to_owned())],
            body: body.replace("{{this}}", object).replace("{{typed}}", &typed.to_string()),
            always: false,
        }
    });
    Ok(made.collect())
}

impl Request {
    /// The same with what it takes from the answer before it: `{{object}}`, `{{continue}}`, `{{repeat:TEXT:TIMES}}`
    /// (where `#` stands for a colon).
    pub fn filled_in(&self, last: &str) -> Self {
        let token = serde_json::from_str::<Value>(last).unwrap_or_default();
        let token = token["metadata"]["continue"].as_str().unwrap_or_default();
        let fill = |text: &str| {
            let mut text = text.replace("{{object}}", last).replace("{{continue}}", token);
            while let Some(begin) = text.find("{{repeat:") {
                let inner = begin + "{{repeat:".len();
                let Some(colon) = text[inner..].find(':').map(|at| inner + at) else { break };
                let digits = text[colon + 1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
                let end = colon + 1 + digits;
                let times = text[colon + 1..end].parse().unwrap_or(0);
                let made = text[inner..colon].replace('#', ":").repeat(times);
                text.replace_range(begin..(end + 2).min(text.len()), &made);
            }
            text
        };
        Self { path: fill(&self.path), body: fill(&self.body), ..self.clone() }
    }

    /// Its body as it is sent.
    pub fn bytes(&self) -> Bytes {
        match self.body.strip_prefix("base64:") {
            Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default().into(),
            None => self.body.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_filled_in() {
        let text = "# about\n### one\nGET /a?x={{continue}}\nAccept: y\n### two\nPOST /b\n\n{{repeat:[:3}}x{{repeat:\"a\"#:2}}\n";
        let requests = http(text);
        assert_eq!((requests.len(), requests[0].title.as_str()), (2, "one"));
        let first = requests[0].filled_in(r#"{"metadata":{"continue":"t"}}"#);
        assert_eq!((first.path.as_str(), &first.headers[0].1), ("/a?x=t", &"y".to_owned()));
        assert_eq!(requests[1].filled_in("").body, "[[[x\"a\":\"a\":");
        assert_eq!(place("/apis/apps/v1/namespaces/n/deployments"), ("apps/v1".into(), "deployments"));
    }

    #[test]
    fn every_line_of_the_corpus_is_a_request() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/replay");
        for name in ["setup.http", "read.http", "write.http"] {
            let text = std::fs::read_to_string(format!("{directory}/{name}")).expect(name);
            let requests = http(&text);
            assert_eq!(
                requests.len(),
                text.lines().filter(|line| line.starts_with("### ")).count(),
                "{name}"
            );
            assert!(requests.iter().all(|request| request.path.starts_with('/')), "{name}");
        }
        let text = std::fs::read_to_string(format!("{directory}/objects.txt")).expect("objects");
        for line in text.lines().filter(|line| line.starts_with('/')) {
            let (collection, object) = line.split_once(' ').expect(line);
            assert_eq!(verbs(collection, object, "v1", "K").expect(line).len(), VERBS.len());
        }
    }
}
