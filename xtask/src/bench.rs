//! Benchmarks, against an earlier state or against PyTorch.

use anyhow::{Context, Result, bail};

use crate::shell::run;

/// Runs criterion's benchmarks, or the peers.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    let (arguments, device) = match arguments {
        [rest @ .., "--device", name] => (rest, Some(*name)),
        all => (all, None),
    };
    let environment: Vec<(&str, &str)> = device.map(|name| ("FLORIN_DEVICE", name)).into_iter().collect();
    let mut cargo = vec!["bench", "-p", "florin-encoders", "-p", "florin-losses", "--benches"];
    let feature;
    if let Some(name) = device.filter(|name| *name != "cpu") {
        feature = format!("florin-encoders/{name},florin-losses/{name}");
        cargo.extend(["--features", &feature]);
    }
    match arguments {
        [] => run("cargo", &cargo, &environment),
        ["save", name] => run("cargo", &[&cargo[..], &["--", "--save-baseline", name]].concat(), &environment),
        ["compare", name] => run("cargo", &[&cargo[..], &["--", "--baseline", name]].concat(), &environment),
        ["peers"] => peers(),
        other => bail!("expected nothing, save NAME, compare NAME or peers, found {}", other.join(" ")),
    }
}

/// The same work in Florin and in PyTorch, in turns, on this machine.
fn peers() -> Result<()> {
    let python = std::env::var("FLORIN_PYTHON").context(
        "FLORIN_PYTHON must name a Python with PyTorch:\n  python3 -m venv ENV && ENV/bin/pip install -r tests/peers/requirements.txt\n  FLORIN_PYTHON=ENV/bin/python cargo xtask bench peers",
    )?;
    // In turns, so that a busy minute of the machine falls on both.
    for _ in 0..2 {
        run("cargo", &["run", "--release", "--quiet", "-p", "florin-finance", "--example", "receipts_speed"], &[])?;
        run(&python, &["-B", "tests/peers/receipts_model.py", "receipts_frozen_text", "--seconds", "15"], &[])?;
    }
    Ok(())
}
