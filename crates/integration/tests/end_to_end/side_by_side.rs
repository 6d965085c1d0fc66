//! The same commands to Rhumb and to a Redis server, and their replies side by side.
//!
//! Sequences are drawn from a seed, which a failure names. What deliberately differs stands in
//! docs/state.md under "Where Rhumb differs from Redis", and in [`Difference`].

pub(crate) mod commands;
pub(crate) mod wire;

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rhumb_integration::{Layout, eventually, programs};
use tempfile::TempDir;

use self::{
    commands::{Draw, Words, sequence},
    wire::{Reply, Wire},
};
use crate::skipped;

/// Sequences per run; more with `RHUMB_TEST_SEQUENCES`.
const SEQUENCES: u64 = 200;
/// Commands in a sequence.
const COMMANDS: usize = 40;
/// How far apart two times may lie, in their own unit, when they were asked for in milliseconds.
const MILLIS_APART_MAX: i64 = 10_000;
/// The same in seconds.
const SECONDS_APART_MAX: i64 = 10;
/// How far apart two fractions may lie, as a part of themselves.
const FRACTION_APART_MAX: f64 = 1e-15;
/// How long a Redis server may take to start.
const START_MAX: Duration = Duration::from_secs(10);
/// Most differences that a failure shows.
const SHOWN_MAX: usize = 40;

/// A Redis server that keeps nothing.
struct Redis {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // Taken for a moment to learn a free port.
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &free.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { child, address: free, _folder: folder };
        eventually(START_MAX, || Wire::connect(free, 2)).unwrap();
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What deliberately differs from Redis 7.0.
enum Difference {
    /// Scores have the shortest digits that read back, as in Redis 7.2, and zero has no sign.
    Digits,
    /// A time that goes on between the two answers.
    Time,
    /// Rhumb reads all of a command's words before it looks at the key.
    WordsFirst,
}

impl Difference {
    fn of(command: &Words, redis: &Reply, rhumb: &Reply) -> Option<Self> {
        if let (Some(one), Some(other)) = (redis.number(), rhumb.number())
            && (one == other || (one - other).abs() <= FRACTION_APART_MAX * one.abs())
        {
            return Some(Self::Digits);
        }
        if Self::is_words_first(command, redis, rhumb) {
            return Some(Self::WordsFirst);
        }
        let apart_max = match command.name().as_str() {
            "TTL" | "EXPIRETIME" => SECONDS_APART_MAX,
            "PTTL" | "PEXPIRETIME" => MILLIS_APART_MAX,
            _ => return None,
        };
        let (Reply::Integer(one), Reply::Integer(other)) = (redis, rhumb) else { return None };
        let near = one.abs_diff(*other) <= apart_max.unsigned_abs();
        (near && *one >= 0 && *other >= 0).then_some(Self::Time)
    }
}

impl Difference {
    /// Redis tells of a scan of nothing, or of a wrong type, without a look at the options.
    fn is_words_first(command: &Words, redis: &Reply, rhumb: &Reply) -> bool {
        let name = command.name();
        let is_known = name.ends_with("SCAN") || name == "GETEX" || name == "INCRBYFLOAT";
        if !is_known || !matches!(rhumb, Reply::Error(text) if text.starts_with("ERR")) {
            return false;
        }
        let empty = Reply::Array(vec![Reply::Bulk(b"0".into()), Reply::Array(Vec::new())]);
        match redis {
            Reply::Error(text) => text.starts_with("WRONGTYPE"),
            Reply::NullBulk | Reply::Null => true,
            other => *other == empty,
        }
    }
}

/// Whether two replies to a command say the same.
fn agree(command: &Words, redis: &Reply, rhumb: &Reply) -> bool {
    if redis == rhumb || Difference::of(command, redis, rhumb).is_some() {
        return true;
    }
    match (redis.parts(), rhumb.parts()) {
        (Some((kind, ones)), Some((other_kind, others))) => {
            kind == other_kind
                && ones.len() == others.len()
                && ones.iter().zip(others).all(|(one, other)| agree(command, one, other))
        }
        _ => false,
    }
}

/// The replies of a transaction belong to the commands in it.
fn agree_exec(queued: &[&Words], redis: &Reply, rhumb: &Reply) -> bool {
    match (redis, rhumb) {
        (Reply::Array(ones), Reply::Array(others)) => {
            ones.len() == queued.len()
                && ones.len() == others.len()
                && ones.iter().zip(others).zip(queued).all(|((one, other), command)| {
                    agree(command, &command.ordered(one), &command.ordered(other))
                })
        }
        _ => redis == rhumb,
    }
}

/// Both servers, and a connection to each.
struct Pair {
    redis: Wire,
    rhumb: Wire,
}

impl Pair {
    fn connect(redis: SocketAddr, rhumb: SocketAddr, protocol: u8) -> Self {
        let open = |address| Wire::connect(address, protocol).unwrap();
        Self { redis: open(redis), rhumb: open(rhumb) }
    }

