//! Writes a drawn receipt and its OCR lines, to try `florin predict` with.
//!
//! `cargo run --release -p florin --example draw_receipt FOLDER [NUMBER]` writes `FOLDER/receipt.png` and `FOLDER/receipt.json`.

use std::error::Error;
use std::path::PathBuf;

use florin::finance::receipts::drawn::{Templates, draw_one};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map(PathBuf::from).ok_or("usage: draw_receipt FOLDER [NUMBER]")?;
    let number = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let receipt = draw_one(99, number, Templates::HeldOut);
    std::fs::create_dir_all(&folder)?;
    receipt.picture.save(folder.join("receipt.png"))?;
    let document = &receipt.document;
    let lines = document.lines.iter().map(|line| {
        let bounds = &line.bounds;
        json!({"text": line.text, "box": [bounds.left, bounds.top, bounds.right, bounds.bottom]})
    });
    let lines = json!({"width": document.width, "height": document.height, "lines": lines.collect::<Vec<_>>()});
    std::fs::write(folder.join("receipt.json"), lines.to_string())?;
    println!("{}", folder.join("receipt.png").display());
    Ok(())
}
