//! A copy of the tree that mistakes are put into, so that nobody's own files are ever wrong.
//!
//! It always stands at the same place below the target folder: cargo then finds what it compiled for the copy before, and
//! what it compiled of the registry for the tree itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::patch::Patch;
use crate::shell::{output, root};

/// Named with every test, because a package alone has the registry's crates compiled anew, Burn among them, with features of its
/// own: what these two need together is what the whole workspace needs.
const UNIFIERS: [&str; 4] = ["-p", "florin-cli", "-p", "florin-nn"];
/// The verb by which cargo calls [`limited`].
pub(crate) const VERB: &str = "limited";
/// What is printed before a program is started: where it is missing, nothing was compiled.
const STARTED: &str = "florin-mutants: starting";
/// What is printed of a program that was killed.
const HUNG: &str = "florin-mutants: killed, did not end within";

/// The copy.
pub(super) struct Copy {
    tree: PathBuf,
    target: PathBuf,
    logs: PathBuf,
}

/// How a `cargo test` ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ended {
    Passed,
    Failed,
    /// Neither within the time given.
    Hung,
    /// No test was started.
    NotCompiled,
}

impl Copy {
    pub(super) fn new() -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let target = if target.is_absolute() { target } else { root().join(target) };
        let (tree, logs) = (target.join("florin-mutants"), target.join("florin-mutants-logs"));
        fs::create_dir_all(&tree)?;
        fs::create_dir_all(&logs)?;
        Ok(Self { tree, target, logs })
    }

    /// Makes the copy equal to the tree. Only what differs is written, so that cargo compiles only that again.
    pub(super) fn restore(&self) -> Result<()> {
        let wanted: BTreeSet<PathBuf> = tracked()?.into_iter().collect();
        for file in files(&self.tree)? {
            if !wanted.contains(file.strip_prefix(&self.tree)?) {
                fs::remove_file(&file)?;
            }
        }
        for file in &wanted {
            let (from, into) = (root().join(file), self.tree.join(file));
            let mut content = fs::read(&from).with_context(|| from.display().to_string())?;
            if file.as_os_str() == "Cargo.toml" {
                content = set_apart(&String::from_utf8(content)?).into_bytes();
            }
            if fs::read(&into).is_ok_and(|found| found == content) {
                continue;
            }
            fs::create_dir_all(into.parent().unwrap_or(&self.tree))?;
            fs::write(&into, content)?;
            fs::set_permissions(&into, fs::metadata(&from)?.permissions())?;
        }
        Ok(())
    }

    pub(super) fn apply(&self, patch: &Patch) -> Result<()> {
        apply(&self.tree, patch, false)
    }

    /// Compiles tests and runs them, each binary for so long at most.
    pub(super) fn test(&self, tests: &str, log: &str, limit: Duration) -> Result<Ended> {
        let runner = [std::env::current_exe()?.display().to_string(), VERB.to_owned(), limit.as_secs().to_string()];
        let file = File::create(self.log(log))?;
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--config", &format!("target.'cfg(all())'.runner={runner:?}")]);
        cargo
            .args(UNIFIERS)
            .args(tests.split_whitespace())
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target);
        // One at a time: Burn's random seed belongs to the process, and a test that fails by chance would look like a catch.
        cargo.env("RUST_TEST_THREADS", "1");
        let status = cargo.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
        let printed = self.printed(log)?;
        Ok(match status.success() {
            true => Ended::Passed,
            false if !printed.contains(STARTED) => Ended::NotCompiled,
            false if printed.contains(HUNG) => Ended::Hung,
            false => Ended::Failed,
        })
    }

    /// What programs printed last under this name.
    pub(super) fn printed(&self, log: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.log(log))?).into_owned())
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

/// The top manifest with another version. Cargo names what it compiles by a crate's place within its workspace, not by where that
/// stands: without this, the copy and the tree would overwrite each other, and the tree could run what a mistake was compiled into.
fn set_apart(manifest: &str) -> String {
    let set = |line: &str| match line.strip_prefix("version = \"").and_then(|rest| rest.strip_suffix('"')) {
        Some(version) => format!("version = \"{version}+mutants\"\n"),
        None => format!("{line}\n"),
    };
    manifest.lines().map(set).collect()
}

/// Whether a patch would still apply to the tree itself.
pub(super) fn applies(patch: &Patch) -> Result<()> {
    apply(&root(), patch, true)
}

fn apply(tree: &Path, patch: &Patch, only_check: bool) -> Result<()> {
    let mut git = Command::new("git");
    git.arg("apply").args(only_check.then_some("--check")).current_dir(tree);
    // Without this, git takes the copy for a folder of the checkout around it, and passes over every file without a word.
    git.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    let mut git = git.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start git")?;
    git.stdin.take().context("git has no input")?.write_all(patch.text.as_bytes())?;
    let done = git.wait_with_output()?;
    if !done.status.success() {
        bail!("{}.patch no longer applies: {}", patch.name, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

/// Files of the tree that are tracked or new, and still there.
fn tracked() -> Result<Vec<PathBuf>> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    let names = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(names.filter(|name| root().join(name).is_file()).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// Runs a program and kills it after a time. Cargo calls this for each test binary, because the time that cargo itself takes,
/// waiting for another cargo perhaps, must not make a mistake look caught.
pub(crate) fn limited(seconds: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let limit = Duration::from_secs(seconds.parse()?);
    eprintln!("{STARTED} {program}");
    let mut child = Command::new(program).args(arguments).spawn().with_context(|| program.to_owned())?;
    let began = Instant::now();
    while began.elapsed() < limit {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{program}: {status}"),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    child.kill()?;
    child.wait()?;
    bail!("{HUNG} {seconds} s")
}

#[cfg(test)]
mod tests {
    use super::set_apart;

    #[test]
    fn the_copy_has_a_version_of_its_own_and_dependencies_keep_theirs() {
        let manifest =
            "[workspace.package]\nversion = \"0.1.0\"\n[workspace.dependencies]\na = { version = \"0.1.0\" }\n";
        let expected = manifest.replacen("0.1.0", "0.1.0+mutants", 1);
        assert_eq!(set_apart(manifest), expected);
    }
}
