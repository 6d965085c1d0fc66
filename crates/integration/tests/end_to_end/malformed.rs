//! Clients that send nonsense harm nobody else.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use redis::Commands;
use rhumb_integration::Layout;

/// How long an answer to nonsense may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Sends bytes and gives all that comes back until the server closes, or nothing comes any more.
fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    // The server may close before it has read all of it.
    let _closed = stream.write_all(bytes);
    let _closed = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn nonsense_gets_an_error_and_harms_nobody() {
    let cluster = Layout::regions(1).start().unwrap();
    let mut neighbour = cluster.connect(0).unwrap();
    let () = neighbour.set("k", "v").unwrap();
    let frames: &[&[u8]] = &[
        b"*1\r\n$-5\r\n",
        b"*2147483647\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$999999999999\r\nx",
        b"*1\r\n:1\r\n",
        b"$3\r\nabc\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nxx\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\"unbalanced\r\n",
        b"\r\n\r\n\0\0\0\r\n",
    ];
    for frame in frames {
        let answer = send(cluster.resp(0), frame);
        let text = String::from_utf8_lossy(&answer);
        let alive: String = neighbour.get("k").unwrap();
        assert_eq!(alive, "v", "after {frame:?}");
        assert!(!text.contains("+OK"), "{frame:?} was taken for a command: {text}");
    }
    let answer = send(cluster.resp(0), b"*1\r\n:1\r\n");
    assert!(answer.starts_with(b"-ERR Protocol error"), "{}", String::from_utf8_lossy(&answer));
    // A line without an end is bounded.
    let answer = send(cluster.resp(0), &vec![b'x'; 1 << 20]);
    assert!(answer.starts_with(b"-ERR"), "{:?}", String::from_utf8_lossy(&answer));
    let alive: String = neighbour.get("k").unwrap();
    assert_eq!(alive, "v");
}

#[test]
fn a_client_that_never_reads_harms_nobody() {
    let cluster = Layout::regions(1).start().unwrap();
    let mut neighbour = cluster.connect(0).unwrap();
    let () = neighbour.set("big", vec![b'x'; 1 << 20]).unwrap();
    let mut greedy = TcpStream::connect(cluster.resp(0)).unwrap();
    greedy.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let asks = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(2_000);
    // 2 GB of answers that nobody reads; the server stops reading at some point.
    let _full = greedy.write_all(&asks);
    for nth in 0..50 {
        let counted: i64 = neighbour.incr("n", 1).unwrap();
        assert_eq!(counted, nth + 1);
    }
    let process = cluster.process(0).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 512 << 10, "unread answers pile up: {resident}");
}
