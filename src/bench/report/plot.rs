//! Line plots as inline SVG, in the colours of the page.

use std::fmt::Write;

/// Width and height of a plot, its margins included.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;

/// Named points, joined in their order.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// One plot.
#[derive(Clone, Debug)]
pub(super) struct Plot<'a> {
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    /// Places on the x axis that are named.
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) lines: Vec<Line>,
    /// Whether the y axis is logarithmic.
    pub(super) log: bool,
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">\n",
            self.y, self.x
        );
        let (low, high) = self.range();
        for tick in self.y_ticks(low, high) {
            let y = self.y_at(tick, low, high);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(tick)
            );
        }
        for (at, name) in &self.ticks {
            let x = self.x_at(*at);
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                HEIGHT - BOTTOM + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"label\" transform=\"translate(14 {:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            self.x,
            (TOP + HEIGHT - BOTTOM) / 2.0,
            self.y
        );
        for (number, line) in self.lines.iter().enumerate() {
            self.draw(&mut svg, number, line, low, high);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The names of the lines with their colours.
    pub(super) fn legend(&self) -> String {
        let mut legend = String::from("<ul class=\"legend\">\n");
        for (number, line) in self.lines.iter().enumerate() {
            let _ = writeln!(legend, "<li class=\"c{}\">{}</li>", number % 6, line.name);
        }
        legend.push_str("</ul>\n");
        legend
    }

    fn draw(&self, svg: &mut String, number: usize, line: &Line, low: f64, high: f64) {
        let class = number % 6;
        let mut path = String::new();
        for &(x, y) in &line.points {
            let _ = write!(path, "{:.1},{:.1} ", self.x_at(x), self.y_at(y, low, high));
        }
        let _ = writeln!(svg, "<polyline class=\"line c{class}\" points=\"{}\"/>", path.trim_end());
        for &(x, y) in &line.points {
            let _ = writeln!(
                svg,
                "<circle class=\"dot c{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\">\
                 <title>{}: {}</title></circle>",
                self.x_at(x),
                self.y_at(y, low, high),
                line.name,
                short(y)
            );
        }
    }

    fn range(&self) -> (f64, f64) {
        let all = self.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        let most = all.clone().fold(1.0, f64::max);
        if self.log {
            let least = all.fold(most, f64::min).max(1e-3);
            (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()))
        } else {
            (0.0, most * 1.08)
        }
    }

    fn y_ticks(&self, low: f64, high: f64) -> Vec<f64> {
        if self.log {
            let (first, last) = (low.log10().round() as i32, high.log10().round() as i32);
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        let rough = high / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let count = (high / step).floor() as usize;
        (0..=count).map(|number| number as f64 * step).collect()
    }

    fn x_at(&self, x: f64) -> f64 {
        let last = self.ticks.iter().map(|tick| tick.0).fold(0.0, f64::max);
        let first = self.ticks.iter().map(|tick| tick.0).fold(last, f64::min);
        let share = if last > first { (x - first) / (last - first) } else { 0.5 };
        let room = WIDTH - LEFT - RIGHT;
        LEFT + 20.0 + share * (room - 40.0)
    }

    fn y_at(&self, y: f64, low: f64, high: f64) -> f64 {
        let share = if self.log {
            (y.max(low).log10() - low.log10()) / (high.log10() - low.log10()).max(1e-9)
        } else {
            (y - low) / (high - low).max(1e-9)
        };
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }
}

/// A number as an axis shows it.
pub(super) fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trim(v / 1e6)),
        v if v >= 1e3 => format!("{}k", trim(v / 1e3)),
        v => trim(v),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
