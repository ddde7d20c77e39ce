//! hOCR: HTML whose elements carry the class `ocr_line` or `ocrx_word` and a title with `bbox l t r b`.
//!
//! Read tolerantly, because it is HTML and not always well-formed XML: tags need not be closed in order, entities
//! may be unknown, and a line without words keeps its own text and box.

use quick_xml::{
    Reader,
    events::{BytesRef, BytesStart, Event},
};

use super::{RecognisedPage, join_words};
use crate::document::{BoundingBox, TextLine};

/// Reads the page; an error when there are several pages or an element has no box.
pub(super) fn parse(text: &str) -> Result<RecognisedPage, String> {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    let mut gatherer = Gatherer::default();
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => gatherer.open(&element)?,
            Ok(Event::End(element)) => gatherer.close(name_of(element.name().as_ref())),
            Ok(Event::Text(content)) => gatherer.text(&content.html_content()),
            Ok(Event::CData(content)) => gatherer.text(&content.html_content()),
            Ok(Event::GeneralRef(entity)) => gatherer.text(&resolve(&entity)),
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => return Err(format!("not readable as hOCR at byte {}: {error}", reader.error_position())),
        }
    }
    gatherer.end_line();
    Ok(gatherer.page)
}

/// HTML elements that have no end.
const VOID: [&str; 8] = ["br", "hr", "img", "meta", "link", "input", "wbr", "col"];

/// Classes that hOCR gives to lines of various uses.
const LINE_CLASSES: [&str; 4] = ["ocr_line", "ocr_header", "ocr_caption", "ocr_textfloat"];

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Line,
    Word,
    Other,
}

#[derive(Default)]
struct Gatherer {
    page: RecognisedPage,
    pages: usize,
    /// Open elements, innermost last.
    open: Vec<(String, Role)>,
    /// The line being read: its own box, and its text outside words.
    line: Option<(BoundingBox, String)>,
    /// The words of the line so far.
    words: Option<TextLine>,
    word: Option<(BoundingBox, String)>,
}

impl Gatherer {
    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let name = name_of(element.name().as_ref());
        if VOID.contains(&name.as_str()) {
            self.text(" ");
            return Ok(());
        }
        let (classes, title) = (attribute(element, "class"), attribute(element, "title"));
        let has = |class: &str| classes.split_whitespace().any(|own| own == class);
        let role = if has("ocrx_word") {
            self.end_word();
            self.word = Some((bounds(&title)?, String::new()));
            Role::Word
        } else if LINE_CLASSES.iter().any(|class| has(class)) {
            self.end_line();
            self.line = Some((bounds(&title)?, String::new()));
            Role::Line
        } else {
            if has("ocr_page") {
                self.pages += 1;
                self.page.size = bounds(&title).ok().map(|page| (page.right, page.bottom));
            }
            Role::Other
        };
        if self.pages > 1 {
            return Err("expected one page, found another 'ocr_page'".into());
        }
        self.open.push((name, role));
        Ok(())
    }

    /// Closes the innermost element of this name and what was left open inside it.
    fn close(&mut self, name: String) {
        let Some(position) = self.open.iter().rposition(|(open, _)| *open == name) else { return };
        for (_, role) in self.open.split_off(position).into_iter().rev() {
            match role {
                Role::Word => self.end_word(),
                Role::Line => self.end_line(),
                Role::Other => {}
            }
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, word)) = self.word.as_mut() {
            word.push_str(text);
        } else if let Some((_, line)) = self.line.as_mut() {
            line.push_str(text);
        }
    }

    fn end_word(&mut self) {
        let Some((bounds, text)) = self.word.take() else { return };
        let text = crate::value::tidy(&text);
        if text.is_empty() {
            return;
        }
        if self.line.is_some() {
            join_words(&mut self.words, &text, bounds);
        } else {
            self.page.lines.push(TextLine { text, bounds });
        }
    }

    fn end_line(&mut self) {
        self.end_word();
        let words = self.words.take();
        let Some((bounds, text)) = self.line.take() else { return };
        let own_text = crate::value::tidy(&text);
        if let Some(words) = words {
            self.page.lines.push(words);
        } else if !own_text.is_empty() {
            self.page.lines.push(TextLine { text: own_text, bounds });
        }
    }
}

