//! Charts as inline SVG: small functions from numbers to shapes.

use std::fmt::Write;

use super::{Curve, ScoreRow, escape};
use crate::evaluation::Calibration;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// The plane of a chart: ranges of both axes.
struct Plane {
    x: (f64, f64),
    y: (f64, f64),
}

impl Plane {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low).max(1e-12);
        (LEFT + share(x, self.x) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share(y, self.y) * (HEIGHT - TOP - BOTTOM))
    }

    /// Axes with five labels each, and their names.
    fn axes(&self, svg: &mut String, name_x: &str, name_y: &str, label: impl Fn(f64) -> String) {
        for step in 0..=4 {
            let share = f64::from(step) / 4.0;
            let (x_value, y_value) =
                (self.x.0 + share * (self.x.1 - self.x.0), self.y.0 + share * (self.y.1 - self.y.0));
            let (x, _) = self.at(x_value, self.y.0);
            let (_, y) = self.at(self.x.0, y_value);
            let _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                number(y_value)
            );
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM + 16.0,
                label(x_value)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 4.0,
            escape(name_x)
        );
        let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", TOP - 2.0, escape(name_y));
    }

    fn line(&self, svg: &mut String, class: &str, points: &[(f64, f64)]) {
        let placed: Vec<String> = points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|(x, y)| {
                let (x, y) = self.at(*x, *y);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        if placed.len() > 1 {
            let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", placed.join(" "));
        }
    }

    fn dots(&self, svg: &mut String, points: &[(f64, f64)]) {
        for (x, y) in points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = self.at(*x, *y);
            let _ = write!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        }
    }
}

fn open(title: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(title))
}

fn close(mut svg: String) -> String {
    svg.push_str("</svg>");
    svg
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{:.2}", value + 0.0) }
}

/// Loss and score by step.
pub(super) fn learning(curve: &Curve) -> String {
    let mut svg = open(&format!("learning curve of {}", curve.name));
    let losses = smoothed(&curve.losses);
    let last = losses.iter().chain(&curve.scores).map(|(x, _)| *x).fold(1.0, f64::max);
    // The first steps' losses would press everything else to the ground.
    let settled = losses.iter().skip(losses.len() / 20).map(|(_, y)| *y).filter(|y| y.is_finite()).fold(1.0, f64::max);
    let plane = Plane { x: (0.0, last), y: (0.0, settled.max(1.0)) };
    plane.axes(&mut svg, "step", "loss, F1", |x| format!("{x:.0}"));
    let visible: Vec<(f64, f64)> = losses.into_iter().map(|(x, y)| (x, y.min(plane.y.1))).collect();
    plane.line(&mut svg, "one", &visible);
    plane.line(&mut svg, "two", &curve.scores);
    plane.dots(&mut svg, &curve.scores);
    close(svg)
}

/// A moving mean, since the loss of one batch says little.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut mean: Option<f64> = None;
    let keep = (points.len() / 300).max(1);
    let finite = points.iter().filter(|(_, y)| y.is_finite());
    let all = finite.map(|(x, y)| {
        let next = mean.map_or(*y, |mean| 0.9 * mean + 0.1 * y);
        mean = Some(next);
        (*x, next)
    });
    all.step_by(keep).collect()
}

/// Right readings by confidence.
pub(super) fn reliability(calibration: &Calibration) -> String {
    let mut svg = open("reliability diagram");
    let plane = Plane { x: (0.0, 1.0), y: (0.0, 1.0) };
    plane.axes(&mut svg, "confidence", "share right", number);
    plane.line(&mut svg, "ideal", &[(0.0, 0.0), (1.0, 1.0)]);
    let filled: Vec<_> = calibration.mass_bins.iter().filter(|bin| bin.count > 0).collect();
    let points: Vec<(f64, f64)> = filled.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
    plane.line(&mut svg, "one", &points);
    plane.dots(&mut svg, &points);
    close(svg)
}

/// Wrong readings among the most confident.
pub(super) fn risk(calibration: &Calibration) -> String {
    let mut svg = open("risk by coverage");
    let points: Vec<(f64, f64)> = calibration.risk_coverage.iter().map(|point| (point.coverage, point.risk)).collect();
    let most = points.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).fold(0.01, f64::max);
    let plane = Plane { x: (0.0, 1.0), y: (0.0, most) };
    plane.axes(&mut svg, "share of fields kept", "share wrong", number);
    plane.line(&mut svg, "one", &points);
    close(svg)
}

/// Bars with whiskers, and the baseline beside each.
pub(super) fn scores(rows: &[ScoreRow]) -> String {
    let mut svg = open("F1 by field");
    let room = (HEIGHT - 20.0) / rows.len().max(1) as f64;
    let (start, full) = (100.0, WIDTH - 100.0 - 50.0);
    for (index, row) in rows.iter().enumerate() {
        let top = 10.0 + room * index as f64;
        let thick = (room * 0.34).min(18.0);
        let middle = top + thick / 2.0;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            start - 8.0,
            middle + 4.0,
            escape(&row.name)
        );
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{start}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{thick:.1}\" rx=\"2\"/>",
            full * share(row.f1.value)
        );
        let _ = write!(
            svg,
            "<rect class=\"base\" x=\"{start}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>",
            top + thick + 2.0,
            full * share(row.baseline),
            thick * 0.5
        );
        let _ = write!(
            svg,
            "<line class=\"whisker\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>",
            start + full * share(row.f1.low),
            start + full * share(row.f1.high)
        );
        let _ =
            write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{:.3}</text>", start + full + 8.0, middle + 4.0, row.f1.value);
    }
    close(svg)
}

/// Bars of the modalities.
pub(super) fn weights(weights: &[(String, f64)]) -> String {
    let mut svg = open("weights of the modalities");
    for (index, (name, weight)) in weights.iter().enumerate() {
        let top = 30.0 + 44.0 * index as f64;
        let _ = write!(svg, "<text x=\"92\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", top + 15.0, escape(name));
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"100\" y=\"{top:.1}\" width=\"{:.1}\" height=\"22\" rx=\"2\"/>",
            270.0 * share(*weight)
        );
        let _ =
            write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{weight:.2}</text>", 106.0 + 270.0 * share(*weight), top + 15.0);
    }
    close(svg)
}

fn share(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}
