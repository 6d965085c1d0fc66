//! Commands drawn at random: right ones, and ones with something wrong.
//!
//! A command is drawn from a [`Shape`]: its words, in which `%` stands for something drawn, and the
//! places of options and of what repeats.

use super::wire::Reply;

/// A command's words.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<Vec<u8>>);

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: Vec<String> =
            self.0.iter().map(|word| word.escape_ascii().to_string()).collect();
        write!(f, "{shown:?}")
    }
}

impl Words {
    pub(crate) fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    pub(crate) fn name(&self) -> String {
        self.0
            .first()
            .map_or_else(String::new, |name| String::from_utf8_lossy(name).to_ascii_uppercase())
    }

    /// A reply of this command with its parts in one order, where they have none.
    pub(crate) fn ordered(&self, reply: &Reply) -> Reply {
        let mut reply = reply.clone();
        let scanned = match self.name().as_str() {
            "HSCAN" | "ZSCAN" => Some("HGETALL"),
            "SSCAN" => Some("SMEMBERS"),
            _ => None,
        };
        if let (Some(name), Reply::Array(parts)) = (scanned, &mut reply)
            && let Some(items) = parts.last_mut()
        {
            *items = Words::of(&[name]).ordered(items);
            return reply;
        }
        let in_pairs = match self.name().as_str() {
            "HGETALL" => true,
            "SMEMBERS" | "SPOP" | "SINTER" | "SUNION" | "SDIFF" | "HKEYS" | "HVALS" | "KEYS" => {
                false
            }
            _ => return reply,
        };
        match &mut reply {
            Reply::Array(parts) | Reply::Map(parts) if in_pairs => {
                let mut pairs: Vec<Vec<Reply>> = parts.chunks(2).map(<[Reply]>::to_vec).collect();
                pairs.sort();
                *parts = pairs.concat();
            }
            Reply::Array(parts) | Reply::Set(parts) => parts.sort(),
            _ => {}
        }
        reply
    }
}

/// Numbers from a seed (SplitMix64, Steele and others, 2014).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        let at = self.below(all.len());
        all.get(at).unwrap()
    }
}

/// How a command looks. In `words`, `?` stands for options and `*` for what repeats.
struct Shape {
    words: &'static str,
    options: &'static str,
    repeated: &'static str,
}

const fn plain(words: &'static str) -> Shape {
    Shape { words, options: "", repeated: "" }
}

const fn many(words: &'static str, repeated: &'static str) -> Shape {
    Shape { words, options: "", repeated }
}

const fn with(words: &'static str, options: &'static str) -> Shape {
    Shape { words, options, repeated: "" }
}

const SET_OPTIONS: &str = "NX|XX|GET|KEEPTTL|EX %t|PX %t|EXAT %a|PXAT %A|bogus";
const EXPIRE_OPTIONS: &str = "NX|XX|GT|LT|bogus";
const RANGE_OPTIONS: &str = "WITHSCORES|LIMIT %i %i|bogus";

/// Strings and keys.
const STRINGS: &[Shape] = &[
    plain("SET %s %v"),
    plain("SET %s %v"),
    with("SET %s %v ?", SET_OPTIONS),
    with("SET %s %v ?", SET_OPTIONS),
    plain("GET %s"),
    many("MGET *", "%s"),
    many("MSET *", "%s %v"),
    many("MSETNX *", "%s %v"),
    plain("SETNX %s %v"),
    plain("SETEX %s %t %v"),
    plain("PSETEX %s %t %v"),
    plain("GETSET %s %v"),
    plain("GETDEL %s"),
    with("GETEX %s ?", "PERSIST|EX %t|PX %t|EXAT %a|PXAT %A|bogus"),
    plain("STRLEN %s"),
    plain("APPEND %s %v"),
    plain("GETRANGE %s %i %i"),
    plain("SUBSTR %s %i %i"),
    plain("SETRANGE %s %o %v"),
    plain("INCR %s"),
    plain("DECR %s"),
    plain("INCRBY %s %i"),
    plain("DECRBY %s %i"),
    plain("INCRBYFLOAT %q %f"),
    plain("INCRBYFLOAT %q %f"),
    plain("INCRBYFLOAT %q %g"),
    plain("SET %q %i"),
    plain("SET %q %g"),
    plain("GET %q"),
    plain("INCRBY %q 3"),
    many("DEL *", "%k"),
    many("UNLINK *", "%k"),
    many("EXISTS *", "%k"),
    many("TOUCH *", "%k"),
    plain("TYPE %k"),
    with("EXPIRE %k %t ?", EXPIRE_OPTIONS),
    with("PEXPIRE %k %t ?", EXPIRE_OPTIONS),
    with("EXPIREAT %k %a ?", EXPIRE_OPTIONS),
    with("PEXPIREAT %k %A ?", EXPIRE_OPTIONS),
    plain("TTL %k"),
    plain("PTTL %k"),
    plain("EXPIRETIME %k"),
    plain("PEXPIRETIME %k"),
    plain("PERSIST %k"),
    plain("KEYS %*"),
    plain("ECHO %v"),
    plain("PING"),
    plain("PING %v"),
    plain("NONSENSE %m %m"),
];

