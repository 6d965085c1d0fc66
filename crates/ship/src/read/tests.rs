use std::os::unix::fs::{FileExt as _, symlink};

use rhumb_pack::read_segment;

use super::*;
use crate::limits::STAGED_BYTES_MIN;

/// Everything that a reader gives: the entries, and the stream.
fn all_of(source: Source) -> (Summary, Vec<Entry>, Vec<u8>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (steps, mut incoming) = mpsc::channel(1);
    let reading = Reading {
        budget: Budget::new(STAGED_BYTES_MIN),
        steps,
        progress: Arc::new(Progress::new([])),
        owners: true,
        runtime: runtime.handle().clone(),
    };
    let reader = std::thread::spawn(move || read(source, reading));
    let (mut entries, mut stream) = (Vec::new(), Vec::new());
    while let Some(step) = incoming.blocking_recv() {
        match step {
            Step::Pack(pack, held) => {
                assert!(held.bytes() >= pack.bytes as usize);
                pack.chunks.iter().for_each(|chunk| stream.extend_from_slice(&chunk.bytes));
            }
            Step::Segment(segment) => {
                entries.extend(read_segment(&segment.bytes, &segment.named).unwrap());
            }
        }
    }
    (reader.join().unwrap().unwrap(), entries, stream)
}

fn content_of<'a>(entries: &'a [Entry], path: &str) -> &'a Content {
    let entry = entries.iter().find(|entry| entry.path.to_string() == path).unwrap();
    match &entry.kind {
        Kind::File(content) => content,
        other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn a_tree_is_its_entries_and_one_stream() {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("a"), "first").unwrap();
    fs::write(at("sub/b"), "second").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::hard_link(at("a"), at("sub/again")).unwrap();
    symlink("/nowhere", at("link")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let (summary, entries, stream) = all_of(Source::Tree(top.path().to_owned()));

    assert_eq!((summary.files, summary.directories, summary.links), (3, 2, 2));
    assert_eq!((summary.bytes, summary.warned), (11, 1));
    assert!(summary.warnings[0].contains("pipe"), "{:?}", summary.warnings);
    assert_eq!(stream, b"firstsecond");
    let content = content_of(&entries, "sub/b");
    assert_eq!((content.start, content.data), (5, 6));
    assert_eq!(content.hash, *blake3::hash(b"second").as_bytes());
    let kinds: Vec<_> = entries.iter().map(|e| (e.path.to_string(), &e.kind)).collect();
    let target = bytes::Bytes::from_static(b"/nowhere");
    assert!(kinds.contains(&("link".into(), &Kind::Symlink { target })));
    let to = ArchivePath::new("a").unwrap();
    assert!(kinds.contains(&("sub/again".into(), &Kind::HardLink { to })));
    let mut order = rhumb_pack::Order::new();
    entries.iter().for_each(|entry| order.admit(entry).unwrap());
}

#[test]
fn holes_are_not_read() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 8 << 20).unwrap();
    file.set_len(1 << 30).unwrap();
    drop(file);
    let (summary, entries, stream) = all_of(Source::Tree(path));
    assert!(summary.bytes < 1 << 20, "{}", summary.bytes);
    let content = content_of(&entries, "sparse");
    assert_eq!((content.size(), content.data), (1 << 30, stream.len() as u64));
    assert_eq!(content.holes.len(), 2);
    assert!(entries[0].check().is_ok());
}

#[test]
fn more_than_the_budget_goes_through_it() {
    let bytes = STAGED_BYTES_MIN * 3;
    let input = Box::new(io::Read::take(io::repeat(7), bytes as u64));
    let (summary, entries, stream) = all_of(Source::Stream { name: "zeros".into(), input });
    assert_eq!((summary.bytes, stream.len(), entries.len()), (bytes as u64, bytes, 1));
}

