//! What a node tells about its Redis clients, and how it treats those who guess passwords.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use redis::Connection;
use rhumb_config::settings::UserSettings;
use rhumb_integration::{Cluster, Layout, eventually};

/// How long a node may take to serve.
const SERVED_MAX: Duration = Duration::from_secs(30);

/// The page of metrics, as a scraper gets it.
fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let ask = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// The number behind a metric's name and labels.
fn value(page: &str, metric: &str) -> u64 {
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
    let page = metrics(cluster.http(0));
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
        let digest = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        settings.acl.users.push(UserSettings {
            name: "app".to_owned(),
            password_sha256: vec![digest.to_owned()],
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
