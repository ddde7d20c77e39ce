//! Whole models beside PyTorch, ONNX Runtime, sentence-transformers and candle: the same weights and inputs, by turns, in one run.
//!
//! Florin's side is `florin bench`, the others `tests/peers/models.py`, which also writes the checkpoints, and `tests/peers/candle`. All
//! tell some numbers of each answer, and a run ends where they are not the same: what is computed wrongly may be as fast as it likes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::shell::{output, python_with_torch, root, run};

/// How often each side has its turn.
const TURNS: usize = 2;
/// Seconds of timing for a case and engine in a turn.
const SECONDS: &str = "3";
/// Threads of all sides, so that a larger machine compares the same.
const THREADS: &str = "2";
/// The largest difference between answers in f32, as a share of the largest number.
const AGREES: f32 = 1e-3;
/// Processes started for the first answer.
const STARTS: &str = "7";
/// What is embedded there.
const TEXT: &str = "card payment declined";
const OURS: &str = "florin";
/// candle's side: a workspace of its own, so that Florin depends on nothing of it.
const CANDLE: &str = "tests/peers/candle/Cargo.toml";
/// Florin's precisions, and what its engine is called in each.
const OUR_PRECISIONS: [(&str, &str); 3] = [("f32", OURS), ("bf16", "florin-bf16"), ("int8", "florin-int8")];

/// What any side prints of a case.
#[derive(Clone, Debug, Deserialize)]
struct Printed {
    case: String,
    #[serde(default = "ours")]
    engine: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Outcome {
    Timed(Timed),
    Failed { failed: String },
    Skipped { skipped: String },
}

#[derive(Clone, Debug, Deserialize)]
struct Timed {
    median_seconds: f64,
    quartile_1_seconds: f64,
    quartile_3_seconds: f64,
    #[serde(default)]
    items: usize,
    #[serde(default)]
    result: Vec<f32>,
    peak_resident_bytes: Option<u64>,
}

/// The turns of an engine at a case.
type Engines = BTreeMap<String, Vec<Outcome>>;

fn ours() -> String {
    OURS.to_owned()
}

/// Times all sides and prints tables for the documentation; only these cases, or all.
pub(crate) fn peers(only: &[&str]) -> Result<()> {
    let python = python_with_torch()?;
    run("cargo", &["build", "--release", "--quiet", "-p", "florin-cli"], &[])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let target = root().join(target);
    let (florin, models) = (target.join("release/florin"), target.join("florin-peers-models"));
    let (florin, models) = (florin.to_string_lossy(), models.to_string_lossy());
    let candle = candle(&target)?;
    run(&python, &["-B", "tests/peers/models.py", "make", &models], &[])?;
    let names = cases(&florin, only)?;
    let mut found: Vec<(String, Engines)> = names.into_iter().map(|case| (case, Engines::new())).collect();
    for turn in 0..TURNS {
        for (case, engines) in &mut found {
            eprintln!("turn {} of {TURNS}: {case}", turn + 1);
            // In turns, so that a busy minute of the machine falls on all.
            let mut own: Vec<Printed> = Vec::new();
            // No model is trained in int8.
            for (precision, engine) in OUR_PRECISIONS.into_iter().take(if case.starts_with("train") { 2 } else { 3 }) {
                let call = ["bench", case.as_str(), "--models", &models, "--seconds", SECONDS, "--json"];
                let printed = with_threads(&florin, &[&call[..], &["--precision", precision]].concat())?;
                let printed: Value = serde_json::from_str(&printed)?;
                let printed: Vec<Printed> = serde_json::from_value(printed["cases"].clone())?;
                own.extend(printed.into_iter().map(|printed| Printed { engine: engine.to_owned(), ..printed }));
            }
            let call =
                ["-B", "tests/peers/models.py", "run", &models, case, "--threads", THREADS, "--seconds", SECONDS];
            let theirs = parse(&output(&python, &call)?)?;
            let call = [&models, case.as_str(), "--seconds", SECONDS];
            let candles = parse(&with_threads(&candle, &call)?)?;
            for printed in own.into_iter().chain(theirs).chain(candles) {
                anyhow::ensure!(printed.case == *case, "expected {case}, found {}", printed.case);
                engines.entry(printed.engine).or_default().push(printed.outcome);
            }
        }
    }
    print!("{}\n\n{}", machine(), report(&found)?);
    if only.is_empty() {
        print!("\n{}", first_answer(&python, &florin)?);
    }
    Ok(())
}

/// The cases that Florin has, or those of them that were asked for.
fn cases(florin: &str, only: &[&str]) -> Result<Vec<String>> {
    let listed: Vec<Value> = serde_json::from_str(&output(florin, &["bench", "--list", "--json"])?)?;
    let all: Vec<String> = listed.iter().filter_map(|case| Some(case["case"].as_str()?.to_owned())).collect();
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|case| case == *name)) {
        bail!("no case is called {unknown}; known: {}", all.join(", "));
    }
    Ok(all.into_iter().filter(|case| only.is_empty() || only.contains(&case.as_str())).collect())
}

