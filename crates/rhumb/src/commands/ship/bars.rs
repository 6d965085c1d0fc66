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
