//! The pages of Secrets and ConfigMaps.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Page, head, pairs, text};

fn labels(page: &mut Page, object: &Value) {
    pairs(page, 0, "Labels:", &object["metadata"]["labels"], "=");
    pairs(page, 0, "Annotations:", &object["metadata"]["annotations"], ": ");
}

fn heading(page: &mut Page, title: &str) {
    page.line(0, "");
    page.line(0, title);
    page.line(0, "=".repeat(title.len()));
}

fn size(encoded: &Value) -> String {
    let bytes = STANDARD.decode(encoded.as_str().unwrap_or_default()).unwrap_or_default();
    format!("{} bytes", bytes.len())
}

/// Keys and how long their values are, never the values.
pub(super) fn secret(page: &mut Page, secret: &Value) {
    head(page, secret);
    labels(page, secret);
    page.line(0, "");
    page.field(0, "Type:", text(&secret["type"]));
    heading(page, "Data");
    for (key, value) in secret["data"].as_object().into_iter().flatten() {
        page.field(0, &format!("{key}:"), size(value));
    }
}

pub(super) fn config_map(page: &mut Page, map: &Value) {
    head(page, map);
    labels(page, map);
    heading(page, "Data");
    for (key, value) in map["data"].as_object().into_iter().flatten() {
        page.line(0, format!("{key}:"));
        page.line(0, "----");
        value.as_str().unwrap_or_default().split('\n').for_each(|line| page.line(0, line));
        page.line(0, "");
    }
    page.line(0, "");
    page.line(0, "BinaryData");
    page.line(0, "====");
    for (key, value) in map["binaryData"].as_object().into_iter().flatten() {
        page.line(0, format!("{key}: {}", size(value)));
    }
    page.line(0, "");
}
