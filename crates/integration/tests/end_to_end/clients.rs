//! Clients that people use.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use redis::{Commands, Connection, PubSubCommands};
use rhumb_integration::{Cluster, Layout, eventually, programs};

use crate::{run, skipped};

/// How long something may take to reach another region.
const REPLICATION_MAX: Duration = Duration::from_secs(10);

fn cli(address: SocketAddr) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command
}

#[test]
fn redis_cli_reads_writes_and_asks() {
    if !programs::answers("redis-cli", &["--version"]) {
        return skipped("redis-cli is not installed");
    }
    let cluster = Layout::regions(1).start().unwrap();
    let ask = |words: &[&str]| run(cli(cluster.resp(0)).args(words)).trim_end().to_owned();
    assert_eq!(ask(&["PING"]), "PONG");
    assert_eq!(ask(&["SET", "greeting", "hello, world"]), "OK");
    assert_eq!(ask(&["GET", "greeting"]), "hello, world");
    assert_eq!(ask(&["HSET", "user", "name", "ada", "born", "1815"]), "2");
    let hash = ask(&["HGETALL", "user"]);
    let mut lines: Vec<&str> = hash.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1815", "ada", "born", "name"]);
    assert_eq!(ask(&["-3", "HGETALL", "user"]).lines().count(), 2, "RESP3 maps are read as maps");
    assert!(ask(&["INFO"]).contains("redis_version:"));
    assert!(ask(&["GET", "user"]).starts_with("WRONGTYPE"));
    assert!(ask(&["NONSENSE"]).contains("unknown command"));
    assert!(ask(&["LPUSH", "list", "1"]).contains("lists"));
}

#[test]
fn redis_cli_pipes_a_mass_of_writes() {
    if !programs::answers("redis-cli", &["--version"]) {
        return skipped("redis-cli is not installed");
    }
    const WRITES: usize = 20_000;
    let cluster = Layout::regions(1).start().unwrap();
    let mut child = cli(cluster.resp(0))
        .arg("--pipe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for nth in 0..WRITES {
        let key = format!("pipe:{nth}");
        let length = key.len();
        write!(input, "*3\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n$1\r\nx\r\n").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(&format!("errors: 0, replies: {WRITES}")), "{printed}");
    let size: usize = redis::cmd("DBSIZE").query(&mut cluster.connect(0).unwrap()).unwrap();
    assert!(size >= WRITES, "{size}");
}

/// A Python program with the addresses of RESP servers as its arguments.
fn python(script: &str, cluster: &Cluster) -> Option<Command> {
    let python = programs::python().filter(|path| programs::answers(path, &["-c", "import redis"]));
    let mut command = Command::new(python?);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script));
    command.args((0..cluster.len()).map(|nth| cluster.resp(nth).port().to_string()));
    Some(command)
}

const NO_PYTHON: &str = "there is no Python with redis-py; `cargo xtask test` makes one";

#[test]
fn redis_py_finds_what_it_expects() {
    let cluster = Layout::regions(2).start().unwrap();
    let Some(mut command) = python("clients.py", &cluster) else { return skipped(NO_PYTHON) };
    assert!(run(&mut command).ends_with("ok\n"));
}

#[test]
fn a_web_session_moves_between_regions() {
    let cluster = Layout::regions(2).start().unwrap();
    let Some(mut command) = python("web_session.py", &cluster) else { return skipped(NO_PYTHON) };
    assert!(run(&mut command).ends_with("ok\n"));
}

#[test]
fn a_node_web_session_moves_between_regions() {
    let Some(modules) = programs::node_modules() else {
        return skipped("there are no Node.js clients; `cargo xtask test` installs them with npm");
    };
    let cluster = Layout::regions(2).start().unwrap();
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/node/clients.js"));
    command.args((0..cluster.len()).map(|nth| cluster.resp(nth).port().to_string()));
    assert!(run(&mut command).ends_with("ok\n"));
}

#[test]
fn the_redis_crate_finds_what_it_expects() {
    let cluster = Layout::regions(1).start().unwrap();
    let mut connection = cluster.connect(0).unwrap();
    let c: &mut Connection = &mut connection;
    let () = c.set("k", 41).unwrap();
    let counted: (i64, i64) = redis::pipe().atomic().incr("k", 1).incr("k", 8).query(c).unwrap();
    assert_eq!(counted, (42, 50));
    let () = c.hset_multiple("h", &[("a", 1), ("b", 2)]).unwrap();
    let hash: std::collections::BTreeMap<String, i64> = c.hgetall("h").unwrap();
    assert_eq!(hash, [("a".to_owned(), 1), ("b".to_owned(), 2)].into());
    let () = c.zadd_multiple("z", &[(2.5, "b"), (1.0, "a")]).unwrap();
    let ranked: Vec<(String, f64)> = c.zrange_withscores("z", 0, -1).unwrap();
    assert_eq!(ranked, [("a".to_owned(), 1.0), ("b".to_owned(), 2.5)]);
    let () = c.sadd("s", &["x", "y"]).unwrap();
    let members: std::collections::BTreeSet<String> = c.smembers("s").unwrap();
    assert_eq!(members, ["x".to_owned(), "y".to_owned()].into());
    let () = c.expire("s", 100).unwrap();
    let ttl: i64 = c.ttl("s").unwrap();
    assert!((99..=100).contains(&ttl), "{ttl}");
    let found: std::collections::BTreeSet<String> =
        c.scan().unwrap().collect::<Result<_, _>>().unwrap();
    assert!(["h", "k", "s", "z"].iter().all(|key| found.contains(*key)), "{found:?}");
    let wrong = c.incr::<_, _, i64>("h", 1).unwrap_err();
    assert_eq!(wrong.code(), Some("WRONGTYPE"));
}

#[test]
fn regions_share_values_counters_and_messages() {
    let cluster = Layout::regions(3).start().unwrap();
    let mut connections: Vec<Connection> =
        (0..3).map(|nth| cluster.connect(nth).unwrap()).collect();
    let () = connections[0].hset("session:1", "user", "ada").unwrap();
    for connection in &mut connections {
        for _ in 0..50 {
            let () = connection.incr("visits", 1).unwrap();
        }
    }
    for connection in &mut connections {
        eventually(REPLICATION_MAX, || {
            let user: Option<String> = connection.hget("session:1", "user")?;
            anyhow::ensure!(user.as_deref() == Some("ada"), "{user:?}");
            let visits: u64 = connection.get("visits")?;
            anyhow::ensure!(visits == 150, "{visits} visits");
            Ok(())
        })
        .unwrap();
    }
    let [mut publisher, _, mut subscriber] = <[Connection; 3]>::try_from(connections).ok().unwrap();
    let sending = std::thread::spawn(move || {
        // Twice: the first tells the subscriber's region nothing if it has not subscribed yet.
        for _ in 0..500 {
            let () = publisher.publish("news", "land in sight").unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let heard = subscriber
        .subscribe(&["news"], |message| {
            let text: String = message.get_payload().unwrap_or_default();
            redis::ControlFlow::Break(text)
        })
        .unwrap();
    assert_eq!(heard, "land in sight");
    drop(sending);
}
