//! An index over texts, built, changed and asked.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{checkpoint, florin, json_of, refusal, text, tokenizer};

#[test]
fn an_index_is_built_kept_up_to_date_and_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (model, index, lines) = (at("model"), at("notes.index"), at("notes.txt"));
    fs::create_dir(&model).expect("a new folder");
    checkpoint(Path::new(&model));
    tokenizer(Path::new(&model));
    fs::write(&lines, "total owed\ntotal\nowed\ntotal\n").expect("a small file");
    let build = ["search", "build", &model, &lines, "--index", &index, "--json"];
    let config = fs::read(Path::new(&model).join("config.json")).expect("the checkpoint has one");
    fs::write(Path::new(&model).join("config.json"), "{}").expect("a small file");
    assert!(!florin(&build).status.success() && !Path::new(&index).exists(), "what fails leaves no empty index");
    fs::write(Path::new(&model).join("config.json"), config).expect("a small file");
    let counts =
        |done: &Value| [&done["total"], &done["added"], &done["removed"]].map(|count| count.as_u64().unwrap_or(99));
    assert_eq!(counts(&json_of(&build)), [3, 3, 0], "a text that stands there twice is one");
    assert_eq!(counts(&json_of(&build)), [3, 0, 0], "nothing is embedded again");
    fs::write(&lines, "total owed\nowed\nowed total\n").expect("a small file");
    assert_eq!(counts(&json_of(&build)), [3, 1, 1]);
    for exact in [&["--exact"][..], &[]] {
        let asked = ["search", "query", &index, "total owed", "owed", "--count", "2", "--json"];
        let found = json_of(&[&asked[..], exact].concat());
        for (row, query) in [(0, "total owed"), (1, "owed")] {
            let (first, rest) = (&found[row]["found"][0], &found[row]["found"]);
            assert_eq!(
                (&found[row]["query"], &first["name"], rest.as_array().map(Vec::len)),
                (&json!(query), &json!(query), Some(2))
            );
            assert!((first["similarity"].as_f64().expect("a number") - 1.0).abs() < 1e-5);
        }
    }
    let table = text(&florin(&["search", "query", &index, "owed"]).stdout);
    assert!(table.contains("RANK") && table.contains("1.0000") && !table.contains("QUERY"), "{table}");
    // A copy of the model is the model; other weights under its name are not.
    let copy = at("copy");
    fs::rename(&model, &copy).expect("it is there");
    assert!(refusal(&["search", "query", &index, "owed"]).contains("say where it is with --model"));
    assert!(florin(&["search", "query", &index, "owed", "--model", &copy]).status.success());
    fs::write(Path::new(&copy).join("sentence_bert_config.json"), "{\"max_seq_length\": 4}").expect("a small file");
    let other = refusal(&["search", "query", &index, "owed", "--model", &copy]);
    assert!(other.contains("is not the model that the index was built with"), "{other}");
    let another = refusal(&["search", "build", &copy, &lines, "--index", &index]);
    assert!(another.contains("go into another folder"), "{another}");
    assert!(refusal(&["search", "query", &lines, "owed"]).contains("expected a folder with data.mdb"));
    assert_eq!(florin(&["search", "query", &index]).status.code(), Some(2));
}
