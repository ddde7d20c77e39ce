//! Golden, parity and command-line tests of the whole workspace, in one binary.
//!
//! `golden_*` compare with the f64 oracle that `tests/golden` (Python) writes to fixtures; `parity` compares the devices of
//! this build with each other. Run one kind with `cargo test -p florin-tests golden` or `... parity`.

mod golden_fixture;
mod golden_tolerance;
mod golden_weights;

mod golden_attention;
mod golden_attention_blocks;
mod golden_attention_levels;
mod golden_bert;
mod golden_block;
mod golden_contrast;
mod golden_contrast_memory;
mod golden_contrast_more;
mod golden_distillation;
mod golden_document;
mod golden_fusion_tokens;
mod golden_fusion_vectors;
mod golden_layout;
mod golden_log_mel;
mod golden_mixed_precision;
mod golden_objectives;
mod golden_span;
mod golden_systems;
mod golden_token_attention;
mod golden_trace;
mod golden_vit;

mod fuzz_corpus;
mod fuzz_readers;
mod systems_alone;
mod transformers_round_trip;

mod planted_retrieval;

mod parity;
mod parity_operations;

#[path = "../../crates/florin/examples/planted/mod.rs"]
mod planted;
mod planted_fusion;