const HASHES: &[Shape] = &[
    many("HSET %h *", "%m %v"),
    many("HSET %h *", "%m %v"),
    many("HMSET %h *", "%m %v"),
    plain("HSETNX %h %m %v"),
    plain("HGET %h %m"),
    many("HMGET %h *", "%m"),
    plain("HGETALL %h"),
    plain("HKEYS %h"),
    plain("HVALS %h"),
    plain("HLEN %h"),
    plain("HEXISTS %h %m"),
    plain("HSTRLEN %h %m"),
    many("HDEL %h *", "%m"),
    plain("HINCRBY %h %m %i"),
    plain("HINCRBYFLOAT %h fraction %f"),
    plain("HGET %h fraction"),
    plain("HRANDFIELD %none"),
    plain("HRANDFIELD %none %i"),
    with("HRANDFIELD %none %i ?", "WITHVALUES|bogus"),
    with("HSCAN %h 0 ?", "COUNT 100|MATCH zzz*|COUNT 0|COUNT abc|bogus"),
];

const SETS: &[Shape] = &[
    many("SADD %t *", "%m"),
    many("SADD %t *", "%m"),
    many("SREM %t *", "%m"),
    plain("SISMEMBER %t %m"),
    many("SMISMEMBER %t *", "%m"),
    plain("SMEMBERS %t"),
    plain("SCARD %t"),
    many("SINTER *", "%t"),
    many("SUNION *", "%t"),
    many("SDIFF *", "%t"),
    with("SINTERCARD 2 %t %t ?", "LIMIT %i|bogus"),
    plain("SINTERCARD %i %t"),
    plain("SMOVE %t %t %m"),
    plain("SPOP %none"),
    plain("SPOP %none %i"),
    plain("SPOP %t 100"),
    plain("SRANDMEMBER %none"),
    plain("SRANDMEMBER %none %i"),
    with("SSCAN %t 0 ?", "COUNT 100|MATCH zzz*|bogus"),
];

