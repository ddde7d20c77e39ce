//! What CI runs, cheapest first, so that a slip is found in seconds.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::shell::{has, root, run};
use crate::{golden, mutants, test, tidy};

/// SwiftShader, a Vulkan driver that needs no graphics card, where Debian's chromium-common puts it.
const SWIFT_SHADER: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";

type Step = (&'static str, fn() -> Result<()>);

/// Runs every step and prints how long each took.
pub(crate) fn ci() -> Result<()> {
    let steps: [Step; 9] = [
        ("format", || run("cargo", &["fmt", "--all", "--check"], &[])),
        ("tidy", tidy::tidy),
        ("golden files", golden::check),
        ("mutants", mutants::check),
        ("licences", licences),
        ("clippy", || run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])),
        ("documentation", rustdoc),
        ("parity", parity),
        ("test", || test::test(&[])),
    ];
    let mut times = Vec::new();
    for (name, step) in steps {
        eprintln!("\n== {name}");
        let began = Instant::now();
        let done = step();
        times.push((name, began.elapsed().as_secs(), done.is_ok()));
        if let Err(error) = done {
            print_times(&times);
            return Err(error.context(format!("{name} failed")));
        }
    }
    print_times(&times);
    Ok(())
}

/// The documentation of all crates and, where mdbook is installed, the book.
pub(crate) fn docs() -> Result<()> {
    tidy::tidy()?;
    rustdoc()?;
    if has("mdbook", &["--version"]) {
        run("mdbook", &["build", "docs"], &[])
    } else {
        eprintln!("mdbook is not installed: the book is readable as Markdown under docs/src");
        Ok(())
    }
}

fn rustdoc() -> Result<()> {
    run("cargo", &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
}

fn licences() -> Result<()> {
    if has("cargo", &["deny", "--version"]) {
        run("cargo", &["deny", "check", "licenses", "bans", "sources"], &[])
    } else {
        eprintln!("skipped: cargo-deny is not installed");
        Ok(())
    }
}

/// The same operations and models on a graphics device and on the second processor backend as on the first, on small sizes.
fn parity() -> Result<()> {
    if !Path::new(SWIFT_SHADER).exists() {
        eprintln!("skipped: {SWIFT_SHADER} is not there (Debian package chromium-common)");
        return Ok(());
    }
    let environment = [("VK_DRIVER_FILES", SWIFT_SHADER), ("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu")];
    let arguments = [
        "test",
        "-p",
        "florin-tests",
        "--features",
        "vulkan,ndarray",
        "--test",
        "suite",
        "parity",
        "--",
        "--nocapture",
        "--test-threads=1",
    ];
    run("cargo", &arguments, &environment)
}

fn print_times(times: &[(&str, u64, bool)]) {
    eprintln!("\n{}", root().display());
    for (name, seconds, passed) in times {
        eprintln!("  {name:14} {:>3}:{:02}  {}", seconds / 60, seconds % 60, if *passed { "passed" } else { "FAILED" });
    }
}