/// Builds candle's side and tells where it is.
fn candle(target: &Path) -> Result<String> {
    let target = target.join("candle-peer");
    let folder = target.to_string_lossy();
    let call = ["build", "--release", "--quiet", "--locked", "--manifest-path", CANDLE, "--target-dir", &folder];
    // candle is vectorised in part by the compiler alone, which writes for the oldest processors where nothing is said.
    run("cargo", &call, &[("RUSTFLAGS", "-C target-cpu=native")])?;
    Ok(target.join("release/florin-candle-peer").to_string_lossy().into_owned())
}

/// What a program of Rust prints with as many threads as the peers in Python have.
fn with_threads(program: &str, arguments: &[&str]) -> Result<String> {
    let threads = format!("RAYON_NUM_THREADS={THREADS}");
    output("env", &[&[threads.as_str(), program], arguments].concat())
}

/// One object a line.
fn parse(printed: &str) -> Result<Vec<Printed>> {
    printed.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Tables of Markdown, if answers agree: each engine's time beside Florin's.
fn report(found: &[(String, Engines)]) -> Result<String> {
    let mut rows = String::from(
        "| case | engine | median, ms | quartiles, ms | per second | its time over Florin's | largest difference |\n\
         |---|---|---:|---:|---:|---:|---:|\n",
    );
    let mut notes = Vec::new();
    for (case, engines) in found {
        if engines.get(OURS).and_then(|turns| middle(turns)).is_none() {
            notes.push(format!("{case}: {}", why(engines.get(OURS))));
            continue;
        }
        for (engine, turns) in engines {
            let rival = engines.get(rival(engine)).and_then(|turns| middle(turns));
            let Some(own) = rival.or_else(|| middle(&engines[OURS])) else { continue };
            let Some(other) = middle(turns) else {
                notes.push(format!("{case}, {engine}: {}", why(Some(turns))));
                continue;
            };
            let apart = difference(&own.result, &other.result);
            let is_single = !engine.contains("bf16") && !engine.contains("int8");
            if is_single && apart.is_none_or(|apart| apart > AGREES) {
                bail!("{case}: {engine} answers {:?}, Florin {:?}", other.result, own.result);
            }
            let [first, median, third] =
                [other.quartile_1_seconds, other.median_seconds, other.quartile_3_seconds].map(|time| 1e3 * time);
            let rate = own.items as f64 / other.median_seconds;
            let ratio = other.median_seconds / own.median_seconds;
            let apart = apart.map_or("–".to_owned(), |apart| format!("{apart:.0e}"));
            writeln!(
                rows,
                "| {case} | {engine} | {median:.1} | {first:.1} to {third:.1} | {rate:.2} | {ratio:.2} | {apart} |"
            )?;
        }
    }
    rows += "\nAbove 1 Florin is faster: in the same precision for a peer, in f32 for Florin itself. The difference is that of numbers spread over the answers (of training of the first three losses), as a \
             share of the largest.\n";
    for note in notes {
        writeln!(rows, "\n{note}")?;
    }
    Ok(rows)
}

/// The engine of Florin's that another is set beside: that of the same precision.
fn rival(engine: &str) -> &'static str {
    let is_in = |precision: &&(&str, &str)| !engine.starts_with(OURS) && engine.contains(precision.0);
    OUR_PRECISIONS.iter().find(is_in).map_or(OURS, |(_, engine)| engine)
}

/// The turn with the smaller median, where any was timed: what else the machine did can only make it slower.
fn middle(turns: &[Outcome]) -> Option<&Timed> {
    let timed = turns.iter().filter_map(|turn| if let Outcome::Timed(timed) = turn { Some(timed) } else { None });
    timed.min_by(|one, other| one.median_seconds.total_cmp(&other.median_seconds))
}

/// Why nothing was timed.
fn why(turns: Option<&Vec<Outcome>>) -> &str {
    match turns.and_then(|turns| turns.first()) {
        Some(Outcome::Failed { failed }) => failed,
        Some(Outcome::Skipped { skipped }) => skipped,
        Some(Outcome::Timed(_)) | None => "nothing was printed",
    }
}

