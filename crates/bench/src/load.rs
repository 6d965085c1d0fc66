//! Runs of `redis-benchmark`.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    csv::{self, Run},
    plan::{CLIENT_THREADS, KEYS, Setting, VALUE_BYTES},
    server::Server,
};

/// The client, from Debian's redis-tools.
pub(crate) const CLIENT: &str = "redis-benchmark";
/// Requests of the first run, per request in a pipeline; later runs follow from what it took.
const FIRST_REQUESTS: u32 = 10_000;
/// How much longer the next run may be: the first runs are too short to tell a rate well, because
/// the client looks only every quarter of a second whether it is done.
const GROWTH_MAX: f64 = 8.0;
/// A run is aimed this much past the shortest that counts.
const AIM: f64 = 1.3;
/// Runs until one is long enough.
const ATTEMPTS_MAX: usize = 6;

/// What one command came to.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) run: Run,
    /// Processor time of the server for one request, all its threads together. Work that it does
    /// later, or that an earlier command left behind, is counted where it falls.
    pub(crate) processor_micros: f64,
}

/// Runs one command until a run was long enough, and gives that run; the shorter ones before it
/// have warmed the server.
pub(crate) fn run(
    server: &Server,
    setting: Setting,
    command: &str,
    shortest: Duration,
) -> Result<Measured> {
    let mut requests = f64::from(FIRST_REQUESTS * setting.pipeline);
    for _ in 0..ATTEMPTS_MAX {
        let before = server.processor_time()?;
        let run = once(server.address(), setting, command, requests)?;
        let taken = server.processor_time()?.saturating_sub(before);
        let rate = run.requests_per_second;
        ensure!(rate > 0.0, "{command} has no rate");
        if requests / rate >= shortest.as_secs_f64() {
            let processor_micros = taken.as_secs_f64() * 1e6 / requests;
            return Ok(Measured { run, processor_micros });
        }
        requests = (rate * shortest.as_secs_f64() * AIM).min(requests * GROWTH_MAX);
    }
    bail!("{command} is too fast to be measured in {ATTEMPTS_MAX} runs")
}

fn once(server: SocketAddr, setting: Setting, command: &str, requests: f64) -> Result<Run> {
    let port = server.port();
    let mut client = Command::new(CLIENT);
    client.args(["-h", &server.ip().to_string(), "-p", &port.to_string()]);
    client.args(["--threads", &CLIENT_THREADS.to_string()]);
    client.args(["-c", &setting.clients.to_string(), "-P", &setting.pipeline.to_string()]);
    client.args(["-n", &format!("{requests:.0}"), "-r", &KEYS.to_string()]);
    client.args(["-d", &VALUE_BYTES.to_string(), "-t", command, "--csv"]);
    let output = client.stdin(Stdio::null()).output().context(
        "cannot start redis-benchmark; Debian's redis-tools and redis-server packages have \
         what the benchmarks need",
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || {
        let more = String::from_utf8_lossy(&output.stderr);
        format!("redis-benchmark -t {command} ended with {}: {text}{more}", output.status)
    };
    ensure!(output.status.success(), said());
    let runs = csv::parse(&text).with_context(said)?;
    let found = runs.into_iter().find(|run| run.test.eq_ignore_ascii_case(command));
    found.with_context(|| format!("redis-benchmark measured no {command}"))
}
