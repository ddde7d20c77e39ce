//! What came of each known mistake, as a table, as Markdown or as JSON.

use serde_json::json;

use super::patch::Patch;

/// What came of a mistake.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// A test failed.
    Caught,
    /// A test did not end; no test that passes takes so long.
    Hung,
    /// Every test passed: one is missing.
    Survived,
    /// The patch or its tests are wrong, so that nothing was learned.
    Error(String),
}

/// A mistake, what came of it, and how long that took.
pub(super) struct Tried {
    pub(super) patch: Patch,
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
}

impl Outcome {
    pub(super) fn is_caught(&self) -> bool {
        matches!(self, Self::Caught | Self::Hung)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Hung => "caught (hung)",
            Self::Survived => "SURVIVED",
            Self::Error(_) => "ERROR",
        }
    }
}

/// How many were caught, of how many.
pub(super) fn score(tried: &[Tried]) -> String {
    let caught = tried.iter().filter(|one| one.outcome.is_caught()).count();
    format!("{caught} / {} caught", tried.len())
}

pub(super) fn table(tried: &[Tried]) -> String {
    let width = tried.iter().map(|one| one.patch.name.len()).max().unwrap_or(0);
    let line = |one: &Tried| {
        let head = format!("{:width$}  {:13}  {:5.0} s", one.patch.name, one.outcome.name(), one.seconds);
        match &one.outcome {
            Outcome::Error(reason) => format!("{head}  {reason}\n"),
            _ => format!("{head}  {}\n", one.patch.what),
        }
    };
    tried.iter().map(line).chain([format!("\n{}\n", score(tried))]).collect()
}

pub(super) fn markdown(tried: &[Tried]) -> String {
    let head = format!("{}\n\n| mistake | what | tests | result |\n|---|---|---|---|\n", score(tried));
    let line = |one: &Tried| {
        let what = one.patch.what.replace('|', "\\|");
        format!("| `{}` | {what} | `{}` | {} |\n", one.patch.name, one.patch.tests, one.outcome.name())
    };
    [head].into_iter().chain(tried.iter().map(line)).collect()
}

pub(super) fn json(tried: &[Tried]) -> String {
    let one = |one: &Tried| {
        let reason = match &one.outcome {
            Outcome::Error(reason) => Some(reason),
            _ => None,
        };
        json!({
            "name": one.patch.name, "what": one.patch.what, "tests": one.patch.tests,
            "caught": one.outcome.is_caught(), "outcome": one.outcome.name(), "reason": reason, "seconds": one.seconds,
        })
    };
    let caught = tried.iter().filter(|one| one.outcome.is_caught()).count();
    let all = json!({
        "caught": caught, "injected": tried.len(), "mutants": tried.iter().map(one).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(name: &str, outcome: Outcome) -> Tried {
        let patch = Patch {
            name: name.to_owned(),
            what: "a | b".to_owned(),
            tests: "-p x".to_owned(),
            touches: vec![],
            text: String::new(),
        };
        Tried { patch, outcome, seconds: 2.0 }
    }

    #[test]
    fn only_a_failing_or_hanging_test_counts_as_catching() {
        let all = [
            tried("a", Outcome::Caught),
            tried("long_name", Outcome::Hung),
            tried("c", Outcome::Survived),
            tried("d", Outcome::Error("does not compile".to_owned())),
        ];
        assert_eq!(score(&all), "2 / 4 caught");
        let printed = table(&all);
        assert!(printed.contains("\nc          SURVIVED           2 s  a | b\n"), "{printed}");
        assert!(printed.contains("\nd          ERROR              2 s  does not compile\n"), "{printed}");
        assert!(markdown(&all).contains("| `a` | a \\| b | `-p x` | caught |\n"));
        let parsed: serde_json::Value = serde_json::from_str(&json(&all)).unwrap();
        assert_eq!((parsed["caught"].as_u64(), parsed["injected"].as_u64()), (Some(2), Some(4)));
        assert_eq!(parsed["mutants"][3]["reason"], "does not compile");
    }
}
