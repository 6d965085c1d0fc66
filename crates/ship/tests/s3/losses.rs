//! Shipments whose regions are lost at a moment that is chosen: their lines stand still until then.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rhumb_ship::{Outcome, Progress, Remote, Report, Settings, Source, Target};
use tempfile::TempDir;

use crate::{
    got, hasty, progress,
    server::{Line, Moto, Terms, remote},
    shipped,
    tree::noise,
};

const BYTES: usize = 120 << 20;
/// More than one pack, and less than all.
const ROOM: u64 = 40 << 20;
const STANDING: Terms = Terms { room: ROOM, rates: [crate::FAST; 2], whole: true };

/// Regions that a shipment goes to until their lines stand still. All are buckets of two servers.
struct World {
    servers: [Moto; 2],
    lines: Vec<Line>,
    remotes: Vec<Remote>,
}

const REGIONS: [&str; 3] = ["east", "west", "south"];

impl World {
    /// The first so many regions, with lines that are new.
    async fn of(servers: [Moto; 2], regions: usize) -> Self {
        let (mut lines, mut remotes) = (Vec::new(), Vec::new());
        for (nth, region) in REGIONS.iter().take(regions).enumerate() {
            let line = Line::with(servers[nth % 2].address, STANDING).await;
            let mut site = remote(region, line.address).site().clone();
            site.bucket = (*region).to_owned();
            remotes.push(Remote::new(site).unwrap());
            lines.push(line);
        }
        Self { servers, lines, remotes }
    }

    fn progress(&self) -> Arc<Progress> {
        progress(&self.remotes)
    }

    /// Waits until so many lines stand, and says which. The order of regions is who answers first.
    async fn standing(&self, wanted: usize) -> Vec<usize> {
        loop {
            let all = 0..self.lines.len();
            let standing: Vec<usize> = all.filter(|nth| self.lines[*nth].stands()).collect();
            if standing.len() >= wanted {
                return standing;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn cut(&self, nth: usize) {
        self.lines[nth].set(Terms { whole: false, ..Terms::default() });
    }

    /// Lets what stands still go on, but for a region that is cut.
    fn go_on(&self, but: usize) {
        for (nth, line) in self.lines.iter().enumerate() {
            if nth != but {
                line.set(Terms::default());
            }
        }
    }

    /// Whether a region alone has all of an archive.
    async fn assert_has(&self, nth: usize, prefix: &str) {
        let alone = vec![self.remotes[nth].clone()];
        let received = got(alone, prefix, Target::Nowhere).await.unwrap();
        assert_eq!(received.written.bytes, BYTES as u64);
    }
}

fn is_lost(report: &Report, nth: usize) -> bool {
    matches!(report.regions[nth].outcome, Outcome::Lost(_))
}

fn one_at_a_time(copies: usize) -> Settings {
    Settings { copies: Some(copies), min_copies: Some(1), requests: 1, ..hasty() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_region_had_comes_from_where_it_can_be_had() {
    let (Some(one), Some(other)) = (Moto::with_bucket(), Moto::with_bucket()) else {
        eprintln!("SKIPPED: there is no moto; `cargo xtask test` installs it");
        return;
    };
    for (server, bucket) in [(&one, "east"), (&other, "west"), (&one, "south")] {
        server.ask("PUT", &format!("/{bucket}"), b"").unwrap();
    }
    let from = TempDir::new().unwrap();
    fs::write(from.path().join("large"), noise(31, BYTES)).unwrap();
    let servers = a_spare_region_gets_it_from_the_one_that_is_left([one, other], from.path()).await;
    let servers = a_tree_is_read_again_if_only_the_lost_region_had_it(servers, from.path()).await;
    a_region_that_answers_again_is_completed(servers, from.path()).await;
}

async fn a_spare_region_gets_it_from_the_one_that_is_left(
    servers: [Moto; 2],
    from: &Path,
) -> [Moto; 2] {
    let world = World::of(servers, 3).await;
    let (shown, source) = (world.progress(), Source::Tree(from.to_owned()));
    let shipping =
        shipped(source, world.remotes.clone(), "spare", one_at_a_time(2), Arc::clone(&shown));
    let ((lost, spare), report) = tokio::join!(
        async {
            let chosen = world.standing(2).await;
            let spare = (0..3).find(|nth| !chosen.contains(nth)).unwrap();
            // What was read is in memory, or went.
            let most = rhumb_ship::limits::STAGED_BYTES as u64 + ROOM;
            assert!(shown.done.get() <= most, "{} bytes were read", shown.done.get());
            world.cut(chosen[0]);
            world.go_on(chosen[0]);
            (chosen[0], spare)
        },
        shipping
    );
    let report = report.unwrap();
    assert!(is_lost(&report, lost) && report.complete() == 2, "{:?}", report.regions);
    let taken = &report.regions[spare];
    assert_eq!(taken.outcome, Outcome::Complete);
    // What both others had before was not kept.
    assert!(taken.mended > 0 && taken.sent_objects > 0, "{taken:?}");
    assert_eq!(taken.mended + taken.sent_objects, report.packs as u64 + 1, "{taken:?}");
    world.assert_has(spare, "spare").await;
    world.servers
}

async fn a_tree_is_read_again_if_only_the_lost_region_had_it(
    servers: [Moto; 2],
    from: &Path,
) -> [Moto; 2] {
    let mut servers = servers;
    for is_tree in [true, false] {
        let world = World::of(servers, 2).await;
        let prefix = if is_tree { "again" } else { "once" };
        let source = match is_tree {
            true => Source::Tree(from.to_owned()),
            false => Source::Stream {
                name: "large".into(),
                input: Box::new(fs::File::open(from.join("large")).unwrap()),
            },
        };
        let shown = world.progress();
        let shipping =
            shipped(source, world.remotes.clone(), prefix, one_at_a_time(1), Arc::clone(&shown));
        let (lost, report) = tokio::join!(
            async {
                let lost = world.standing(1).await[0];
                world.cut(lost);
                world.go_on(lost);
                lost
            },
            shipping
        );
        let (report, spare) = (report.unwrap(), 1 - lost);
        assert!(is_lost(&report, lost), "{:?}", report.regions);
        if is_tree {
            assert_eq!(report.regions[spare].outcome, Outcome::Complete, "{:?}", report.regions);
            assert_eq!(report.regions[spare].mended, 0);
            assert!(shown.done.get() > BYTES as u64, "it was not read again");
            world.assert_has(spare, prefix).await;
        } else {
            assert!(is_lost(&report, spare) && report.is_failed(), "{:?}", report.regions);
        }
        servers = world.servers;
    }
    servers
}

async fn a_region_that_answers_again_is_completed(servers: [Moto; 2], from: &Path) {
    let world = World::of(servers, 2).await;
    let (shown, source) = (world.progress(), Source::Tree(from.to_owned()));
    let shipping =
        shipped(source, world.remotes.clone(), "back", one_at_a_time(2), Arc::clone(&shown));
    let ((), report) = tokio::join!(
        async {
            world.standing(2).await;
            world.cut(1);
            while !shown.regions[1].lost.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // It is back before the other has all.
            world.lines[1].set(Terms::default());
            world.go_on(1);
        },
        shipping
    );
    let report = report.unwrap();
    assert_eq!(report.complete(), 2, "{:?}", report.regions);
    assert!(report.regions[1].mended > 0, "{:?}", report.regions);
    assert_eq!(report.regions[0].mended, 0);
    assert!(!shown.regions[1].lost.load(Ordering::Relaxed));
    world.assert_has(1, "back").await;
}
