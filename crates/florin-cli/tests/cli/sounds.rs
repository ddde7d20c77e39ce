//! `florin embed` on sounds: tiny models of each kind, and files that the tests draw.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::{checkpoint, florin, json_of, path, receipt, refusal, text, untrained};

/// A WAV file of 16 bits whose channels all hold the same samples.
fn wav(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes().repeat(usize::from(channels))).collect();
    let header = [
        &16u32.to_le_bytes()[..],
        &1u16.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * u32::from(channels) * 2).to_le_bytes(),
        &(channels * 2).to_le_bytes(),
        &16u16.to_le_bytes(),
    ]
    .concat();
    let chunks = [b"fmt ", &header[..], b"data", &(data.len() as u32).to_le_bytes(), &data].concat();
    [b"RIFF", &(4 + chunks.len() as u32).to_le_bytes()[..], b"WAVE", &chunks].concat()
}

/// A tone of whole numbers.
fn tone(hertz: usize, rate: usize, count: usize) -> Vec<i16> {
    (0..count).map(|place| ((place * hertz % rate) * 20_000 / rate) as i16 - 10_000).collect()
}

/// Tiny models of sounds, each with its feature extractor: folder, vector's width.
fn models_of_sounds(folder: &Path) -> [(PathBuf, usize); 3] {
    let whisper = json!({"model_type": "whisper", "architectures": ["WhisperModel"], "num_mel_bins": 8, "d_model": 4,
        "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 6, "max_source_positions": 50});
    let ast = json!({"model_type": "audio-spectrogram-transformer", "architectures": ["ASTForAudioClassification"],
        "hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6, "patch_size": 8,
        "frequency_stride": 8, "time_stride": 8, "num_mel_bins": 16, "max_length": 40});
    let text = json!({"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 6, "max_position_embeddings": 5});
    let audio = json!({"num_mel_bins": 8, "spec_size": 24, "window_size": 3, "patch_size": 4, "depths": [1, 1],
        "num_attention_heads": [1, 2], "patch_embeds_hidden_size": 4});
    let clap = json!({"model_type": "clap", "architectures": ["ClapModel"], "projection_dim": 5, "text_config": text,
        "audio_config": audio});
    let extractors = [
        json!({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 8, "chunk_length": 1}),
        json!({"feature_extractor_type": "ASTFeatureExtractor", "num_mel_bins": 16, "max_length": 40}),
        json!({"feature_extractor": {"feature_extractor_type": "ClapFeatureExtractor", "feature_size": 8,
            "sampling_rate": 2000, "hop_length": 40, "max_length_s": 1, "fft_window_size": 128, "frequency_max": 1000,
            "truncation": "rand_trunc"}}),
    ];
    let files = ["preprocessor_config.json", "preprocessor_config.json", "processor_config.json"];
    let mut index = 0;
    [(whisper, 4), (ast, 6), (clap, 5)].map(|(config, dim)| {
        let model = folder.join(config["model_type"].as_str().expect("it is text"));
        fs::create_dir_all(&model).expect("a folder");
        untrained(&model, &config);
        fs::write(model.join(files[index]), extractors[index].to_string()).expect("a small file");
        index += 1;
        (model, dim)
    })
}

/// The vectors of some JSON lines, by name.
fn vectors(output: &Output) -> Vec<(String, Vec<f64>)> {
    let row = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line");
        let numbers = line["embedding"].as_array().expect("a vector").iter().filter_map(Value::as_f64).collect();
        (line["name"].as_str().expect("a name").to_owned(), numbers)
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(row).collect()
}

#[test]
fn sounds_become_vectors_whatever_their_rate_and_channels() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sounds = folder.path().join("sounds");
    fs::create_dir(&sounds).expect("a folder");
    let write = |name: &str, bytes: Vec<u8>| fs::write(sounds.join(name), bytes).expect("a small file");
    let (half, long) = (tone(440, 8_000, 4_000), tone(700, 16_000, 40_000));
    write("a_mono.wav", wav(1, 8_000, &half));
    write("b_stereo.wav", wav(2, 8_000, &half));
    write("c_long.wav", wav(1, 16_000, &long));
    write("d_first.wav", wav(1, 16_000, &long[..16_000]));
    for (model, dim) in models_of_sounds(folder.path()) {
        let said = florin(&["embed", path(&model), path(&sounds)]);
        let found = vectors(&said);
        assert!(found.iter().all(|(_, vector)| vector.len() == dim && vector.iter().all(|value| value.is_finite())));
        let names: Vec<&str> =
            found.iter().map(|(name, _)| Path::new(name).file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a_mono.wav", "b_stereo.wav", "c_long.wav", "d_first.wav"]);
        assert_eq!(found[0].1, found[1].1, "equal channels are one");
        assert_eq!(found[2].1, found[3].1, "of a long sound the beginning is read");
        assert_ne!(found[0].1, found[2].1);
        assert!(text(&said.stderr).contains("sounds of which only the first "), "{}", text(&said.stderr));
        // A column of a table and the lines of a file name sounds beside them.
        let (table, lines) = (sounds.join("of.csv"), sounds.join("of.txt"));
        fs::write(&table, "id,file\n1,d_first.wav\n2,a_mono.wav\n").expect("a small file");
        fs::write(&lines, "d_first.wav\na_mono.wav\n").expect("a small file");
        for list in [&table, &lines] {
            let listed = vectors(&florin(&["embed", path(&model), "--sounds", path(list), "--column", "file"]));
            assert_eq!(listed, [found[3].clone(), found[0].clone()]);
        }
        let out = folder.path().join("sounds.npy");
        let done = json_of(&["embed", path(&model), "--audio", path(&sounds), "--out", path(&out), "--json"]);
        assert_eq!((done["rows"].as_u64(), done["dim"].as_u64()), (Some(4), Some(dim as u64)));
    }
}

#[test]
fn the_vector_of_a_sound_is_the_mean_over_its_frames() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [(model, dim), ..] = models_of_sounds(folder.path());
    let (samples, file) = (tone(440, 16_000, 8_081), folder.path().join("call.wav"));
    fs::write(&file, wav(1, 16_000, &samples)).expect("a small file");
    let found = vectors(&florin(&["embed", path(&model), path(&file)]));
    let samples: Vec<f32> = samples.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
    let extractor =
        florin_data::log_mel::WhisperLogMelConfig { feature_size: 8, chunk_length: 1, ..Default::default() };
    let log_mel = extractor.init().and_then(|mut extractor| extractor.extract(&samples)).expect("a sound");
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    let inputs = florin_models::Inputs::new(&device).floats("input_features", &[1, 8, 100], log_mel.values);
    let outputs = florin_models::open(&model, &device).and_then(|system| system.forward(&inputs)).expect("it computes");
    let last = outputs.get("last_hidden_state").expect("Whisper gives it").values.to_data();
    let last = last.try_to_vec::<f32>().expect("f32");
    // 51 frames begin within the sound, and 26 vectors within those.
    for (index, value) in found[0].1.iter().enumerate() {
        let mean = last.chunks(dim).take(26).map(|vector| f64::from(vector[index])).sum::<f64>() / 26.0;
        assert!((mean - value).abs() < 1e-5, "{mean} {value}");
    }
}

#[test]
fn what_is_no_sound_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [(whisper, _), (ast, _), (clap, _)] = models_of_sounds(folder.path());
    let at = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("a small file");
        file
    };
    let tone = at("tone.wav", &wav(1, 16_000, &tone(440, 16_000, 399)));
    let refused = |arguments: &[&str], part: &str| {
        let said = refusal(arguments);
        assert!(said.contains(part), "{said}");
    };
    refused(&["embed", path(&whisper), path(&at("empty.wav", &[]))], "empty.wav: it is empty");
    refused(&["embed", path(&whisper), path(&at("none.wav", &wav(1, 16_000, &[])))], "none.wav: it holds no samples");
    refused(&["embed", path(&whisper), path(&at("page.mp3", &[b'x'; 999]))], "page.mp3");
    refused(&["embed", path(&ast), path(&tone)], "tone.wav: it has 399 samples, expected at least 400");
    let (picture, _) = receipt(folder.path());
    refused(&["embed", path(&whisper), path(&picture)], "expected one that takes pictures");
    refused(&["embed", path(&whisper), "--sounds", path(&picture)], "expected a sound; known: .wav");
    refused(
        &["embed", path(&whisper), path(&picture), path(&tone)],
        "choose one kind with --pictures, --sounds or --clips",
    );
    refused(&["embed", path(&whisper), "--text", "a", path(&tone)], "texts and sounds go separately");
    refused(&["embed", path(&whisper), "--text", "a"], "expected one that takes texts");
    let list = at("list.txt", b"tone.wav\n\n");
    refused(&["embed", path(&whisper), "--sounds", path(&list)], "list.txt: row 2 names no file");
    let list = at("list.txt", b"nowhere.wav\n");
    refused(&["embed", path(&whisper), "--sounds", path(&list)], "nowhere.wav");
    assert_eq!(florin(&["embed", path(&whisper), "--sounds", "--text", "a"]).status.code(), Some(2));
    // A log-mel of another kind than the model's, one of other sizes, and none.
    fs::copy(ast.join("preprocessor_config.json"), whisper.join("preprocessor_config.json")).expect("it is there");
    refused(
        &["embed", path(&whisper), path(&tone)],
        "feature extractor: expected input_features [batch, bands, frames]",
    );
    fs::write(clap.join("processor_config.json"), r#"{"feature_extractor_type": "ClapFeatureExtractor"}"#)
        .expect("written");
    refused(
        &["embed", path(&clap), path(&tone)],
        "expected 1 pictures of at most 72 frames of 8 bands, found 4 of 1001",
    );
    fs::remove_file(ast.join("preprocessor_config.json")).expect("it was there");
    refused(&["embed", path(&ast), path(&tone)], "preprocessor_config.json");
    let bert = folder.path().join("bert");
    fs::create_dir(&bert).expect("a folder");
    checkpoint(&bert);
    refused(&["embed", path(&bert), path(&tone)], "expected one that takes sounds");
}
