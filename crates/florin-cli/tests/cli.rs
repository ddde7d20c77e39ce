//! The binary as users and their accidents treat it: what it promises, what it leaves behind, and what it says of bad input.

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/clips.rs"]
mod clips;
#[path = "cli/precision.rs"]
mod precision;
#[path = "cli/search.rs"]
mod search;
#[path = "cli/sounds.rs"]
mod sounds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use florin_data::labelled::{LabelledSet, save_pack};
use florin_finance::receipts::drawn::{Templates, draw_set};
use serde_json::{Value, json};
use tempfile::TempDir;

const TINY: &str =
    "drawn_training = 12\ndrawn_held_out = 4\nepochs = 2\nbatch = 4\nevaluations = 1\ncheckpoint_every = 1\n";

fn florin(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_florin")).args(arguments).output().expect("the binary starts");
    assert!(!text(&output.stderr).contains("panicked"), "florin {arguments:?} panicked: {}", text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// A call that must work, and its JSON.
fn json_of(arguments: &[&str]) -> Value {
    let output = florin(arguments);
    assert!(output.status.success(), "florin {arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout is one JSON document")
}

/// A call that must fail with exit code 1, and what it says.
fn refusal(arguments: &[&str]) -> String {
    let output = florin(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "florin {arguments:?} should fail with 1: {said}");
    assert!(said.contains("error: "), "florin {arguments:?} must say what is wrong: {said}");
    said
}

struct World {
    folder: TempDir,
}

impl World {
    /// One tiny trained run, shared by the tests of a process.
    fn get() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let world = World { folder: tempfile::tempdir().expect("a temporary folder") };
            fs::write(world.at("tiny.toml"), TINY).expect("a small file");
            let run = json_of(&[
                "run",
                "receipts",
                "--config",
                &world.name("tiny.toml"),
                "--out",
                &world.name("run"),
                "--json",
            ]);
            assert_eq!(run["metrics"]["documents"], 4);
            save_pack(world.at("pack"), &drawn(3)).expect("drawn receipts can be saved");
            world
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        path(&self.at(name)).to_owned()
    }
}

fn drawn(count: usize) -> LabelledSet {
    draw_set(count, 5, Templates::HeldOut)
}

/// A drawn receipt as a picture with OCR lines beside it.
fn receipt(folder: &Path) -> (PathBuf, PathBuf) {
    let document = &drawn(1).documents[0];
    let picture = folder.join("receipt.png");
    document.picture.load().expect("drawn").expect("drawn").save(&picture).expect("a picture can be saved");
    let lines: Vec<Value> = document
        .document
        .lines
        .iter()
        .map(|l| json!({"text": l.text, "box": [l.bounds.left, l.bounds.top, l.bounds.right, l.bounds.bottom]}))
        .collect();
    let lines = json!({"width": document.document.width, "height": document.document.height, "lines": lines});
    let ocr = folder.join("lines.json");
    fs::write(&ocr, lines.to_string()).expect("a small file");
    (picture, ocr)
}

#[test]
fn help_shows_examples_and_wrong_usage_is_two() {
    for command in ["run", "predict", "evaluate", "pull", "inspect", "verify", "embed", "classify", "bench"] {
        let output = florin(&[command, "--help"]);
        assert!(output.status.success() && text(&output.stdout).contains("EXAMPLES"), "{command}");
    }
    assert!(text(&florin(&["--help"]).stdout).contains("EXAMPLES"));
    assert_eq!(florin(&["read"]).status.code(), Some(2));
    assert_eq!(florin(&["predict", "receipts", "a.png", "--weights", "x", "--abstain", "2"]).status.code(), Some(2));
    assert!(json_of(&["devices", "--json"]).as_array().is_some_and(|list| list[0]["name"] == "cpu"));
    assert!(json_of(&["tasks", "--json"]).as_array().is_some_and(|list| list[0]["name"] == "receipts"));
}

#[test]
fn a_run_leaves_everything_and_reads_pictures_and_folders() {
    let world = World::get();
    for file in [
        "config.toml",
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "task.json",
        "metrics.json",
        "report.html",
        "log.jsonl",
        "predictions.json",
        "checkpoint.safetensors",
    ] {
        assert!(world.at("run").join(file).exists(), "{file} is missing");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (picture, ocr) = receipt(folder.path());
    let drawing = folder.path().join("drawing.png");
    let read = json_of(&[
        "predict",
        "receipts",
        path(&picture),
        "--weights",
        &world.name("run"),
        "--ocr",
        path(&ocr),
        "--draw",
        path(&drawing),
        "--json",
    ]);
    assert_eq!(read["fields"].as_array().map(Vec::len), Some(4));
    for field in read["fields"].as_array().expect("fields") {
        assert!(field["confidence"].as_f64().is_some_and(|p| (0.0..=1.0).contains(&p)), "{field}");
    }
    assert!(image::open(&drawing).is_ok_and(|drawn| drawn.height() > 100));

    // A folder: good, bad, and read again only where that is needed.
    fs::rename(&ocr, folder.path().join("receipt.json")).expect("renamed");
    fs::remove_file(&drawing).expect("removed");
    fs::write(folder.path().join("broken.jpg"), b"no picture").expect("a small file");
    fs::write(folder.path().join("broken.json"), "{\"width\":1,\"height\":1,\"lines\":[]}").expect("a small file");
    let table = folder.path().join("out.csv");
    let call = ["predict", "receipts", path(folder.path()), "--weights", &world.name("run"), "--csv", path(&table)];
    assert!(refusal(&call).contains("1 of 2"), "one bad file fails the call but not the other file");
    let rows = fs::read_to_string(&table).expect("the table is there");
    assert!(rows.contains("\nreceipt.png,") && rows.contains("\nbroken.jpg,"), "{rows}");
    // The good picture's row stays as it is; the bad one is tried again, until it can be read.
    assert!(refusal(&call).contains("1 of 1"));
    assert_eq!(fs::read_to_string(&table).expect("still there").lines().count(), 3);
    fs::copy(&picture, folder.path().join("broken.jpg")).expect("mended");
    fs::copy(folder.path().join("receipt.json"), folder.path().join("broken.json")).expect("mended");
    let mended = florin(&call);
    assert!(mended.status.success(), "{}", text(&mended.stderr));
    let found = fs::read_to_string(&table).expect("still there");
    let good = rows.lines().find(|row| row.starts_with("receipt.png,")).expect("read before");
    assert!(found.contains(good) && found.lines().count() == 3 && !found.contains("cannot read"), "{found}");
    let again = florin(&call);
    assert!(again.status.success(), "nothing is left to do: {}", text(&again.stderr));
    assert_eq!(fs::read_to_string(&table).expect("still there"), found);

    let metrics =
        json_of(&["evaluate", "receipts", "--weights", &world.name("run"), "--data", &world.name("pack"), "--json"]);
    assert_eq!(metrics["documents"], 3);
}

#[test]
fn the_fusion_is_chosen_by_name() {
    let help = florin(&["run", "--help"]);
    assert!(text(&help.stdout).contains("token_attention"), "the help must list the kinds");
    let unknown = florin(&["run", "receipts", "--fusion", "glue"]);
    let said = text(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    assert!(said.contains("glue") && said.contains("token_attention") && said.contains("mult"), "{said}");

    let world = World::get();
    let (tiny, run) = (world.name("tiny.toml"), world.name("run"));
    let other = refusal(&["run", "receipts", "--config", &tiny, "--out", &run, "--resume", "--fusion", "mult"]);
    assert!(other.contains("other settings"), "{other}");
    fs::write(world.at("glue.toml"), format!("{TINY}fusion = \"glue\"\n")).expect("a small file");
    let unknown = refusal(&["run", "receipts", "--config", &world.name("glue.toml"), "--out", &world.name("glue")]);
    assert!(unknown.contains("glue") && unknown.contains("token_attention"), "{unknown}");
}

#[test]
fn a_run_with_another_fusion_keeps_it_and_reads_with_it() {
    let world = World::get();
    let out = world.name("bottlenecks");
    let tiny = world.name("tiny.toml");
    let run = json_of(&["run", "receipts", "--config", &tiny, "--out", &out, "--fusion", "bottleneck", "--json"]);
    assert_eq!(run["metrics"]["documents"], 4);
    let kept = |name: &str| fs::read_to_string(world.at("bottlenecks").join(name)).expect("the run wrote it");
    assert!(kept("config.toml").contains("fusion = \"bottleneck\""));
    assert!(kept("config.json").contains("\"fusion_kind\": \"bottleneck\""));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (picture, ocr) = receipt(folder.path());
    let read = json_of(&["predict", "receipts", path(&picture), "--weights", &out, "--ocr", path(&ocr), "--json"]);
    assert_eq!(read["modality_weights"], json!([]), "this kind defines no weights");
}

#[test]
fn a_run_that_stands_there_is_not_overwritten() {
    let world = World::get();
    let said = refusal(&["run", "receipts", "--config", &world.name("tiny.toml"), "--out", &world.name("run")]);
    assert!(said.contains("--resume"), "{said}");
}

#[test]
fn a_killed_run_goes_on_to_the_same_end() {
    let world = World::get();
    let run = world.at("killed");
    let call = ["run", "receipts", "--config", &world.name("tiny.toml"), "--out", path(&run)];
    let mut child = Command::new(env!("CARGO_BIN_EXE_florin"))
        .args(call)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary starts");
    let began = Instant::now();
    while !run.join("checkpoint.safetensors").exists() && began.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("kill -9");
    child.wait().expect("it is gone");
    let resumed = florin(&[&call[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    let read = |folder: &Path, name: &str| fs::read(folder.join(name)).expect("the file is there");
    assert_eq!(
        read(&run, "model.safetensors"),
        read(&world.at("run"), "model.safetensors"),
        "the weights must be the same"
    );
    assert_eq!(read(&run, "metrics.json"), read(&world.at("run"), "metrics.json"));
}

#[test]
fn a_kill_while_a_checkpoint_is_written_loses_nothing() {
    let world = World::get();
    let run = world.at("torn");
    fs::create_dir_all(&run).expect("a folder");
    for file in ["config.toml", "checkpoint.safetensors"] {
        fs::copy(world.at("run").join(file), run.join(file)).expect("copied");
    }
    // What a kill leaves: half a temporary file beside the whole one.
    fs::write(run.join(".tmp-checkpoint"), b"half").expect("a small file");
    let resumed = florin(&["run", "receipts", "--out", path(&run), "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    // And a checkpoint that is damaged says so.
    let damaged = world.at("damaged");
    fs::create_dir_all(&damaged).expect("a folder");
    fs::copy(run.join("config.toml"), damaged.join("config.toml")).expect("copied");
    let whole = fs::read(run.join("checkpoint.safetensors")).expect("there");
    fs::write(damaged.join("checkpoint.safetensors"), &whole[..whole.len() / 2]).expect("written");
    let said = refusal(&["run", "receipts", "--out", path(&damaged), "--resume"]);
    assert!(said.contains("checkpoint.safetensors") && said.contains("not a readable checkpoint"), "{said}");
}

#[test]
fn bad_pictures_are_refused_by_name() {
    let world = World::get();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (picture, ocr) = receipt(folder.path());
    let whole = fs::read(&picture).expect("there");
    let cases = [
        ("truncated.png", whole[..whole.len() / 2].to_vec()),
        ("text.jpg", b"this is no picture".to_vec()),
        ("empty.png", vec![]),
        ("bomb.png", bomb()),
    ];
    for (name, bytes) in cases {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("a small file");
        let said = refusal(&["predict", "receipts", path(&file), "--weights", &world.name("run"), "--ocr", path(&ocr)]);
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(refusal(&["predict", "receipts", "nowhere.png", "--weights", &world.name("run")]).contains("nowhere.png"));
}

/// A PNG whose header promises 30,000 x 30,000 pixels.
fn bomb() -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(30_000u32.to_be_bytes());
    header.extend(30_000u32.to_be_bytes());
    header.extend([8, 0, 0, 0, 0]);
    let mut crc = 0xffff_ffffu32;
    for byte in &header {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        }
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(13u32.to_be_bytes());
    file.extend(header);
    file.extend((!crc).to_be_bytes());
    file
}

#[test]
fn bad_lines_are_refused_and_odd_ones_are_read() {
    let world = World::get();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (picture, _) = receipt(folder.path());
    let (width, height) = image::image_dimensions(&picture).expect("a picture");
    let ocr = folder.path().join("other.json");
    let with = |lines: String| {
        fs::write(&ocr, format!("{{\"width\":{width},\"height\":{height},\"lines\":[{lines}]}}"))
            .expect("a small file");
        ["predict", "receipts", path(&picture), "--weights", &world.name("run"), "--ocr", path(&ocr), "--json"]
            .map(str::to_owned)
    };
    fn words(call: &[String]) -> Vec<&str> {
        call.iter().map(String::as_str).collect()
    }
    for lines in [
        "{\"text\":\"A\",\"box\":[NaN,0,1,1]}",
        "{\"text\":\"A\",\"box\":[1e999,0,1,1]}",
        "{\"text\":\"A\"}",
        "nonsense",
    ] {
        let said = refusal(&words(&with(lines.into())));
        assert!(said.contains("other.json"), "{lines}: {said}");
    }
    // Outside the picture, and nothing at all: an answer, with every field absent or not, and no panic.
    let outside = with("{\"text\":\"TOTAL 9.00\",\"box\":[-500,-500,90000,90000]}".into());
    assert_eq!(json_of(&words(&outside))["fields"].as_array().map(Vec::len), Some(4));
    let nothing = json_of(&words(&with(String::new())));
    assert!(nothing["fields"].as_array().expect("fields").iter().all(|field| field["text"].is_null()), "{nothing}");
    // Five thousand words.
    let line = |row: usize| {
        let top = row as f32 * height as f32 / 500.0;
        let text = (0..10).map(|word| format!("word{}", row * 10 + word)).collect::<Vec<_>>().join(" ");
        json!({"text": text, "box": [0.0, top, width, top + 1.0]}).to_string()
    };
    let many = with((0..500).map(line).collect::<Vec<_>>().join(","));
    assert_eq!(json_of(&words(&many))["fields"].as_array().map(Vec::len), Some(4));
}

#[test]
fn damaged_models_are_refused_with_the_tensor_named() {
    let world = World::get();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (picture, ocr) = receipt(folder.path());
    let copy = folder.path().join("model");
    let fresh = || {
        fs::create_dir_all(&copy).expect("a folder");
        for file in ["model.safetensors", "config.json", "tokenizer.json", "task.json"] {
            fs::copy(world.at("run").join(file), copy.join(file)).expect("copied");
        }
    };
    let said = || refusal(&["predict", "receipts", path(&picture), "--weights", path(&copy), "--ocr", path(&ocr)]);

    fresh();
    let weights = fs::read(copy.join("model.safetensors")).expect("there");
    fs::write(copy.join("model.safetensors"), &weights[..weights.len() - 100]).expect("written");
    assert!(said().contains("not a readable weights file"));

    fresh();
    let config = fs::read_to_string(copy.join("config.json")).expect("there");
    fs::write(copy.join("config.json"), config.replace("\"bins\": 128", "\"bins\": 64")).expect("written");
    assert!(said().contains("layout.horizontal.weight"), "the tensor of another shape is named");

    fresh();
    fs::write(copy.join("config.json"), config.replace("\"blocks\": 2", "\"blocks\": 3")).expect("written");
    assert!(said().contains("missing"), "tensors that are not there are counted");

    fresh();
    fs::write(copy.join("config.json"), config.replace("\"heads\": 4", "\"heads\": 5")).expect("written");
    assert!(said().contains("must divide"));

    fresh();
    fs::remove_file(copy.join("tokenizer.json")).expect("removed");
    assert!(said().contains("tokenizer.json"));
    assert!(
        refusal(&["predict", "receipts", path(&picture), "--weights", path(folder.path())]).contains("did you mean")
    );
}

#[test]
fn a_data_folder_with_a_missing_file_names_it() {
    let world = World::get();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pack = folder.path().join("pack");
    save_pack(&pack, &drawn(2)).expect("saved");
    let first = fs::read_dir(pack.join("images")).expect("there").next().expect("one").expect("readable").path();
    fs::remove_file(&first).expect("removed");
    let name = first.file_name().expect("a name").to_string_lossy().into_owned();
    let said = refusal(&["evaluate", "receipts", "--weights", &world.name("run"), "--data", path(&pack)]);
    assert!(said.contains(&name), "{said}");
    let said = refusal(&[
        "run",
        "receipts",
        "--data",
        path(&folder.path().join("nowhere")),
        "--out",
        path(&folder.path().join("r")),
    ]);
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn a_full_disk_is_an_error_that_leaves_earlier_files_whole() {
    let world = World::get();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    fs::create_dir_all(&disk).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=300k", "tmpfs", path(&disk)]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a small disk cannot be mounted here");
        return;
    }
    let run = disk.join("run");
    let said = refusal(&["run", "receipts", "--config", &world.name("tiny.toml"), "--out", path(&run)]);
    let kept = fs::read_to_string(run.join("config.toml"));
    let unmounted = Command::new("umount").arg(path(&disk)).output();
    assert!(said.contains("No space left"), "{said}");
    assert!(kept.is_ok_and(|config| config.contains("drawn_training = 12")), "what was written before must be whole");
    drop(unmounted);
}

/// A tiny checkpoint that has a config.json and weights, and beside it a reference of what Florin itself computes.
fn checkpoint(folder: &Path) {
    let config = json!({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 6, "max_position_embeddings": 5});
    let device = untrained(folder, &config);
    let inputs = florin_models::Inputs::new(&device).whole("input_ids", &[1, 3], vec![1, 8, 2]);
    let outputs = florin_models::open(folder, &device).and_then(|system| system.forward(&inputs)).expect("it computes");
    let last = outputs.get("last_hidden_state").expect("BERT gives it").values.to_data();
    let last: Vec<u8> = last.try_to_vec::<f32>().expect("f32").iter().flat_map(|value| value.to_le_bytes()).collect();
    reference(&folder.join("reference.safetensors"), "input_ids", "last_hidden_state", &last);
}

/// A checkpoint of new weights, and the device that drew them.
fn untrained(folder: &Path, config: &Value) -> burn::prelude::Device {
    fs::write(folder.join("config.json"), config.to_string()).expect("a small file");
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    let empty = florin_models::system::Checkpoint::describe(folder).expect("the configuration is good");
    florin_backend::seed(&device, 3);
    empty.initialised(&device).and_then(|system| system.save(folder)).expect("a tiny model can be saved");
    device
}

/// A reference of one input and one output, byte by byte as the format says.
fn reference(path: &Path, input: &str, output: &str, values: &[u8]) {
    let ids: Vec<u8> = [1i64, 8, 2].iter().flat_map(|id| id.to_le_bytes()).collect();
    let header = json!({
        format!("input.{input}"): {"dtype": "I64", "shape": [1, 3], "data_offsets": [0, 24]},
        format!("output.{output}"): {"dtype": "F32", "shape": [1, 3, 4], "data_offsets": [24, 72]},
    })
    .to_string();
    let size = (header.len() as u64).to_le_bytes();
    fs::write(path, [&size[..], header.as_bytes(), &ids, values].concat()).expect("a small file");
}

#[test]
fn verify_passes_what_fits_and_fails_what_does_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (model, file) = (path(folder.path()), folder.path().join("reference.safetensors"));
    checkpoint(folder.path());
    let passed = florin(&["verify", model]);
    let said = text(&passed.stdout);
    assert!(
        passed.status.success() && said.contains("pass: all 1 outputs are within 1e-4"),
        "{said}{}",
        text(&passed.stderr)
    );
    assert_eq!(json_of(&["verify", model, "--json"])["report"]["outputs"][0]["max_absolute_error"], 0.0);
    let ones: Vec<u8> = [1f32; 12].iter().flat_map(|value| value.to_le_bytes()).collect();
    reference(&file, "input_ids", "last_hidden_state", &ones);
    let failed = florin(&["verify", model]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stdout).contains("FAIL: 1 of 1 outputs are not within 1e-4"), "{}", text(&failed.stdout));
    reference(&file, "input_ids", "hidden_states.7", &ones);
    assert!(text(&florin(&["verify", model]).stdout).contains("not given; meant hidden_states."));
    reference(&file, "input_idz", "last_hidden_state", &ones);
    let unwanted = refusal(&["verify", model]);
    for part in
        ["unwanted: input_idz (meant input_ids?)", "missing: input_ids", "input_ids [batch, seq]", "token_type_ids"]
    {
        assert!(unwanted.contains(part), "{unwanted}");
    }
    assert!(
        refusal(&["verify", model, "--precision", "bf16"]).contains("precision `bf16`: Florin computes in f32 only")
    );
    assert!(refusal(&["verify", model, "--reference", "nowhere"]).contains("florin verify --exporter"));
    assert!(text(&florin(&["verify", "--exporter"]).stdout).contains("from_pretrained"));
    assert_eq!(florin(&["verify"]).status.code(), Some(2));
}

#[test]
fn inspect_says_what_a_folder_holds_with_weights_and_without() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = path(folder.path());
    checkpoint(folder.path());
    fs::write(folder.path().join("vocab.txt"), "[PAD]\n").expect("a small file");
    let found = json_of(&["inspect", model, "--json"]);
    assert_eq!(found["architecture"], "BertModel");
    assert_eq!(found["weights"]["files"], json!(["model.safetensors"]));
    assert_eq!(found["weights"]["numbers"], found["parameters"]);
    assert_eq!(found["tokenizer"], json!(["vocab.txt"]));
    fs::remove_file(folder.path().join("model.safetensors")).expect("it was there");
    let alone = json_of(&["inspect", model, "--json"]);
    assert_eq!((&alone["weights"], &alone["wants"][0]["name"]), (&Value::Null, &json!("input_ids")));
    assert!(text(&florin(&["inspect", model]).stdout).contains("There are no weights"));
    fs::write(folder.path().join("config.json"), r#"{"model_type": "brt"}"#).expect("a small file");
    assert!(
        refusal(&["inspect", model])
            .contains("no system is called `brt` (meant bert?); known: audio-spectrogram-transformer, beit, bert, ")
    );
}

/// A tokenizer of two words beside the tiny checkpoint.
fn tokenizer(folder: &Path) {
    let vocabulary = json!({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "total": 4, "owed": 5});
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3],
        "cls": ["[CLS]", 2]}, "decoder": null, "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary}});
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("a small file");
}

#[test]
fn texts_become_vectors_on_stdout_and_in_files_and_what_cannot_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = path(folder.path()).to_owned();
    checkpoint(folder.path());
    let refused = refusal(&["embed", &model, "--text", "total"]);
    assert!(refused.contains("tokenizer.json"), "{refused}");
    tokenizer(folder.path());
    let said = florin(&["embed", &model, "--text", "total owed", "--text", "total"]);
    let lines: Vec<Value> =
        text(&said.stdout).lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    assert_eq!((lines.len(), lines[0]["name"].as_str()), (2, Some("total owed")));
    assert_eq!(lines[1]["embedding"].as_array().map(Vec::len), Some(4));
    let (table, out) = (folder.path().join("a.csv"), folder.path().join("a.jsonl"));
    fs::write(&table, "id,note,other\n1,total owed,x\n2,total,y\n").expect("a small file");
    let two = refusal(&["embed", &model, path(&table), "--out", path(&out)]);
    assert!(two.contains("say which column with --column"), "{two}");
    let done = json_of(&["embed", &model, path(&table), "--column", "note", "--out", path(&out), "--json"]);
    assert_eq!((done["rows"].as_u64(), done["dim"].as_u64()), (Some(2), Some(4)));
    assert_eq!(
        fs::read_to_string(&out).expect("it was written"),
        text(&said.stdout),
        "a text alone is the text in a table"
    );
    let wrong = refusal(&["embed", &model, "--text", "a", "--out", "a.txt"]);
    assert!(wrong.contains("found '.txt'"), "{wrong}");
    let (picture, _) = receipt(folder.path());
    let blind = refusal(&["embed", &model, path(&picture)]);
    assert!(blind.contains("expected one that takes pictures"), "{blind}");
    let unlabelled = refusal(&["classify", &model, path(&picture), "--labels", "a"]);
    assert!(unlabelled.contains("expected a dual encoder"), "{unlabelled}");
}

#[test]
fn a_published_architecture_is_known_by_name() {
    let found = json_of(&["inspect", "clip-vit-base-patch32", "--json"]);
    assert_eq!((&found["architecture"], &found["parameters"]), (&json!("CLIPModel"), &json!(151_277_313)));
    let unknown = refusal(&["inspect", "clip-vit-base-patch23"]);
    assert!(unknown.contains("meant clip-vit-base-patch32?"), "{unknown}");
}
