//! What a long command says while it works: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use florin_finance::receipts::RunObserver;
use florin_train::{Evaluation, StepReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Seconds between plain lines.
const EVERY: Duration = Duration::from_secs(5);

/// Follows a run on stderr.
pub(crate) struct Progress {
    began: Instant,
    /// On a terminal only.
    bar: Option<ProgressBar>,
    said: Instant,
    items: f64,
    seconds: f64,
}

impl Progress {
    /// A bar where stderr is a terminal, lines where it is not.
    pub(crate) fn new() -> Self {
        let began = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { began, bar, said: began, items: 0.0, seconds: 0.0 }
    }

    /// Ends the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("[{}] {message}", clock(self.began.elapsed().as_secs())),
        }
    }

    /// Whether it is time for another plain line.
    fn is_time(&mut self, last: bool) -> bool {
        let due = last || self.said.elapsed() >= EVERY;
        if due {
            self.said = Instant::now();
        }
        due
    }
}

impl RunObserver for Progress {
    fn stage(&mut self, name: &str) {
        (self.items, self.seconds) = (0.0, 0.0);
        if let Some(bar) = &self.bar {
            bar.unset_length();
            bar.set_style(style("{spinner} {prefix}  {elapsed}"));
            bar.set_prefix(name.to_owned());
            bar.reset_elapsed();
            bar.set_message("");
        } else {
            self.say(name);
        }
    }

    fn progress(&mut self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("{prefix}  {bar:30} {pos}/{len}  {eta} left"));
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        } else if self.is_time(done == total) {
            self.say(&format!("{done}/{total}"));
        }
    }

    fn stepped(&mut self, report: &StepReport) {
        // A moving average, so that one slow step does not throw the estimate about.
        self.items = 0.9 * self.items + report.samples as f64;
        self.seconds = 0.9 * self.seconds + report.seconds;
        let rate = self.items / self.seconds.max(1e-9);
        if let Some(bar) = &self.bar {
            bar.set_style(style("{prefix}  {bar:24} step {pos}/{len}  {msg}  {eta} left"));
            bar.set_length(report.steps as u64);
            bar.set_position(report.step as u64);
            bar.set_message(format!("loss {:.4}  {rate:.1} items/s", report.loss));
        } else if self.is_time(report.step == report.steps) {
            let each = report.samples as f64 / rate.max(1e-9);
            let left = clock(((report.steps - report.step) as f64 * each) as u64);
            let (step, steps, loss) = (report.step, report.steps, report.loss);
            self.say(&format!("step {step}/{steps}  loss {loss:.4}  {rate:.1} items/s  {left} left"));
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.say(&format!("step {}: F1 {:.4} on held-out documents", evaluation.step, evaluation.score));
    }

    fn note(&mut self, message: &str) {
        self.say(message);
    }
}

/// Counts things of one kind on stderr.
pub(crate) struct Counter {
    progress: Progress,
    total: usize,
}

impl Counter {
    /// So many of them, none done.
    pub(crate) fn new(what: &str, total: usize) -> Self {
        let mut progress = Progress::new();
        if let Some(bar) = &progress.bar {
            bar.set_prefix(what.to_owned());
        }
        progress.said = progress.began;
        Self { progress, total }
    }

    /// So many are done. Short work says nothing where stderr is no terminal.
    pub(crate) fn at(&mut self, done: usize) {
        if self.progress.bar.is_some() || self.progress.said.elapsed() >= EVERY {
            self.progress.progress(done, self.total);
        }
    }

    /// Ends it.
    pub(crate) fn finish(&self) {
        self.progress.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Minutes and seconds, with hours where there are any.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(9), "0:09");
        assert_eq!(clock(605), "10:05");
        assert_eq!(clock(3_725), "1:02:05");
    }
}
