//! Every operation, attention, fusion and loss beside PyTorch: the same cases by name, in turns, in one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{output, python_with_torch, root, run};

/// The benches, and the crate of each.
const BENCHES: [(&str, &str); 4] = [
    ("florin-backend", "operations"),
    ("florin-nn", "attention"),
    ("florin-fusion", "fusion"),
    ("florin-losses", "losses"),
];
/// How often each side has its turn.
const TURNS: usize = 3;
/// Threads of both sides, so that a larger machine compares the same.
const THREADS: &str = "2";
/// How long a case is timed in a turn, after a warm-up, ten calls at least: the whole comparison then takes twelve minutes on two
/// cores, and would take about twice that with a second for each.
const SECONDS: &str = "0.4";

/// Milliseconds by case, one a turn.
type Times = BTreeMap<String, Vec<f64>>;

/// Times both sides of the named benches, or of all, and prints both with their ratio.
pub(crate) fn peers(names: &[&str]) -> Result<()> {
    let known = BENCHES.map(|(_, bench)| bench);
    if let Some(other) = names.iter().find(|name| !known.contains(name)) {
        bail!("expected {}, found {other}", known.join(", "));
    }
    let chosen = if names.is_empty() { &known[..] } else { names };
    let python = python_with_torch()?;
    let (mut ours, mut theirs) = (Times::new(), Times::new());
    for _ in 0..TURNS {
        for &bench in chosen {
            // In turns, so that a busy minute of the machine falls on both.
            add(&mut ours, florin(bench)?);
            let arguments = ["-B", "tests/peers/blocks.py", bench, "--threads", THREADS, "--seconds", SECONDS];
            add(&mut theirs, parse(&output(&python, &arguments)?)?);
        }
    }
    print!("{}", table(&ours, &theirs));
    Ok(())
}

fn add(times: &mut Times, turn: BTreeMap<String, f64>) {
    for (case, milliseconds) in turn {
        times.entry(case).or_default().push(milliseconds);
    }
}

/// Runs one of criterion's benches and reads what it wrote.
fn florin(bench: &str) -> Result<BTreeMap<String, f64>> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = root().join(target).join("florin-peers");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let home = folder.to_string_lossy();
    // Only medians are read: the fewest resamples that criterion accepts without a complaint.
    let timing =
        ["--warm-up-time", "0.2", "--measurement-time", SECONDS, "--sample-size", "10", "--nresamples", "1001"];
    // All packages are named each time: alone, each would have Burn compiled anew with features of its own.
    let packages = BENCHES.iter().flat_map(|(package, _)| ["-p", package]);
    let arguments: Vec<&str> =
        ["bench", "--quiet"].into_iter().chain(packages).chain(["--bench", bench, "--"]).chain(timing).collect();
    run("cargo", &arguments, &[("CRITERION_HOME", &home), ("RAYON_NUM_THREADS", THREADS)])?;
    medians(&folder)
}

/// Medians that criterion wrote, in milliseconds: GROUP/CASE/DEVICE/new/estimates.json.
fn medians(folder: &Path) -> Result<BTreeMap<String, f64>> {
    let mut found = BTreeMap::new();
    for group in folders(folder)? {
        for case in folders(&group)? {
            for device in folders(&case)? {
                let file = device.join("new/estimates.json");
                let Ok(text) = fs::read_to_string(&file) else { continue };
                let nanoseconds = serde_json::from_str::<Value>(&text)?["median"]["point_estimate"].as_f64();
                let nanoseconds = nanoseconds.with_context(|| format!("{}: no median", file.display()))?;
                let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.insert(format!("{}/{}", name(&group), name(&case)), nanoseconds / 1e6);
            }
        }
    }
    Ok(found)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

/// What PyTorch's side prints: one object a line, `{"case": .., "milliseconds": ..}`.
fn parse(printed: &str) -> Result<BTreeMap<String, f64>> {
    let one = |line: &str| {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let (case, time) = (value["case"].as_str(), value["milliseconds"].as_f64());
        case.map(str::to_owned).zip(time).with_context(|| format!("expected a case and its milliseconds: {line}"))
    };
    printed.lines().map(one).collect()
}

/// An aligned table of Markdown: medians over the turns, and PyTorch's time over ours.
fn table(ours: &Times, theirs: &Times) -> String {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut text = format!("| {:width$} | Florin, ms | PyTorch, ms | ratio |\n", "case");
    text += &format!("|-{:-<width$}-|-----------:|------------:|------:|\n", "");
    for name in names {
        let (own, other) = (median(ours.get(name)), median(theirs.get(name)));
        let ratio = own.zip(other).map(|(own, other)| other / own);
        let cell =
            |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        text += &format!("| {name:width$} | {:>10} | {:>11} | {:>5} |\n", cell(own, 3), cell(other, 3), cell(ratio, 2));
    }
    text + "\nRatio: PyTorch's time over Florin's; above 1 Florin is faster.\n"
}

fn median(times: Option<&Vec<f64>>) -> Option<f64> {
    let mut times = times?.clone();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_over_the_turns_are_set_beside_each_other() {
        let mut ours = Times::new();
        for time in [3.0, 1.0, 2.0] {
            add(&mut ours, BTreeMap::from([("losses/clip_forward".to_owned(), time)]));
        }
        let lines =
            "{\"case\": \"losses/clip_forward\", \"milliseconds\": 5.0}\n{\"case\": \"x\", \"milliseconds\": 1}\n";
        let mut theirs = Times::new();
        add(&mut theirs, parse(lines).unwrap());
        let text = table(&ours, &theirs);
        assert!(text.contains("| losses/clip_forward |      2.000 |       5.000 |  2.50 |"), "{text}");
        assert!(text.contains("| x                   |          – |       1.000 |     – |"), "{text}");
        assert!(parse("{}").is_err());
    }

    #[test]
    fn what_criterion_wrote_is_found_by_case() {
        let folder = std::env::temp_dir().join(format!("florin-peers-{}", std::process::id()));
        let new = folder.join("losses/clip_forward/cpu/new");
        fs::create_dir_all(&new).unwrap();
        fs::write(new.join("estimates.json"), r#"{"median": {"point_estimate": 2500000.0}}"#).unwrap();
        let found = medians(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, BTreeMap::from([("losses/clip_forward".to_owned(), 2.5)]));
    }
}
