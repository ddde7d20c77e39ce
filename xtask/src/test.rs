//! Every test.

use anyhow::{Result, bail};

use crate::shell::{has, run};

/// Runs the tests, then the examples in the documentation.
pub(crate) fn test(arguments: &[&str]) -> Result<()> {
    let environment = match arguments {
        [] => vec![],
        ["--device", name] => vec![("FLORIN_DEVICE", *name)],
        other => bail!("expected nothing or --device NAME, found {}", other.join(" ")),
    };
    if has("cargo", &["nextest", "--version"]) {
        run("cargo", &["nextest", "run", "--workspace"], &environment)?;
    } else {
        eprintln!("cargo-nextest is not installed: using cargo test, which runs tests of one binary in one process");
        run("cargo", &["test", "--workspace", "--lib", "--bins", "--tests", "--", "--test-threads=1"], &environment)?;
    }
    run("cargo", &["test", "--workspace", "--doc"], &environment)
}
