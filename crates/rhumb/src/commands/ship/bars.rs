//! How far a transfer is, on standard error: bars on a terminal, else a line now and then.

use std::{
    io::IsTerminal as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rhumb_ship::{Progress, RegionProgress};
use rhumb_types::ByteSize;
use tokio::task::JoinSet;

use crate::{cli::Transfers, commands::note};

/// Time between two looks on a terminal.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two lines where there is none.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const WHOLE: &str = "{prefix:<16} [{bar:28}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}";
const REGION: &str = "{prefix:<16} {spinner} {bytes} {bytes_per_sec} {msg}";

/// Shows a transfer until it is over.
#[derive(Debug)]
pub(crate) struct Bars {
    showing: JoinSet<()>,
}

impl Bars {
    pub(crate) fn show(progress: &Arc<Progress>, args: &Transfers) -> Self {
        let mut showing = JoinSet::new();
        let progress = Arc::clone(progress);
        if args.quiet {
            drop(progress);
        } else if std::io::stderr().is_terminal() {
            showing.spawn(on_terminal(progress));
        } else {
            showing.spawn(in_lines(progress));
        }
        Self { showing }
    }

    /// Leaves the terminal as it was.
    pub(crate) async fn end(mut self) {
        self.showing.shutdown().await;
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are this file's own.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Bars that go away with this.
struct Terminal {
    bars: MultiProgress,
    whole: ProgressBar,
    regions: Vec<ProgressBar>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no clearing.
        let _gone = self.bars.clear();
    }
}

async fn on_terminal(progress: Arc<Progress>) {
    let bars = MultiProgress::new();
    let whole = bars.add(ProgressBar::new(0).with_style(style(WHOLE)).with_prefix("data"));
    let region = |region: &RegionProgress| {
        let bar = ProgressBar::new_spinner().with_style(style(REGION));
        bars.add(bar.with_prefix(region.region.to_string()))
    };
    let regions = progress.regions.iter().map(region).collect();
    let terminal = Terminal { bars, whole, regions };
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        terminal.whole.set_length(progress.total.get().max(progress.done.get()));
        terminal.whole.set_position(progress.done.get());
        terminal.whole.set_message(format!("{} entries", progress.entries.get()));
        for (bar, region) in terminal.regions.iter().zip(&progress.regions) {
            bar.set_position(region.bytes.get());
            bar.set_message(of(region));
            bar.tick();
        }
    }
}

fn of(region: &RegionProgress) -> String {
    let lost = if region.lost.load(Ordering::Relaxed) { ", lost" } else { "" };
    format!("{} objects, {} there{lost}", region.objects.get(), region.present.get())
}

async fn in_lines(progress: Arc<Progress>) {
    let begun = Instant::now();
    let mut looks = tokio::time::interval(LINE_INTERVAL);
    // The first is at once, when there is nothing to say.
    looks.tick().await;
    loop {
        looks.tick().await;
        note(&line(&progress, begun.elapsed()));
    }
}

fn line(progress: &Progress, took: Duration) -> String {
    let (done, total) = (progress.done.get(), progress.total.get());
    let rate = done / took.as_secs().max(1);
    let counted = progress.counted.load(Ordering::Relaxed);
    let left = match total.saturating_sub(done).checked_div(rate) {
        Some(seconds) if counted => format!(", {seconds} s left"),
        _ => String::new(),
    };
    let regions: Vec<String> = progress
        .regions
        .iter()
        .map(|region| {
            format!("{} {} ({})", region.region, ByteSize(region.bytes.get()), of(region))
        })
        .collect();
    let (done, all, rate) = (ByteSize(done), ByteSize(total.max(done)), ByteSize(rate));
    format!("{done} of {all}, {rate}/s{left}; {}", regions.join("; "))
}

#[cfg(test)]
mod tests {
    use rhumb_ship::RegionId;

    use super::*;

    fn progress() -> Progress {
        let regions = ["us-east-1", "eu-west-1"].map(|name| RegionId::new(name).unwrap());
        let progress = Progress::new(&regions);
        progress.total.add(100 << 20);
        progress.done.add(25 << 20);
        for (region, objects) in progress.regions.iter().zip([3, 1]) {
            region.bytes.add(objects << 20);
            region.objects.add(objects);
            region.present.add(2);
        }
        progress
    }

    #[test]
    fn a_line_says_how_much_how_fast_where_and_how_long_it_will_take() {
        let progress = progress();
        let took = Duration::from_secs(10);
        let regions =
            "us-east-1 3.0 MiB (3 objects, 2 there); eu-west-1 1.0 MiB (1 objects, 2 there)";
        // Before all is counted nobody knows how much is left.
        assert_eq!(line(&progress, took), format!("25.0 MiB of 100.0 MiB, 2.5 MiB/s; {regions}"));
        progress.counted.store(true, Ordering::Relaxed);
        let left = format!("25.0 MiB of 100.0 MiB, 2.5 MiB/s, 30 s left; {regions}");
        assert_eq!(line(&progress, took), left);
        progress.regions[1].lost.store(true, Ordering::Relaxed);
        assert!(line(&progress, took).ends_with("eu-west-1 1.0 MiB (1 objects, 2 there, lost)"));
    }

    #[test]
    fn a_line_of_nothing_is_one() {
        let nothing = Progress::new([]);
        // A stream, whose length nobody knows.
        nothing.done.add(7);
        assert_eq!(line(&nothing, Duration::ZERO), "7 B of 7 B, 7 B/s; ");
        let nothing = Progress::new([]);
        nothing.counted.store(true, Ordering::Relaxed);
        assert_eq!(line(&nothing, Duration::ZERO), "0 B of 0 B, 0 B/s; ");
    }

    #[test]
    fn the_bars_are_styled_as_they_are_written_down() {
        for template in [WHOLE, REGION] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
