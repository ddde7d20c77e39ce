//! Fuzzing: every reader of untrusted bytes on what libFuzzer makes of the committed corpus.
//!
//! The targets are in `fuzz`, a workspace of its own; what they find stays in `fuzz/corpus`, so that the next run goes on from there,
//! and an input that ends a reader in `fuzz/artifacts`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell::{has, root, run};

/// Executions of each target, if nothing else is said.
const RUNS: u64 = 10_000_000;
/// Seconds that one input may take, and megabytes that a target may.
const LIMITS: [&str; 2] = ["-timeout=20", "-rss_limit_mb=4096"];
/// The longest word of JSON that is worth trying, in bytes.
const LONGEST_WORD: usize = 60;

/// What became of one target.
struct Fuzzed {
    target: String,
    runs: u64,
    seconds: u64,
    /// Edges of the code that were reached.
    coverage: u64,
    corpus: u64,
    is_whole: bool,
}

/// Builds the targets and runs them one after the other.
pub(crate) fn fuzz(words: &[&str]) -> Result<()> {
    let known = known()?;
    let (mut targets, mut runs, mut form) = (Vec::new(), RUNS, "");
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        match word {
            "--runs" => {
                runs = rest.next().context("--runs wants a number")?.parse().context("--runs wants a number")?
            }
            "--json" | "--markdown" => form = word,
            target if known.iter().any(|known| known == target) => targets.push(target.to_owned()),
            other => bail!("`{other}` is no target; known: {}", known.join(", ")),
        }
    }
    if targets.is_empty() {
        targets = known;
    }
    if !has("cargo", &["+nightly", "fuzz", "--version"]) {
        bail!(
            "fuzzing needs cargo-fuzz and a nightly compiler:\n  cargo install cargo-fuzz\n  rustup toolchain install nightly"
        );
    }
    // No address sanitizer: what reads here is safe Rust, and half as many runs would be made in the same time.
    run("cargo", &["+nightly", "fuzz", "build", "--sanitizer", "none"], &[])?;
    let done = targets.iter().map(|target| one(target, runs)).collect::<Result<Vec<_>>>()?;
    print(&done, form);
    let ended: Vec<&str> = done.iter().filter(|one| !one.is_whole).map(|one| one.target.as_str()).collect();
    if ended.is_empty() { Ok(()) } else { bail!("ended early: {}; see fuzz/artifacts", ended.join(", ")) }
}

