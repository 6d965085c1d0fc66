//! Shipments to two independent S3 servers, and back.
//!
//! All cases share the servers, for they take seconds to start.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::indexing_slicing, reason = "a report has the regions that were named")]

mod losses;
#[path = "../../../blobs/tests/s3/moto.rs"]
mod moto;
mod server;
mod tree;
mod uploads;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rhumb_pack::{
    ArchivePath, Content, Cutter, Entry, Kind, Mtime, PackRef, Root, Sealed, Sealer, SecretKey,
    SegmentWriter, Trust, assemble,
};
use rhumb_ship::{
    Action, Objects, Outcome, Prefix, Progress, ReceiveError, Received, Remote, Report, Said,
    Settings, ShipError, Source, Target, UploadSettings, UploadSource, Verdict, Written, receive,
    ship,
};
use tempfile::TempDir;

use crate::{
    server::{FAST, Line, Moto, Terms, remote},
    tree::{looks, noise, plant},
};

fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn trust() -> Trust {
    Trust::Signers(vec![key().public()])
}

fn hasty() -> Settings {
    Settings { retries: 1, retry_delay: Duration::ZERO, ..Settings::default() }
}

fn progress(remotes: &[Remote]) -> Arc<Progress> {
    Arc::new(Progress::new(remotes.iter().map(Remote::region)))
}

async fn sent(
    top: &Path,
    remotes: Vec<Remote>,
    prefix: &str,
    settings: Settings,
) -> Result<Report, ShipError> {
    let (source, shown) = (Source::Tree(top.to_owned()), progress(&remotes));
    shipped(source, remotes, prefix, settings, shown).await
}

async fn shipped(
    source: Source,
    remotes: Vec<Remote>,
    prefix: &str,
    settings: Settings,
    shown: Arc<Progress>,
) -> Result<Report, ShipError> {
    let prefix = Prefix::new(prefix).unwrap();
    ship(source, remotes, &prefix, &Sealer::Key(key()), settings, shown).await
}

async fn got(remotes: Vec<Remote>, prefix: &str, target: Target) -> Result<Received, ReceiveError> {
    let shown = progress(&remotes);
    receive(remotes, &Prefix::new(prefix).unwrap(), trust(), target, hasty(), shown).await
}

struct Servers {
    east: Moto,
    west: Moto,
}

