//! scratch
use florin_finance::receipts::*;
struct P(std::time::Instant);
impl RunObserver for P {
    fn stage(&mut self, n: &str) {
        eprintln!("[{:.0}s] {n}", self.0.elapsed().as_secs_f64());
    }
    fn stepped(&mut self, r: &florin_train::StepReport) {
        if r.step % 10 == 0 || r.step < 6 {
            eprintln!(
                "[{:.0}s] step {}/{} loss {:.4} {:?} norm {:.2} {:.2}/s",
                self.0.elapsed().as_secs_f64(),
                r.step,
                r.steps,
                r.loss,
                r.parts.iter().map(|p| (p.1 * 100.).round() / 100.).collect::<Vec<_>>(),
                r.gradient_norm,
                r.samples as f64 / r.seconds
            );
        }
    }
    fn evaluated(&mut self, e: &florin_train::Evaluation) {
        eprintln!("[{:.0}s] eval {} {:.4}", self.0.elapsed().as_secs_f64(), e.step, e.score);
    }
    fn note(&mut self, m: &str) {
        eprintln!("{m}");
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let config = RunConfig::read(a[1].as_ref()).unwrap();
    let s = run(&config, a[2].as_ref(), true, &mut P(std::time::Instant::now()));
    match s {
        Ok(s) => {
            println!(
                "{:.1}s F1 {:?} rules {:.3} ece {:.4} exact {:.3} weights {:?}",
                s.seconds,
                s.metrics.mean_f1,
                s.metrics.rules_mean_f1,
                s.metrics.calibration.ece,
                s.metrics.exact,
                s.metrics.modality_weights
            );
            for f in s.metrics.fields {
                println!(
                    "{} {:.3} [{:.3},{:.3}] exact {:.3} rules {:.3} {:?}",
                    f.name, f.f1.value, f.f1.low, f.f1.high, f.exact, f.rules_f1, f.outcomes
                );
            }
        }
        Err(e) => {
            eprintln!("error: {e}");
            std::process::exit(1)
        }
    }
}
