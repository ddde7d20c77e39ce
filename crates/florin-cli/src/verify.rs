//! `florin verify`: a table of errors and one line of verdict.

use anyhow::bail;
use florin_models::verify::{self, Compared, Report};
use serde_json::json;

use crate::arguments::VerifyOptions;
use crate::output;

/// The script that writes a reference.
const EXPORTER: &str = include_str!("exporter.py");

/// Compares a checkpoint with its reference.
pub(crate) fn verify(options: &VerifyOptions) -> anyhow::Result<()> {
    let Some(folder) = options.folder.as_deref().filter(|_| !options.exporter) else {
        return output::text(EXPORTER.trim_end());
    };
    if options.precision != "f32" {
        bail!("precision `{}`: Florin computes in f32 only; leave --precision out", options.precision);
    }
    let reference = options.reference.clone().unwrap_or_else(|| folder.join(verify::FILE));
    if !reference.exists() {
        bail!(
            "{}: there is no such file; `florin verify --exporter` prints a script that writes it",
            reference.display()
        );
    }
    let device = florin_backend::device(&options.device)?;
    let report = verify::verify(folder, &reference, &device, options.tolerance)?;
    if options.json {
        let about = json!({"folder": folder, "reference": reference, "device": options.device, "precision": "f32"});
        output::json(&json!({"about": about, "report": report}))?;
    } else {
        output::text(&format!("{}\n\n{}", table(&report), verdict(&report)))?;
    }
    if !report.passed {
        bail!("{} does not compute what {} says", folder.display(), reference.display());
    }
    Ok(())
}

fn table(report: &Report) -> String {
    let header = ["OUTPUT", "SHAPE", "MAX ABSOLUTE ERROR", "MAX RELATIVE ERROR", "", ""];
    output::table(&header, report.outputs.iter().map(row).collect())
}

fn row(output: &Compared) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "—".to_owned(), |value| format!("{value:.1e}"));
    vec![
        output.name.clone(),
        format!("{:?}", output.shape),
        number(output.max_absolute_error),
        number(output.max_relative_error),
        if output.passed { "pass" } else { "FAIL" }.to_owned(),
        output.note.clone().unwrap_or_default(),
    ]
}

fn verdict(report: &Report) -> String {
    let failed = report.outputs.iter().filter(|output| !output.passed).count();
    let count = report.outputs.len();
    let bound = format!("{:e} of the reference's largest magnitude", report.tolerance);
    if failed == 0 {
        format!("pass: all {count} outputs are within {bound}")
    } else {
        format!("FAIL: {failed} of {count} outputs are not within {bound}")
    }
}
