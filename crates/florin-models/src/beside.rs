//! What a checkpoint's folder holds beside configuration and weights, by the names that transformers gives it.

use std::path::Path;

use serde_json::Value;

use crate::ModelError;

/// What turns text into ids.
pub const TOKENIZER: [&str; 14] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "normalizer.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// What turns pictures and sounds into numbers.
pub const PREPROCESSOR: [&str; 4] = [
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
];

/// What says how a model is used: sentence-transformers' pooling, and generation.
const USE: [&str; 5] = [
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
];

/// Those of some files that a folder has.
pub fn present(folder: &Path, names: &[&'static str]) -> Vec<&'static str> {
    names.iter().copied().filter(|name| folder.join(name).is_file()).collect()
}

/// Copies all of them to another folder, so that what is saved opens with its tokenizer and image processor.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), ModelError> {
    let all = [&TOKENIZER[..], &PREPROCESSOR, &USE].concat();
    for name in present(from, &all) {
        let (source, target) = (from.join(name), to.join(name));
        // A folder saved onto itself has them already.
        if target.is_file() && source.canonicalize().ok() == target.canonicalize().ok() {
            continue;
        }
        let bytes = std::fs::read(&source).map_err(|error| ModelError::File { path: source, source: error })?;
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(|source| ModelError::File { path: folder.into(), source })?;
        }
        florin_data::files::write_atomically(&target, |writer| std::io::Write::write_all(writer, &bytes))?;
    }
    Ok(())
}

/// Checks that every id of a folder's tokenizer is below a model's vocabulary: an embedding that is not there would be asked for.
/// A folder without `tokenizer.json` and `vocab.txt` says nothing.
pub fn check_vocabulary(folder: &Path, vocabulary: usize) -> Result<(), ModelError> {
    for (name, largest) in
        [("tokenizer.json", of_json as fn(&str) -> Result<Option<u64>, String>), ("vocab.txt", of_lines)]
    {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|source| ModelError::File { path: path.clone(), source })?;
        let largest = largest(&text).map_err(|reason| ModelError::Configuration { path: path.clone(), reason })?;
        return match largest {
            Some(largest) if largest >= vocabulary as u64 => Err(ModelError::Vocabulary { path, largest, vocabulary }),
            _ => Ok(()),
        };
    }
    Ok(())
}

/// The largest id of a `tokenizer.json`: of its vocabulary, a table or a list, and of what was added.
fn of_json(text: &str) -> Result<Option<u64>, String> {
    let tokenizer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let largest = match &tokenizer["model"]["vocab"] {
        Value::Object(table) => table.values().filter_map(Value::as_u64).max(),
        Value::Array(list) => (list.len() as u64).checked_sub(1),
        _ => return Err("`model.vocab` is missing".to_owned()),
    };
    let added =
        tokenizer["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64()).max();
    Ok(largest.max(added))
}

fn of_lines(text: &str) -> Result<Option<u64>, String> {
    Ok((text.lines().count() as u64).checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_with_more_ids_than_the_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(check_vocabulary(folder.path(), 1).is_ok(), "nothing is said without a tokenizer");
        write("vocab.txt", "a\nb\nc\n");
        assert!(check_vocabulary(folder.path(), 3).is_ok() && check_vocabulary(folder.path(), 2).is_err());
        write(
            "tokenizer.json",
            r#"{"model": {"vocab": {"a": 0, "b": 6}}, "added_tokens": [{"id": 7, "content": "c"}]}"#,
        );
        assert!(check_vocabulary(folder.path(), 8).is_ok());
        let error = check_vocabulary(folder.path(), 7).unwrap_err().to_string();
        assert!(error.ends_with("the largest id is 7, expected below the model's vocabulary of 7"), "{error}");
        write("tokenizer.json", r#"{"model": {"vocab": [["a", 0.0], ["b", -1.0]]}}"#);
        assert!(check_vocabulary(folder.path(), 2).is_ok() && check_vocabulary(folder.path(), 1).is_err());
        write("tokenizer.json", "{}");
        assert!(check_vocabulary(folder.path(), 2).unwrap_err().to_string().contains("`model.vocab` is missing"));
    }
}