const SORTED_SETS: &[Shape] = &[
    many("ZADD %z *", "%f %m"),
    many("ZADD %z *", "%g %m"),
    many("ZADD %z *", "%g %m"),
    Shape { words: "ZADD %z ? *", options: "NX|XX|GT|LT|CH|bogus", repeated: "%g %m" },
    Shape { words: "ZADD %z INCR ? %g %m", options: "NX|XX|GT|LT|CH", repeated: "" },
    many("ZADD %z INCR *", "%g %m"),
    plain("ZINCRBY %z %f %m"),
    many("ZREM %z *", "%m"),
    plain("ZSCORE %z %m"),
    many("ZMSCORE %z *", "%m"),
    plain("ZCARD %z"),
    plain("ZCOUNT %z %b %b"),
    plain("ZLEXCOUNT %y %l %l"),
    with("ZRANGE %z %i %i ?", "WITHSCORES|REV|LIMIT %i %i|BYSCORE|bogus"),
    with("ZRANGE %z %b %b BYSCORE ?", "WITHSCORES|REV|LIMIT %i %i|BYLEX|bogus"),
    with("ZRANGE %y %l %l BYLEX ?", "WITHSCORES|REV|LIMIT %i %i|bogus"),
    with("ZREVRANGE %z %i %i ?", "WITHSCORES|bogus"),
    with("ZRANGEBYSCORE %z %b %b ?", RANGE_OPTIONS),
    with("ZREVRANGEBYSCORE %z %b %b ?", RANGE_OPTIONS),
    with("ZRANGEBYLEX %y %l %l ?", RANGE_OPTIONS),
    with("ZREVRANGEBYLEX %y %l %l ?", RANGE_OPTIONS),
    plain("ZRANK %z %m"),
    plain("ZREVRANK %z %m"),
    plain("ZPOPMIN %z"),
    plain("ZPOPMAX %z %i"),
    plain("ZREMRANGEBYRANK %z %i %i"),
    plain("ZREMRANGEBYSCORE %z %b %b"),
    plain("ZREMRANGEBYLEX %y %l %l"),
    many("ZADD %y *", "0 %m"),
    many("ZADD %y *", "0 %m"),
    many("ZREM %y *", "%m"),
    plain("ZPOPMAX %y"),
    plain("ZRANDMEMBER %none"),
    with("ZRANDMEMBER %none %i ?", "WITHSCORES|bogus"),
    with("ZSCAN %z 0 ?", "COUNT 100|MATCH zzz*|bogus"),
];

const TYPES: [&[Shape]; 4] = [STRINGS, HASHES, SETS, SORTED_SETS];

const VALUES: &[&[u8]] = &[
    b"a",
    b"",
    b"10",
    b"-3",
    b"1.5",
    b"3.0e3",
    b"x y",
    b"\xff\x00\r\n",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"0",
    b"007",
    b" 1",
    b"inf",
    b"longer than the other values are",
];
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "-3",
    "10",
    "-10",
    "100",
    "5",
    "1",
    "2",
    "-1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "abc",
    "1.0",
    "",
    "+1",
    "01",
    " 1",
];
const FLOATS: &[&str] = &[
    "1",
    "2.5",
    "-1.5",
    "0.1",
    "0.2",
    "3",
    "1e3",
    "1e20",
    "1.5e300",
    "inf",
    "-inf",
    "+inf",
    "nan",
    "abc",
    "",
    "0",
    "-0",
    "1e-7",
    " 1",
    "1 ",
    "Infinity",
    "3.14159265358979",
    "123456789.123",
    "-0.1",
    "infinity",
    "1e",
    ".5",
    "5.",
    "+5",
];
/// Scores that are mostly right.
const SCORES: &[&str] =
    &["1", "2", "3", "2", "2", "1.5", "-1", "-inf", "+inf", "1e20", "0", "-0", "0.1"];
const BOUNDS: &[&str] = &[
    "-inf", "+inf", "inf", "(1", "1", "2", "(2", "(3", "3", "0", "abc", "(inf", "(", "-1", "1.5",
    "nan",
];
const LEX_BOUNDS: &[&str] =
    &["-", "+", "[a", "(a", "[b", "(b", "[c", "[", "(", "a", "[m", "", "-x"];
const MEMBERS: &[&[u8]] = &[b"a", b"b", b"c", b"ab", b"10", b"", b"\xff\x01"];
/// Times to live that mean something odd.
const ODD_TIMES: &[&str] = &["0", "-1", "abc", "9223372036854775807", "1.5"];
const OFFSETS: &[&str] = &["0", "1", "5", "20", "-1", "abc", "536870912", "9223372036854775807"];
const PATTERNS: &[&str] = &["*", "s*", "?1", "[sh]*", "[^s]*", "s\\1", "nothing", "s[0-9]"];

/// A name of one of the keys of a type; now and then of another type. Fractions (`q`) and sets
/// whose scores are all alike (`y`) are only found where they are asked for: Redis adds fractions up
/// with more digits, and lexicographic ranges mean nothing where scores differ.
fn key(draw: &mut Draw, kind: char, space: &str) -> Vec<u8> {
    let kinds = [&'s', &'h', &'t', if kind == 'y' { &'s' } else { &'z' }];
    let kind = if kind == 'k' || draw.percent(8) { *draw.one(&kinds) } else { kind };
    format!("{space}{kind}{}", 1 + draw.below(3)).into_bytes()
}

