//! A plot over time, as SVG.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use serde_json::json;

use super::{
    escape,
    scale::{Scale, Tick, time_ticks},
};

/// The size of a plot, in units of its view box.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const HEIGHT: f64 = 270.0;
/// The margins around the area of values.
pub(super) const LEFT: f64 = 70.0;
pub(super) const RIGHT: f64 = 15.0;
pub(super) const TOP: f64 = 26.0;
pub(super) const BOTTOM: f64 = 34.0;
/// A band of a fault that is so narrow would not be seen.
const BAND_WIDTH_MIN: f64 = 3.0;

/// One line or area.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    /// One of the colours of the page's style.
    pub(super) colour: String,
    pub(super) values: Vec<f64>,
}

/// How curves are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Each by itself.
    Lines,
    /// One upon the other, filled.
    Stacked,
}

/// When something was wrong.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Band {
    pub(super) number: usize,
    pub(super) fault: String,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot<'a> {
    /// Its name in the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    /// What it shows, in a sentence.
    pub(super) about: &'a str,
    pub(super) kind: Kind,
    pub(super) curves: Vec<Curve>,
    pub(super) step: Duration,
    pub(super) lasting: Duration,
    pub(super) bands: &'a [Band],
    pub(super) log: bool,
    /// A value with its unit.
    pub(super) label: fn(f64) -> String,
}