impl Servers {
    fn both(&self) -> Vec<Remote> {
        vec![remote("east", self.east.address), remote("west", self.west.address)]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_independent_servers() {
    let (Some(east), Some(west)) = (Moto::with_bucket(), Moto::with_bucket()) else {
        eprintln!("SKIPPED: there is no moto; `cargo xtask test` installs it");
        return;
    };
    let servers = Servers { east, west };
    a_tree_comes_back_to_the_last_bit(&servers).await;
    what_was_broken_off_goes_on(&servers).await;
    a_region_is_lost_on_the_way(&servers).await;
    damage_is_found_and_no_damaged_file_gets_its_name(&servers).await;
    most_comes_from_the_region_that_is_near(&servers).await;
    nothing_leaves_the_folder(&servers).await;
    a_stream_of_zeros_and_a_stranger(&servers).await;
}

async fn a_tree_comes_back_to_the_last_bit(servers: &Servers) {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    plant(from.path(), 10_000);
    let report = sent(from.path(), servers.both(), "tree/all", hasty()).await.unwrap();
    assert_eq!((report.complete(), report.summary.warned), (2, 0));
    assert!(report.regions.iter().all(|region| region.present == 0 && region.sent_objects > 2));
    // The file of a gigabyte has a few bytes of data.
    assert!(report.summary.bytes < 64 << 20, "{}", report.summary.bytes);

    let folder = || Target::Folder(to.path().join("restored"));
    let received = got(servers.both(), "tree/all", folder()).await.unwrap();
    assert!(received.written.files > 10_000 && received.written.present == 0);
    assert!(received.regions.iter().all(|region| region.said == Said::Newest));
    assert!(received.regions.iter().all(|region| region.objects > 0), "{:?}", received.regions);
    let (before, after) = (looks(from.path()), looks(&to.path().join("restored")));
    assert_eq!(before.len(), after.len());
    for ((path, before), (other, after)) in before.iter().zip(&after) {
        assert_eq!((path, before), (other, after));
    }
    let sparse = fs::metadata(to.path().join("restored/odd/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());

    // Again: nothing is sent, nothing is fetched but the list.
    let again = sent(from.path(), servers.both(), "tree/all", hasty()).await.unwrap();
    assert!(again.regions.iter().all(|region| region.sent_objects == 0 && region.present > 2));
    let again = got(servers.both(), "tree/all", folder()).await.unwrap();
    assert_eq!((again.written.files, again.written.present), (0, received.written.files));
    // A change of one file is seen, and only that file is written.
    let large = to.path().join("restored/odd/text");
    fs::write(&large, "changed").unwrap();
    let compared = || Target::Compared(to.path().join("restored"));
    let differs = got(servers.both(), "tree/all", compared()).await.unwrap();
    assert!(differs.differences.shown.iter().all(|line| line.starts_with("odd/text: ")));
    assert!(differs.differences.count >= 2, "{:?}", differs.differences);
    let mended = got(servers.both(), "tree/all", folder()).await.unwrap();
    assert_eq!(mended.written.files, 1);
    let same = got(servers.both(), "tree/all", compared()).await.unwrap();
    assert_eq!(same.differences.count, 0, "{:?}", same.differences);
}

/// Names the folder and the server for the process that is killed.
const KILLED: [&str; 2] = ["RHUMB_TEST_KILLED_FOLDER", "RHUMB_TEST_KILLED_SERVER"];

/// Ships what it is told to, slowly, until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `what_was_broken_off_goes_on`, in a process that is killed"]
async fn a_process_that_is_killed() {
    let of = |wanted| std::env::vars().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let [Some(folder), Some(server)] = KILLED.map(of) else { return };
    let slow = Line::to(server.parse().unwrap(), 20 << 20).await;
    let settings = Settings { requests: 2, ..hasty() };
    let line = vec![remote("east", slow.address)];
    sent(Path::new(&folder), line, "broken", settings).await.unwrap();
}

async fn what_was_broken_off_goes_on(servers: &Servers) {
    let from = TempDir::new().unwrap();
    fs::write(from.path().join("large"), noise(3, 200 << 20)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_process_that_is_killed"]);
    command.env(KILLED[0], from.path()).env(KILLED[1], servers.east.address.to_string());
    let mut killed = command.stdout(Stdio::null()).spawn().unwrap();
    while servers.east.keys("broken/packs/").len() < 3 {
        assert!(killed.try_wait().unwrap().is_none(), "it ended before it was killed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let there = servers.east.keys("broken/packs/").len() as u64;
    assert!(servers.east.keys("broken/manifest").is_empty());
    let nothing = got(vec![remote("east", servers.east.address)], "broken", Target::Nowhere).await;
    assert!(matches!(nothing, Err(ReceiveError::NoManifest(_))));

    let line = Line::to(servers.east.address, FAST).await;
    let all = vec![remote("east", line.address)];
    let report = sent(from.path(), all.clone(), "broken", hasty()).await.unwrap();
    let region = &report.regions[0];
    assert_eq!(region.outcome, Outcome::Complete);
    // One more is the list of files. What was on its way may have arrived meanwhile.
    let sent_packs = region.sent_objects - 1;
    eprintln!("of {} packs {there} were there; {sent_packs} were sent", report.packs);
    assert!(sent_packs <= report.packs as u64 - there, "{sent_packs} sent, {there} were there");
    assert!(sent_packs + 2 >= report.packs as u64 - there && region.present >= there);
    assert!(line.carried.load(Ordering::Relaxed) < (200 << 20) - there * (8 << 20));
    assert_eq!(got(all, "broken", Target::Nowhere).await.unwrap().written.bytes, 200 << 20);
}

async fn a_region_is_lost_on_the_way(servers: &Servers) {
    let from = TempDir::new().unwrap();
    fs::write(from.path().join("large"), noise(4, 150 << 20)).unwrap();
    let slow = Line::to(servers.west.address, 60 << 20).await;
    let remotes = vec![remote("east", servers.east.address), remote("west", slow.address)];
    let settings = Settings { min_copies: Some(1), ..hasty() };
    let (lost, report) = tokio::join!(
        async {
            while servers.west.keys("lost/packs/").is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(slow);
            servers.west.keys("lost/packs/").len()
        },
        sent(from.path(), remotes, "lost", settings)
    );
    let report = report.unwrap();
    assert!(lost < report.packs, "it was lost too late to tell");
    assert!(report.is_degraded() && !report.is_failed());
    assert_eq!(report.regions[0].outcome, Outcome::Complete);
    assert!(matches!(&report.regions[1].outcome, Outcome::Lost(_)));
    // Too few for whoever wants two.
    let nowhere = remote("west", "127.0.0.1:1".parse().unwrap());
    let few = vec![remote("east", servers.east.address), nowhere.clone()];
    assert!(matches!(
        sent(from.path(), few, "lost", hasty()).await,
        Err(ShipError::Unreachable { answered: 1, enough: 2, .. })
    ));
    // One region gone, another without the archive.
    let some =
        vec![nowhere, remote("east", servers.east.address), remote("south", servers.west.address)];
    let received = got(some, "lost", Target::Nowhere).await.unwrap();
    let said: Vec<_> = received.regions.iter().map(|region| &region.said).collect();
    assert!(matches!(said[..], [Said::Silent(_), Said::Newest, Said::Nothing]), "{said:?}");
}

async fn damage_is_found_and_no_damaged_file_gets_its_name(servers: &Servers) {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(from.path().join("a"), noise(6, 20 << 20)).unwrap();
    sent(from.path(), servers.both(), "damage", hasty()).await.unwrap();
    let packs = servers.east.keys("damage/packs/");
    for pack in &packs {
        servers.east.flip(pack).await;
    }
    let folder = || Target::Folder(to.path().to_owned());
    let received = got(servers.both(), "damage", folder()).await.unwrap();
    assert!(received.regions[1].objects >= packs.len() as u64);
    assert_eq!(looks(from.path()), looks(to.path()));

    fs::remove_file(to.path().join("a")).unwrap();
    servers.west.flip(&packs[0]).await;
    let lost = got(servers.both(), "damage", folder()).await;
    assert!(
        matches!(&lost, Err(ReceiveError::Lost { reasons, .. }) if reasons.contains("damaged")),
        "{lost:?}"
    );
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);

    servers.east.flip("damage/manifest").await;
    let received =
        got(servers.both(), "damage", Target::Compared(to.path().to_owned())).await.unwrap();
    assert!(matches!(&received.regions[0].said, Said::Refused(why) if why.contains("seal")));
    servers.west.flip("damage/manifest").await;
    assert!(matches!(
        got(servers.both(), "damage", folder()).await,
        Err(ReceiveError::NoManifest(_))
    ));
    // A shipment of the same tree does not trust names either: it cannot know of the damage, but a
    // receiver does. What is written anew is whole.
    for pack in &packs {
        servers.both()[0].delete(pack).await.unwrap();
    }
    sent(from.path(), servers.both(), "damage", hasty()).await.unwrap();
    got(servers.both(), "damage", folder()).await.unwrap();
    assert_eq!(looks(from.path()), looks(to.path()));
}

async fn most_comes_from_the_region_that_is_near(servers: &Servers) {
    let from = TempDir::new().unwrap();
    fs::write(from.path().join("large"), noise(7, 160 << 20)).unwrap();
    sent(from.path(), servers.both(), "near", hasty()).await.unwrap();
    // The one that is named first is far: what comes from there comes slowly.
    let terms = Terms { rates: [FAST, 8 << 20], ..Terms::default() };
    let far = Line::with(servers.east.address, terms).await;
    let remotes = vec![remote("east", far.address), remote("west", servers.west.address)];
    let received = got(remotes, "near", Target::Nowhere).await.unwrap();
    assert_eq!(received.written.bytes, 160 << 20);
    let [far, near] = [0, 1].map(|nth| received.regions[nth].objects);
    eprintln!("{far} objects came from the region that is far, and {near} from the other");
    assert!(far > 0 && 3 * far < 2 * near, "{far} from the one that is far, {near} from the other");
    // Each came once.
    assert!(far + near <= servers.west.keys("near/packs/").len() as u64 + 1);
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = ArchivePath::new(path.to_owned()).unwrap();
    Entry { path, mode: 0o755, mtime: Mtime::default(), owner: None, kind }
}

/// Puts an archive of these entries into a bucket, all of whose data is "evil".
async fn forge(moto: &Moto, prefix: &str, entries: &[Entry]) {
    let mut cutter = Cutter::new();
    cutter.push(b"evil");
    let pack = cutter.finish().remove(0);
    let body = assemble(pack.chunks.iter().map(|chunk| Sealed::new(chunk, 1)).collect()).concat();
    let mut writer = SegmentWriter::new();
    entries.iter().for_each(|entry| drop(writer.push(entry).unwrap()));
    let segment = writer.finish().unwrap().unwrap();
    let packs = vec![PackRef { id: pack.id, bytes: pack.bytes }];
    let root = Root::new(1, "forged", vec![segment.named], packs);
    let manifest = root.seal(&Sealer::Key(key())).unwrap();
    let hash: String = segment.named.hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let objects = [
        (format!("packs/{}", pack.id), body.into()),
        (format!("segments/{hash}"), segment.bytes),
        ("manifest".to_owned(), manifest.into()),
    ];
    let bucket = remote("any", moto.address);
    for (key, body) in objects {
        bucket.put(&format!("{prefix}/{key}"), &[body]).await.unwrap();
    }
}

async fn nothing_leaves_the_folder(servers: &Servers) {
    let outside = TempDir::new().unwrap();
    let target = || Target::Nowhere;
    let link = || Kind::Symlink { target: outside.path().display().to_string().into() };
    let evil = || {
        let hash = *blake3::hash(b"evil").as_bytes();
        Kind::File(Content { start: 0, data: 4, holes: Vec::new(), hash })
    };
    let one = || vec![remote("east", servers.east.address)];

    // Through a link of the archive.
    forge(&servers.east, "escape", &[entry("link", link()), entry("link/file", evil())]).await;
    let to = TempDir::new().unwrap();
    let folder = || Target::Folder(to.path().to_owned());
    assert!(matches!(got(one(), "escape", folder()).await, Err(ReceiveError::Order(_))));
    assert!(matches!(got(one(), "escape", target()).await, Err(ReceiveError::Order(_))));

    // Through a link of the folder.
    let walk = [entry("link", Kind::Directory), entry("link/file", evil())];
    forge(&servers.east, "follow", &walk).await;
    let to = TempDir::new().unwrap();
    symlink(outside.path(), to.path().join("link")).unwrap();
    let refused = got(one(), "follow", Target::Folder(to.path().to_owned())).await;
    assert!(matches!(refused, Err(ReceiveError::Write { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    // A hard link to what is outside, by a link of the folder.
    fs::write(outside.path().join("secret"), "s").unwrap();
    let to_secret = Kind::HardLink { to: ArchivePath::new("link/secret").unwrap() };
    forge(&servers.east, "hard", &[entry("a", evil()), entry("zz", to_secret)]).await;
    let to = TempDir::new().unwrap();
    symlink(outside.path(), to.path().join("link")).unwrap();
    let refused = got(one(), "hard", Target::Folder(to.path().to_owned())).await;
    assert!(matches!(refused, Err(ReceiveError::Write { .. })), "{refused:?}");
    assert!(!to.path().join("zz").exists());

    // A file's hash that is not that of its bytes, though each chunk is what it says.
    let Kind::File(content) = evil() else { unreachable!() };
    let wrong = Kind::File(Content { hash: [1; 32], ..content });
    forge(&servers.east, "wrong", &[entry("a", wrong)]).await;
    let to = TempDir::new().unwrap();
    let refused = got(one(), "wrong", Target::Folder(to.path().to_owned())).await;
    assert!(matches!(refused, Err(ReceiveError::Content(_))), "{refused:?}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);

    // A file goes in place of a link, and not through it.
    forge(&servers.east, "over", &[entry("a", evil())]).await;
    let to = TempDir::new().unwrap();
    symlink(outside.path().join("secret"), to.path().join("a")).unwrap();
    got(one(), "over", Target::Folder(to.path().to_owned())).await.unwrap();
    assert_eq!(fs::read(to.path().join("a")).unwrap(), b"evil");
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"s");
}

async fn a_stream_of_zeros_and_a_stranger(servers: &Servers) {
    let bytes = 100_u64 << 20;
    let input = Box::new(std::io::Read::take(std::io::repeat(0), bytes));
    let source = Source::Stream { name: "zeros".into(), input };
    let (remotes, prefix) = (servers.both(), Prefix::new("stream").unwrap());
    let shown = progress(&remotes);
    let report =
        ship(source, remotes.clone(), &prefix, &Sealer::Key(key()), hasty(), shown).await.unwrap();
    // All of its packs but the last are the same one.
    assert!(report.packs > 2 && report.regions[0].sent_objects <= 3, "{report:?}");
    let received = got(remotes.clone(), "stream", Target::Nowhere).await.unwrap();
    assert_eq!(received.written, Written { files: 1, bytes, ..Written::default() });

    let stranger = Trust::Signers(vec![SecretKey::from_seed([8; 32]).public()]);
    let shown = progress(&remotes);
    let refused = receive(remotes, &prefix, stranger, Target::Nowhere, hasty(), shown).await;
    assert!(matches!(refused, Err(ReceiveError::NoManifest(why)) if why.contains("not trusted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_objects_go_there_and_back() {
    let Some(server) = Moto::with_bucket() else {
        eprintln!("SKIPPED: there is no moto; `cargo xtask test` installs it");
        return;
    };
    let nowhere = remote("east", "127.0.0.1:1".parse().unwrap());
    // The first region does not answer, and the second does.
    let remotes = vec![nowhere, remote("west", server.address)];
    let settings =
        UploadSettings { requests: 3, retries: 0, memory: 15 << 20, ..UploadSettings::default() };
    let objects = Objects::new(remotes.clone(), settings);
    let shown = progress(&remotes);
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let large = noise(1, 40 << 20);
    fs::write(from.path().join("large"), &large).unwrap();
    fs::create_dir(from.path().join("sub")).unwrap();
    fs::write(from.path().join("sub/a b"), "small").unwrap();
    symlink("large", from.path().join("link")).unwrap();

    // In parts, and in ranges.
    let file = UploadSource::File(from.path().join("large"));
    let uploaded = objects.put(file, "one/large", &shown).await.unwrap();
    assert_eq!((uploaded.verdict, uploaded.bytes), (Verdict::Whole, large.len() as u64));
    assert_eq!(uploaded.regions[1].in_place_of.as_ref().unwrap().as_str(), "east");
    objects.copy("one/large", "one/again").await.unwrap();
    objects.get("one/again", &to.path().join("new/again"), &shown).await.unwrap();
    assert!(fs::read(to.path().join("new/again")).unwrap() == large);
    let known = objects.stat("one/large").await;
    assert!(known[0].1.is_err() && known[1].1.as_ref().unwrap().bytes == large.len() as u64);
    let missing = objects.get("one/none", &to.path().join("none"), &shown).await;
    assert!(missing.is_err() && fs::read_dir(to.path()).unwrap().count() == 1);

    let plan = || objects.plan_up(from.path(), "site", true);
    let first = plan().await.unwrap();
    assert_eq!((first.actions.len(), first.alike, first.left_out), (2, 0, 1));
    objects.carry_out(first, |_| {}).await.unwrap();
    assert_eq!(plan().await.unwrap().alike, 2);
    objects.put(UploadSource::Bytes("x".into()), "site/extra", &shown).await.unwrap();
    let second = plan().await.unwrap();
    assert_eq!(second.actions, [Action::RemoveObject("site/extra".to_owned())]);
    objects.carry_out(second, |_| {}).await.unwrap();
    let down = || objects.plan_down("site", to.path(), true);
    let third = down().await.unwrap();
    assert_eq!(third.actions.len(), 3, "two come, and one is too much");
    objects.carry_out(third, |_| {}).await.unwrap();
    assert_eq!(down().await.unwrap().alike, 2);
    assert_eq!(fs::read(to.path().join("sub/a b")).unwrap(), b"small");
    assert!(!to.path().join("new/again").exists());

    let mut folders = Vec::new();
    objects.list("", true, |listed| folders.push(listed.key)).await.unwrap();
    assert_eq!(folders, ["one/", "site/"]);
    objects.remove("one/large", false).await.unwrap();
    assert!(objects.remove("one/again", true).await.is_err(), "one region does not answer");
    assert_eq!(server.keys("one/"), Vec::<String>::new());
    let mut removed = Vec::new();
    objects.remove_below("site", false, |_, key| removed.push(key.to_owned())).await.unwrap();
    removed.sort();
    assert_eq!(removed, ["site/large", "site/sub/a b"]);
    assert_eq!(server.keys("site/"), Vec::<String>::new());
}