fn drawn(draw: &mut Draw, word: &str, space: &str) -> Vec<u8> {
    let text = |text: &str| text.as_bytes().to_vec();
    match word {
        "%s" => key(draw, 's', space),
        "%h" => key(draw, 'h', space),
        "%z" => key(draw, 'z', space),
        "%k" => key(draw, 'k', space),
        "%q" => key(draw, 'q', space),
        "%y" => key(draw, 'y', space),
        "%none" => format!("{space}none").into_bytes(),
        "%v" => draw.one(VALUES).to_vec(),
        "%m" => draw.one(MEMBERS).to_vec(),
        "%i" => text(draw.one(INTEGERS)),
        "%f" => text(draw.one(FLOATS)),
        "%g" => text(draw.one(SCORES)),
        "%b" => text(draw.one(BOUNDS)),
        "%l" => text(draw.one(LEX_BOUNDS)),
        "%o" => text(draw.one(OFFSETS)),
        "%*" => format!("{space}{}", draw.one(PATTERNS)).into_bytes(),
        "%t" if draw.percent(40) => text(draw.one(ODD_TIMES)),
        // So long that nothing ends while the test runs, and so far apart that of two given one
        // after the other it is clear which is longer.
        "%t" => ((1 + draw.below(10_000)) * 100_000).to_string().into_bytes(),
        // Far in the future, in seconds and milliseconds.
        "%a" => text(draw.one(&["4000000000", "4000000000", "5000000000", "1", "0", "-1", "abc"])),
        "%A" => text(draw.one(&["4000000000000", "5000000000000", "1", "0", "-1", "abc"])),
        other => text(other),
    }
}

fn command(draw: &mut Draw, shape: &Shape, space: &str, kind: usize) -> Words {
    let mut words = Vec::new();
    let push = |draw: &mut Draw, words: &mut Vec<Vec<u8>>, text: &str| {
        for word in text.split_whitespace() {
            // `%t` is a key of the sets among the sets, and a time elsewhere.
            let is_set = word == "%t" && kind == 2;
            words.push(if is_set { key(draw, 't', space) } else { drawn(draw, word, space) });
        }
    };
    for word in shape.words.split_whitespace() {
        match word {
            "?" => {
                let options: Vec<&str> = shape.options.split('|').collect();
                for _ in 0..draw.below(4) {
                    let option = draw.one(&options);
                    push(draw, &mut words, option);
                }
            }
            "*" => {
                for _ in 0..=draw.below(3) {
                    push(draw, &mut words, shape.repeated);
                }
            }
            word => push(draw, &mut words, word),
        }
    }
    // Without its count SPOP would choose at random.
    if draw.percent(4) && words.len() > 1 && !shape.words.starts_with("SPOP %t") {
        words.pop();
    } else if draw.percent(2) && !shape.words.contains("RANK %z") {
        // The ranks take one more word since Redis 7.2.
        words.push(b"extra".to_vec());
    }
    if draw.percent(10)
        && let Some(name) = words.first_mut()
    {
        name.make_ascii_lowercase();
    }
    Words(words)
}

/// A sequence of commands on keys that begin with `space`.
pub(crate) fn sequence(draw: &mut Draw, space: &str, length: usize) -> Vec<Words> {
    let mut commands = Vec::with_capacity(length);
    let mut left = None;
    while commands.len() < length || left.is_some() {
        match &mut left {
            Some(0) => {
                left = None;
                let end = if draw.percent(10) { "DISCARD" } else { "EXEC" };
                commands.push(Words::of(&[end]));
                continue;
            }
            Some(left) => *left -= 1,
            None if draw.percent(5) => {
                left = Some(draw.below(6));
                commands.push(Words::of(&["MULTI"]));
                continue;
            }
            None if draw.percent(1) => {
                commands.push(Words::of(&[draw.one(&["EXEC", "DISCARD", "UNWATCH"])]));
                continue;
            }
            None => {}
        }
        let kind = draw.below(TYPES.len());
        let shapes: Vec<&Shape> = TYPES.get(kind).unwrap().iter().collect();
        let shape = draw.one(&shapes);
        commands.push(command(draw, shape, space, kind));
    }
    commands
}
