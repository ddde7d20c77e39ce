//! Every kind of fusion by its name in configurations: three modalities of 32 rows, the last absent from every fourth row, as one
//! vector a row and as 16 tokens a row.

#[path = "../../florin-nn/benches/frame/mod.rs"]
mod frame;

use burn::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use florin_fusion::{AnyFusion, Fusion, FusionConfig, Stream};
use florin_nn::{Mask, Modality, Tokens};
use frame::{Cases, random};

const BATCH: usize = 32;
const DIM: usize = 128;
const HEADS: usize = 4;
/// Each modality with its width.
const STREAMS: [(Modality, usize); 3] = [(Modality::Text, 256), (Modality::Layout, 64), (Modality::Image, 192)];
/// Tokens of a row where all modalities see the same ones.
const ALIGNED: usize = 16;

fn fusion(criterion: &mut Criterion) {
    let mut cases = Cases::new(criterion, "fusion");
    for kind in FusionConfig::KINDS {
        cases.block(&format!("{kind}_vectors"), |device| run(kind, 1, device));
        if works_on_tokens(kind) {
            cases.block(&format!("{kind}_tokens"), |device| run(kind, ALIGNED, device));
        }
    }
}

fn run(kind: &str, seq: usize, device: &Device) -> impl FnMut() -> Tensor<2> + use<> {
    let (fusion, streams) = (built(kind, device), streams(seq, device));
    move || fusion.fuse(&streams).embedding
}

/// Whether a kind gives a vector for each token; the others would only be timed on means.
fn works_on_tokens(kind: &str) -> bool {
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    built(kind, &device).fuse(&streams(2, &device)).tokens.is_some()
}

fn built(kind: &str, device: &Device) -> AnyFusion {
    FusionConfig::usual(kind, STREAMS.to_vec(), DIM, HEADS).expect("the kind is one of KINDS").init(device)
}

/// Three modalities of `seq` tokens a row, the last of which every fourth row lacks.
fn streams(seq: usize, device: &Device) -> Vec<Stream> {
    let stream = |(index, (modality, width)): (usize, (Modality, usize))| {
        let mask = Mask::all_kept(BATCH, seq, &device.clone().without_autodiff());
        let present = (0..BATCH).map(|row| index < 2 || row % 4 != 0).collect();
        Stream::tokens(modality, Tokens::new(random([BATCH, seq, width], device), mask)).present_in(present)
    };
    STREAMS.into_iter().enumerate().map(stream).collect()
}

criterion_group!(benches, fusion);
criterion_main!(benches);
