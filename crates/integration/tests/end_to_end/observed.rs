//! What a node tells about its Redis clients and their keys, and how it treats those who guess
//! passwords.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use redis::Connection;
use rhumb_config::settings::UserSettings;
use rhumb_integration::{Cluster, Layout, eventually};

use crate::side_by_side::{
    commands::Words,
    wire::{Reply, Wire},
};

/// How long a node may take to serve.
const SERVED_MAX: Duration = Duration::from_secs(30);

/// The digest of `password`.
const PASSWORD_SHA256: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

/// What the HTTP server answers, its head included.
pub(crate) fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// An answer in JSON.
fn json(address: SocketAddr, path: &str) -> serde_json::Value {
    let page = page(address, path);
    serde_json::from_str(page.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The number behind a metric's name and labels.
pub(crate) fn value(page: &str, metric: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {metric} in\n{page}")).trim().parse().unwrap()
}

#[test]
fn commands_and_connections_of_redis_clients_are_measured() {
    let cluster = Layout::regions(1).start().unwrap();
    let mut connection = cluster.connect(0).unwrap();
    let mut pipeline = redis::pipe();
    for nth in 0..100 {
        pipeline.cmd("SADD").arg("s").arg(nth).ignore();
        pipeline.cmd("SCARD").arg("s").ignore();
    }
    let () = pipeline.query(&mut connection).unwrap();
    let _wrong = redis::cmd("HLEN").arg("s").exec(&mut connection).unwrap_err();
    let _unknown = redis::cmd("NONSENSE").exec(&mut connection).unwrap_err();
    let page = page(cluster.http(0), "/metrics");
    for (metric, least) in [
        ("rhumb_commands_total{command=\"sadd\",result=\"ok\"}", 100),
        ("rhumb_commands_total{command=\"scard\",result=\"ok\"}", 100),
        ("rhumb_command_seconds_count{command=\"scard\"}", 100),
        ("rhumb_commands_total{command=\"hlen\",result=\"conflict\"}", 1),
        ("rhumb_commands_total{command=\"unknown\",result=\"invalid\"}", 1),
    ] {
        assert_eq!(value(&page, metric), least, "{metric}");
    }
    assert!(value(&page, "rhumb_connections{server=\"resp\"}") >= 1);
    assert!(value(&page, "rhumb_connections_accepted_total{server=\"resp\"}") >= 1);
    assert!(value(&page, "rhumb_connections{server=\"http\"}") >= 1, "one page for both servers");
    assert!(page.contains("rhumb_commit_seconds_count"));
}

/// A node that knows one user, `app` with the password `password`.
fn guarded() -> Cluster {
    let guard = |settings: &mut rhumb_config::Settings| {
        settings.acl.users.push(UserSettings {
            name: "app".to_owned(),
            password_sha256: vec![PASSWORD_SHA256.to_owned()],
            commands: vec!["+@all".to_owned()],
            keys: vec!["*".to_owned()],
            channels: vec!["*".to_owned()],
        });
        for region in settings.regions.values_mut() {
            if let Some(resp) = &mut region.listeners.resp {
                resp.auth = true;
            }
        }
    };
    let mut cluster = Layout::regions(1).adjust(guard).prepare().unwrap();
    cluster.start(0).unwrap();
    eventually(SERVED_MAX, || cluster.connect(0)).unwrap();
    cluster
}

fn log_in(connection: &mut Connection, password: &str) -> Result<(), String> {
    let tried = redis::cmd("AUTH").arg("app").arg(password).exec(connection);
    tried.map_err(|error| error.code().unwrap_or_default().to_owned())
}

#[test]
fn who_guesses_passwords_is_held_back_and_written_down() {
    let cluster = guarded();
    let connect = || cluster.connect(0).unwrap();
    for _ in 0..30 {
        assert_eq!(log_in(&mut connect(), "password"), Ok(()), "right ones are not counted");
    }
    let mut refused = 0;
    // Each over a connection of its own, as guessers do.
    let held_back = loop {
        match log_in(&mut connect(), &format!("guess {refused}")) {
            Err(code) if code == "WRONGPASS" => refused += 1,
            other => break other,
        }
        assert!(refused < 100, "nobody stops the guesser");
    };
    assert_eq!(held_back, Err("OVERLOADED".to_owned()));
    assert!((10..20).contains(&refused), "{refused}");
    let right = log_in(&mut connect(), "password");
    assert_eq!(right, Err("OVERLOADED".to_owned()), "a right guess is not told either");
    let log = cluster.log(0);
    let written = log.lines().filter(|line| line.contains("a password was refused"));
    assert_eq!(written.filter(|line| line.contains("127.0.0.1")).count(), refused);
}

/// What `RHUMB.WHY` tells, found by the names that lead to it.
fn told<'r>(why: &'r Reply, path: &[&str]) -> &'r Reply {
    path.iter().fold(why, |reply, name| {
        reply.beside(name).unwrap_or_else(|| panic!("no {name} in {reply:?}"))
    })
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?} is no text"),
    }
}

