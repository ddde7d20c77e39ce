//! Benchmarks, against an earlier state or against PyTorch.

use std::fs;

use anyhow::{Result, bail};

use crate::shell::{root, run};
use crate::{blocks, models, shell};

/// Runs criterion's benchmarks, or the peers.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    let (arguments, device) = match arguments {
        [rest @ .., "--device", name] => (rest, Some(*name)),
        all => (all, None),
    };
    let environment: Vec<(&str, &str)> = device.map(|name| ("FLORIN_DEVICE", name)).into_iter().collect();
    let cargo = cargo(device)?;
    let cargo: Vec<&str> = cargo.iter().map(String::as_str).collect();
    match arguments {
        [] => run("cargo", &cargo, &environment),
        ["save", name] => run("cargo", &[&cargo[..], &["--", "--save-baseline", name]].concat(), &environment),
        ["compare", name] => run("cargo", &[&cargo[..], &["--", "--baseline", name]].concat(), &environment),
        ["peers"] => peers(),
        ["peers", "blocks", benches @ ..] => blocks::peers(benches),
        ["peers", "models", cases @ ..] => models::peers(cases),
        other => bail!(
            "expected nothing, save NAME, compare NAME, peers, peers blocks [BENCH..] or peers models [CASE..], found {}",
            other.join(" ")
        ),
    }
}

/// `cargo bench` of every crate that has benches, with the device's feature where it needs one.
fn cargo(device: Option<&str>) -> Result<Vec<String>> {
    let mut crates = Vec::new();
    for entry in fs::read_dir(root().join("crates"))? {
        let entry = entry?;
        if entry.path().join("benches").is_dir() {
            crates.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    crates.sort();
    let mut words = vec!["bench".to_owned(), "--benches".to_owned()];
    words.extend(crates.iter().flat_map(|name| ["-p".to_owned(), name.clone()]));
    if let Some(device) = device.filter(|name| *name != "cpu") {
        let features: Vec<String> = crates.iter().map(|name| format!("{name}/{device}")).collect();
        words.extend(["--features".to_owned(), features.join(",")]);
    }
    Ok(words)
}

/// The same work in Florin and in PyTorch, in turns, on this machine.
fn peers() -> Result<()> {
    let python = shell::python_with_torch()?;
    // In turns, so that a busy minute of the machine falls on both.
    for _ in 0..2 {
        run("cargo", &["run", "--release", "--quiet", "-p", "florin-finance", "--example", "receipts_speed"], &[])?;
        run(&python, &["-B", "tests/peers/receipts_model.py", "receipts_frozen_text", "--seconds", "15"], &[])?;
    }
    Ok(())
}
