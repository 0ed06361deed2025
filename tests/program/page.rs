//! The HTML report as a file: well-formed, complete, without a reference to anything outside it, and safe to open.
//! How it behaves in a browser is looked at by `tests/browser`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::stdout;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");

fn page(model: &str) -> String {
    stdout(&["spectrum", model, "--format", "html"])
}

/// A checkpoint of 4 × 4 matrices with these names.
fn checkpoint(path: &Path, names: &[&str]) {
    let mut header = serde_json::Map::new();
    for (i, name) in names.iter().enumerate() {
        let entry =
            serde_json::json!({"dtype": "F32", "shape": [4, 4], "data_offsets": [i * 64, (i + 1) * 64]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend((0..names.len() * 16).flat_map(|i| (i as f32).sin().to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

/// The tags of a page as (name, attributes), checked to be closed in order; style and script are text.
fn tags(page: &str) -> Vec<(String, String)> {
    let (mut rest, mut open, mut found) = (page, vec![], vec![]);
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '!'), "<{tag}>");
        assert_eq!(attributes.matches('"').count() % 2, 0, "<{tag}>");
        found.push((name.to_owned(), attributes.to_owned()));
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
        }
        if !["!DOCTYPE", "meta", "input"].contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    found
}

#[test]
fn the_page_is_well_formed_and_names_every_tensor() {
    let page = page(BASE);
    tags(&page);
    let report: serde_json::Value =
        serde_json::from_str(&stdout(&["spectrum", BASE, "--format", "json"])).unwrap();
    for row in report["rows"].as_array().unwrap() {
        assert!(page.contains(row["name"].as_str().unwrap()), "{}", row["name"]);
    }
    for skipped in report["skipped"].as_array().unwrap() {
        assert!(page.contains(skipped["tensor"].as_str().unwrap()), "{}", skipped["tensor"]);
    }
    for key in report["columns"].as_array().unwrap() {
        assert!(page.contains(&format!("<code>{}</code>", key.as_str().unwrap())), "{key}");
    }
}

#[test]
fn the_page_refers_to_nothing_outside_it() {
    let page = page(BASE);
    let namespace = "http://www.w3.org/2000/svg";
    assert!(!page.replace(namespace, "").contains("://"));
    assert!(page.contains("content=\"default-src 'none'; "));
    for (name, attributes) in tags(&page) {
        assert!(!["img", "link", "iframe", "object", "embed", "base"].contains(&name.as_str()), "<{name}>");
        let known: Vec<&str> =
            attributes.split('"').step_by(2).map(|name| name.trim_matches([' ', '='])).collect();
        let asks =
            |name: &&str| ["src", "srcdoc", "style", "action"].contains(name) || name.starts_with("on");
        assert!(!known.iter().any(asks), "<{name} {attributes}>");
        let outside = attributes.split("href=\"").skip(1).any(|target| !target.starts_with('#'));
        assert!(!outside, "<{name} {attributes}>");
    }
}

#[test]
fn hostile_names_are_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("<b>&\".safetensors");
    let names =
        ["<script>alert(1)</script>", "\" onclick=\"alert(1)", "</style>", "]]>&lt;", "l.0.'<img src=x>"];
    checkpoint(&path, &names);
    let page = page(path.to_str().unwrap());
    let known: BTreeSet<String> = tags(&page).into_iter().map(|(name, _)| name).collect();
    assert!(!known.contains("img"), "{known:?}");
    assert!(page.contains("/&lt;b&gt;&amp;&quot;.safetensors</h1>"));
    assert_eq!(page.matches("<script").count(), 1);
    for name in names {
        let text =
            name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        assert!(page.contains(&format!("<code>{text}</code>")), "{name}");
    }
}
