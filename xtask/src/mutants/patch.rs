//! A known mistake as a file: two header lines, then what `git diff` printed.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::shell::root;

/// Where they are.
const FOLDER: &str = "tests/mutants";

/// A known mistake.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Patch {
    /// The file's name without its ending.
    pub(super) name: String,
    /// The mistake in a sentence.
    pub(super) what: String,
    /// Arguments of the `cargo test` that must fail.
    pub(super) tests: String,
    /// The files that it changes.
    pub(super) touches: Vec<String>,
    /// The whole file; `git apply` passes over the header.
    pub(super) text: String,
}

/// Every patch, or those of some names; those that touch the same file follow each other, which saves compiling.
pub(super) fn read(names: &[&str]) -> Result<Vec<Patch>> {
    let folder = root().join(FOLDER);
    let mut patches = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".patch") else { bail!("{FOLDER}/{file}: expected only files NAME.patch") };
        patches.push(Patch::parse(name, &fs::read_to_string(&path)?).with_context(|| format!("{FOLDER}/{file}"))?);
    }
    let known: BTreeSet<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(*name)) {
        bail!("{FOLDER} has no {unknown}.patch; there are {}", known.into_iter().collect::<Vec<_>>().join(", "));
    }
    patches.retain(|patch| names.is_empty() || names.contains(&patch.name.as_str()));
    patches.sort_by(|a, b| (&a.touches, &a.name).cmp(&(&b.touches, &b.name)));
    if patches.is_empty() { bail!("{FOLDER} is empty") } else { Ok(patches) }
}

impl Patch {
    fn parse(name: &str, text: &str) -> Result<Self> {
        let (mut what, mut tests) = (String::new(), String::new());
        let mut last = None;
        for line in text.lines().take_while(|line| !line.starts_with("diff --git ")).filter(|line| !line.is_empty()) {
            let (field, rest) = match (line.strip_prefix("What:"), line.strip_prefix("Tests:"), last) {
                (Some(rest), _, _) => (true, rest),
                (_, Some(rest), _) => (false, rest),
                (_, _, Some(field)) => (field, line), // a header may go on over several lines
                _ => bail!("expected `What:` or `Tests:`, found `{line}`"),
            };
            let into = if field { &mut what } else { &mut tests };
            into.push_str(if into.is_empty() { "" } else { " " });
            into.push_str(rest.trim());
            last = Some(field);
        }
        let heads = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        let touches: Vec<String> = heads.map(|path| path.split('\t').next().unwrap_or(path).to_owned()).collect();
        if what.is_empty() || tests.is_empty() {
            bail!("expected a line `What: the mistake` and a line `Tests: arguments of cargo test` above the diff");
        }
        if !text.contains("\ndiff --git ") || touches.is_empty() {
            bail!("expected what `git diff` prints below the header, found no changed file");
        }
        if !tests.split(' ').any(|word| word == "-p") {
            bail!("`Tests: {tests}` must name one package with -p: all of them take minutes");
        }
        Ok(Self { name: name.to_owned(), what, tests, touches, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::Patch;

    const DIFF: &str = "diff --git a/x.rs b/x.rs\n--- a/x.rs\n+++ b/x.rs\n@@ -1 +1 @@\n-one\n+two\n";

    #[test]
    fn header_and_touched_files_are_read() {
        let text = format!("What: one is two,\n  really.\nTests: -p florin-nn --lib one\n\n{DIFF}");
        let patch = Patch::parse("two", &text).unwrap();
        assert_eq!(patch.what, "one is two, really.");
        assert_eq!(patch.tests, "-p florin-nn --lib one");
        assert_eq!(patch.touches, ["x.rs"]);
        assert_eq!(patch.text, text);
    }

    #[test]
    fn a_patch_without_tests_without_a_diff_or_for_all_packages_is_refused() {
        let error = |text: &str| Patch::parse("two", text).unwrap_err().to_string();
        assert!(error(&format!("What: one is two\n{DIFF}")).contains("`Tests: arguments of cargo test`"));
        assert!(error("What: one is two\nTests: -p florin-nn\n").contains("no changed file"));
        assert!(error(&format!("What: one is two\nTests: --workspace\n{DIFF}")).contains("with -p"));
        assert!(error(&format!("one is two\n{DIFF}")).contains("found `one is two`"));
    }
}
