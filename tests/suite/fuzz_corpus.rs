//! The readers of untrusted bytes on a corpus of small files, the seeds that fuzzing starts from.
//!
//! A file called `good_*` must be read; the rest only must not panic, hang or ask for memory without bound.

use std::fs;
use std::path::{Path, PathBuf};

use florin_models::weights::Weights;

use crate::fuzz_readers as readers;

#[test]
fn fuzz_corpus_is_read_or_refused() {
    type Reader = fn(&[u8]) -> bool;
    let readers: [(&str, Reader); 11] = [
        ("safetensors", readers::safetensors),
        ("torch", readers::torch),
        ("ctranslate2", readers::ctranslate2),
        ("tokenizer", readers::tokenizer),
        ("preprocessor", readers::preprocessor),
        ("picture", readers::picture),
        ("clip", readers::clip),
        ("sound", readers::sound),
        ("index", readers::index),
        ("config", readers::config),
        ("reference", readers::reference),
    ];
    for (name, read) in readers {
        let files = files(name);
        assert!(!files.is_empty(), "{name}: the corpus is there");
        for path in files {
            let bytes = fs::read(&path).expect("the corpus is readable");
            let is_good = path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("good_"));
            assert!(read(&bytes) || !is_good, "{} is read", path.display());
        }
    }
}

/// The numbers are those that `tests/fuzz-corpus/seeds.py` counts up from one.
#[test]
fn torch_files_give_the_numbers_that_torch_saved() {
    for old in ["", "old_"] {
        let weights = open(&format!("good_{old}views.bin"));
        let values = |name: &str| weights.values(name).expect("the tensor is there").into_owned();
        assert_eq!(weights.shape("transposed"), Some(&[6, 4][..]));
        assert_eq!(values("transposed")[..5], [1.0, 7.0, 13.0, 19.0, 2.0]);
        assert_eq!(values("rows"), (7..19).map(|value| value as f32).collect::<Vec<_>>());
        assert_eq!(values("columns"), [3.0, 4.0, 9.0, 10.0, 15.0, 16.0, 21.0, 22.0]);
        assert_eq!(values("steps"), [1.0, 4.0, 13.0, 16.0]);
        assert_eq!(values("same").len(), 24);
        assert_eq!(open(&format!("good_{old}layer.bin")).values("weight").expect("there")[..], [1.0, 2.0, 3.0, 4.0]);
    }
    let kinds = open("good_kinds.bin");
    for name in ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"] {
        assert_eq!(kinds.wide_values(name).expect("every format is read"), [1.0, 2.0, 3.0], "{name}");
    }
    assert_eq!(kinds.whole_numbers("bool").expect("yes and no are read"), [1, 0]);
    let odd = open("good_number_and_empty.bin");
    assert_eq!((odd.shape("number"), odd.shape("empty")), (Some(&[][..]), Some(&[0, 3][..])));
    let values = |name: &str| odd.values(name).expect("there").into_owned();
    assert_eq!((values("number"), values("empty")), (vec![7.0], vec![]));
}

#[test]
fn nothing_in_a_torch_file_is_executed() {
    // `os.system("true")`, as a pickle of protocol 2 calls it, in the place of the tensors.
    let call = b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.";
    let mut file =
        fs::read(files("torch").into_iter().find(|path| path.ends_with("good_old_layer.bin")).expect("a seed"))
            .expect("the corpus is readable");
    let mark = file.windows(2).position(|two| two == b"\x19.").expect("the first number ends so") + 2;
    file.truncate(mark);
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}.");
    file.extend(call);
    let error = Weights::from_torch_bytes(file, Path::new("pytorch_model.bin")).unwrap_err().to_string();
    assert!(error.contains("`posix.system` is not needed to hold tensors; nothing of a file is executed"), "{error}");
}

fn open(name: &str) -> Weights {
    let path = folder("torch").join(name);
    Weights::open_file(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder(name)).expect("the corpus is there").map(|entry| entry.expect("a file").path()).collect();
    found.sort();
    found
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-corpus").join(name)
}