/// The largest difference as a share of the largest number; none where they cannot be compared.
fn difference(own: &[f32], other: &[f32]) -> Option<f32> {
    if own.len() != other.len() || own.is_empty() || !own.iter().chain(other).all(|value| value.is_finite()) {
        return None;
    }
    let most = own.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    Some(own.iter().zip(other).fold(0f32, |apart, (a, b)| apart.max((a - b).abs())) / most)
}

/// From nothing to the first vector, whole processes.
fn first_answer(python: &str, florin: &str) -> Result<String> {
    let folder = cache().context("no cache folder is known: set FLORIN_CACHE")?.join("models/minilm");
    if !folder.join("model.safetensors").is_file() {
        return Ok("first answer: skipped, as `florin pull minilm` has not been called\n".to_owned());
    }
    let (script, folder) = ("tests/peers/first_answer.py", folder.to_string_lossy());
    let mut rows = String::from(
        "| first vector of a text, whole process | median, s | quartiles, s | peak memory, MB |\n|---|---:|---:|---:|\n",
    );
    let own = [florin, "embed", "minilm", "--text", TEXT];
    let theirs = [python, "-B", script, "answer", &folder, TEXT];
    for (name, command) in [(OURS, &own[..]), ("sentence-transformers", &theirs[..])] {
        let printed = output(python, &[&["-B", script, "measure", STARTS], command].concat())?;
        let timed: Timed = serde_json::from_str(&printed).with_context(|| printed.clone())?;
        let Timed { median_seconds, quartile_1_seconds, quartile_3_seconds, .. } = timed;
        let peak = timed.peak_resident_bytes.unwrap_or(0) as f64 / 1e6;
        writeln!(
            rows,
            "| {name} | {median_seconds:.2} | {quartile_1_seconds:.2} to {quartile_3_seconds:.2} | {peak:.0} |"
        )?;
    }
    Ok(rows)
}

/// Where `florin pull` puts weights.
fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FLORIN_CACHE").or_else(|| variable("HOME").map(|home| home.join(".cache/florin")))
}

/// The processor, by the names that Linux has for it.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|start| start.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
    };
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let wide = if field("flags").contains("avx512f") { "with" } else { "without" };
    format!(
        "{cores} cores of {} (family {}, model {}), {wide} AVX-512; {THREADS} threads on all sides, {TURNS} turns, the better of each",
        field("model name"),
        field("cpu family"),
        field("model")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(engine: &str, seconds: f64, result: &str) -> String {
        format!(
            "{{\"case\": \"x\", \"engine\": \"{engine}\", \"median_seconds\": {seconds}, \"quartile_1_seconds\": {seconds}, \
             \"quartile_3_seconds\": {seconds}, \"items\": 8, \"result\": {result}}}\n"
        )
    }

    fn report_of(lines: &str) -> Result<String> {
        let mut engines = Engines::new();
        for printed in parse(lines)? {
            engines.entry(printed.engine).or_default().push(printed.outcome);
        }
        report(&[("x".to_owned(), engines)])
    }

    #[test]
    fn the_better_turns_of_both_are_set_beside_each_other() {
        let lines = printed("florin", 0.3, "[1.0, 2.0]") + &printed("florin", 0.2, "[1.0, 2.0]");
        let lines = lines + &printed("torch", 0.4, "[1.0, 2.0001]") + &printed("torch-bf16", 0.1, "[1.0, 3.0]");
        let text = report_of(&(lines + "{\"case\": \"x\", \"engine\": \"y\", \"failed\": \"no compiler\"}")).unwrap();
        assert!(text.contains("| x | torch | 400.0 | 400.0 to 400.0 | 20.00 | 2.00 | 5e-5 |"), "{text}");
        assert_eq!(["florin-int8", "onnxruntime-int8", "torch"].map(rival), ["florin", "florin-int8", "florin"]);
        assert!(text.contains("| x | torch-bf16 |") && text.ends_with("\nx, y: no compiler\n"), "{text}");
    }

    #[test]
    fn answers_that_differ_end_the_run() {
        let lines = printed("florin", 0.3, "[1.0, 2.0]") + &printed("torch", 0.4, "[1.0, 2.1]");
        assert!(report_of(&lines).unwrap_err().to_string().contains("torch answers [1.0, 2.1]"));
        assert!(difference(&[1.0], &[f32::NAN]).is_none() && difference(&[1.0], &[1.0, 2.0]).is_none());
    }
}
