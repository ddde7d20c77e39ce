//! Calling other programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Runs a program at the top of the checkout; its failure is ours.
pub(crate) fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    eprintln!("$ {line}");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).envs(environment.iter().copied());
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` failed ({status})") }
}

/// What a program prints.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output()?;
    if !output.status.success() {
        bail!("`{program} {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started.
pub(crate) fn has(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The Python that peers run in.
pub(crate) fn python_with_torch() -> Result<String> {
    std::env::var("FLORIN_PYTHON").context(
        "FLORIN_PYTHON must name a Python with PyTorch:\n  python3 -m venv ENV && ENV/bin/pip install -r tests/peers/requirements.txt\n  FLORIN_PYTHON=ENV/bin/python cargo xtask bench peers",
    )
}
