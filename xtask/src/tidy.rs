//! What no compiler checks: which crate may lean on which, and what every file must say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::shell::{output, root};

/// Layers from the ground up; a crate leans only on lower ones.
const LAYERS: [&[&str]; 7] = [
    &["florin-backend"],
    &["florin-nn"],
    &["florin-encoders", "florin-fusion", "florin-losses", "florin-data"],
    &["florin-models", "florin-train"],
    &["florin-finance"],
    &["florin", "florin-cli", "xtask"],
    &["florin-tests", "florin-fuzz", "florin-miri", "florin-candle-peer"],
];

/// Lines above which a file should be two.
const MOST_LINES: usize = 600;

/// Checks all rules and lists every breach.
pub(crate) fn tidy() -> Result<()> {
    let listed = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut files = BTreeMap::new();
    for name in listed.lines() {
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            files.insert(name.to_owned(), text);
        }
    }
    let mut breaches = Vec::new();
    for (name, text) in &files {
        if name.ends_with("Cargo.toml") && name != "Cargo.toml" {
            breaches.extend(manifest(name, text));
        }
        if name.ends_with(".rs") {
            breaches.extend(source(name, text));
        }
        if name.ends_with(".md") {
            breaches.extend(links(name, text));
        }
        if name != "Cargo.lock" {
            breaches.extend(registries(name, text));
        }
    }
    breaches.extend(papers(&files));
    breaches.extend(summary(&files));
    if breaches.is_empty() {
        eprintln!("{} files are tidy", files.len());
        return Ok(());
    }
    for breach in &breaches {
        eprintln!("{breach}");
    }
    bail!("{} breaches", breaches.len())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn manifest(file: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let own = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).unwrap_or_default();
    let Some(height) = layer(own) else { return vec![format!("{file}: crate {own} has no layer in xtask's tidy")] };
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let leans_on = line.split(['.', ' ', '=']).next().filter(|name| name.starts_with("florin"));
        if let Some(name) = leans_on.filter(|_| section == "[dependencies]")
            && layer(name).is_none_or(|other| other >= height)
        {
            breaches.push(format!("{file}: {own} may not lean on {name}, which is not below it"));
        }
    }
    // A workspace of its own has none to inherit from.
    if !text.contains("[lints]\nworkspace = true") && !text.contains("\n[workspace]\n") {
        breaches.push(format!("{file}: does not inherit the workspace's lints"));
    }
    breaches
}

fn source(file: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(format!("{file}: does not open with //!"));
    }
    let count = text.lines().count();
    if count > MOST_LINES {
        breaches.push(format!("{file}: {count} lines, at most {MOST_LINES} are allowed"));
    }
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        if file.starts_with("crates/") && line.trim_start().starts_with("pub fn forward") {
            let above = lines[..index].iter().rev().take_while(|line| is_documentation(line));
            if !above.into_iter().any(|line| line.contains("# Shapes")) {
                breaches.push(format!("{file}:{}: forward does not document its # Shapes", index + 1));
            }
        }
    }
    breaches
}

fn is_documentation(line: &str) -> bool {
    line.trim_start().starts_with("///") || line.trim_start().starts_with("#[")
}

/// Relative links of a page.
fn links(file: &str, text: &str) -> Vec<String> {
    let folder = root().join(file).parent().map(Path::to_path_buf).unwrap_or_default();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:"))
        .filter_map(|target| target.split('#').next())
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{file}: {target} does not exist"))
        .collect()
}

/// Names of package registries' hosts have no place in the project: mirrors differ.
fn registries(file: &str, text: &str) -> Vec<String> {
    let hosts =
        [["crates", ".io/"], ["static.crates", ".io"], ["pypi", ".org"], ["pythonhosted", ".org"], ["npmjs", ".org"]];
    let named = hosts.iter().map(|parts| parts.concat()).filter(|host| text.contains(host.as_str()));
    named.map(|host| format!("{file}: names the registry host {host}")).collect()
}

/// Every cited paper stands in the bibliography.
fn papers(files: &BTreeMap<String, String>) -> Vec<String> {
    let bibliography = files.get("docs/src/papers.md").cloned().unwrap_or_default();
    let mut breaches = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".rs")) {
        for line in text.lines().filter(|line| line.contains("Paper: ")) {
            let address = line.split('<').nth(1).and_then(|rest| rest.split('>').next());
            if let Some(address) = address.filter(|address| !bibliography.contains(*address)) {
                breaches.push(format!("{file}: {address} is not in docs/src/papers.md"));
            }
        }
    }
    breaches
}

/// Every page of the book is in its table of contents.
fn summary(files: &BTreeMap<String, String>) -> Vec<String> {
    let contents = files.get("docs/src/SUMMARY.md").cloned().unwrap_or_default();
    let pages = files.keys().filter_map(|file| file.strip_prefix("docs/src/")).filter(|page| page.ends_with(".md"));
    pages
        .filter(|page| *page != "SUMMARY.md" && !contents.contains(&format!("({page})")))
        .map(|page| format!("docs/src/{page}: is not in SUMMARY.md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_upwards_is_a_breach() {
        let text = "[package]\nname = \"florin-nn\"\n[dependencies]\nflorin-models.workspace = true\n[lints]\nworkspace = true\n";
        assert_eq!(
            manifest("Cargo.toml", text),
            ["Cargo.toml: florin-nn may not lean on florin-models, which is not below it"]
        );
        assert!(manifest("Cargo.toml", &text.replace("florin-models", "florin-backend")).is_empty());
        assert_eq!(manifest("Cargo.toml", &text.replace("florin-models", "florin-nn")).len(), 1);
    }

    #[test]
    fn a_forward_without_shapes_is_a_breach() {
        let text = "//! Head.\n/// Does.\npub fn forward() {}\n";
        assert_eq!(source("crates/a.rs", text).len(), 1);
        assert!(source("crates/a.rs", &text.replace("/// Does.", "/// # Shapes")).is_empty());
        assert_eq!(source("crates/a.rs", "fn main() {}\n").len(), 1);
    }

    #[test]
    fn a_dead_link_is_a_breach() {
        assert_eq!(links("README.md", "see [this](nowhere.md)"), ["README.md: nowhere.md does not exist"]);
        assert!(links("README.md", "see [this](Cargo.toml) and [that](https://example.com)").is_empty());
    }
}
