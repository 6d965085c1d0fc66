//! Asking whether something works, and telling something to be done: over HTTP, over TCP, by a
//! program.
//!
//! Programs run without a shell, with an environment that has only what is meant for them, and their
//! whole process group ends with them when time is out.

use std::{process::Stdio, time::Duration};

use http::StatusCode;
use rhumb_config::settings::Probe;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::http::{HttpError, Visit};

/// How much of what a program complains is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 512;
/// Variables of the node's own environment that programs see.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// Why something does not work, or was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// Nobody answers over HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It answered, and not well.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// It takes no connections.
    #[error("{address}: {source}")]
    Tcp {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program cannot be run.
    #[error("`{program}` cannot be run: {source}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program ended badly.
    #[error("it ended with {status}{complaint}")]
    Ended {
        /// How.
        status: std::process::ExitStatus,
        /// The end of what it wrote to its standard error.
        complaint: String,
    },
}

/// What a program or an address is told, by names like `region`. A program sees them as variables.
pub(crate) type Facts<'f> = &'f [(&'static str, String)];

/// Something that can be asked again and again.
#[derive(Clone)]
pub(crate) enum Prober {
    Http(Visit),
    Tcp(String),
    Command(Vec<String>),
}

impl Prober {
    /// Makes ready to ask.
    ///
    /// # Errors
    /// When the address is encrypted and this system has no authorities.
    pub(crate) fn new(probe: &Probe) -> Result<Self, ProbeError> {
        Ok(match probe {
            Probe::Http(url) => Self::Http(Visit::to(url).map_err(HttpError::from)?),
            Probe::Tcp(address) => Self::Tcp(address.clone()),
            Probe::Command(words) => Self::Command(words.clone()),
        })
    }

    /// Whether it works: a status below 400, a connection, an end with 0.
    pub(crate) async fn ask(&self, facts: Facts<'_>, within: Duration) -> Result<(), ProbeError> {
        let asked = async {
            match self {
                Self::Http(visit) => {
                    let status = visit.get().await?;
                    let well = status.is_success() || status.is_redirection();
                    if well { Ok(()) } else { Err(ProbeError::Status(status)) }
                }
                Self::Tcp(address) => {
                    let connected = TcpStream::connect(address).await;
                    let failed = |source| ProbeError::Tcp { address: address.clone(), source };
                    connected.map(drop).map_err(failed)
                }
                Self::Command(words) => run(words, facts).await,
            }
        };
        timeout(within, asked).await.unwrap_or(Err(ProbeError::Late(within)))
    }

    /// Has something done: it is posted the facts, or run with them.
    pub(crate) async fn tell(&self, facts: Facts<'_>, within: Duration) -> Result<(), ProbeError> {
        let Self::Http(visit) = self else { return self.ask(facts, within).await };
        let body: Map<String, Value> = facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        let posted = async {
            let status = visit.post(&body.into()).await?;
            if status.is_success() { Ok(()) } else { Err(ProbeError::Status(status)) }
        };
        timeout(within, posted).await.unwrap_or(Err(ProbeError::Late(within)))
    }
}

async fn run(words: &[String], facts: Facts<'_>) -> Result<(), ProbeError> {
    let (program, arguments) = words.split_first().map_or(("", words), |(p, rest)| (p, rest));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().process_group(0).kill_on_drop(true);
    let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.envs(inherited);
    command
        .envs(facts.iter().map(|(name, value)| (format!("RHUMB_{}", name.to_uppercase()), value)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |source| ProbeError::Run { program: program.to_owned(), source };
    let mut child = command.spawn().map_err(failed)?;
    let group = Group::of(&child);
    let complaint = child.stderr.take();
    let (complaint, status) = tokio::join!(complaint_of(complaint), child.wait());
    let status = status.map_err(failed)?;
    group.ended();
    if status.success() { Ok(()) } else { Err(ProbeError::Ended { status, complaint }) }
}

/// Reads what a program complains, all of it, and keeps the beginning.
async fn complaint_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    // A stream that breaks has nothing more to say.
    let _broken = (&mut stream).take(COMPLAINT_BYTES_MAX).read_to_end(&mut kept).await;
    let _broken = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    let text = String::from_utf8_lossy(&kept);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// A program and whatever it started; dropped before its end, all of it is killed.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// The program ended by itself: its number may belong to another soon.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // What has ended already needs no killing.
            let _ended = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Prober {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        Prober::new(&Probe::Command(words.to_vec())).unwrap()
    }

    #[tokio::test]
    async fn a_program_sees_the_facts_and_nothing_of_the_node() {
        let facts = [("failover_region", "eu-west-1".to_owned())];
        let sees = shell(r#"test "$RHUMB_FAILOVER_REGION" = eu-west-1 && test -z "$CARGO""#);
        sees.ask(&facts, WITHIN).await.unwrap();
        let error = shell("echo the disk is full >&2; exit 3").ask(&facts, WITHIN).await;
        let said = error.unwrap_err().to_string();
        assert!(said.contains("3") && said.ends_with(": the disk is full"), "{said}");
        let missing = Prober::new(&Probe::Command(vec!["/no/such/program".to_owned()])).unwrap();
        assert!(matches!(missing.ask(&facts, WITHIN).await, Err(ProbeError::Run { .. })));
    }

    #[tokio::test]
    async fn a_program_that_hangs_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let began = Instant::now();
        let hung = shell(&script).ask(&[], Duration::from_millis(500)).await;
        assert!(matches!(hung, Err(ProbeError::Late(_))));
        assert!(began.elapsed() < WITHIN);
        let pid = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        // It is gone, or waits for init to take note.
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            state.map_or(true, |state| state.contains(") Z "))
        };
        while !gone() {
            assert!(began.elapsed() < WITHIN, "it outlives the one that started it");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_talkative_program_is_read_to_its_end() {
        let error = shell("yes oh no | head -c 1000000 >&2; exit 1").ask(&[], WITHIN).await;
        let said = error.unwrap_err().to_string();
        assert!(said.len() < 1_000, "{}", said.len());
    }

    /// Answers a request with a head; gives what was asked.
    async fn serve(listener: &TcpListener, head: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        while !asked.ends_with("\r\n\r\n") && !asked.ends_with('}') {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            asked.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        let answer = format!("{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        asked
    }

    #[tokio::test]
    async fn http_and_tcp_are_asked_and_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let http = Prober::new(&Probe::Http(format!("http://{address}/up?x=1"))).unwrap();
        let (asked, well) =
            tokio::join!(serve(&listener, "HTTP/1.1 204 No Content"), http.ask(&[], WITHIN));
        well.unwrap();
        assert!(asked.starts_with("GET /up?x=1 HTTP/1.1\r\n"), "{asked}");
        let (_, busy) = tokio::join!(serve(&listener, "HTTP/1.1 503 Busy"), http.ask(&[], WITHIN));
        assert!(matches!(busy, Err(ProbeError::Status(_))));
        let facts = [("failover_region", "a".to_owned())];
        let (told, done) =
            tokio::join!(serve(&listener, "HTTP/1.1 202 Accepted"), http.tell(&facts, WITHIN));
        done.unwrap();
        assert!(
            told.starts_with("POST ") && told.ends_with(r#"{"failover_region":"a"}"#),
            "{told}"
        );
        Prober::new(&Probe::Tcp(address)).unwrap().ask(&[], WITHIN).await.unwrap();
        let nobody = Prober::new(&Probe::Tcp("127.0.0.1:1".to_owned())).unwrap();
        assert!(matches!(nobody.ask(&[], WITHIN).await, Err(ProbeError::Tcp { .. })));
    }
}
