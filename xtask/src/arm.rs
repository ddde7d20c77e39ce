//! The operations and their kernels on ARM, which QEMU imitates: NEON's tiles are compiled for no other processor.

use std::path::Path;

use anyhow::{Result, bail};

use crate::shell::{has, output, run};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// A compiler of C for ARM, which links.
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Where it has the shared libraries that QEMU loads.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
/// A processor that has neither DotProd nor BF16; what QEMU imitates otherwise has both.
const PLAIN: &str = "cortex-a72";

/// Runs the unit tests of `florin-backend`, and those of packed weights once more on a processor that has no more than NEON.
pub(crate) fn arm() -> Result<()> {
    let mut missing = Vec::new();
    if !output("rustc", &["--print", "target-libdir", "--target", TARGET]).is_ok_and(|at| Path::new(at.trim()).exists())
    {
        missing.push(format!("rustup target add {TARGET}"));
    }
    if !has(LINKER, &["--version"]) {
        missing.push(format!("apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross    # {LINKER}"));
    }
    if !has("qemu-aarch64", &["--version"]) {
        missing.push("apt-get install qemu-user    # qemu-aarch64".to_owned());
    }
    if !missing.is_empty() {
        bail!("this needs Rust for ARM, a compiler that links, and QEMU:\n  {}", missing.join("\n  "));
    }
    test(&format!("qemu-aarch64 -L {LIBRARIES}"), &[])?;
    test(&format!("qemu-aarch64 -cpu {PLAIN} -L {LIBRARIES}"), &["packed"])
}

fn test(runner: &str, names: &[&str]) -> Result<()> {
    let environment = [
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner),
    ];
    let arguments = ["test", "--target", TARGET, "-p", "florin-backend", "--lib"];
    run("cargo", &[&arguments, names].concat(), &environment)
}
