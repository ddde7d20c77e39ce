//! What is done with bytes that nobody vouches for. Nothing here may panic, hang or take memory without bound; errors are fine.
//!
//! `fuzz_corpus` calls these functions on the committed corpus, and the targets of `fuzz` on what libFuzzer makes of it.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use burn::prelude::Device;
use florin_data::image_processor::ImageProcessor;
use florin_data::resample::Pixels;
use florin_data::sound_processor::SoundProcessor;
use florin_data::text_tokens::TextTokens;
use florin_models::checkpoint;
use florin_models::names::Names;
use florin_models::verify::check_reference;
use florin_models::weights::Weights;
use florin_nn::Linear;
use image::ImageReader;
use tempfile::TempDir;

/// A configuration that fits the weights that [`config`] puts beside what it is given.
pub(crate) const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 3, "hidden_size": 2,
    "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 2, "max_position_embeddings": 2, "type_vocab_size": 1}"#;

/// A safetensors file: every tensor of it in every way, and a layer filled with it.
pub(crate) fn safetensors(bytes: &[u8]) -> bool {
    read_all(Weights::from_bytes(bytes.to_vec(), Path::new("model.safetensors")))
}

/// A file that `torch.save` wrote.
pub(crate) fn torch(bytes: &[u8]) -> bool {
    read_all(Weights::from_torch_bytes(bytes.to_vec(), Path::new("pytorch_model.bin")))
}

/// A file of CTranslate2.
pub(crate) fn ctranslate2(bytes: &[u8]) -> bool {
    read_all(Weights::from_ctranslate2_bytes(bytes.to_vec(), Path::new("model.bin")))
}

/// A `tokenizer.json`, and a sentence in its words.
pub(crate) fn tokenizer(bytes: &[u8]) -> bool {
    let read = TextTokens::from_json(Path::new("tokenizer.json"), bytes, 8);
    read.is_ok_and(|tokens| tokens.encode(&["Net income rose 7% to €3.2bn.", ""]).is_ok())
}

/// How pictures and sounds are prepared, and one of each that is.
pub(crate) fn preprocessor(bytes: &[u8]) -> bool {
    let path = Path::new("preprocessor_config.json");
    let picture = ImageProcessor::from_json(path, bytes);
    // A side may be 4096, which is allowed, and too slow to be done millions of times; and so may a second of sound.
    let is_small = !bytes.windows(3).any(|digits| digits.iter().all(u8::is_ascii_digit));
    if let Some(processor) = picture.as_ref().ok().filter(|_| is_small) {
        let pixels = Pixels { width: 3, height: 2, channels: 3, bytes: (0..18).collect() };
        let prepared = processor.prepare(&pixels);
        assert_eq!(prepared.values.len(), 3 * prepared.height * prepared.width, "a picture has all its pixels");
    }
    let sound = SoundProcessor::from_json(path, bytes);
    let is_read = picture.is_ok() || sound.is_ok();
    if let Some(mut processor) = sound.ok().filter(|processor| processor.most_samples() <= 2000) {
        let _ = processor.prepare(&[0.25; 64]);
    }
    is_read
}

/// A picture; a large one would be read, and be too slow.
pub(crate) fn picture(bytes: &[u8]) -> bool {
    let sides = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map(ImageReader::into_dimensions);
    if let Ok(Ok((width, height))) = sides
        && u64::from(width) * u64::from(height) > 1 << 18
    {
        return false;
    }
    florin_data::picture::decode_bytes("picture", bytes).is_ok()
}

/// An animated GIF, of which four frames are wanted; a large one would be refused or read, and be too slow either way.
pub(crate) fn clip(bytes: &[u8]) -> bool {
    let side = |at: usize| bytes.get(at..at + 2).map_or(0, |side| usize::from(side[0]) + 256 * usize::from(side[1]));
    if side(6) * side(8) > 1 << 16 {
        return false;
    }
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let path = FOLDER.get_or_init(scratch).path().join("clip.gif");
    fs::write(&path, bytes).expect("the scratch folder is writable");
    florin_data::clip::read_frames(&path, 4).is_ok()
}

/// A sound, of which five seconds are wanted, at another rate if it is short; a long one, or one of an odd rate, would take most of the time.
pub(crate) fn sound(bytes: &[u8]) -> bool {
    let sound = florin_data::sound::from_bytes(bytes.to_vec(), Path::new("sound"), 5);
    if let Some(sound) = sound.as_ref().ok().filter(|sound| sound.samples.len() < 1_000 && sound.rate % 1_000 == 0) {
        assert!(florin_data::sound::resampled(&sound.samples, sound.rate, 16_000).is_ok(), "a rate that was read");
    }
    sound.is_ok()
}

/// The index of two files that are there.
pub(crate) fn index(bytes: &[u8]) -> bool {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = scratch();
        for (file, name) in [("one.safetensors", "a"), ("two.safetensors", "b")] {
            fs::write(folder.path().join(file), one_tensor(name)).expect("the scratch folder is writable");
        }
        folder
    });
    fs::write(folder.path().join("model.safetensors.index.json"), bytes).expect("the scratch folder is writable");
    read_all(Weights::open(folder.path()))
}

/// A configuration: asked for its sizes, and if it has any, opened with the weights of a tiny model.
pub(crate) fn config(bytes: &[u8]) -> bool {
    static ALONE: OnceLock<TempDir> = OnceLock::new();
    static BESIDE: OnceLock<TempDir> = OnceLock::new();
    let alone = ALONE.get_or_init(scratch);
    fs::write(alone.path().join("config.json"), bytes).expect("the scratch folder is writable");
    if florin_models::inspect::inspect(alone.path(), device()).is_err() {
        return false;
    }
    let folder = BESIDE.get_or_init(|| {
        let folder = scratch();
        fs::write(folder.path().join("config.json"), CONFIG).expect("the scratch folder is writable");
        let described =
            florin_models::system::Checkpoint::describe(folder.path()).and_then(|found| found.system(device()));
        described.and_then(|system| system.save(folder.path())).expect("a tiny model can be saved");
        folder
    });
    fs::write(folder.path().join("config.json"), bytes).expect("the scratch folder is writable");
    florin_models::open(folder.path(), device()).is_ok()
}

/// A file of inputs and outputs.
pub(crate) fn reference(bytes: &[u8]) -> bool {
    let weights = Weights::from_bytes(bytes.to_vec(), Path::new("reference.safetensors"));
    weights.and_then(|weights| check_reference(weights, device())).is_ok()
}

fn read_all(weights: Result<Weights, florin_models::ModelError>) -> bool {
    let Ok(weights) = weights else { return false };
    for name in weights.names() {
        let count: usize = weights.shape(name).expect("a tensor has a shape").iter().product();
        for found in [weights.values(name).map(|v| v.len()), weights.wide_values(name).map(|v| v.len())] {
            assert!(
                found.is_err() || found.is_ok_and(|found| found == count),
                "{name} has as many values as its shape says"
            );
        }
    }
    for format in [None, weights.packed_format()] {
        let layer = florin_nn::unfilled(|| Linear::new(2, 2, device()));
        let _ = checkpoint::fill(layer, &weights, &Names::own(), format);
    }
    true
}

fn one_tensor(name: &str) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(1f32.to_le_bytes());
    bytes
}

/// In memory where the machine has a folder for that: millions of files are written.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| florin_backend::device("cpu").expect("the cpu device is always there"))
}
