//! Compares runs on the documents that both kinds held out: mean normalised F1, and the difference with a paired interval.
//!
//! `cargo run --release -p florin-finance --example compare_runs -- RUN.. against RUN..`; several runs on one side are seeds of one
//! kind, and are averaged.

use std::path::PathBuf;

use florin_finance::receipts::compare;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let sides: Vec<Vec<PathBuf>> =
        words.split(|word| word == "against").map(|side| side.iter().map(PathBuf::from).collect()).collect();
    let [first, second] = sides.as_slice() else { return Err("expected RUN.. against RUN..".into()) };
    let found = compare(first, second)?;
    for (name, score) in [("first", &found.first), ("second", &found.second)] {
        println!("{name:10} {:.3} ({:.3} to {:.3})", score.value, score.low, score.high);
    }
    let gap = &found.difference.interval;
    println!("difference {:+.3} ({:+.3} to {:+.3}), {} documents", gap.value, gap.low, gap.high, found.documents);
    Ok(())
}
