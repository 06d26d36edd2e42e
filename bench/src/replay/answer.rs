//! Answers, without what differs from run to run.

use std::sync::LazyLock;

use http::response::Parts;
use regex::Regex;
use serde_json::Value;

/// Header fields that are compared.
const HEADERS: [&str; 7] =
    ["content-type", "warning", "location", "retry-after", "allow", "www-authenticate", "cache-control"];

/// The map of such an authority.
const ADDITION: &str = "openshift-service-ca.crt";

/// The same in YAML.
static ADDITION_IN_YAML: LazyLock<Regex> = LazyLock::new(|| {
    let lines = r"(?m)^ *- configMap:\n *items:\n *- key: service-ca.crt\n *path: service-ca.crt\n *name: openshift-.*\n";
    Regex::new(lines).expect("the pattern is fixed")
});

/// What is drawn, counted or told by the clock, and what stands for it.
static DRAWN: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"20\d\d-\d\d-\d\dT[\d:.]+Z", "<time>"),
        (r#""resourceVersion": "[1-9]\d*""#, r#""resourceVersion": "<version>""#),
        (r#"resourceVersion: "\d+""#, r#"resourceVersion: "<version>""#),
        (r#""continue": "[A-Za-z0-9_-]{20,}""#, r#""continue": "<token>""#),
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-<drawn>"),
        (r#""(\d+m)?\d+s""#, r#""<age>""#),
        (r"10\.96\.\d+\.\d+", "<cluster IP>"),
        (r"(?i)(nodePort\x22?): 3\d{4}", "$1: <node port>"),
        (r"80:3\d{4}/", "80:<node port>/"),
        (r"127\.0\.0\.1:\d+|198\.51\.100\.10:\d+", "<server>"),
        (r"X509SHA256=[0-9a-f]+", "X509SHA256=<print>"),
    ]
    .into_iter()
    .map(|(pattern, text)| (Regex::new(pattern).expect("the pattern is fixed"), text))
    .collect()
});

/// Takes out what is not Kubernetes' own: a build for a distribution gives pods the certificate authority of its services.
fn without_additions(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| item.pointer("/configMap/name").is_none_or(|name| name != ADDITION));
            items.iter_mut().for_each(without_additions);
        }
        Value::Object(map) => map.values_mut().for_each(without_additions),
        _ => {}
    }
}

/// What a server answered, as lines that can be compared.
pub struct Answer {
    /// Status, header fields, body.
    pub lines: Vec<String>,
}

impl Answer {
    /// Of an answer that came.
    pub fn of(head: &Parts, body: &[u8]) -> Self {
        let mut lines = vec![format!("status {}", head.status.as_u16())];
        for name in HEADERS {
            let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            // A kind that nothing acts on says so; that is ours alone.
            let values = values.filter(|value| !value.contains("nothing in this cluster acts on it"));
            lines.extend(values.map(|value| format!("{name}: {value}")));
        }
        let text = String::from_utf8_lossy(body);
        let text = match serde_json::from_str::<Value>(&text) {
            Ok(mut value) => {
                without_additions(&mut value);
                serde_json::to_string_pretty(&value).unwrap_or_default()
            }
            Err(_) => ADDITION_IN_YAML.replace_all(&text, "").into_owned(),
        };
        lines.extend(text.lines().map(str::to_owned));
        let same = |line: String| {
            DRAWN.iter().fold(line, |line, (drawn, text)| drawn.replace_all(&line, *text).into_owned())
        };
        Self { lines: lines.into_iter().map(same).collect() }
    }

    /// Of a connection that ended without one.
    pub fn none(error: &anyhow::Error) -> Self {
        Self { lines: vec![format!("no answer: {error}")] }
    }
}
