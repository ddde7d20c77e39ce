//! Text lines from OCR programs: this project's JSON, Tesseract's TSV, and hOCR.
//!
//! The format is told by the content, not by the file's name. Where the file says how large its page was, and that
//! is another size of the same shape than the picture's, the boxes are scaled; another shape means another picture
//! and is an error. Boxes that reach over the page are left for [`Document`] to cut. Lines are put into row order,
//! whatever order the program chose, so that a model sees them as it did in training.

mod hocr;
mod json;
mod tesseract;

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    DataError,
    document::{BoundingBox, Document, TextLine, check_box},
    picture,
    words::reading_order,
};

/// Largest file with OCR lines that is read, in bytes: a dense page takes under one megabyte.
const LARGEST_FILE: u64 = 64 << 20;

/// Most by which the shape of the OCR's page may differ from the picture's.
const SHAPE_TOLERANCE: f32 = 0.02;

/// Reads the lines of one page, in row order, from a file in any of the known formats.
///
/// `page` is the width and height of the picture that the lines belong to.
pub fn read_ocr(path: impl AsRef<Path>, page: (u32, u32)) -> Result<Vec<TextLine>, DataError> {
    let path = path.as_ref();
    let failed = |source| DataError::file("read the OCR lines", path, source);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST_FILE {
        return Err(DataError::ocr(path, format!("expected at most {LARGEST_FILE} bytes, found {size}")));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| DataError::ocr(path, format!("expected UTF-8: {error}")))?;
    parse_ocr(&text, page).map_err(|reason| DataError::ocr(path, reason))
}

/// Reads the text of a picture with the program `tesseract`, if it is installed.
pub fn recognise(picture: impl AsRef<Path>) -> Result<Document, DataError> {
    let path = picture.as_ref();
    let page = picture::dimensions(path)?;
    // An absolute path cannot be taken for an option.
    let absolute = std::path::absolute(path).map_err(|source| DataError::file("read", path, source))?;
    let output = Command::new("tesseract").arg(absolute).args(["stdout", "tsv"]).stdin(Stdio::null()).output();
    let output = output.map_err(|source| match source.kind() {
        ErrorKind::NotFound => DataError::NoOcrProgram { path: path.to_path_buf() },
        _ => DataError::file("run 'tesseract' on", path, source),
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        return Err(DataError::ocr(path, format!("'tesseract' failed ({}): {last}", output.status)));
    }
    let lines =
        parse_ocr(&String::from_utf8_lossy(&output.stdout), page).map_err(|reason| DataError::ocr(path, reason))?;
    let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Document::new(id, page.0, page.1, lines)
}

/// The lines of a page in any known format, or why there are none.
fn parse_ocr(text: &str, page: (u32, u32)) -> Result<Vec<TextLine>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let start = text.trim_start();
    let first_line = start.lines().next().unwrap_or_default();
    let recognised = if start.starts_with(['{', '[']) {
        json::parse(text)?
    } else if start.starts_with('<') && (text.contains("ocr_") || text.contains("ocrx_")) {
        hocr::parse(text)?
    } else if tesseract::is_header(first_line) {
        tesseract::parse(start)?
    } else {
        return Err(format!(
            "expected JSON ({{\"width\", \"height\", \"lines\"}}), Tesseract TSV with its header, or hOCR, \
             found a file that starts with '{}'",
            first_line.chars().take(40).collect::<String>()
        ));
    };
    let mut lines = recognised.fit(page)?;
    reading_order(&mut lines);
    Ok(lines)
}

/// One page as an OCR program saw it.
#[derive(Debug, Default, PartialEq)]
struct RecognisedPage {
    /// Width and height, if the format says them.
    size: Option<(f32, f32)>,
    lines: Vec<TextLine>,
}

impl RecognisedPage {
    /// The lines in pixels of a page of the given size, with every box checked.
    fn fit(mut self, page: (u32, u32)) -> Result<Vec<TextLine>, String> {
        for (index, line) in self.lines.iter().enumerate() {
            check_box(&line.bounds).map_err(|reason| format!("line {index}: {reason}"))?;
        }
        let (width, height) = (page.0 as f32, page.1 as f32);
        let Some(own) = self.size.filter(|&own| own != (width, height)) else { return Ok(self.lines) };
        let (across, down) = (width / own.0, height / own.1);
        if !(across.is_finite() && down > 0.0 && (across / down - 1.0).abs() <= SHAPE_TOLERANCE) {
            return Err(format!(
                "its page is {} x {}, the picture is {} x {}: they differ in shape, so they are not of the same page",
                own.0, own.1, page.0, page.1
            ));
        }
        for line in &mut self.lines {
            let BoundingBox { left, top, right, bottom } = line.bounds;
            line.bounds = BoundingBox::new(left * across, top * down, right * across, bottom * down);
        }
        Ok(self.lines)
    }
}

