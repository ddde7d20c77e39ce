//! The charts of a report as inline SVG: functions from numbers to shapes, coloured by the style sheet.

use std::fmt::Write;

use super::plane::{HEIGHT, Plane, WIDTH, close, open, readable, text};
use super::{Curve, ScoreRow, fraction};
use crate::evaluation::{Calibration, ReliabilityBin};

/// How many colours the style sheet has for lines (`s0` to `s5`); further lines start over.
const SERIES: usize = 6;
/// Points of a line beyond which no more can be seen.
const POINTS: usize = 300;
/// Where bars start, and how long a full one is.
const BAR: (f64, f64) = (112.0, WIDTH - 112.0 - 62.0);

/// The style sheet's class of a line.
pub(super) fn series(index: usize) -> String {
    format!("s{}", index % SERIES)
}

/// Smoothed training losses by step, one line for each training.
pub(super) fn losses(curves: &[Curve]) -> String {
    let mut svg = open("training loss by step", HEIGHT);
    let lines: Vec<Vec<(f64, f64)>> = curves.iter().map(|curve| smoothed(&curve.losses)).collect();
    // The very first losses would press all the others to the ground: they run along the ceiling instead.
    let settled = lines.iter().flat_map(|line| line.iter().skip(line.len() / 40)).map(|(_, y)| *y);
    let plane = Plane::new((0.0, last_step(&lines)), (0.0, highest(settled) * 1.05));
    plane.axes(&mut svg, ("step", "loss (smoothed)"), (false, false));
    draw(&mut svg, &plane, &lines, false);
    close(svg)
}

/// F1 on held-out documents by step, one line for each training.
pub(super) fn validation(curves: &[Curve]) -> String {
    let mut svg = open("F1 on held-out documents by step", HEIGHT);
    let lines: Vec<Vec<(f64, f64)>> = curves.iter().map(|curve| readable(&curve.scores).collect()).collect();
    let lowest = lines.iter().flatten().map(|(_, y)| *y).fold(0.9, f64::min);
    let plane = Plane::new((0.0, last_step(&lines)), ((lowest * 10.0).floor().max(0.0) / 10.0, 1.0));
    plane.axes(&mut svg, ("step", "F1"), (false, false));
    draw(&mut svg, &plane, &lines, true);
    close(svg)
}

fn draw(svg: &mut String, plane: &Plane, lines: &[Vec<(f64, f64)>], dots: bool) {
    if lines.iter().all(Vec::is_empty) {
        Plane::nothing(svg);
    }
    for (index, line) in lines.iter().enumerate() {
        let class = series(index);
        plane.line(svg, &class, line);
        for point in line.iter().filter(|_| dots && line.len() <= 40) {
            plane.dot(svg, &class, *point, 2.5);
        }
    }
}

fn last_step(lines: &[Vec<(f64, f64)>]) -> f64 {
    highest(lines.iter().flatten().map(|(x, _)| *x))
}

fn highest(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// A moving mean, since the loss of one batch says little; its window grows with the length of the training.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let all: Vec<(f64, f64)> = readable(points).collect();
    let weight = (60.0 / all.len().max(1) as f64).clamp(0.02, 0.3);
    let mut mean = None;
    let smooth = all.iter().map(|(x, y)| {
        let next = mean.map_or(*y, |mean: f64| mean + weight * (y - mean));
        mean = Some(next);
        (*x, next)
    });
    let smooth: Vec<(f64, f64)> = smooth.collect();
    let stride = smooth.len().div_ceil(POINTS).max(1);
    let end = smooth.last().copied().filter(|_| smooth.len() % stride != 1 && stride > 1);
    smooth.into_iter().step_by(stride).chain(end).collect()
}

/// Share of right readings by stated confidence: dots by how many readings they stand for, whiskers by how sure
/// the share itself is.
pub(super) fn reliability(calibration: &Calibration) -> String {
    let mut svg = open("reliability diagram", HEIGHT);
    let plane = Plane::new((0.0, 1.0), (0.0, 1.0));
    plane.axes(&mut svg, ("stated confidence", "share right"), (true, true));
    plane.line(&mut svg, "ideal", &[(0.0, 0.0), (1.0, 1.0)]);
    let filled: Vec<&ReliabilityBin> = calibration.bins.iter().filter(|bin| bin.count > 0).collect();
    for bin in &filled {
        plane.whisker(&mut svg, bin.confidence, wilson(bin.accuracy, bin.count));
    }
    let most = filled.iter().map(|bin| bin.count).max().unwrap_or(1) as f64;
    for bin in &filled {
        let radius = 3.0 + 6.0 * (bin.count as f64 / most).sqrt();
        plane.dot(&mut svg, "s0", (bin.confidence, bin.accuracy), radius);
    }
    if filled.is_empty() {
        Plane::nothing(&mut svg);
    }
    close(svg)
}

/// Wilson's 95% interval of a share: unlike the usual one it stays open when all of a few cases are right.
fn wilson(share: f64, count: usize) -> (f64, f64) {
    let (n, z2) = (count.max(1) as f64, 1.96f64 * 1.96);
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (share * (1.0 - share) / n + z2 / (4.0 * n * n))).max(0.0).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// Wrong readings among the most confident.
pub(super) fn risk(calibration: &Calibration) -> String {
    let mut svg = open("risk by coverage", HEIGHT);
    let points: Vec<(f64, f64)> = calibration.risk_coverage.iter().map(|point| (point.coverage, point.risk)).collect();
    let plane = Plane::new((0.0, 1.0), (0.0, highest(points.iter().map(|(_, y)| *y)).max(0.01) * 1.1));
    plane.axes(&mut svg, ("readings accepted, surest first", "share wrong"), (true, true));
    plane.area(&mut svg, &points);
    plane.line(&mut svg, "s0", &points);
    if points.is_empty() {
        Plane::nothing(&mut svg);
    }
    close(svg)
}

