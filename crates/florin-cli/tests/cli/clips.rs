//! Clips as vectors, by a model of pictures and by one of clips.

use std::fs;

use serde_json::{Value, json};

use crate::{florin, path, refusal, text, untrained};

#[test]
fn a_clip_is_the_mean_of_its_frames_or_what_a_model_of_clips_sees() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let (pictures, clips, frames) = (at("clip"), at("videomae"), at("frames"));
    for (model, config, processor) in [
        (
            &pictures,
            json!({"model_type": "clip_vision_model", "architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 8, "intermediate_size": 8,
                "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 4, "patch_size": 2, "projection_dim": 6}),
            "CLIPImageProcessor",
        ),
        (
            &clips,
            json!({"model_type": "videomae", "architectures": ["VideoMAEModel"], "hidden_size": 8, "intermediate_size": 8, "num_frames": 4,
                "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 4, "patch_size": 2, "tubelet_size": 2}),
            "VideoMAEImageProcessor",
        ),
    ] {
        fs::create_dir(model).expect("a new folder");
        untrained(model, &config);
        let processor = json!({"image_processor_type": processor, "size": {"shortest_edge": 4}, "crop_size": {"height": 4, "width": 4}});
        fs::write(model.join("preprocessor_config.json"), processor.to_string()).expect("a small file");
    }
    fs::create_dir(&frames).expect("a new folder");
    for number in 0..5_u8 {
        let picture = image::RgbImage::from_fn(6, 5, |x, y| image::Rgb([number * 50, x as u8 * 40, y as u8 * 40]));
        picture.save(frames.join(format!("{number}.png"))).expect("a small picture");
    }
    let vectors = |arguments: &[&str]| -> Vec<Vec<f64>> {
        let said = florin(&[&["embed"], arguments].concat());
        assert!(said.status.success(), "{}", text(&said.stderr));
        let lines = text(&said.stdout);
        let row = |line: &str| serde_json::from_str::<Value>(line).expect("a line")["embedding"].clone();
        lines.lines().map(|line| serde_json::from_value(row(line)).expect("numbers")).collect()
    };
    let each = vectors(&[path(&pictures), path(&frames)]);
    let whole = vectors(&[path(&pictures), path(&frames), "--clips", "--frames", "3"]);
    assert_eq!((each.len(), whole.len(), whole[0].len()), (5, 1, 6));
    for (number, found) in whole[0].iter().enumerate() {
        // The first, the middle and the last.
        let mean = (each[0][number] + each[2][number] + each[4][number]) / 3.0;
        assert!((found - mean).abs() < 1e-6, "{found} is not {mean}");
    }
    let seen = vectors(&[path(&clips), path(&frames), "--clips"]);
    assert_eq!((seen.len(), seen[0].len()), (1, 8));
    let other = refusal(&["embed", path(&clips), path(&frames), "--clips", "--frames", "3"]);
    assert!(other.contains("expected 4, for which the model was made, found 3"), "{other}");
    fs::write(at("broken.gif"), b"GIF89a").expect("a small file");
    assert!(refusal(&["embed", path(&pictures), path(&at("broken.gif"))]).contains("broken.gif"));
}