/// Words gathered into lines: joined by one blank, boxed together.
fn join_words(line: &mut Option<TextLine>, text: &str, bounds: BoundingBox) {
    match line {
        None => *line = Some(TextLine { text: text.into(), bounds }),
        Some(line) => {
            line.text.push(' ');
            line.text.push_str(text);
            line.bounds = line.bounds.union(&bounds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"width":100,"height":200,"lines":[{"text":"TOTAL 9.00","box":[10,20,60,30]}]}"#;

    #[test]
    fn every_format_is_told_by_its_content_and_gives_the_same_lines() {
        let tsv = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n\
                   1\t1\t0\t0\t0\t0\t0\t0\t100\t200\t-1\t\n\
                   5\t1\t1\t1\t1\t1\t10\t20\t20\t10\t96.5\tTOTAL\n\
                   5\t1\t1\t1\t1\t2\t40\t20\t20\t10\t90\t9.00\n";
        let hocr = "<html><body><div class='ocr_page' title='bbox 0 0 100 200'><span class='ocr_line' title='bbox 10 20 60 30'>\
                    <span class='ocrx_word' title='bbox 10 20 30 30'>TOTAL</span> \
                    <span class='ocrx_word' title='bbox 40 20 60 30'>9.00</span></span></div></body></html>";
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("a", JSON), ("b", tsv), ("c", hocr), ("d", &format!("\u{feff}{JSON}"))] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let lines = read_ocr(&path, (100, 200)).unwrap();
            assert_eq!(lines.len(), 1, "{name}");
            assert_eq!(lines[0].text, "TOTAL 9.00", "{name}");
            assert_eq!(lines[0].bounds, BoundingBox::new(10.0, 20.0, 60.0, 30.0), "{name}");
        }
    }

    #[test]
    fn lines_of_a_larger_scan_are_scaled_and_those_of_another_page_refused() {
        let lines = parse_ocr(JSON, (50, 100)).unwrap();
        assert_eq!(lines[0].bounds, BoundingBox::new(5.0, 10.0, 30.0, 15.0));
        let error = parse_ocr(JSON, (200, 100)).unwrap_err();
        assert!(error.contains("100 x 200") && error.contains("200 x 100"), "{error}");
    }

    #[test]
    fn what_is_no_ocr_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for content in [b"hello world".as_slice(), b"", b"\xff\xd8\xff", b"<html></html>", b"{", b"[]"] {
            let path = folder.path().join("lines.any");
            std::fs::write(&path, content).unwrap();
            let error = read_ocr(&path, (10, 10)).unwrap_err().to_string();
            assert!(error.contains("lines.any"), "{error}");
        }
        assert!(read_ocr("/nowhere/x.json", (1, 1)).unwrap_err().to_string().contains("/nowhere/x.json"));
    }

    #[test]
    fn any_bytes_are_read_or_refused_but_never_panic() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let seeds = [
            JSON,
            "level\tleft\ttop\twidth\theight\tconf\ttext\n5\t1\t2\t3\t4\t5\tx\n",
            "<p class='ocr_line' title='bbox 1 2 3 4'>a&amp;b<br></p>",
        ];
        for _ in 0..3000 {
            let mut bytes = seeds[random.random_range(0..seeds.len())].as_bytes().to_vec();
            for _ in 0..random.random_range(1..4) {
                let position = random.random_range(0..bytes.len());
                bytes[position] = b"{}[]<>\"'&;\t\n019-.eN\xc3 "[random.random_range(0..21)];
            }
            if let Ok(lines) = parse_ocr(&String::from_utf8_lossy(&bytes), (100, 200)) {
                Document::new("x", 100, 200, lines).unwrap();
            }
        }
    }

    #[test]
    fn recognising_text_needs_a_picture_and_says_how_to_get_the_program() {
        assert!(recognise("/nowhere/a.png").unwrap_err().to_string().contains("/nowhere/a.png"));
        let error = DataError::NoOcrProgram { path: "a.png".into() }.to_string();
        assert!(error.contains("tesseract-ocr") && error.contains("--ocr"), "{error}");
    }
}