/// The line takes a pack only when the reader cannot go on without that.
#[test]
fn no_more_is_read_ahead_than_the_budget_however_slow_the_line() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (steps, mut incoming) = mpsc::channel(1);
    let (budget, progress) = (Budget::new(STAGED_BYTES_MIN), Arc::new(Progress::new([])));
    let reading = Reading {
        budget: budget.clone(),
        steps,
        progress: Arc::clone(&progress),
        owners: false,
        runtime: runtime.handle().clone(),
    };
    let bytes = 4 * STAGED_BYTES_MIN;
    let input = Box::new(io::Read::take(io::repeat(7), bytes as u64));
    let source = Source::Stream { name: "sevens".into(), input };
    let reader = std::thread::spawn(move || read(source, reading));
    let (mut waiting, mut gone, mut peak) = (std::collections::VecDeque::new(), 0, 0);
    loop {
        match incoming.try_recv() {
            Ok(Step::Pack(pack, held)) => waiting.push_back((pack.bytes as usize, held)),
            Ok(Step::Segment(_)) => {}
            // It needs a read's worth at a time; what it has less of than that may make it wait.
            Err(mpsc::error::TryRecvError::Empty) if budget.free() <= READ_BYTES => {
                if let Some((bytes, held)) = waiting.pop_front() {
                    gone += bytes;
                    drop(held);
                }
            }
            Err(mpsc::error::TryRecvError::Empty) => std::thread::yield_now(),
            Err(mpsc::error::TryRecvError::Disconnected) => break,
        }
        let read = usize::try_from(progress.done.get()).unwrap();
        peak = peak.max(read - gone);
        assert!(read <= gone + STAGED_BYTES_MIN, "{read} bytes were read, and {gone} sent");
    }
    assert_eq!(reader.join().unwrap().unwrap().bytes, bytes as u64);
    assert!(peak > STAGED_BYTES_MIN / 2, "only {peak} bytes were read ahead");
}

#[test]
fn a_tree_that_cannot_be_read_is_said() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (steps, _incoming) = mpsc::channel(1);
    let reading = Reading {
        budget: Budget::new(STAGED_BYTES_MIN),
        steps,
        progress: Arc::new(Progress::new([])),
        owners: false,
        runtime: runtime.handle().clone(),
    };
    let read = read(Source::Tree("/nowhere/at/all".into()), reading);
    assert!(matches!(read, Err(ReadError::Walk(_))));
}

#[test]
fn a_long_file_that_is_read_ahead_is_what_it_was() {
    let top = tempfile::tempdir().unwrap();
    let odd = usize::try_from(LONG_RANGE_BYTES).unwrap() + 12_345;
    let mut long = vec![0; 2 * odd];
    blake3::Hasher::new().finalize_xof().fill(&mut long);
    let (first, last) = long.split_at(odd);
    // A hole between two long ranges.
    let file = File::create(top.path().join("long")).unwrap();
    let behind = LONG_RANGE_BYTES * 3;
    file.write_all_at(first, 0).unwrap();
    file.write_all_at(last, behind).unwrap();
    let (summary, entries, stream) = all_of(Source::Tree(top.path().to_owned()));
    assert_eq!((summary.files, summary.warned), (1, 0));
    let content = content_of(&entries, "long");
    let data: Vec<u8> = if content.holes.is_empty() {
        let hole = vec![0; usize::try_from(behind).unwrap() - odd];
        [first, &hole, last].concat()
    } else {
        stream.clone()
    };
    assert!(stream == data && content.data == data.len() as u64);
    assert_eq!(content.hash, *blake3::hash(&data).as_bytes());
    assert_eq!(content.size(), behind + odd as u64);
}

#[test]
fn nobody_reads_ahead_of_who_gave_up() {
    let top = tempfile::tempdir().unwrap();
    let file = File::create(top.path().join("long")).unwrap();
    file.set_len(1).unwrap();
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
    let (spare, emptied) = sync_channel(READ_AHEAD);
    let (filled, pieces) = sync_channel(READ_AHEAD);
    drop((spare, pieces));
    let file = File::open(top.path().join("long")).unwrap();
    // Ends, though nobody takes anything or gives a buffer back.
    let ahead = Ahead { filled, emptied, fresh: READ_AHEAD };
    ahead.read(&file, 0, u64::MAX, &mut blake3::Hasher::new());
}
