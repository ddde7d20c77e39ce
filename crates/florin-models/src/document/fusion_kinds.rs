//! The document model with every kind of fusion: it reads, it learns, and a page without a picture is read as if there were no stream.

use std::sync::Arc;

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;
use florin_encoders::{BertConfig, LayoutConfig, VitConfig};
use florin_fusion::FusionConfig;
use florin_nn::parameters::collect;

use super::{
    DocumentBatch, DocumentConfig, DocumentFeatures, DocumentModel, DocumentOutput, PRINT_FEATURES, PictureFeatures,
    TextCache,
};

const SPECIAL: [u32; 3] = [1, 2, 0];

fn config(kind: &str) -> DocumentConfig {
    let text = BertConfig {
        vocab_size: 20,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 8,
        max_position_embeddings: 32,
        type_vocab_size: 1,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    };
    let mut config = DocumentConfig::new(vec!["date".into(), "total".into()], text);
    config.layout = Some(LayoutConfig { bins: 16, lines: 8, words: 8, print_features: PRINT_FEATURES, dim: 6 });
    config.image = Some(VitConfig {
        height: 8,
        width: 4,
        patch: 4,
        channels: 1,
        dim: 4,
        layers: 1,
        heads: 2,
        hidden: 8,
        class_token: false,
        epsilon: 1e-6,
    });
    (config.dim, config.heads, config.blocks, config.dropout) = (8, 2, 1, 0.0);
    config.fusion_kind = kind.into();
    config.validate().expect("small, but nothing is wrong with it");
    config
}

fn document(words: usize, pictured: bool) -> DocumentFeatures {
    let picture = PictureFeatures {
        ink: Arc::new((0..32).map(|pixel| (pixel * 7) as u8).collect()),
        pooling: (0..words).map(|word| vec![(word % 2, 1.0)]).collect(),
    };
    DocumentFeatures {
        pieces: (0..words).map(|word| Arc::from([3 + word as u32])).collect(),
        line_of: (0..words).map(|word| word / 2).collect(),
        boxes: (0..words).map(|word| [word as u16; 6]).collect(),
        ordinals: (0..words).map(|word| [word as u16; 4]).collect(),
        print: (0..words).map(|word| [0.1 * word as f32; PRINT_FEATURES]).collect(),
        centres: (0..words).map(|word| [(word % 2) as f32 * 4.0, (word / 2) as f32]).collect(),
        widths: vec![3.0; words],
        heights: vec![1.0; words],
        picture: pictured.then_some(picture),
    }
}

fn batch(config: &DocumentConfig, documents: &[&DocumentFeatures], device: &Device) -> DocumentBatch {
    DocumentBatch::new(documents, config, SPECIAL, &TextCache::new(), device)
}

fn device() -> Device {
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    florin_backend::seed(&device, 4);
    device
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().expect("f32")
}

/// Scores of one document's own words.
fn scores(output: &DocumentOutput, row: usize, words: usize) -> Vec<f32> {
    let of = |x: &Tensor<3>| numbers(x.clone().narrow(0, row, 1).narrow(2, 0, words));
    [of(&output.start), of(&output.inside), of(&output.end), numbers(output.none.clone().narrow(0, row, 1))].concat()
}

fn largest_gap(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, |most, gap| if gap > most { gap } else { most })
}

#[test]
fn every_kind_of_fusion_scores_words_and_learns() {
    struct Learnt<'a> {
        gradients: &'a mut burn::tensor::Gradients,
        moved: usize,
    }
    impl ModuleVisitor for Learnt<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad_remove(self.gradients).map(numbers).unwrap_or_default();
            assert!(gradient.iter().all(|x| x.is_finite()));
            self.moved += usize::from(gradient.iter().any(|x| *x != 0.0));
        }
    }
    let device = device().autodiff();
    for kind in FusionConfig::KINDS {
        let config = config(kind);
        let model = config.init(&device);
        let output = model.forward(&batch(&config, &[&document(5, true), &document(3, false)], &device));
        assert_eq!((output.start.dims(), output.none.dims()), ([2, 2, 5], [2, 2]), "{kind}");
        if let Some(weights) = &output.weights {
            let weights = numbers(weights.clone());
            assert!(weights[5] == 0.0 && (weights[3] + weights[4] - 1.0).abs() < 1e-5, "{kind}: {weights:?}");
        }
        let mut loss = output.start.square().sum() + output.end.sum() + output.inside.sum() + output.none.sum();
        if let Some(cost) = output.cost {
            loss = loss + cost;
        }
        let mut gradients = loss.backward();
        let mut learnt = Learnt { gradients: &mut gradients, moved: 0 };
        model.fusion.visit(&mut learnt);
        assert!(learnt.moved > 0, "{kind}: nothing in the fusion learns");
    }
}

#[test]
fn with_every_kind_of_fusion_a_page_is_read_alike_alone_and_among_others() {
    let device = device();
    for kind in FusionConfig::KINDS {
        let config = config(kind);
        let model: DocumentModel = config.init(&device);
        let [long, short] = [document(5, true), document(3, false)];
        let together = model.forward(&batch(&config, &[&long, &short], &device));
        let alone = model.forward(&batch(&config, &[&short], &device));
        assert!(largest_gap(&scores(&together, 1, 3), &scores(&alone, 0, 3)) < 1e-5, "{kind}: another page matters");

        let mut unpictured = batch(&config, &[&short], &device);
        unpictured.pictures = None;
        let unpictured = model.forward(&unpictured);
        assert!(largest_gap(&scores(&unpictured, 0, 3), &scores(&alone, 0, 3)) < 1e-5, "{kind}: no stream, no picture");
    }
}

#[test]
fn a_configuration_from_before_there_was_a_choice_means_attention_and_its_names_stay() {
    let mut written = serde_json::to_value(config("token_attention")).expect("a configuration can be written");
    written.as_object_mut().expect("an object").remove("fusion_kind");
    let read: DocumentConfig = serde_json::from_value(written).expect("the entry may be missing");
    assert_eq!(read, config("token_attention"));
    let names = collect(&read.init(&device()));
    for name in ["fusion.query.weight", "fusion.projections.2.bias"] {
        assert!(names.contains_key(name), "{name} is not among {:?}", names.keys().collect::<Vec<_>>());
    }
}

#[test]
fn an_unknown_kind_of_fusion_is_refused_with_those_there_are() {
    let mut config = config("token_attention");
    config.fusion_kind = "glue".into();
    let said = config.validate().expect_err("there is no such kind").to_string();
    assert!(said.contains("`glue`") && said.contains("token_attention"), "{said}");
}
