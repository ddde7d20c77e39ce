//! `log.jsonl`: every step and evaluation of a training, a line each, and read back for the learning curves.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use florin_train::{Evaluation, StepReport};
use serde_json::{Value, json};

use super::RunObserver;
use crate::FinanceError;

/// Writes what happens beside passing it on.
pub(crate) struct RunLog<'a> {
    file: File,
    path: PathBuf,
    observer: &'a mut dyn RunObserver,
    failed: bool,
}

impl<'a> RunLog<'a> {
    /// Goes on with the log of a folder, or begins it.
    pub(crate) fn open(folder: &Path, observer: &'a mut dyn RunObserver) -> Result<Self, FinanceError> {
        let path = folder.join("log.jsonl");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| FinanceError::File { path: path.clone(), reason: error.to_string() })?;
        Ok(Self { file, path, observer, failed: false })
    }

    /// A log that cannot be written must not end a training; it is said once.
    fn write(&mut self, line: &Value) {
        if let Err(error) = writeln!(self.file, "{line}")
            && !std::mem::replace(&mut self.failed, true)
        {
            self.observer.note(&format!("{}: {error}; the log is incomplete", self.path.display()));
        }
    }
}

impl RunObserver for RunLog<'_> {
    fn stage(&mut self, name: &str) {
        self.observer.stage(name);
    }

    fn progress(&mut self, done: usize, total: usize) {
        self.observer.progress(done, total);
    }

    fn stepped(&mut self, report: &StepReport) {
        self.write(&json!({"kind": "step", "report": report}));
        self.observer.stepped(report);
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.write(&json!({"kind": "evaluation", "report": evaluation}));
        self.observer.evaluated(evaluation);
    }

    fn note(&mut self, message: &str) {
        self.observer.note(message);
    }
}

/// What a log says: loss and score by step. A step that was done twice, after an interruption, counts the second time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Logged {
    pub(crate) losses: Vec<(f64, f64)>,
    pub(crate) scores: Vec<(f64, f64)>,
    pub(crate) samples_per_second: f64,
}

impl Logged {
    /// Reads a folder's log; none, or a line cut by an interruption, is no error.
    pub(crate) fn read(folder: &Path) -> Self {
        let Ok(file) = File::open(folder.join("log.jsonl")) else { return Self::default() };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let mut losses = std::collections::BTreeMap::new();
        let mut scores = std::collections::BTreeMap::new();
        let mut rates = Vec::new();
        for line in lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()) {
            let number = |name: &str| line["report"][name].as_f64();
            let Some(step) = line["report"]["step"].as_u64() else { continue };
            if let Some(loss) = number("loss") {
                losses.insert(step, loss);
            }
            if let Some(score) = number("score") {
                scores.insert(step, score);
            }
            if let (Some(samples), Some(seconds)) = (number("samples"), number("seconds")) {
                rates.push(samples / seconds.max(1e-9));
            }
        }
        rates.sort_by(f64::total_cmp);
        let points = |map: std::collections::BTreeMap<u64, f64>| map.into_iter().map(|(x, y)| (x as f64, y)).collect();
        let samples_per_second = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
        Self { losses: points(losses), scores: points(scores), samples_per_second }
    }
}
