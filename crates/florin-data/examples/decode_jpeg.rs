//! Writes the pixels of pictures to stdout, each behind a line with its width and height: what `tests/peers/jpeg_decoders.py` compares with Pillow.
//!
//! `cargo run --release -p florin-data --example decode_jpeg -- FILES... > pixels`

use std::error::Error;
use std::io::Write;
use std::path::Path;

use florin_data::image_processor::decode_rgb;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for file in std::env::args().skip(1) {
        let pixels = decode_rgb(Path::new(&file))?;
        writeln!(out, "{} {}", pixels.width, pixels.height)?;
        out.write_all(&pixels.bytes)?;
    }
    Ok(())
}
