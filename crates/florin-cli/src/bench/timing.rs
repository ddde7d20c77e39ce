//! Timing: a warm-up, then calls until the time is over, and what their times are like.

use std::time::Instant;

use serde::Serialize;

/// Calls that are timed, however long they take: fewer have no quartiles to speak of.
const FEWEST: usize = 5;
/// Calls of something slow, which is waited for no longer than so many times its time, or as many seconds.
const FEWEST_SLOW: usize = 2;
const PATIENCE: f64 = 10.0;
/// The share of the time that goes into the warm-up before it.
const WARM_UP: f64 = 0.2;

/// Seconds of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Times {
    /// Calls that were timed.
    pub(crate) runs: usize,
    /// Half of them were faster.
    pub(crate) median_seconds: f64,
    /// A quarter of them was faster.
    pub(crate) quartile_1_seconds: f64,
    /// A quarter of them was slower.
    pub(crate) quartile_3_seconds: f64,
}

impl Times {
    /// Of calls, at least one.
    pub(crate) fn of(mut laps: Vec<f64>) -> Self {
        laps.sort_by(f64::total_cmp);
        Self {
            runs: laps.len(),
            median_seconds: quantile(&laps, 0.5),
            quartile_1_seconds: quantile(&laps, 0.25),
            quartile_3_seconds: quantile(&laps, 0.75),
        }
    }
}

/// How many calls of so many seconds fill a time.
pub(crate) fn calls(budget: f64, each: f64) -> usize {
    ((budget / each.max(1e-9)).ceil() as usize).max(FEWEST)
}

/// The seconds of each call and what the last one gave.
pub(crate) fn timed<T>(budget: f64, call: &mut dyn FnMut() -> anyhow::Result<T>) -> anyhow::Result<(Vec<f64>, T)> {
    let began = Instant::now();
    let mut last = call()?;
    while began.elapsed().as_secs_f64() < WARM_UP * budget {
        last = call()?;
    }
    let (mut laps, began) = (Vec::new(), Instant::now());
    let is_enough = |calls: usize| {
        let spent = began.elapsed().as_secs_f64();
        (calls >= FEWEST && spent >= budget) || (calls >= FEWEST_SLOW && spent > PATIENCE * budget.max(1.0))
    };
    while !is_enough(laps.len()) {
        let start = Instant::now();
        last = call()?;
        laps.push(start.elapsed().as_secs_f64());
    }
    Ok((laps, last))
}

/// The largest resident size of this process so far, in bytes, where the system tells it.
pub(crate) fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Between the two neighbours where a share falls between them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_times() {
        let times = Times::of(vec![5.0, 1.0, 2.0, 4.0]);
        let expected = Times { runs: 4, median_seconds: 3.0, quartile_1_seconds: 1.75, quartile_3_seconds: 4.25 };
        assert_eq!(times, expected);
    }

    #[test]
    fn without_time_there_are_still_five_calls_and_one_before() {
        let mut made = 0;
        let (laps, last) = timed(0.0, &mut || {
            made += 1;
            Ok(made)
        })
        .unwrap();
        assert_eq!((laps.len(), last, calls(0.0, 1.0), calls(5.0, 0.4)), (5, 6, 5, 13));
    }
}
