//! Multimodal models for finance: the facade over Florin's crates.
