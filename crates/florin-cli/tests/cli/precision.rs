//! Weights in half precision and in eight bits.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{checkpoint, florin, refusal, text, tokenizer};

#[test]
fn rounded_weights_change_vectors_little_and_are_not_mixed_with_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (model, index, lines) = (at("model"), at("notes.index"), at("notes.txt"));
    fs::create_dir(&model).expect("a new folder");
    checkpoint(Path::new(&model));
    tokenizer(Path::new(&model));
    fs::write(&lines, "total owed\nowed\n").expect("a small file");
    let vectors = |precision: &str| -> Vec<Vec<f64>> {
        let said = florin(&["embed", &model, &lines, "--precision", precision]);
        assert!(said.status.success(), "{}", text(&said.stderr));
        let numbers = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("a line of JSON");
            row["embedding"].as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number")).collect()
        };
        text(&said.stdout).lines().map(numbers).collect()
    };
    let exact = vectors("f32");
    let cosine = |a: &[f64], b: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for (precision, least) in [("bf16", 0.999), ("int8", 0.98)] {
        let found = vectors(precision);
        assert_ne!(found, exact, "{precision} rounds something");
        for (found, exact) in found.iter().zip(&exact) {
            assert!(cosine(found, exact) > least, "{precision}: {}", cosine(found, exact));
        }
    }
    assert!(florin(&["search", "build", &model, &lines, "--index", &index]).status.success());
    let other = refusal(&["search", "build", &model, &lines, "--index", &index, "--precision", "int8"]);
    assert!(other.contains("go into another folder"), "{other}");
    let unknown = florin(&["embed", &model, "--text", "owed", "--precision", "int4"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("expected one of f32, bf16, int8"), "{}", text(&unknown.stderr));
}

#[test]
fn a_packed_model_is_opened_as_the_one_it_was_packed_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let model = at("model");
    fs::create_dir(&model).expect("a new folder");
    checkpoint(Path::new(&model));
    tokenizer(Path::new(&model));
    let embedded = |model: &str, precision: &[&str]| {
        let said = florin(&[&["embed", model, "--text", "total owed"], precision].concat());
        assert!(said.status.success(), "{}", text(&said.stderr));
        text(&said.stdout)
    };
    for precision in ["f32", "bf16", "int8"] {
        let packed = at(precision);
        let said = florin(&["pack", &model, &packed, "--precision", precision, "--json"]);
        assert!(said.status.success(), "{}", text(&said.stderr));
        let said: Value = serde_json::from_str(&text(&said.stdout)).expect("JSON");
        assert!(said["packed_weights"].as_u64() > Some(0), "{said}");
        assert_eq!(embedded(&packed, &[]), embedded(&model, &["--precision", precision]), "{precision}");
        let seen = florin(&["inspect", &packed]);
        assert!(text(&seen.stdout).contains(&format!("packed {precision}")), "{}", text(&seen.stdout));
    }
    // Packed ones may be packed anew; weights that are there already are not hidden.
    assert!(florin(&["pack", &model, &at("int8"), "--precision", "bf16"]).status.success());
    let there = refusal(&["pack", &at("int8"), &model, "--precision", "int8"]);
    assert!(there.contains("holds weights already, model.safetensors"), "{there}");
}
