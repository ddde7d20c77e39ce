//! Tesseract's TSV: one row a word, grouped here into lines.

use super::{RecognisedPage, join_words};
use crate::document::{BoundingBox, TextLine};

/// The level that Tesseract gives the page itself, and a word.
const PAGE_LEVEL: &str = "1";
const WORD_LEVEL: &str = "5";

/// Whether a first line is the header of Tesseract's TSV.
pub(super) fn is_header(line: &str) -> bool {
    let names: Vec<&str> = line.trim_end().split('\t').collect();
    names.contains(&"level") && names.contains(&"text")
}

/// Reads the table; rows without confidence (-1) are the blocks and lines above the words and are passed over.
pub(super) fn parse(text: &str) -> Result<RecognisedPage, String> {
    let mut rows = text.lines();
    let columns = Columns::read(rows.next().unwrap_or_default())?;
    let mut page = RecognisedPage::default();
    let mut current: Option<TextLine> = None;
    let mut current_key: Option<Vec<&str>> = None;
    for (index, row) in rows.enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let row = Row { number: index + 2, cells: row.split('\t').collect(), columns: &columns };
        if row.cell("page_num").is_some_and(|number| number != "1" && number != "0") {
            return Err(format!(
                "row {}: expected one page, found page {}",
                row.number,
                row.cell("page_num").unwrap_or("?")
            ));
        }
        match row.cell("level") {
            Some(PAGE_LEVEL) => {
                let bounds = row.bounds()?;
                page.size = (bounds.right > 0.0 && bounds.bottom > 0.0).then_some((bounds.right, bounds.bottom));
            }
            Some(WORD_LEVEL) => {
                let word = row.cell("text").unwrap_or_default().trim();
                if word.is_empty() || row.number("conf")? < 0.0 {
                    continue;
                }
                let key: Vec<&str> =
                    ["block_num", "par_num", "line_num"].iter().filter_map(|name| row.cell(name)).collect();
                if current_key.as_ref() != Some(&key) {
                    page.lines.extend(current.take());
                    current_key = Some(key);
                }
                join_words(&mut current, word, row.bounds()?);
            }
            _ => {}
        }
    }
    page.lines.extend(current);
    Ok(page)
}

struct Columns<'a> {
    names: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn read(header: &'a str) -> Result<Self, String> {
        let names: Vec<&str> = header.trim_end().split('\t').collect();
        for expected in ["level", "left", "top", "width", "height", "conf", "text"] {
            if !names.contains(&expected) {
                return Err(format!("expected a column '{expected}', found '{}'", names.join("', '")));
            }
        }
        Ok(Self { names })
    }
}

struct Row<'a> {
    number: usize,
    cells: Vec<&'a str>,
    columns: &'a Columns<'a>,
}

impl<'a> Row<'a> {
    fn cell(&self, name: &str) -> Option<&'a str> {
        let position = self.columns.names.iter().position(|own| *own == name)?;
        self.cells.get(position).copied()
    }

    fn number(&self, name: &str) -> Result<f32, String> {
        let text = self.cell(name).unwrap_or_default().trim();
        let number = text.parse().ok().filter(|number: &f32| number.is_finite());
        number.ok_or_else(|| format!("row {}: expected a number in column '{name}', found '{text}'", self.number))
    }

    fn bounds(&self) -> Result<BoundingBox, String> {
        let (left, top) = (self.number("left")?, self.number("top")?);
        Ok(BoundingBox::new(left, top, left + self.number("width")?, top + self.number("height")?))
    }
}

#[cfg(test)]
mod tests {
    use crate::ocr::parse_ocr;

    const HEADER: &str =
        "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n";

    #[test]
    fn words_are_grouped_into_lines_and_those_without_confidence_skipped() {
        let rows = "5\t1\t1\t1\t1\t1\t10\t20\t20\t10\t96\tA\n5\t1\t1\t1\t1\t2\t40\t18\t20\t10\t95\t\"B\n\
                    5\t1\t1\t1\t1\t3\t70\t18\t20\t10\t-1\tX\n5\t1\t1\t1\t1\t4\t70\t18\t20\t10\t9\t \n\
                    5\t1\t1\t1\t2\t1\t10\t40\t20\t10\t95\tC\n5\t1\t2\t1\t2\t1\t10\t60\t20\t10\t95\tD\n";
        let lines = parse_ocr(&format!("{HEADER}{rows}"), (100, 100)).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["A \"B", "C", "D"]);
        assert_eq!((lines[0].bounds.top, lines[0].bounds.right, lines[0].bounds.bottom), (18.0, 60.0, 30.0));
    }

    #[test]
    fn faults_are_named_with_their_row_and_column() {
        for (rows, expected) in [
            ("5\t1\t1\t1\t1\t1\tx\t20\t20\t10\t96\tA\n", "row 2: expected a number in column 'left', found 'x'"),
            ("5\t1\t1\t1\t1\t1\tNaN\t20\t20\t10\t96\tA\n", "found 'NaN'"),
            ("5\t1\t1\t1\t1\t1\t10\t20\t-20\t10\t96\tA\n", "left <= right"),
            ("5\t2\t1\t1\t1\t1\t10\t20\t20\t10\t96\tA\n", "expected one page, found page 2"),
        ] {
            let error = parse_ocr(&format!("{HEADER}{rows}"), (100, 100)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = parse_ocr("level\tleft\ttext\n", (1, 1)).unwrap_err();
        assert!(error.contains("expected a column 'top'"), "{error}");
        assert!(parse_ocr(HEADER, (1, 1)).unwrap().is_empty());
    }
}