    /// Sends a sequence to both and lists the commands that are answered differently.
    fn differences(&mut self, commands: &[Words]) -> Vec<String> {
        let ones = self.redis.ask(commands).unwrap();
        let others = self.rhumb.ask(commands).unwrap();
        let mut queued: Vec<&Words> = Vec::new();
        let mut differences = Vec::new();
        for ((command, one), other) in commands.iter().zip(ones).zip(others) {
            let same = if command.name() == "EXEC" {
                agree_exec(&std::mem::take(&mut queued), &one, &other)
            } else {
                agree(command, &command.ordered(&one), &command.ordered(&other))
            };
            if command.name() == "DISCARD" {
                queued.clear();
            } else if one == Reply::Simple("QUEUED".into()) {
                queued.push(command);
            }
            if !same {
                differences.push(format!("{command}\n    redis {one:?}\n    rhumb {other:?}"));
            }
        }
        differences
    }
}

fn sequences() -> u64 {
    let asked = rhumb_config::process_environment("RHUMB_TEST_SEQUENCES");
    asked.and_then(|text| text.parse().ok()).unwrap_or(SEQUENCES)
}

#[test]
fn replies_are_those_of_redis() {
    if !programs::answers("redis-server", &["--version"]) {
        return skipped("redis-server is not installed");
    }
    let redis = Redis::start();
    let cluster = Layout::regions(1).start().unwrap();
    let mut differing = Vec::new();
    for protocol in [2, 3] {
        let mut pair = Pair::connect(redis.address, cluster.resp(0), protocol);
        for seed in 0..sequences() {
            let mut draw = Draw::new(seed);
            let commands = sequence(&mut draw, &format!("{protocol}:{seed}:"), COMMANDS);
            let found = pair.differences(&commands);
            let told = found.iter().map(|found| format!("RESP{protocol}, seed {seed}: {found}"));
            differing.extend(told);
            if differing.len() >= SHOWN_MAX {
                break;
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// All that a scan gives, over a new connection per page, as a pool does.
fn scanned(address: SocketAddr, words: &[&str], key: Option<&str>) -> Vec<Reply> {
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    loop {
        let (name, options) = words.split_first().unwrap();
        let mut command = vec![*name];
        command.extend(key);
        command.push(&cursor);
        command.extend(options);
        let mut wire = Wire::connect(address, 2).unwrap();
        let reply = wire.ask(&[Words::of(&command)]).unwrap().remove(0);
        let Reply::Array(parts) = reply else { panic!("{command:?}: {reply:?}") };
        let [next, Reply::Array(items)] = <[Reply; 2]>::try_from(parts).unwrap() else {
            panic!("{command:?} gives no items")
        };
        all.extend(items);
        let Reply::Bulk(next) = next else { panic!("{next:?} is no cursor") };
        if next.as_slice() == b"0" {
            return all;
        }
        cursor = String::from_utf8(next).unwrap();
    }
}

#[test]
fn scans_give_what_those_of_redis_give_over_any_connection() {
    if !programs::answers("redis-server", &["--version"]) {
        return skipped("redis-server is not installed");
    }
    let redis = Redis::start();
    let cluster = Layout::regions(1).start().unwrap();
    let mut pair = Pair::connect(redis.address, cluster.resp(0), 2);
    let mut fill = Vec::new();
    for nth in 0..700 {
        let (name, score) = (format!("m{nth}"), nth.to_string());
        fill.push(Words::of(&["SET", &format!("many:{nth}"), "x"]));
        fill.push(Words::of(&["HSET", "hash", &name, &score]));
        fill.push(Words::of(&["SADD", "set", &name]));
        fill.push(Words::of(&["ZADD", "sorted", &score, &name]));
    }
    assert_eq!(pair.differences(&fill), Vec::<String>::new());
    let scans: [(&[&str], Option<&str>); 8] = [
        (&["SCAN", "MATCH", "many:*"], None),
        (&["SCAN", "MATCH", "many:1?", "COUNT", "100"], None),
        (&["SCAN", "TYPE", "zset", "MATCH", "s*"], None),
        (&["HSCAN", "COUNT", "7"], Some("hash")),
        (&["SSCAN", "MATCH", "*9"], Some("set")),
        (&["SSCAN"], Some("set")),
        (&["ZSCAN"], Some("sorted")),
        (&["ZSCAN"], Some("nothing")),
    ];
    for (words, key) in scans {
        let [ones, others] = [redis.address, cluster.resp(0)].map(|address| {
            let mut all = scanned(address, words, key);
            all.sort();
            all.dedup();
            all
        });
        assert_eq!(ones, others, "{words:?}");
    }
    let rhumb = |words: &[&str]| {
        let mut wire = Wire::connect(cluster.resp(0), 2).unwrap();
        wire.ask(&[Words::of(words)]).unwrap().remove(0)
    };
    assert!(matches!(rhumb(&["SCAN", "12345"]), Reply::Error(_)), "a cursor of nobody is refused");
}

/// What clients say about themselves and their connections. Each command has one reply.
const CONVERSATION: &[&[&str]] = &[
    &["PING"],
    &["SELECT", "0"],
    &["SELECT", "abc"],
    &["HELLO", "4"],
    &["HELLO", "abc"],
    &["HELLO", "3", "bogus"],
    &["HELLO", "2", "SETNAME"],
    &["AUTH", "password"],
    &["AUTH", "nobody", "password"],
    &["AUTH", "a", "b", "c"],
    &["CLIENT", "GETNAME"],
    &["CLIENT", "SETNAME", "someone"],
    &["CLIENT", "GETNAME"],
    &["CLIENT", "SETNAME", "two words"],
    &["CLIENT", "SETNAME", ""],
    &["CLIENT", "GETNAME"],
    &["CLIENT", "NONSENSE"],
    &["CLIENT"],
    &["CONFIG", "GET", "nothing-like-it"],
    &["CONFIG", "GET", "databases-*"],
    &["CONFIG", "NONSENSE"],
    &["COMMAND", "NONSENSE"],
    &["PUBSUB", "CHANNELS"],
    &["PUBSUB", "CHANNELS", "x*"],
    &["PUBSUB", "NUMSUB"],
    &["PUBSUB", "NUMSUB", "a", "b"],
    &["PUBSUB", "NUMPAT"],
    &["PUBSUB", "NONSENSE"],
    &["PUBLISH", "nobody", "hears"],
    &["WAIT", "0", "0"],
    &["WAIT", "0", "-1"],
    &["WAIT", "abc", "0"],
    &["SCRIPT", "EXISTS", "ffffffffffffffffffffffffffffffffffffffff"],
    &["SCRIPT", "NONSENSE"],
    &["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"],
    &["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "abc"],
    &["WATCH", "w"],
    &["UNWATCH"],
    &["EXEC"],
    &["DISCARD"],
    &["WATCH", "w"],
    &["MULTI"],
    &["MULTI"],
    &["WATCH", "w"],
    &["PING", "queued"],
    &["PUBLISH", "nobody", "hears"],
    &["UNWATCH"],
    &["CLIENT", "GETNAME"],
    &["EXEC"],
    &["MULTI"],
    &["EXEC"],
    &["WATCH", "w"],
    &["SET", "w", "changed"],
    &["MULTI"],
    &["GET", "w"],
    &["EXEC"],
    &["DEL", "w"],
    &["MULTI"],
    &["NONSENSE"],
    &["DISCARD"],
    &["UNSUBSCRIBE"],
    &["UNSUBSCRIBE", "never"],
    &["SUBSCRIBE", "a"],
    &["PING"],
    &["PING", "text"],
    &["GET", "w"],
    &["SUBSCRIBE", "b"],
    &["PSUBSCRIBE", "p*"],
    &["UNSUBSCRIBE", "a"],
    &["UNSUBSCRIBE", "a"],
    &["PUNSUBSCRIBE"],
    &["UNSUBSCRIBE"],
    &["GET", "w"],
    &["RESET"],
    &["CLIENT", "GETNAME"],
    &["QUIT"],
];

#[test]
fn connections_are_talked_about_as_with_redis() {
    if !programs::answers("redis-server", &["--version"]) {
        return skipped("redis-server is not installed");
    }
    let redis = Redis::start();
    let cluster = Layout::regions(1).start().unwrap();
    let conversation: Vec<Words> = CONVERSATION.iter().map(|words| Words::of(words)).collect();
    for protocol in [2, 3] {
        let found = Pair::connect(redis.address, cluster.resp(0), protocol);
        let found = { found }.differences(&conversation);
        assert!(found.is_empty(), "RESP{protocol}:\n{}", found.join("\n"));
    }
}
