//! Known mistakes, put in one at a time: a test suite is credible only if it notices them.
//!
//! Each is a patch in `tests/mutants` that names the tests which must fail with it. A mistake that nothing notices is a
//! missing test. The score is `caught / injected`; the aim is all.

mod copy;
mod patch;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use copy::{Copy, Ended};
pub(crate) use copy::{VERB, limited};
use patch::Patch;
use report::{Outcome, Tried};

/// A test that takes ten times as long as without the mistake, and this much more, is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest that tests may take without any mistake.
const LONGEST: Duration = Duration::from_secs(900);

/// Puts mistakes in and tells which were noticed; with `--check` only whether the patches still apply.
pub(crate) fn mutants(arguments: &[&str]) -> Result<()> {
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| word.starts_with("--"));
    let print = match flags.as_slice() {
        ["--check"] => return check_some(&names),
        [] => report::table,
        ["--json"] => report::json,
        ["--markdown"] => report::markdown,
        other => bail!("expected NAMES and one of --check, --json and --markdown, found {}", other.join(" ")),
    };
    let patches = patch::read(&names)?;
    let copy = Copy::new()?;
    let passes = run_without_mistakes(&copy, &patches)?;
    let mut tried = Vec::new();
    for patch in patches {
        let began = Instant::now();
        let outcome =
            run_with(&copy, &patch, passes[&patch.tests]).unwrap_or_else(|error| Outcome::Error(error.to_string()));
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{:13}  {}  {seconds:.0} s", outcome.name(), patch.name);
        tried.push(Tried { patch, outcome, seconds });
    }
    copy.restore()?;
    print!("{}", print(&tried));
    if tried.iter().all(|one| one.outcome.is_caught()) { Ok(()) } else { bail!("{}", report::score(&tried)) }
}

/// Checks that every patch names its tests and still applies: seconds.
pub(crate) fn check() -> Result<()> {
    check_some(&[])
}

fn check_some(names: &[&str]) -> Result<()> {
    let patches = patch::read(names)?;
    let broken: Vec<String> =
        patches.iter().filter_map(|patch| copy::applies(patch).err()).map(|error| error.to_string()).collect();
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    eprintln!("{} known mistakes apply", patches.len());
    Ok(())
}

/// Runs the tests of all patches on the code as it is, and tells how long they took: a mistake that is "caught" by a test that
/// fails anyway would prove nothing.
fn run_without_mistakes(copy: &Copy, patches: &[Patch]) -> Result<BTreeMap<String, Duration>> {
    copy.restore()?;
    let mut passes = BTreeMap::new();
    for Patch { name, tests, .. } in patches {
        if passes.contains_key(tests) {
            continue;
        }
        eprintln!("without mistakes: cargo test {tests}");
        let log = format!("{name}-without");
        if copy.test(tests, &log, LONGEST)? != Ended::Passed {
            bail!("`cargo test {tests}` fails without any mistake; see {}", copy.log(&log).display());
        }
        let (count, seconds) = passed(&copy.printed(&log)?);
        if count == 0 {
            bail!("`cargo test {tests}` of {name}.patch runs no test");
        }
        passes.insert(tests.clone(), Duration::from_secs_f64(seconds));
    }
    Ok(passes)
}

fn run_with(copy: &Copy, patch: &Patch, usual: Duration) -> Result<Outcome> {
    copy.restore()?;
    copy.apply(patch)?;
    Ok(match copy.test(&patch.tests, &patch.name, usual * 10 + PATIENCE)? {
        Ended::Passed => Outcome::Survived,
        Ended::Failed => Outcome::Caught,
        Ended::Hung => Outcome::Hung,
        // Cargo fails then too, but no test has noticed anything.
        Ended::NotCompiled => bail!("does not compile; see {}", copy.log(&patch.name).display()),
    })
}

/// How many tests passed, over all binaries that cargo ran, and how many seconds they took.
fn passed(printed: &str) -> (usize, f64) {
    let results = printed.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    let numbers = results.filter_map(|line| {
        let seconds = line.rsplit(' ').next()?.strip_suffix('s')?;
        Some((line.split(' ').next()?.parse::<usize>().ok()?, seconds.parse::<f64>().ok()?))
    });
    numbers.fold((0, 0.0), |sum, (count, seconds)| (sum.0 + count, sum.1 + seconds))
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn passed_tests_and_seconds_are_counted_over_all_binaries() {
        let printed = "running 0 tests\ntest result: ok. 0 passed; 0 failed; finished in 0.25s\n\
            running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored; finished in 1.50s\n";
        assert_eq!(passed(printed), (2, 1.75));
        assert_eq!(passed("test result: ok. 0 passed; 0 failed; finished in 0.00s\n"), (0, 0.0));
    }
}