/// F1 as bars with their intervals, the baseline as a thinner bar below each.
pub(super) fn scores(rows: &[&ScoreRow]) -> String {
    let height = 48.0 * rows.len() as f64 + 34.0;
    let mut svg = open("F1 by field beside the baseline", height);
    let (start, full) = BAR;
    for step in 0..=4 {
        let value = f64::from(step) / 4.0;
        let x = start + full * value;
        let _ = write!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"4\" y2=\"{:.1}\"/>", height - 24.0);
        text(&mut svg, (x, height - 8.0), "middle", "", &format!("{value:.2}"));
    }
    for (index, row) in rows.iter().enumerate() {
        let top = 10.0 + 48.0 * index as f64;
        let middle = top + 9.0;
        text(&mut svg, (start - 10.0, top + 17.0), "end", "label", &shortened(&row.name));
        bar(&mut svg, "bar", top, row.f1.value, 18.0);
        bar(&mut svg, "base", top + 20.0, row.baseline, 8.0);
        interval(&mut svg, middle, (row.f1.low, row.f1.high));
        text(&mut svg, (WIDTH - 6.0, middle + 4.5), "end", "label", &fraction(row.f1.value));
        text(&mut svg, (WIDTH - 6.0, middle + 20.0), "end", "small", &fraction(row.baseline));
    }
    close(svg)
}

fn interval(svg: &mut String, y: f64, (low, high): (f64, f64)) {
    if !(low.is_finite() && high.is_finite()) {
        return;
    }
    let place = |value: f64| BAR.0 + BAR.1 * share(value);
    let (low, high, top, bottom) = (place(low), place(high), y - 4.0, y + 4.0);
    let path = format!("M{low:.1} {y:.1}H{high:.1}M{low:.1} {top:.1}V{bottom:.1}M{high:.1} {top:.1}V{bottom:.1}");
    let _ = write!(svg, "<path class=\"halo\" d=\"{path}\"/><path class=\"whisker\" d=\"{path}\"/>");
}

fn bar(svg: &mut String, class: &str, top: f64, value: f64, thick: f64) {
    let (start, length) = (BAR.0, BAR.1 * share(value));
    let _ = write!(
        svg,
        "<rect class=\"{class}\" x=\"{start}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{thick}\" rx=\"2\"/>"
    );
}

/// How much each modality was leaned on.
pub(super) fn weights(weights: &[(String, f64)]) -> String {
    let mut svg = open("weights of the modalities", 40.0 * weights.len().max(1) as f64 + 16.0);
    for (index, (name, weight)) in weights.iter().enumerate() {
        let top = 12.0 + 40.0 * index as f64;
        text(&mut svg, (BAR.0 - 10.0, top + 16.0), "end", "label", &shortened(name));
        bar(&mut svg, "rail", top, 1.0, 22.0);
        bar(&mut svg, "bar", top, *weight, 22.0);
        let share = if weight.is_finite() { format!("{:.0}%", weight * 100.0) } else { "–".to_owned() };
        text(&mut svg, (WIDTH - 6.0, top + 16.0), "end", "label", &share);
    }
    close(svg)
}

fn share(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}

/// A name that fits beside the bars.
fn shortened(name: &str) -> String {
    const ROOM: usize = 15;
    if name.chars().count() <= ROOM { name.to_owned() } else { name.chars().take(ROOM - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::{Interval, Judged};

    fn assert_drawable(svg: &str) {
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    fn curve(points: &[(f64, f64)]) -> Curve {
        Curve { name: "one".into(), losses: points.to_vec(), scores: points.to_vec() }
    }

    #[test]
    fn charts_survive_nothing_single_points_and_what_is_no_number() {
        let odd = [(f64::NAN, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (f64::NEG_INFINITY, 0.0)];
        for points in [&[] as &[(f64, f64)], &[(0.0, 0.0)], &[(5.0, 0.3)], &odd] {
            assert_drawable(&losses(&[curve(points)]));
            assert_drawable(&validation(&[curve(points)]));
        }
        assert_drawable(&losses(&[]));
        for judged in [vec![], vec![Judged { confidence: f64::NAN, correct: true }]] {
            assert_drawable(&reliability(&Calibration::of(&judged)));
            assert_drawable(&risk(&Calibration::of(&judged)));
        }
        let f1 = Interval { value: f64::NAN, low: f64::NAN, high: f64::INFINITY };
        let row = ScoreRow { name: "<é>".repeat(30), f1, baseline: f64::NAN, exact: 0.0 };
        assert_drawable(&scores(&[]));
        assert_drawable(&scores(&[&row]));
        assert_drawable(&weights(&[]));
        assert_drawable(&weights(&[("text".into(), f64::NAN), ("layout".into(), 7.0)]));
    }

    #[test]
    fn a_long_training_keeps_its_first_and_last_step() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|step| (f64::from(step), 1.0)).collect();
        let line = smoothed(&points);
        assert!(line.len() <= POINTS + 1, "{}", line.len());
        assert_eq!((line[0].0, line[line.len() - 1].0), (0.0, 9_999.0));
    }

    #[test]
    fn the_interval_of_a_share_narrows_with_cases_and_never_closes() {
        let (few, many) = (wilson(1.0, 3), wilson(1.0, 300));
        assert!(few.0 < 0.5 && many.0 > 0.98 && many.0 < 1.0, "{few:?} {many:?}");
        let (low, high) = wilson(0.5, 100);
        assert!((low - 0.404).abs() < 0.002 && (high - 0.596).abs() < 0.002, "{low} {high}");
    }
}
