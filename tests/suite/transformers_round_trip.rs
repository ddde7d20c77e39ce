//! What Florin saves, transformers opens, with every number as it was; and what transformers saves in each way, Florin reads alike.
//!
//! Needs a Python with torch and transformers, named by `FLORIN_PYTHON`; a visible line says so where it is not.

use std::path::Path;
use std::process::Command;

use florin_models::weights::Weights;
use florin_models::{Precision, open};

/// Makes a tiny model in bfloat16 with a tokenizer: as safetensors in one piece and in shards, and as `.bin`.
const MAKE: &str = r#"
import sys, torch
from pathlib import Path
from transformers import BertConfig, BertForMaskedLM, BertTokenizer
folder = Path(sys.argv[1])
torch.manual_seed(0)
model = BertForMaskedLM(BertConfig(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
    max_position_embeddings=12)).to(torch.bfloat16)
model.save_pretrained(folder / "whole")
model.save_pretrained(folder / "shards", max_shard_size="4kB")
(folder / "bin").mkdir()
model.config.save_pretrained(folder / "bin")
torch.save(model.state_dict(), folder / "bin" / "pytorch_model.bin")
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [chr(ord("a") + n) for n in range(26)]
(folder / "vocab.txt").write_text("\n".join(words) + "\n")
BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "whole")
"#;

/// Opens what was saved and compares every tensor, bit for bit, and the tokenizer.
const CHECK: &str = r#"
import sys, torch
from transformers import AutoModelForMaskedLM, AutoTokenizer
before, after = sys.argv[1:3]
kind = getattr(torch, sys.argv[3])
one = AutoModelForMaskedLM.from_pretrained(before, dtype=torch.float32)
other, about = AutoModelForMaskedLM.from_pretrained(after, dtype="auto", output_loading_info=True)
assert other.dtype == kind, other.dtype
assert not about["missing_keys"] and not about["unexpected_keys"], about
for name, tensor in one.state_dict().items():
    assert torch.equal(tensor, other.state_dict()[name].to(torch.float32)), name
assert AutoTokenizer.from_pretrained(after)("a b c")["input_ids"] == AutoTokenizer.from_pretrained(before)("a b c")["input_ids"]
"#;

#[test]
fn what_is_saved_opens_in_transformers() {
    let Some(python) = std::env::var_os("FLORIN_PYTHON") else {
        eprintln!("skipped: FLORIN_PYTHON names no Python with torch and transformers");
        return;
    };
    let run = |script: &str, arguments: &[&Path]| {
        let output = Command::new(&python).args(["-B", "-c", script]).args(arguments).output().expect("Python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| scratch.path().join(name);
    run(MAKE, &[scratch.path()]);
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    let system = open(&at("whole"), &device).unwrap_or_else(|error| panic!("{error}"));
    for (precision, name) in [(Precision::Single, "float32"), (Precision::Stored, "bfloat16")] {
        system.save_as(&at(name), precision).unwrap_or_else(|error| panic!("{error}"));
        run(CHECK, &[&at("whole"), &at(name), Path::new(name)]);
    }
    for way in ["shards", "bin"] {
        let read = open(&at(way), &device).unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(read.parameters(), system.parameters(), "{way}");
    }
    let stored = Weights::open(&at("bfloat16")).expect("what was saved can be read");
    assert!(stored.names().all(|name| stored.format(name).as_deref() == Some("BF16")));
}
