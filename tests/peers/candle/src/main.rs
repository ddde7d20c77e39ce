//! The cases of `florin bench` in candle, with the same weights and inputs: `florin-candle-peer FOLDER CASE [--seconds S]`.
//!
//! FOLDER holds the checkpoints that `tests/peers/models.py make` writes, and what is printed is what its `run` prints: one line of
//! JSON with times and numbers of the answer, or with `failed` or `skipped` and why. As many threads as `RAYON_NUM_THREADS` says, which
//! candle reads itself.
//!
//! Fairness: the models are candle's own, called as its examples call them, in f32; everything is compiled for this processor. candle's
//! features `mkl` and `accelerate` are off: the first downloads Intel's library while it is built, the second is for other machines.

mod case;
mod pictures;
// The same file as `florin bench` has, so that both sides are timed by the same rules.
#[path = "../../../../crates/florin-cli/src/bench/timing.rs"]
#[expect(dead_code, reason = "nothing is trained here, and memory is measured from outside")]
mod timing;

use std::path::Path;

use anyhow::{Context, bail};
use candle_core::DType;
use serde::Serialize;
use serde_json::json;

use case::Opened;
use timing::{Times, timed};

const ENGINE: &str = "candle";
/// Seconds of timing, if nothing else is said.
const SECONDS: f64 = 5.0;
/// Numbers of an answer that are told, so that it can be compared.
const TOLD: usize = 16;

#[derive(Debug, Serialize)]
struct Measured {
    /// Things of one call.
    items: usize,
    #[serde(flatten)]
    times: Times,
    /// Numbers evenly spread over the answer.
    result: Vec<f32>,
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (folder, case, seconds) = arguments(&words)?;
    println!("{}", line(folder, case, seconds));
    Ok(())
}

/// Folder, case and seconds.
fn arguments(words: &[String]) -> anyhow::Result<(&Path, &str, f64)> {
    let (folder, case, seconds) = match words {
        [folder, case] => (folder, case, SECONDS),
        [folder, case, option, seconds] if option == "--seconds" => {
            (folder, case, seconds.parse().with_context(|| format!("expected seconds, found {seconds}"))?)
        }
        other => bail!("expected FOLDER CASE [--seconds S], found {}", other.join(" ")),
    };
    Ok((Path::new(folder), case, seconds))
}

/// What came of a case, as the peers in Python print it. An engine that cannot is a result: why is told.
fn line(folder: &Path, case: &str, seconds: f64) -> String {
    let outcome = match case::skipped(case) {
        Some(skipped) => json!({"skipped": skipped}),
        None => match measure(folder, case, seconds) {
            Ok(measured) => json!(measured),
            Err(error) => json!({"failed": format!("{error:#}")}),
        },
    };
    let mut printed = json!({"case": case, "engine": ENGINE});
    if let (Some(printed), Some(outcome)) = (printed.as_object_mut(), outcome.as_object()) {
        printed.extend(outcome.clone());
    }
    printed.to_string()
}

fn measure(folder: &Path, case: &str, seconds: f64) -> anyhow::Result<Measured> {
    let Opened { items, mut call } = case::open(folder, case)?;
    // The processor's answer is there when the call returns.
    let (laps, answer) = timed(seconds, &mut call)?;
    let answer = answer.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(Measured { items, times: Times::of(laps), result: told(&answer) })
}

/// As `florin bench` picks them.
fn told(answer: &[f32]) -> Vec<f32> {
    if answer.len() <= TOLD {
        return answer.to_vec();
    }
    (0..TOLD).map(|place| answer[place * (answer.len() - 1) / (TOLD - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_its_first_number_to_its_last() {
        let answer: Vec<f32> = (0..31).map(|number| number as f32).collect();
        assert_eq!(told(&answer), (0..16).map(|number| 2.0 * number as f32).collect::<Vec<_>>());
        assert_eq!(told(&answer[..3]), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn arguments_are_those_of_the_peers_in_python() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(arguments(&words("models x")).unwrap(), (Path::new("models"), "x", SECONDS));
        assert_eq!(arguments(&words("models x --seconds 0.5")).unwrap(), (Path::new("models"), "x", 0.5));
        assert!(arguments(&words("models x --seconds soon")).unwrap_err().to_string().contains("found soon"));
        assert!(arguments(&words("models")).is_err());
    }

    #[test]
    fn what_cannot_be_timed_is_told_with_the_reason() {
        let printed = line(Path::new("nowhere"), "vit-b16-4", 0.0);
        assert!(
            printed.contains(r#""case":"vit-b16-4""#) && printed.contains(r#""failed":"nowhere/vit-b16-4"#),
            "{printed}"
        );
        assert!(line(Path::new("nowhere"), "x", 0.0).contains("no case is called x"));
        assert!(line(Path::new("nowhere"), "train-minilm-32x32", 0.0).contains(r#""skipped":"#));
    }
}