/// The width and height of the area of values.
pub(super) const fn area() -> (f64, f64) {
    (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
}

impl Plot<'_> {
    pub(super) fn write(&self, page: &mut String) -> fmt::Result {
        let stacks = self.stacks();
        let all = || stacks.iter().flatten().copied().filter(|value| value.is_finite());
        let scale =
            if self.log { Scale::log(all()) } else { Scale::linear(all().fold(0.0, f64::max)) };
        let id = self.id;
        write!(page, "<figure class=\"plot\" id=\"{id}\"><figcaption><h3>{}</h3>", self.title)?;
        write!(page, "<p class=\"hint\">{}</p>", escape(self.about))?;
        self.legend(page)?;
        write!(
            page,
            "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{}</title>\
             <desc id=\"{id}-d\">{}</desc>",
            self.title,
            escape(self.about),
        )?;
        frame(page, &scale.ticks(self.label), &time_ticks(self.lasting))?;
        self.faults(page)?;
        if all().all(|value| value == 0.0) {
            let (width, height) = area();
            let (x, y) = (LEFT + width / 2.0, TOP + height / 2.0);
            write!(page, "<text class=\"none\" x=\"{x}\" y=\"{y}\">none</text>")?;
        }
        for (nth, curve) in self.curves.iter().enumerate() {
            let upper = stacks.get(nth).map(Vec::as_slice).unwrap_or_default();
            let lower = nth.checked_sub(1).and_then(|below| stacks.get(below));
            let path = match self.kind {
                Kind::Lines => self.line(scale, upper),
                Kind::Stacked => self.filled(scale, upper, lower.map_or(&[], Vec::as_slice)),
            };
            let class = if self.kind == Kind::Lines { "line" } else { "area" };
            let (colour, name) = (&curve.colour, escape(&curve.name));
            write!(
                page,
                "<path class=\"{class} {colour}\" d=\"{path}\"><title>{name}</title></path>"
            )?;
        }
        write!(page, "<line class=\"cursor\" y1=\"{TOP}\" y2=\"{}\"/></svg>", HEIGHT - BOTTOM)?;
        write!(page, "<script type=\"application/json\">{}</script></figure>", self.data())
    }

    /// The values as drawn: of stacked ones each with those below it.
    fn stacks(&self) -> Vec<Vec<f64>> {
        let mut stacks: Vec<Vec<f64>> = Vec::with_capacity(self.curves.len());
        for curve in &self.curves {
            let below = stacks.last().filter(|_| self.kind == Kind::Stacked);
            let value = |(nth, value): (usize, &f64)| {
                value + below.and_then(|below| below.get(nth)).copied().unwrap_or(0.0)
            };
            stacks.push(curve.values.iter().enumerate().map(value).collect());
        }
        stacks
    }

    fn legend(&self, page: &mut String) -> fmt::Result {
        if self.curves.len() < 2 {
            return Ok(());
        }
        write!(page, "<ul class=\"legend\">")?;
        for curve in &self.curves {
            write!(page, "<li><i class=\"{}\"></i>{}</li>", curve.colour, escape(&curve.name))?;
        }
        write!(page, "</ul>")
    }

    fn x(&self, time: Duration) -> f64 {
        let share = time.as_secs_f64() / self.lasting.as_secs_f64().max(1e-3);
        LEFT + share.min(1.0) * area().0
    }

    fn faults(&self, page: &mut String) -> fmt::Result {
        for band in self.bands {
            let (from, until) = (self.x(band.from), self.x(band.until));
            let width = (until - from).max(BAND_WIDTH_MIN);
            let (height, number, fault) = (area().1, band.number, escape(&band.fault));
            write!(
                page,
                "<g><title>{fault}</title><rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" \
                 width=\"{width:.1}\" height=\"{height}\"/><text class=\"number\" x=\"{:.1}\" \
                 y=\"{}\">{number}</text></g>",
                from + 2.0,
                TOP - 6.0,
            )?;
        }
        Ok(())
    }

    /// The corners of a curve. A value holds for its whole step.
    fn corners(&self, scale: Scale, values: &[f64]) -> Vec<Option<[(f64, f64); 2]>> {
        let height = area().1;
        let at = |nth: usize| self.x(self.step * u32::try_from(nth).unwrap_or(u32::MAX));
        let corner = |(nth, value): (usize, &f64)| {
            let y = TOP + height - scale.place(*value)? * height;
            Some([(at(nth), y), (at(nth + 1), y)])
        };
        values.iter().enumerate().map(corner).collect()
    }

    fn line(&self, scale: Scale, values: &[f64]) -> String {
        let mut path = String::new();
        let mut pen = 'M';
        for corner in self.corners(scale, values) {
            // Where nothing was measured the line is broken.
            let Some(corners) = corner else {
                pen = 'M';
                continue;
            };
            for (x, y) in corners {
                let _infallible = write!(path, "{pen}{x:.1} {y:.1}");
                pen = 'L';
            }
        }
        path
    }

    fn filled(&self, scale: Scale, upper: &[f64], lower: &[f64]) -> String {
        let ground = vec![0.0; upper.len()];
        let lower = if lower.is_empty() { &ground } else { lower };
        let mut path = String::new();
        let above = self.corners(scale, upper).into_iter().flatten().flatten();
        let below: Vec<(f64, f64)> =
            self.corners(scale, lower).into_iter().flatten().flatten().collect();
        for (nth, (x, y)) in above.chain(below.into_iter().rev()).enumerate() {
            let pen = if nth == 0 { 'M' } else { 'L' };
            let _infallible = write!(path, "{pen}{x:.1} {y:.1}");
        }
        path.push('Z');
        path
    }

    /// What the script shows under the pointer.
    fn data(&self) -> String {
        let shown =
            |value: &f64| if value.is_finite() { (self.label)(*value) } else { "-".to_owned() };
        let curves: Vec<_> = self
            .curves
            .iter()
            .map(|curve| {
                let values: Vec<String> = curve.values.iter().map(shown).collect();
                json!({ "name": curve.name, "values": values })
            })
            .collect();
        let data = json!({
            "left": LEFT / WIDTH,
            "right": (WIDTH - RIGHT) / WIDTH,
            "width": WIDTH,
            "step": self.step.as_secs_f64(),
            "lasting": self.lasting.as_secs_f64(),
            "curves": curves,
        });
        // In a script element only this could end it.
        data.to_string().replace('<', "\\u003c")
    }
}

/// The lines of the axes, with their words.
pub(super) fn frame(page: &mut String, values: &[Tick], times: &[Tick]) -> fmt::Result {
    let (width, height) = area();
    let (right, bottom) = (LEFT + width, TOP + height);
    for tick in values {
        let y = bottom - tick.at * height;
        let label = escape(&tick.label);
        write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"y\" x=\"{}\" y=\"{:.1}\">{label}</text>",
            LEFT - 8.0,
            y + 4.0,
        )?;
    }
    for tick in times {
        let x = LEFT + tick.at * width;
        let label = escape(&tick.label);
        write!(
            page,
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>\
             <text class=\"x\" x=\"{x:.1}\" y=\"{}\">{label}</text>",
            bottom + 5.0,
            bottom + 20.0,
        )?;
    }
    write!(
        page,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
    )
}
