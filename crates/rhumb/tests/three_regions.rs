//! Three real processes, real TLS between them, real clients: a write in one region is read in
//! the others, a lock has one holder, a message crosses, and a killed region loses nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The first port of the regions; apart from those of `dev`, so that both can run.
const FIRST_PORT: u16 = 17_400;
const PATIENCE: Duration = Duration::from_secs(40);

struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // Its regions end with it.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn start(data: &std::path::Path) -> Dev {
    let mut dev = Command::new(env!("CARGO_BIN_EXE_rhumb"))
        .args(["dev", "--no-wan", "--port", &FIRST_PORT.to_string(), "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.starts_with("Ctrl-C")));
    assert!(ready, "dev did not start");
    Dev(dev)
}

fn connect(region: u16) -> TcpStream {
    let address = ("127.0.0.1", FIRST_PORT + 2 + 100 * region);
    let since = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            Err(error) => assert!(since.elapsed() < PATIENCE, "{address:?}: {error}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends an inline command, and reads one piece of the answer.
fn ask(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut piece = [0; 4_096];
    let read = stream.read(&mut piece).unwrap();
    String::from_utf8_lossy(piece.get(..read).unwrap_or_default()).into_owned()
}

/// Repeats a command until its answer is as wanted.
fn until(region: u16, command: &str, wanted: &str) {
    let since = Instant::now();
    loop {
        let answer = ask(&mut connect(region), command);
        if answer == wanted {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{command} in region {region}: {answer:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_one_region_writes_the_others_read() {
    let data = tempfile::tempdir().unwrap();
    let _dev = start(data.path());
    until(0, "SET greeting hello", "+OK\r\n");
    until(1, "GET greeting", "$5\r\nhello\r\n");
    until(2, "GET greeting", "$5\r\nhello\r\n");
    for region in 0..3 {
        until(region, "INCRBY visits 2", &format!(":{}\r\n", 2 * (region + 1)));
        for other in 0..3 {
            until(other, "GET visits", &format!("$1\r\n{}\r\n", 2 * (region + 1)));
        }
    }
    until(0, "SET lock:a one NX PX 60000", "+OK\r\n");
    until(1, "SET lock:a two NX PX 60000", "$-1\r\n");
    until(2, "GET lock:a", "$3\r\none\r\n");
    let mut subscriber = connect(2);
    assert!(ask(&mut subscriber, "SUBSCRIBE news").contains("subscribe"));
    ask(&mut connect(0), "PUBLISH news extra");
    let mut message = [0; 256];
    let read = subscriber.read(&mut message).unwrap();
    assert!(String::from_utf8_lossy(message.get(..read).unwrap()).contains("extra"));
    // What breaks the protocol is told so, and harms nobody else.
    let mut broken = connect(0);
    assert!(ask(&mut broken, "*1\r\n$-5").starts_with("-ERR Protocol error"));
    until(0, "PING", "+PONG\r\n");
}
