//! The plane a chart is drawn on: ranges, ticks, and the shapes that stand in it.

use std::fmt::Write;

use super::escape;

/// Width of every chart in its own units; the page scales it.
pub(super) const WIDTH: f64 = 480.0;
/// Height of charts with two axes.
pub(super) const HEIGHT: f64 = 270.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;

/// Ranges of both axes.
pub(super) struct Plane {
    x: (f64, f64),
    y: (f64, f64),
}

/// The start of a picture, with what a screen reader says of it.
pub(super) fn open(title: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(title))
}

/// The end of a picture.
pub(super) fn close(mut svg: String) -> String {
    svg.push_str("</svg>");
    svg
}

/// Text at a place; `class` may be empty.
pub(super) fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, content: &str) {
    let content = escape(content);
    let _ = write!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
}

impl Plane {
    /// A plane over two ranges; an empty or unreadable range becomes one of width 1.
    pub(super) fn new(x: (f64, f64), y: (f64, f64)) -> Self {
        let sound = |(low, high): (f64, f64)| {
            let low = if low.is_finite() { low } else { 0.0 };
            if high.is_finite() && high - low > 1e-9 { (low, high) } else { (low, low + 1.0) }
        };
        Self { x: sound(x), y: sound(y) }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        (LEFT + share(x, self.x) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share(y, self.y) * (HEIGHT - TOP - BOTTOM))
    }

    /// Grid lines at round numbers and the names of both axes; percentages where `percent` says so (x, y).
    pub(super) fn axes(&self, svg: &mut String, names: (&str, &str), percent: (bool, bool)) {
        let (floor, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let (marks, step) = ticks(self.y);
        for value in marks {
            let (_, y) = self.at(self.x.0, value);
            let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            text(svg, (LEFT - 8.0, y + 4.0), "end", "", &tick(value, step, percent.1));
        }
        let _ = write!(svg, "<line class=\"floor\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{floor}\" y2=\"{floor}\"/>");
        let (marks, step) = ticks(self.x);
        for value in marks {
            let (x, _) = self.at(value, self.y.0);
            text(svg, (x, floor + 17.0), "middle", "", &tick(value, step, percent.0));
        }
        text(svg, (end, HEIGHT - 6.0), "end", "name", names.0);
        text(svg, (4.0, 14.0), "start", "name", names.1);
    }

    fn placed(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        readable(points).map(|(x, y)| self.at(x, y)).collect()
    }

    /// A line through the points that are numbers; a single one becomes a dot.
    pub(super) fn line(&self, svg: &mut String, class: &str, points: &[(f64, f64)]) {
        match self.placed(points).as_slice() {
            [] => {}
            [(x, y)] => circle(svg, class, (*x, *y), 3.5),
            placed => {
                let path: Vec<String> = placed.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
            }
        }
    }

    /// The surface between a line and the floor.
    pub(super) fn area(&self, svg: &mut String, points: &[(f64, f64)]) {
        let placed = self.placed(points);
        let (Some(first), Some(last)) = (placed.first(), placed.last()) else { return };
        let path: Vec<String> = placed.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (floor, path) = (HEIGHT - BOTTOM, path.join(" "));
        let _ = write!(svg, "<polygon class=\"area\" points=\"{:.1},{floor} {path} {:.1},{floor}\"/>", first.0, last.0);
    }

    /// A dot.
    pub(super) fn dot(&self, svg: &mut String, class: &str, point: (f64, f64), radius: f64) {
        if let [place] = self.placed(&[point]).as_slice() {
            circle(svg, class, *place, radius);
        }
    }

    /// An upright line between two heights.
    pub(super) fn whisker(&self, svg: &mut String, x: f64, (low, high): (f64, f64)) {
        if let [(x, bottom), (_, top)] = self.placed(&[(x, low), (x, high)]).as_slice() {
            let _ =
                write!(svg, "<line class=\"faint\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{top:.1}\"/>");
        }
    }

    /// A remark in the middle of a plane that has nothing to show.
    pub(super) fn nothing(svg: &mut String) {
        text(svg, ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT / 2.0), "middle", "name", "nothing recorded");
    }
}

/// Points of which both numbers are finite.
pub(super) fn readable(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

fn circle(svg: &mut String, class: &str, (x, y): (f64, f64), radius: f64) {
    let _ = write!(svg, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>");
}

/// Multiples of 1, 2 or 5 times a power of ten inside a range, at most seven, and the distance between them.
fn ticks((low, high): (f64, f64)) -> (Vec<f64>, f64) {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let first = (low / step - 1e-6).ceil();
    let marks = (0..8).map(|count| (first + f64::from(count)) * step);
    (marks.take_while(|mark| *mark <= high + step * 1e-6).collect(), step)
}

fn tick(value: f64, step: f64, percent: bool) -> String {
    let (value, step, sign) = if percent { (value * 100.0, step * 100.0, "%") } else { (value, step, "") };
    if !percent && step >= 1000.0 {
        let digits = usize::from(step % 1000.0 != 0.0);
        return format!("{:.digits$}k", value / 1000.0 + 0.0);
    }
    let digits = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
    format!("{:.digits$}{sign}", value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_inside_the_range_and_few() {
        for range in [(0.0, 1.0), (0.0, 17_353.0), (0.62, 1.0), (0.0, 0.013), (-3.0, 4.0)] {
            let (marks, step) = ticks(range);
            assert!((3..=7).contains(&marks.len()), "{range:?}: {marks:?}");
            assert!(marks.iter().all(|mark| *mark >= range.0 - step * 1e-5 && *mark <= range.1 + step * 1e-5));
        }
        assert_eq!(tick(0.2, 0.2, true), "20%");
        assert_eq!(tick(0.005, 0.005, true), "0.5%");
        assert_eq!(tick(1500.0, 500.0, false), "1500");
        assert_eq!(tick(4000.0, 2000.0, false), "4k");
    }

    #[test]
    fn a_plane_without_width_still_places_points() {
        let plane = Plane::new((2.0, 2.0), (f64::NAN, f64::INFINITY));
        let mut svg = String::new();
        plane.axes(&mut svg, ("x", "y"), (false, false));
        plane.line(&mut svg, "s0", &[(2.0, 0.5), (f64::NAN, 1.0)]);
        assert!(svg.contains("<circle") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
