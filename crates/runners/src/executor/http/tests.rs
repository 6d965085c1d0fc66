//! The executor against a launcher that is reached over real sockets, and behaves well, badly, or not at all.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use rhumb_engine::Tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, pause, sleep},
};

use super::*;
use crate::{
    capacity::{PoolId, Scope},
    job::JobRef,
    limits::ANSWER_WAIT,
};

const SECRET: &str = "a secret of some length";
/// Requests of a test that nobody has looked at yet.
const TOLD_MAX: usize = 16;
/// Longer than any answer is waited for.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// What was asked.
#[derive(Debug)]
struct Told {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// What a launcher does with a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers with these bytes and closes.
    Says(&'static str),
    /// Begins to answer, and says no more.
    Hangs(&'static str),
}

struct Bench {
    executor: HttpExecutor,
    told: mpsc::Receiver<Told>,
    tasks: Tasks,
}

/// A launcher that does these things, one after the other.
async fn bench(deeds: &'static [Does]) -> Bench {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (teller, told) = mpsc::channel(TOLD_MAX);
    let tasks = Tasks::new();
    let own = tasks.clone();
    tasks.spawn_until_stopped(async move {
        for does in deeds {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let teller = teller.clone();
            own.spawn_until_stopped(async move {
                let Ok(request) = read(&mut stream).await else { return };
                let _gone = teller.send(request).await;
                let (Does::Says(text) | Does::Hangs(text)) = does;
                let _gone = stream.write_all(text.as_bytes()).await;
                if matches!(does, Does::Hangs(_)) {
                    sleep(FOR_EVER).await;
                }
            });
        }
    });
    let place = Place::new(&format!("http://{address}/runners"), None).unwrap();
    let executor =
        HttpExecutor::new(HttpConfig { place, secrets: Secrets::new(&[SECRET]).unwrap() });
    Bench { executor, told, tasks }
}

async fn read(stream: &mut TcpStream) -> io::Result<Told> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        stream.read_buf(&mut body).await?;
    }
    Ok(Told { line, headers, body })
}

fn name() -> RunnerName {
    JobRef { repository: 1, job: 2, attempt: 1 }.runner(0)
}

fn launch() -> Launch {
    Launch {
        name: name(),
        pool: PoolId {
            scope: Scope::Organisation("acme".to_owned()),
            set: "linux".to_owned(),
            region: None,
        },
        job: JobRef { repository: 1, job: 2, attempt: 1 },
        labels: vec!["linux".to_owned()],
        jit_config: "c2VjcmV0".to_owned(),
    }
}

const CREATED: Does = Does::Says("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n");

#[tokio::test]
async fn a_launcher_is_told_what_is_documented_under_a_signature() {
    let mut bench = bench(&[CREATED, CREATED]).await;
    bench.executor.start(launch()).await.unwrap();
    let told = bench.told.recv().await.unwrap();
    assert_eq!(told.line, "POST /runners HTTP/1.1");
    assert_eq!(told.headers["idempotency-key"], name().as_str());
    assert_eq!(told.headers["content-type"], "application/json");
    let signature = told.headers.get("x-rhumb-signature-256").map(String::as_str);
    let secrets = Secrets::new(&[SECRET]).unwrap();
    secrets.check(signature, &told.body).unwrap();
    assert!(secrets.check(signature, b"{}").is_err());
    let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["jit_config", "job", "labels", "name", "pool"]);
    bench.executor.stop(&name()).await.unwrap();
    let told = bench.told.recv().await.unwrap();
    assert_eq!(told.line, format!("DELETE /runners/{} HTTP/1.1", name()));
    assert_eq!(told.headers["idempotency-key"], name().as_str());
    bench.tasks.stop().await;
}

#[tokio::test]
async fn what_was_ended_before_is_ended() {
    let bench = bench(&[
        Does::Says("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        Does::Says("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"),
        Does::Says("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"),
    ])
    .await;
    assert_eq!(bench.executor.stop(&name()).await, Ok(()));
    assert_eq!(bench.executor.stop(&name()).await, Ok(()));
    assert!(bench.executor.stop(&name()).await.is_err());
    bench.tasks.stop().await;
}

#[tokio::test]
async fn a_no_is_a_failure_with_the_time_that_it_names() {
    let bench = bench(&[
        Does::Says("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
        Does::Says("HTTP/1.1 503 Busy\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n"),
        Does::Says("HTTP/1.1 503 Busy\r\nretry-after: 99999999\r\ncontent-length: 0\r\n\r\n"),
        Does::Says("HTTP/1.1 503 Busy\r\nretry-after: soon\r\ncontent-length: 0\r\n\r\n"),
        // Nobody follows a redirect with a secret.
        Does::Says("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"),
    ])
    .await;
    let seconds = |it| Failure::Later(Duration::from_secs(it));
    for expected in [
        Failure::Failed,
        seconds(17),
        seconds(LIMITED_MAX.as_secs()),
        Failure::Failed,
        Failure::Failed,
    ] {
        let error = bench.executor.start(launch()).await.unwrap_err();
        assert_eq!(error.failure, expected, "{error}");
    }
    bench.tasks.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_failure() {
    let bench = bench(&[
        Does::Says("I have started it, trust me\r\n\r\n"),
        Does::Says(""),
        // The connection ends before the body that was announced: the answer may be half of another one.
        Does::Says("HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\n{}"),
        Does::Says("HTTP/1.1 201 Created\r\ncontent-length: 1e3\r\n\r\n"),
        Does::Says("HTTP/1.1 999999 Created\r\n\r\n"),
    ])
    .await;
    for nth in 0..5 {
        let error = bench.executor.start(launch()).await.unwrap_err();
        assert_eq!(error.failure, Failure::Failed, "{nth}: {error}");
    }
    bench.tasks.stop().await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
    const BEGUN: Does = Does::Hangs("HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{");
    for deeds in [&[Does::Hangs("")], &[BEGUN]] {
        let mut bench = bench(deeds).await;
        let asked = bench.executor.start(launch());
        let late = async {
            bench.told.recv().await.unwrap();
            // From here on time passes by itself.
            pause();
            Instant::now()
        };
        let (answer, since) = tokio::join!(asked, late);
        let error = answer.unwrap_err();
        assert!(error.why.contains("nothing came"), "{error}");
        assert!(since.elapsed() <= ANSWER_WAIT + Duration::from_secs(1), "{:?}", since.elapsed());
        tokio::time::resume();
        bench.tasks.stop().await;
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure_at_once() {
    let place = Place::new("http://127.0.0.1:1", None).unwrap();
    let secrets = Secrets::new(&[SECRET]).unwrap();
    let executor = HttpExecutor::new(HttpConfig { place, secrets });
    assert_eq!(executor.start(launch()).await.unwrap_err().failure, Failure::Failed);
    assert!(executor.stop(&name()).await.is_err(), "it may run");
}
