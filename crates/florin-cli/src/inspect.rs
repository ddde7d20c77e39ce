//! `florin inspect`: what a checkpoint's folder holds, or a published architecture weighs.

use std::path::Path;

use florin_models::hub;
use florin_models::inspect::{self, Stored, Summary};

use crate::arguments::InspectOptions;
use crate::output::{self, size};

/// Looks at a checkpoint.
pub(crate) fn inspect(options: &InspectOptions) -> anyhow::Result<()> {
    let (device, name) = (florin_backend::device("cpu")?, options.model.as_str());
    // What looks like a path is one, so that its error speaks of a folder.
    let is_folder = Path::new(name).exists() || Path::new(name).components().count() > 1;
    let summary = if is_folder {
        inspect::inspect(Path::new(name), &device)?
    } else if hub::presets().iter().any(|preset| preset.name == name) {
        inspect::inspect(&hub::folder_of(name)?, &device)?
    } else {
        inspect::inspect_preset(name, &device)?
    };
    if options.json {
        return output::json(&summary);
    }
    let mut parts = vec![overview(&summary), wants(&summary)];
    match &summary.weights {
        Some(stored) => parts.push(largest(stored)),
        None => parts.push("There are no weights: sizes are those of the configuration.".to_owned()),
    }
    output::text(&parts.join("\n\n"))
}

fn overview(summary: &Summary) -> String {
    let listed = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let memory = &summary.memory;
    let memory = format!("f32 {}, f16 or bf16 {}, int8 {}", size(memory.f32), size(memory.f16), size(memory.int8));
    let lines = [
        ("architecture", format!("{} ({})", summary.architecture, summary.model_type)),
        ("parameters", grouped(summary.parameters)),
        ("memory", memory),
        ("weights", summary.weights.as_ref().map_or_else(|| "none".to_owned(), weights)),
        ("tokenizer", listed(&summary.tokenizer)),
        ("preprocessor", listed(&summary.preprocessor)),
    ];
    lines.map(|(name, value)| format!("{name:<14}{value}")).join("\n")
}

fn weights(stored: &Stored) -> String {
    let files = match &stored.files[..] {
        [file] => file.clone(),
        [first, ..] => format!("{first} and {} more", stored.files.len() - 1),
        [] => String::new(),
    };
    let formats: Vec<String> = stored.formats.iter().map(|(format, count)| format!("{count} {format}")).collect();
    format!("{files}: {} tensors ({}), {} numbers", stored.tensors, formats.join(", "), grouped(stored.numbers))
}

fn wants(summary: &Summary) -> String {
    let rows = summary.wants.iter().map(|wanted| {
        let need = if wanted.optional { "optional" } else { "" };
        vec![wanted.name.to_owned(), wanted.dims.to_owned(), need.to_owned()]
    });
    output::table(&["INPUT", "DIMENSIONS", ""], rows.collect())
}

fn largest(stored: &Stored) -> String {
    let rows = stored.largest.iter().map(|tensor| {
        let share = 100.0 * tensor.numbers as f64 / stored.numbers.max(1) as f64;
        vec![tensor.name.clone(), format!("{:?}", tensor.shape), tensor.format.clone(), format!("{share:.1} %")]
    });
    output::table(&["LARGEST TENSORS", "SHAPE", "FORMAT", "SHARE"], rows.collect())
}

/// A number with its digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let (head, rest) = digits.split_at(digits.len() % 3);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let head = (!head.is_empty()).then(|| head.to_owned());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_readable() {
        assert_eq!([0, 999, 1000, 22_713_216].map(grouped), ["0", "999", "1 000", "22 713 216"]);
        assert_eq!([1234, 90_852_864, 1_700_000_000].map(size), ["1.2 kB", "90.9 MB", "1.70 GB"]);
    }
}