#[test]
fn rhumb_why_tells_what_routing_tells_and_who_wrote() {
    let cluster = Layout::regions(3).start().unwrap();
    let ask = |nth: usize, protocol: u8, words: &[&str]| {
        let mut wire = Wire::connect(cluster.resp(nth), protocol).unwrap();
        wire.ask(&[Words::of(words)]).unwrap().remove(0)
    };
    // Leases and links take a moment after the first start.
    let home = eventually(SERVED_MAX, || {
        let home = json(cluster.http(0), "/v1/home?key=visits");
        anyhow::ensure!(home["acting"].is_string(), "{home}");
        let route = json(cluster.http(0), "/v1/route?key=visits");
        let regions = route["regions"].as_array().map(Vec::len);
        anyhow::ensure!(regions == Some(3), "not all regions look well yet: {route}");
        Ok(home)
    })
    .unwrap();
    ask(0, 2, &["SET", "visits", "1", "PX", "5000000"]);
    for protocol in [2, 3] {
        let why = ask(0, protocol, &["RHUMB.WHY", "visits"]);
        assert!(matches!((&why, protocol), (Reply::Array(_), 2) | (Reply::Map(_), 3)), "{why:?}");
        assert_eq!(text(told(&why, &["namespace", "consistency"])), "eventual");
        assert_eq!(text(told(&why, &["namespace", "ack"])), "local");
        assert_eq!(text(told(&why, &["type"])), "string");
        assert_eq!(text(told(&why, &["route", "home"])), home["home"].as_str().unwrap());
        assert_eq!(text(told(&why, &["route", "acting"])), home["acting"].as_str().unwrap());
        assert!(matches!(told(&why, &["route", "epoch"]), Reply::Integer(1..)));
        assert!(matches!(told(&why, &["expires_unix_ms"]), Reply::Integer(1..)));
        let (_, regions) = told(&why, &["route", "regions"]).parts().unwrap();
        assert_eq!(regions.len(), 3);
        let (_, reasons) = told(&why, &["route", "reasons"]).parts().unwrap();
        assert!(!reasons.is_empty());
    }
    ask(1, 2, &["INCR", "other"]);
    eventually(SERVED_MAX, || {
        let why = ask(0, 3, &["RHUMB.WHY", "other"]);
        let (_, writes) = told(&why, &["writes"]).parts().unwrap();
        let added = writes.first().ok_or_else(|| anyhow::anyhow!("not here yet"))?;
        anyhow::ensure!(text(told(added, &["what"])) == "added");
        anyhow::ensure!(text(told(added, &["region"])) == cluster.region(1));
        Ok(())
    })
    .unwrap();
    let nothing = ask(0, 3, &["RHUMB.WHY", "nothing"]);
    assert_eq!(text(told(&nothing, &["type"])), "none");
}

#[test]
fn what_lost_against_a_concurrent_write_is_told() {
    let cluster = Layout::regions(2).relayed().start().unwrap();
    let ask = |nth: usize, words: &[&str]| {
        let mut wire = Wire::connect(cluster.resp(nth), 3).unwrap();
        wire.ask(&[Words::of(words)]).unwrap().remove(0)
    };
    cluster.set_cut_off(0, true).unwrap();
    ask(0, &["HSET", "user", "name", "left"]);
    std::thread::sleep(Duration::from_millis(5));
    ask(1, &["HSET", "user", "name", "right"]);
    cluster.set_cut_off(0, false).unwrap();
    eventually(SERVED_MAX, || {
        let Reply::Array(all) = ask(0, &["RHUMB.CONFLICTS"]) else { anyhow::bail!("no array") };
        let conflict = all.iter().find(|conflict| text(told(conflict, &["key"])) == "user");
        let conflict = conflict.ok_or_else(|| anyhow::anyhow!("not met yet"))?;
        anyhow::ensure!(text(told(conflict, &["field"])) == "name");
        anyhow::ensure!(text(told(conflict, &["kind"])) == "concurrent_write");
        anyhow::ensure!(text(told(conflict, &["read", "region"])) == cluster.region(1));
        anyhow::ensure!(text(told(conflict, &["lost", "region"])) == cluster.region(0));
        anyhow::ensure!(text(told(conflict, &["lost_value"])) == "left");
        Ok(())
    })
    .unwrap();
}

#[test]
fn users_learn_nothing_of_keys_that_are_not_theirs() {
    let limit = |settings: &mut rhumb_config::Settings| {
        settings.acl.users.push(UserSettings {
            name: "default".to_owned(),
            password_sha256: vec![PASSWORD_SHA256.to_owned()],
            commands: vec!["+@all".to_owned()],
            // The layout waits until it may write its own.
            keys: ["mine:*", "test:*", "lock:test:*"].map(str::to_owned).to_vec(),
            channels: Vec::new(),
        });
    };
    let cluster = Layout::regions(1).adjust(limit).start().unwrap();
    let mut wire = Wire::connect(cluster.resp(0), 2).unwrap();
    for words in [
        ["GET", "theirs"].as_slice(),
        &["HSCAN", "theirs", "0"],
        &["WATCH", "mine:1", "theirs"],
        &["RHUMB.WHY", "theirs"],
        &["RHUMB.FENCE", "theirs"],
        &["PUBLISH", "news", "x"],
    ] {
        let reply = wire.ask(&[Words::of(words)]).unwrap().remove(0);
        let refused = matches!(&reply, Reply::Error(text) if text.starts_with("NOPERM"));
        assert!(refused, "{words:?}: {reply:?}");
    }
    let own = wire.ask(&[Words::of(&["HSCAN", "mine:1", "0"])]).unwrap().remove(0);
    assert!(matches!(own, Reply::Array(_)), "{own:?}");
}
