//! `florin bench`: what it promises to scripts, with models small enough for a test.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{florin, json_of, path, refusal, text, untrained};

/// A BERT of width 8 that knows the ids which the bench gives.
fn tiny(folder: &Path, architecture: &str, classes: usize) {
    fs::create_dir_all(folder).expect("a folder");
    untrained(
        folder,
        &json!({"model_type": "bert", "architectures": [architecture], "vocab_size": 30_522, "hidden_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 128,
            "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "num_labels": classes}),
    );
}

#[test]
fn a_case_is_timed_with_a_checkpoint_and_tells_its_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let models = path(folder.path());
    tiny(&folder.path().join("minilm-32x32"), "BertModel", 2);
    tiny(&folder.path().join("train-minilm-32x32"), "BertForSequenceClassification", 77);
    let call =
        ["bench", "minilm-32x32", "train-minilm-32x32", "vit-b16-4", "--models", models, "--seconds", "0", "--json"];
    let found = json_of(&call);
    assert_eq!((&found["device"], &found["precision"]), (&json!("cpu"), &json!("f32")));
    let [forward, training, absent] = &found["cases"].as_array().expect("a list")[..] else { panic!("{found}") };
    assert_eq!(
        (&forward["case"], &forward["items"], &forward["runs"]),
        (&json!("minilm-32x32"), &json!(32), &json!(5))
    );
    assert_eq!(forward["result"].as_array().map(Vec::len), Some(16));
    let [first, median, third] = ["quartile_1_seconds", "median_seconds", "quartile_3_seconds"]
        .map(|name| forward[name].as_f64().expect("seconds"));
    assert!(0.0 < first && first <= median && median <= third, "{forward}");
    assert_eq!(training["result"].as_array().map(Vec::len), Some(3), "{training}");
    assert!(training["result"][0].as_f64() > training["result"][2].as_f64(), "it learns: {training}");
    assert!(absent["skipped"].as_str().is_some_and(|reason| reason.contains("holds no folder")), "{absent}");
    assert_eq!(json_of(&call)["cases"][1]["result"], training["result"], "the same weights give the same answer");
    let said = florin(&call[..call.len() - 1]);
    let table = text(&said.stdout);
    assert!(table.contains("MEDIAN") && table.contains("samples") && table.contains("vit-b16-4 skipped:"), "{table}");
    tiny(&folder.path().join("train-minilm-32x32"), "BertModel", 2);
    let without = refusal(&["bench", "train-minilm-32x32", "--models", models, "--seconds", "0"]);
    assert!(without.contains("has no loss"), "{without}");
}

#[test]
fn cases_are_listed_and_what_is_not_there_is_said() {
    let listed = json_of(&["bench", "--list", "--json"]);
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|case| &case["case"]).collect();
    assert!(names.len() == 9 && names.contains(&&json!("clip-b32-images")), "{names:?}");
    assert!(text(&florin(&["bench", "--list"]).stdout).contains("A training step of CLIP B/32"));
    let unknown = florin(&["bench", "minilm-32x23"]);
    let said = text(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && said.contains("similar value exists: 'minilm-32x32'"), "{said}");
    assert_eq!(florin(&["bench", "--seconds", "-1"]).status.code(), Some(2));
    assert!(refusal(&["bench", "minilm-32x32", "--models", "nowhere"]).contains("nowhere: no such folder"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_florin"));
    let output =
        command.args(["bench", "banking-queries"]).env("FLORIN_DATA", folder.path()).output().expect("it starts");
    assert!(output.status.success() && text(&output.stdout).contains("train.parquet: no such file"), "{output:?}");
}
