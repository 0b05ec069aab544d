//! A plot as inline SVG.
//!
//! Written as text, as the drawing of the topology is: plot libraries paint their colours in, and these must follow the page
//! from light to dark, carry a text under the pointer, and say MOCK inside the picture, wherever it is copied to.

use std::fmt;

use super::scale::Axis;
use crate::text::escape;

/// In pixels: the picture, and what its plane leaves free at the left, above and below.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const ABOVE: f64 = 72.0;
const BELOW: f64 = 46.0;

/// A picture with two axes. Displays as an SVG element.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    /// Of the mock machine: then it says so itself.
    pub(super) mock: bool,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// What a dash means, if some lines have one.
    pub(super) note: &'static str,
}

/// Points that belong together.
#[derive(Debug)]
pub(super) struct Line {
    /// Gives it its colour and the shape of its points.
    pub(super) path: &'static str,
    /// 0: drawn through; 1: dashed; 2: dotted.
    pub(super) dash: u8,
    pub(super) points: Vec<Point>,
}

/// One value.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// From where to where it varied.
    pub(super) range: Option<(f64, f64)>,
    pub(super) marker: Marker,
    /// What it says under the pointer.
    pub(super) says: String,
}

/// What stands at a point. The greatest of a line stands in the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Marker {
    /// Nothing: the line passes.
    None,
    /// Every byte went direct.
    Full,
    /// Some or all bytes may have gone through host memory.
    Suspect,
    /// Some or all bytes went through host memory.
    Bounced,
}

impl Plot {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - ABOVE - BELOW);
        (LEFT + wide * self.x.place(x), ABOVE + high * (1.0 - self.y.place(y)))
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mock = if self.mock { "MOCK  " } else { "" };
        let title = escape(&format!("{mock}{}", self.title));
        writeln!(f, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">")?;
        writeln!(f, "<title>{title}</title>\n<text class=\"title\" x=\"8\" y=\"18\">{title}</text>")?;
        if self.mock {
            let (x, y) = (LEFT.midpoint(WIDTH - RIGHT), ABOVE.midpoint(HEIGHT - BELOW) + 24.0);
            writeln!(f, "<text class=\"mock\" x=\"{x}\" y=\"{y}\">MOCK: no hardware</text>")?;
        }
        self.legend(f)
    }

    /// The paths that have a line, once each.
    fn legend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut x = 14.0;
        for (index, line) in self.lines.iter().enumerate() {
            if self.lines[..index].iter().any(|other| other.path == line.path) {
                continue;
            }
            let marker = line.points.iter().map(|point| point.marker).fold(Marker::Full, Marker::max);
            let name = match marker {
                Marker::Bounced => format!("{} (BOUNCED)", line.path),
                Marker::Suspect => format!("{} (SUSPECT)", line.path),
                _ => line.path.to_owned(),
            };
            writeln!(f, "<g class=\"{}\">{}</g>", line.path, shape(line.path, marker, (x, 37.0)))?;
            writeln!(f, "<text x=\"{:.1}\" y=\"41\">{name}</text>", x + 10.0)?;
            #[expect(clippy::cast_precision_loss, reason = "letters of a name")]
            let wide = name.chars().count() as f64 * 7.2;
            x += wide + 32.0;
        }
        Ok(())
    }

    fn axes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bottom, end) = (HEIGHT - BELOW, WIDTH - RIGHT);
        for (value, label) in &self.y.ticks {
            let y = self.place(f64::NAN, *value).1;
            writeln!(f, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/>")?;
            writeln!(f, "<text class=\"y\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 6.0, y + 4.0)?;
        }
        for (value, label) in &self.x.ticks {
            let x = self.place(*value, f64::NAN).0;
            writeln!(f, "<path class=\"grid\" d=\"M{x:.1} {ABOVE}V{bottom}\"/>")?;
            writeln!(f, "<text class=\"x\" x=\"{x:.1}\" y=\"{}\">{}</text>", bottom + 16.0, escape(label))?;
        }
        let middle = LEFT.midpoint(end);
        writeln!(f, "<text class=\"x\" x=\"{middle}\" y=\"{}\">{}</text>", HEIGHT - 10.0, self.x.label)?;
        writeln!(f, "<text class=\"note\" x=\"{end}\" y=\"{}\">{}</text>", HEIGHT - 10.0, escape(self.note))?;
        writeln!(f, "<text class=\"note\" x=\"{}\" y=\"{}\">{}</text>", LEFT - 6.0, ABOVE - 10.0, self.y.label)
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, line: &Line) -> fmt::Result {
        writeln!(f, "<g class=\"{} dash{}\">", line.path, line.dash)?;
        let places = line.points.iter().map(|point| self.place(point.x, point.y));
        let places: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(f, "<polyline points=\"{}\"/>", places.join(" "))?;
        for point in line.points.iter().filter(|point| point.marker != Marker::None) {
            let place = self.place(point.x, point.y);
            writeln!(f, "<g><title>{}</title>", escape(&point.says))?;
            if let Some((low, high)) = point.range {
                let (x, [low, high]) = (place.0, [low, high].map(|value| self.place(point.x, value).1));
                writeln!(
                    f,
                    "<path class=\"range\" d=\"M{x:.1} {low:.1}V{high:.1}M{0:.1} {low:.1}h8M{0:.1} {high:.1}h8\"/>",
                    x - 4.0
                )?;
            }
            writeln!(f, "{}</g>", shape(line.path, point.marker, place))?;
        }
        writeln!(f, "</g>")
    }
}

/// One for each path, so that who sees few colours can tell them apart.
fn shape(path: &str, marker: Marker, (x, y): (f64, f64)) -> String {
    let class = if marker >= Marker::Suspect { "hollow" } else { "full" };
    let outline = match path {
        "direct" => "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
        "bounce" => "M-5-5H5V5H-5Z",
        _ => "M0-6 6 5H-6Z",
    };
    format!("<path class=\"{class}\" transform=\"translate({x:.1} {y:.1})\" d=\"{outline}\"/>")
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.axes(f)?;
        self.lines.iter().try_for_each(|line| self.line(f, line))?;
        writeln!(f, "</svg>")
    }
}