/// An element's local name in lower case.
fn name_of(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).to_ascii_lowercase()
}

fn attribute(element: &BytesStart<'_>, name: &str) -> String {
    let mut attributes = element.html_attributes();
    attributes.with_checks(false);
    let found = attributes.flatten().find(|attribute| attribute.key.as_ref().eq_ignore_ascii_case(name));
    found.map(|attribute| attribute.value.into_owned()).unwrap_or_default()
}

/// The box in a title such as `bbox 10 20 60 30; x_wconf 95`.
fn bounds(title: &str) -> Result<BoundingBox, String> {
    let wrong = || format!("expected a title with 'bbox left top right bottom', found '{title}'");
    let values = title.split(';').find_map(|part| part.trim().strip_prefix("bbox ")).ok_or_else(wrong)?;
    let edges: Vec<f32> = values.split_whitespace().map_while(|edge| edge.parse().ok()).collect();
    match edges.as_slice() {
        [left, top, right, bottom] => Ok(BoundingBox::new(*left, *top, *right, *bottom)),
        _ => Err(wrong()),
    }
}

fn resolve(entity: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = entity.resolve_char_ref() {
        return character.to_string();
    }
    let name = entity.html_content();
    match name.as_ref() {
        "amp" => "&".into(),
        "lt" => "<".into(),
        "gt" => ">".into(),
        "quot" => "\"".into(),
        "apos" => "'".into(),
        "nbsp" => " ".into(),
        "euro" => "€".into(),
        "pound" => "£".into(),
        _ => format!("&{name};"),
    }
}

#[cfg(test)]
mod tests {
    use crate::{document::BoundingBox, ocr::parse_ocr};

    fn lines(html: &str) -> Vec<(String, BoundingBox)> {
        parse_ocr(html, (100, 100)).unwrap().into_iter().map(|line| (line.text, line.bounds)).collect()
    }

    #[test]
    fn untidy_html_is_read_all_the_same() {
        let html = "<!DOCTYPE html>\n<HTML><meta charset=utf-8><body><div class=\"ocr_page\" title='image \"a.png\"; bbox 0 0 100 100; ppageno 0'>\
            <p class='ocr_par'><span class='ocr_header' title=\"bbox 1 2 50 12; baseline 0 0\">\
            <span class='ocrx_word' title='bbox 1 2 20 12; x_wconf 90'><strong>A&amp;B</strong></span>\n\
            <span class='ocrx_word' title='bbox 25 2 50 12'>&#x20AC;9&nbsp;&eacute;<br></span></span>\
            <span class='ocr_line' title='bbox 1 22 50 32'>no words<br>here</span></p></div></body>";
        let found = lines(html);
        assert_eq!(found[0], ("A&B €9 &eacute;".into(), BoundingBox::new(1.0, 2.0, 50.0, 12.0)));
        assert_eq!(found[1], ("no words here".into(), BoundingBox::new(1.0, 22.0, 50.0, 32.0)));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn missing_boxes_and_second_pages_are_named() {
        let error = |html: &str| parse_ocr(html, (100, 100)).unwrap_err();
        assert!(error("<p class='ocr_line' title='bbox 1 2 3'>x</p>").contains("found 'bbox 1 2 3'"));
        assert!(error("<p class='ocr_line'>x</p>").contains("expected a title"));
        assert!(error("<p class='ocr_line' title='bbox NaN 2 3 4'>x</p>").contains("finite"));
        let pages = "<div class='ocr_page' title='bbox 0 0 9 9'/><div class='ocr_page' title='bbox 0 0 9 9'></div>";
        assert!(error(&format!("{pages}<div class='ocr_page'></div>")).contains("another"));
    }
}
