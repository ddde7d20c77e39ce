//! Every test.

use anyhow::{Result, bail};

use crate::shell::{has, run};

/// Runs the tests, then the examples in the documentation; on another device only what compares devices.
pub(crate) fn test(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] | ["--device", "cpu"] => {}
        ["--device", name] => {
            let arguments = ["test", "-p", "florin-tests", "--features", name, "--test", "suite", "parity"];
            return run("cargo", &[&arguments[..], &["--", "--nocapture", "--test-threads=1"]].concat(), &[]);
        }
        other => bail!("expected nothing or --device NAME, found {}", other.join(" ")),
    }
    if has("cargo", &["nextest", "--version"]) {
        run("cargo", &["nextest", "run", "--workspace"], &[])?;
    } else {
        eprintln!("cargo-nextest is not installed: using cargo test, which runs tests of one binary in one process");
        run("cargo", &["test", "--workspace", "--lib", "--bins", "--tests", "--", "--test-threads=1"], &[])?;
    }
    run("cargo", &["test", "--workspace", "--doc"], &[])
}
