//! Golden files: values and gradients that an independent reference computed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell::{root, run};

/// Where they are.
const FIXTURES: &str = "tests/golden/fixtures";
/// Most bytes of one file, and of all.
const MOST_EACH: u64 = 250_000;
const MOST_TOGETHER: u64 = 10_000_000;

/// Checks that the files are there and small; with FLORIN_PYTHON also that the generator still gives them.
pub(crate) fn check() -> Result<()> {
    let files = files(&root().join(FIXTURES))?;
    if files.is_empty() {
        bail!("{FIXTURES} is empty; run `cargo xtask golden update`");
    }
    let mut together = 0;
    for file in &files {
        let size = fs::metadata(file)?.len();
        if size > MOST_EACH {
            bail!("{}: {size} bytes, at most {MOST_EACH} are allowed", file.display());
        }
        together += size;
    }
    if together > MOST_TOGETHER {
        bail!("{FIXTURES}: {together} bytes together, at most {MOST_TOGETHER} are allowed");
    }
    eprintln!("{} golden files, {together} bytes", files.len());
    match std::env::var("FLORIN_PYTHON") {
        Ok(python) => compare(&python),
        Err(_) => {
            eprintln!("not regenerated: FLORIN_PYTHON is not set");
            Ok(())
        }
    }
}

/// Regenerates the files in place.
pub(crate) fn update() -> Result<()> {
    let python = std::env::var("FLORIN_PYTHON")
        .context("FLORIN_PYTHON must name a Python with tests/golden/requirements.txt installed")?;
    run(&python, &["-B", "tests/golden/generate.py", FIXTURES], &[])
}

/// The generator compares, because it knows what may differ: the last bits depend on the processor and on torch's threads.
fn compare(python: &str) -> Result<()> {
    run(python, &["-B", "tests/golden/generate.py", "--check", FIXTURES], &[])
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}
