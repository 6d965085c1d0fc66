//! How often a time came, over all runs.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::{
    plot::{BOTTOM, HEIGHT, LEFT, TOP, WIDTH, area, frame},
    scale::{Scale, Tick, millis, plain},
};
use crate::report::{Spread, shown};

/// About how many bars there are.
const BARS: f64 = 20.0;
/// The share of the width that what never came has.
const NEVER_WIDTH: f64 = 0.14;
/// The space between two bars.
const GAP: f64 = 2.0;

/// What is counted.
#[derive(Debug)]
pub(super) struct Histogram<'a> {
    /// Its name in the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    /// What it shows, in a sentence.
    pub(super) about: &'a str,
    pub(super) times: &'a Spread,
}

impl Histogram<'_> {
    pub(super) fn write(&self, page: &mut String) -> fmt::Result {
        let Self { id, title, about, times } = self;
        write!(
            page,
            "<figure class=\"plot\" id=\"{id}\"><figcaption><h3>{title}</h3>\
             <p class=\"hint\">{about}</p></figcaption>"
        )?;
        draw(page, id, title, times)?;
        write!(page, "</figure>")
    }
}

fn draw(page: &mut String, id: &str, title: &str, times: &Spread) -> fmt::Result {
    write!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t\">\
         <title id=\"{id}-t\">{title}</title>"
    )?;
    let longest = times.times().last().copied().unwrap_or_default();
    let Scale::Linear(most) = Scale::linear(longest.as_secs_f64() * 1e3) else { return Ok(()) };
    let bars = bars(times.times(), most);
    let highest = bars.iter().copied().chain([times.never]).max().unwrap_or(0);
    let counts = counts(highest);
    let Some(Tick { label: top, .. }) = counts.last() else { return Ok(()) };
    let top: f64 = top.parse().unwrap_or(1.0);
    let (width, height) = area();
    let reach = if times.never > 0 { width * (1.0 - NEVER_WIDTH) } else { width };
    let mut marks = Scale::Linear(most).ticks(millis);
    for mark in &mut marks {
        mark.at *= reach / width;
    }
    if times.never > 0 {
        marks.push(Tick { at: 1.0 - NEVER_WIDTH / 2.0, label: "never".to_owned() });
    }
    frame(page, &counts, &marks)?;
    let bar_width = reach / bars.len() as f64;
    let step = most / bars.len() as f64;
    for (nth, many) in bars.iter().enumerate().filter(|(_, many)| **many > 0) {
        let high = *many as f64 / top * height;
        let x = LEFT + nth as f64 * bar_width + GAP / 2.0;
        let between = |nth: f64| shown::time(Duration::from_secs_f64(nth * step / 1e3));
        let (from, until) = (between(nth as f64), between(nth as f64 + 1.0));
        write!(
            page,
            "<rect class=\"bar\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{high:.1}\">\
             <title>{many} from {from} to {until}</title></rect>",
            TOP + height - high,
            bar_width - GAP,
        )?;
    }
    if times.never > 0 {
        let high = times.never as f64 / top * height;
        write!(
            page,
            "<rect class=\"bar failed\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{high:.1}\">\
             <title>{} never</title></rect>",
            LEFT + reach + width * NEVER_WIDTH / 4.0,
            HEIGHT - BOTTOM - high,
            width * NEVER_WIDTH / 2.0,
            times.never,
        )?;
    }
    write!(page, "</svg>")
}

/// How many times fall into each of equal parts.
fn bars(times: &[Duration], most: f64) -> Vec<usize> {
    let mut bars: Vec<usize> = vec![0; 20];
    for time in times {
        let place = time.as_secs_f64() * 1e3 / most * BARS;
        let fits = (0_usize..).zip(bars.iter_mut());
        // The last bar has its end, too.
        if let Some((_, bar)) = fits.take_while(|(nth, _)| *nth as f64 <= place).last() {
            *bar += 1;
        }
    }
    bars
}

/// Lines at whole numbers.
fn counts(highest: usize) -> Vec<Tick> {
    let step = highest.div_ceil(5).max(1);
    let top = highest.div_ceil(step).max(1) * step;
    let tick = |count: usize| Tick { at: count as f64 / top as f64, label: plain(count as f64) };
    (0..=top).step_by(step).map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_one_bar() {
        let times: Vec<Duration> = [0, 49, 50, 999, 1_000].map(Duration::from_millis).to_vec();
        let bars = bars(&times, 1_000.0);
        assert_eq!((bars[0], bars[1], bars[19]), (2, 1, 2));
        assert_eq!(bars.iter().sum::<usize>(), times.len());
    }

    #[test]
    fn counts_are_whole() {
        let labels = |highest| counts(highest).into_iter().map(|it| it.label).collect::<Vec<_>>();
        assert_eq!(labels(0), ["0", "1"]);
        assert_eq!(labels(3), ["0", "1", "2", "3"]);
        assert_eq!(labels(12), ["0", "3", "6", "9", "12"]);
    }
}
