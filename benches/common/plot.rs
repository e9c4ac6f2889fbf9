//! Small line charts as SVG: one beside the other, a logarithmic axis of tree sizes below each.

use std::fmt::Write as _;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 200.0;
/// Room for the numbers beside and below a chart, and its title above.
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 34.0;
const COLOURS: [&str; 4] = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700"];

/// A chart: lines over tree sizes, from zero up.
pub struct Chart {
    pub title: &'static str,
    pub lines: Vec<Line>,
    /// A level to compare with, and what it means.
    pub limit: Option<(f64, &'static str)>,
}

/// A line: points of tree size and value.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Draws charts in rows of three.
pub fn draw(charts: &[Chart]) -> String {
    let rows = charts.len().div_ceil(3);
    let (width, height) = (3.0 * (WIDTH + LEFT), rows as f64 * (HEIGHT + BOTTOM + TOP));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, chart) in charts.iter().enumerate() {
        let (x, y) = ((at % 3) as f64 * (WIDTH + LEFT), (at / 3) as f64 * (HEIGHT + BOTTOM + TOP));
        writeln!(svg, "<g transform=\"translate({} {})\">", x + LEFT, y + TOP).expect("a string");
        chart.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

impl Chart {
    fn draw(&self, svg: &mut String) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let sizes =
            (points().map(|p| p.0).fold(f64::MAX, f64::min), points().map(|p| p.0).fold(1.0, f64::max));
        let top = points().map(|p| p.1).chain(self.limit.map(|l| l.0)).fold(0.0, f64::max) * 1.1;
        let plot = WIDTH - 16.0;
        let x = |size: f64| (size / sizes.0).log10() / (sizes.1 / sizes.0).log10().max(1e-9) * plot;
        let y = |value: f64| HEIGHT - value / top.max(1e-9) * HEIGHT;
        let mut put = |text: String| svg.push_str(&text);
        put(format!("<text x=\"0\" y=\"-18\" font-size=\"13\" font-weight=\"bold\">{}</text>\n", self.title));
        for step in 0..=4 {
            let value = top / 4.4 * f64::from(step);
            let at = y(value);
            put(format!("<line x1=\"0\" x2=\"{plot}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n"));
            put(format!(
                "<text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                at + 4.0,
                short(value)
            ));
        }
        let mut size = 10_f64.powf(sizes.0.log10().ceil());
        while size <= sizes.1 * 1.01 {
            let (at, label) = (x(size), short(size));
            put(format!(
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
                HEIGHT + 16.0
            ));
            size *= 10.0;
        }
        if let Some((level, meaning)) = self.limit {
            let at = y(level);
            put(format!(
                "<line x1=\"0\" x2=\"{plot}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#666\" stroke-dasharray=\"4 3\"/>\n"
            ));
            put(format!(
                "<text x=\"{plot}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{meaning}</text>\n",
                at - 4.0
            ));
        }
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let path: Vec<String> =
                line.points.iter().map(|(s, v)| format!("{:.1},{:.1}", x(*s), y(*v))).collect();
            put(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
                path.join(" ")
            ));
            line.points.iter().for_each(|(s, v)| {
                put(format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"{colour}\"/>\n", x(*s), y(*v)));
            });
            let from = 90.0 * at as f64;
            put(format!("<text x=\"{from}\" y=\"-4\" fill=\"{colour}\">{}</text>\n", line.name));
        }
    }
}

/// A number as people write it on an axis.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let digits = usize::from(value < 10.0 && value.fract() > 0.04) + usize::from(value < 1.0 && value > 0.0);
    format!("{value:.digits$}{unit}")
}
