//! Reads a receipt that Florin draws itself with the weights of a finished run.
//!
//! `florin run receipts --out RUN`, then `cargo run --release -p florin --example read_receipt RUN`

use std::path::PathBuf;

use florin::finance::receipts::Reader;
use florin::finance::receipts::drawn::{Templates, draw_one};
use florin::nn::WeightFormat;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = std::env::args().nth(1).map(PathBuf::from).ok_or("usage: read_receipt RUN")?;
    let reader = Reader::open(&run, &florin::backend::device("cpu")?, WeightFormat::F32)?;
    let receipt = draw_one(99, 0, Templates::HeldOut);
    let reading = reader.read(&receipt.document, Some(&receipt.picture), Some(0.9))?;
    for (field, gold) in reading.fields.iter().zip(&receipt.values) {
        let read = field.text.as_deref().unwrap_or("(none)");
        println!("{:8} {:.3} {read}   [{}]", field.field, field.confidence, gold.as_deref().unwrap_or("(none)"));
    }
    Ok(())
}