fn known() -> Result<Vec<String>> {
    let mut found: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))?
        .map(|entry| Ok(entry?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    found.sort();
    Ok(found)
}

/// Runs a target, its progress shown as libFuzzer tells it.
fn one(target: &str, runs: u64) -> Result<Fuzzed> {
    let corpus = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let seeds = seeds(target)?;
    let words = dictionary(target, &seeds)?;
    let runs = format!("-runs={runs}");
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", "--sanitizer", "none", target]).arg(&corpus).args(&seeds).arg("--");
    command.arg(runs).args(LIMITS).args(words.map(|words| format!("-dict={}", words.display())));
    let mut child = command.current_dir(root()).stderr(Stdio::piped()).spawn().context("cannot start cargo fuzz")?;
    let lines = BufReader::new(child.stderr.take().context("the child's messages are piped")?);
    let mut fuzzed = Fuzzed { target: target.to_owned(), runs: 0, seconds: 0, coverage: 0, corpus: 0, is_whole: false };
    for line in lines.lines() {
        let line = line?;
        follow(&mut fuzzed, &line);
        // Not each of the thousands of inputs that reach something new.
        if !["NEW", "REDUCE"].iter().any(|event| line.split_whitespace().nth(1) == Some(event)) {
            eprintln!("{line}");
        }
    }
    fuzzed.is_whole = child.wait()?.success();
    Ok(fuzzed)
}

/// Takes what a line of libFuzzer tells: `#524288 pulse cov: 612 ft: 1409 corp: 214/9Kb …`, `Done 10000000 runs in 61 second(s)`.
fn follow(fuzzed: &mut Fuzzed, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |key: &str| words.iter().position(|word| *word == key).and_then(|place| words.get(place + 1));
    let number = |word: &&str| word.split('/').next().and_then(|number| number.parse().ok());
    if let Some(runs) = line.strip_prefix('#').and_then(|_| words[0].trim_start_matches('#').parse().ok()) {
        fuzzed.runs = runs;
        fuzzed.coverage = after("cov:").and_then(number).unwrap_or(fuzzed.coverage);
        fuzzed.corpus = after("corp:").and_then(number).unwrap_or(fuzzed.corpus);
    }
    if words.first() == Some(&"Done") {
        fuzzed.runs = after("Done").and_then(number).unwrap_or(fuzzed.runs);
        fuzzed.seconds = after("in").and_then(number).unwrap_or(0);
    }
}

/// Folders that fuzzing starts from.
fn seeds(target: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![root().join("tests/fuzz-corpus").join(target)];
    // Every published architecture, one layer high: more are only slower.
    if target == "config" {
        let folder = root().join("fuzz/seeds/config");
        fs::create_dir_all(&folder)?;
        let text = fs::read(root().join("crates/florin-models/src/presets.json"))?;
        let Value::Object(presets) = serde_json::from_slice(&text)? else { bail!("the presets are an object") };
        for (name, mut config) in presets {
            flatten(&mut config);
            fs::write(folder.join(name.replace('/', "_")), config.to_string())?;
        }
        found.push(folder);
    }
    Ok(found)
}

/// Makes every count of layers in a configuration one, and clips of few frames, whose table of positions is computed.
fn flatten(config: &mut Value) {
    if config.get("tubelet_size").is_some() {
        (config["num_frames"], config["image_size"]) = (Value::from(2), Value::from(32));
    }
    for (key, value) in config.as_object_mut().into_iter().flatten() {
        if value.is_object() {
            flatten(value);
        } else if value.is_u64() && ["layers", "n_layers", "depth"].iter().any(|count| key.ends_with(count)) {
            *value = Value::from(1);
        }
    }
}

/// The words of all seeds that are JSON, or begin as a safetensors file does, as a dictionary for libFuzzer.
fn dictionary(target: &str, seeds: &[PathBuf]) -> Result<Option<PathBuf>> {
    let mut words = BTreeSet::new();
    for folder in seeds {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let bytes = fs::read(entry?.path())?;
            for text in [&bytes[..], bytes.get(8..).unwrap_or_default()] {
                if let Some(Ok(value)) = serde_json::Deserializer::from_slice(text).into_iter::<Value>().next() {
                    collect(&value, &mut words);
                }
            }
        }
    }
    // libFuzzer refuses an empty one.
    if words.is_empty() {
        return Ok(None);
    }
    let path = root().join("fuzz/seeds").join(format!("{target}.dict"));
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let quoted = |word: &String| {
        let bytes = word.bytes().map(|byte| match byte {
            b'"' | b'\\' | 0..32 | 127.. => format!("\\x{byte:02X}"),
            _ => char::from(byte).to_string(),
        });
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    fs::write(&path, words.iter().map(quoted).collect::<String>())?;
    Ok(Some(path))
}

fn collect(value: &Value, words: &mut BTreeSet<String>) {
    let mut keep = |word: &str| _ = (1..=LONGEST_WORD).contains(&word.len()).then(|| words.insert(word.to_owned()));
    match value {
        Value::String(text) => keep(text),
        Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
        Value::Object(fields) => {
            fields.keys().for_each(|key| keep(&format!("\"{key}\":")));
            fields.values().for_each(|value| collect(value, words));
        }
        _ => {}
    }
}

fn print(done: &[Fuzzed], form: &str) {
    if form == "--json" {
        let one = |one: &Fuzzed| json!({"target": one.target, "runs": one.runs, "seconds": one.seconds, "coverage": one.coverage, "corpus": one.corpus, "whole": one.is_whole});
        println!("{}", Value::Array(done.iter().map(one).collect()));
        return;
    }
    if form == "--markdown" {
        println!(
            "| target | executions | seconds | a second | edges reached | inputs kept |\n|---|---:|---:|---:|---:|---:|"
        );
    } else {
        println!(
            "{:<14} {:>11} {:>8} {:>9} {:>14} {:>12}",
            "target", "executions", "seconds", "a second", "edges reached", "inputs kept"
        );
    }
    for Fuzzed { target, runs, seconds, coverage, corpus, is_whole } in done {
        let (rate, mark) = (runs / seconds.max(&1), if *is_whole { "" } else { " (ended early)" });
        if form == "--markdown" {
            println!("| `{target}`{mark} | {runs} | {seconds} | {rate} | {coverage} | {corpus} |");
        } else {
            println!("{target:<14} {runs:>11} {seconds:>8} {rate:>9} {coverage:>14} {corpus:>12}{mark}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_tells_is_followed() {
        let mut fuzzed =
            Fuzzed { target: "torch".to_owned(), runs: 0, seconds: 0, coverage: 0, corpus: 0, is_whole: false };
        follow(&mut fuzzed, "#524288\tpulse  cov: 612 ft: 1409 corp: 214/9Kb lim: 4096 exec/s: 10 rss: 138Mb");
        assert_eq!((fuzzed.runs, fuzzed.coverage, fuzzed.corpus, fuzzed.seconds), (524_288, 612, 214, 0));
        follow(&mut fuzzed, "INFO: seed corpus: files: 45 min: 192b max: 638b total: 16246b rss: 137Mb");
        follow(&mut fuzzed, "Done 10000000 runs in 61 second(s)");
        assert_eq!((fuzzed.runs, fuzzed.coverage, fuzzed.corpus, fuzzed.seconds), (10_000_000, 612, 214, 61));
    }

    #[test]
    fn seeds_are_one_layer_high_and_their_words_are_known() {
        let mut config = json!({"text_config": {"num_hidden_layers": 12, "hidden_size": 768}, "model_type": "clip"});
        flatten(&mut config);
        assert_eq!(config["text_config"], json!({"num_hidden_layers": 1, "hidden_size": 768}));
        let mut words = BTreeSet::new();
        collect(&config, &mut words);
        assert!(words.contains("clip") && words.contains("\"hidden_size\":"), "{words:?}");
    }
}
