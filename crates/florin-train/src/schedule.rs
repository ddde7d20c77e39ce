//! The learning rate over a run: a linear rise, then half a cosine down.

use serde::{Deserialize, Serialize};

/// Linear warm-up and cosine decay, as a factor of each group's own learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarmupCosine {
    /// Steps of the rise.
    pub warmup: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// Factor at the end.
    pub floor: f64,
}

impl WarmupCosine {
    /// The factor of a step, counted from zero: never zero in the rise, `floor` at the end and after.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let decay = self.total.saturating_sub(self.warmup).max(1);
        let share = ((step - self.warmup) as f64 / decay as f64).min(1.0);
        self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::WarmupCosine;

    #[test]
    fn rises_to_one_and_falls_to_the_floor() {
        let schedule = WarmupCosine { warmup: 10, total: 110, floor: 0.1 };
        assert_eq!(schedule.factor(0), 0.1);
        assert_eq!(schedule.factor(9), 1.0);
        assert_eq!(schedule.factor(10), 1.0);
        assert!((schedule.factor(60) - 0.55).abs() < 1e-12);
        assert!((schedule.factor(110) - 0.1).abs() < 1e-12);
        assert!((schedule.factor(500) - 0.1).abs() < 1e-12);
    }
}
