//! The kernels with vector instructions under Miri, which checks every access and knows instructions that the machine lacks.

use anyhow::{Result, bail};

use crate::shell::{has, root, run};

/// What Miri is to find on the machine it imitates.
const FEATURES: &str = "-Ctarget-feature=+avx2,+fma,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni,+avx512bf16";

/// Runs the kernels' tests in Miri.
pub(crate) fn miri() -> Result<()> {
    if !has("cargo", &["+nightly", "miri", "--version"]) {
        bail!(
            "this needs Miri and the sources of the standard library:\n  rustup +nightly component add miri rust-src"
        );
    }
    let manifest = root().join("miri/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    // The pool of threads is never ended, which is no leak of the kernels, and its queue breaks the stricter model of borrows.
    let environment = [("RUSTFLAGS", FEATURES), ("MIRIFLAGS", "-Zmiri-ignore-leaks -Zmiri-tree-borrows")];
    run("cargo", &["+nightly", "miri", "test", "--manifest-path", &manifest, "packed"], &environment)
}
