//! OCR lines as `{"width", "height", "lines": [{"text", "box": [left, top, right, bottom]}]}`.

use serde_json::{Map, Value};

use super::RecognisedPage;
use crate::document::{BoundingBox, TextLine};

/// Reads the JSON of one page; errors name the key and the line at fault.
pub(super) fn parse(text: &str) -> Result<RecognisedPage, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
    let Value::Object(page) = value else { return Err("expected a JSON object with 'lines'".into()) };
    let size = match (page.get("width"), page.get("height")) {
        (None, None) => None,
        _ => Some((side(&page, "width")?, side(&page, "height")?)),
    };
    let lines = match page.get("lines") {
        Some(Value::Array(lines)) => lines,
        Some(other) => return Err(format!("expected 'lines' to be an array, found {}", name_of(other))),
        None => return Err(format!("expected a key 'lines', found {}", keys_of(&page))),
    };
    let lines =
        lines.iter().enumerate().map(|(index, value)| line(value).map_err(|reason| format!("line {index}: {reason}")));
    Ok(RecognisedPage { size, lines: lines.collect::<Result<_, _>>()? })
}

fn side(page: &Map<String, Value>, key: &str) -> Result<f32, String> {
    match page.get(key).and_then(Value::as_f64).filter(|side| (1.0..=1e6).contains(side)) {
        Some(side) => Ok(side as f32),
        None => Err(format!("expected '{key}' to be a number of pixels, found {}", found(page.get(key)))),
    }
}

fn line(value: &Value) -> Result<TextLine, String> {
    let Value::Object(line) = value else {
        return Err(format!("expected an object with 'text' and 'box', found {}", name_of(value)));
    };
    let text = match line.get("text") {
        Some(Value::String(text)) => text.clone(),
        other => return Err(format!("expected 'text' to be a string, found {}", found(other))),
    };
    let edges = match line.get("box") {
        Some(Value::Array(edges)) if edges.len() == 4 => edges,
        Some(Value::Array(edges)) => {
            return Err(format!("expected 'box' to be [left, top, right, bottom], found {} numbers", edges.len()));
        }
        other => return Err(format!("expected 'box' to be [left, top, right, bottom], found {}", found(other))),
    };
    let mut numbers = [0.0; 4];
    for (position, (number, edge)) in numbers.iter_mut().zip(edges).enumerate() {
        let Some(edge) = edge.as_f64() else {
            return Err(format!("expected box[{position}] to be a number, found {}", name_of(edge)));
        };
        *number = edge as f32;
    }
    let [left, top, right, bottom] = numbers;
    Ok(TextLine { text, bounds: BoundingBox::new(left, top, right, bottom) })
}

fn keys_of(object: &Map<String, Value>) -> String {
    let keys: Vec<&str> = object.keys().take(10).map(String::as_str).collect();
    if keys.is_empty() { "no keys".into() } else { format!("'{}'", keys.join("', '")) }
}

fn found(value: Option<&Value>) -> String {
    value.map_or("nothing".into(), name_of)
}

fn name_of(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) => format!("the text '{}'", text.chars().take(40).collect::<String>()),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::ocr::parse_ocr;

    #[test]
    fn faults_are_named_with_their_line_and_key() {
        for (json, expected) in [
            (
                r#"{"lines":[{"text":"a","box":[0,0,1]}]}"#,
                "line 0: expected 'box' to be [left, top, right, bottom], found 3",
            ),
            (
                r#"{"lines":[{"text":"a","box":[0,0,1,1]},{"box":[0,0,1,1]}]}"#,
                "line 1: expected 'text' to be a string, found nothing",
            ),
            (r#"{"lines":[{"text":"a"}]}"#, "found nothing"),
            (r#"{"lines":[{"text":"a","box":[0,0,"NaN",1]}]}"#, "box[2] to be a number, found the text 'NaN'"),
            (r#"{"lines":[{"text":"a","box":[0,0,null,1]}]}"#, "box[2] to be a number, found null"),
            (r#"{"lines":[{"text":"a","box":[0,0,NaN,1]}]}"#, "not valid JSON"),
            (r#"{"lines":[{"text":"a","box":[0,0,1e39,1]}]}"#, "line 0: expected finite edges"),
            (r#"{"lines":[{"text":"a","box":[9,0,1,1]}]}"#, "left <= right"),
            (r#"{"lines":3}"#, "'lines' to be an array, found 3"),
            (r#"{"words":[]}"#, "expected a key 'lines', found 'words'"),
            (r#"{"width":100,"lines":[]}"#, "'height' to be a number of pixels, found nothing"),
            (r#"{"width":-1,"height":3,"lines":[]}"#, "'width' to be a number of pixels, found -1"),
        ] {
            let error = parse_ocr(json, (10, 10)).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn a_page_without_lines_or_size_is_legal() {
        assert!(parse_ocr(r#"{"lines":[]}"#, (10, 10)).unwrap().is_empty());
    }
}
