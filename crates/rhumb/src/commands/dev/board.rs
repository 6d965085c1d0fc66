//! The regions of a cluster on this machine, as a table that follows them.

use std::{io::Write, time::Duration};

use anyhow::Result;
use rhumb_config::settings::Server;
use rhumb_types::RegionId;
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    commands::show::{NOTHING, items, say_millis, word},
    http::{Ask, Client},
    local::Local,
    table::table,
};

/// How long a region may take to say how it is.
const ANSWER_WAIT: Duration = Duration::from_millis(800);

/// Takes the terminal over, and gives it back when it is dropped.
pub(super) struct Screen;

impl Screen {
    /// The terminal's other screen, without a cursor.
    pub(super) fn open() -> Self {
        write("\x1b[?1049h\x1b[?25l");
        Self
    }

    /// Shows lines in place of those before.
    pub(super) fn show(&self, lines: &[String]) {
        write(&format!("\x1b[2J\x1b[H{}\r\n", lines.join("\r\n")));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write("\x1b[?25h\x1b[?1049l");
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout();
    // A closed terminal means that nobody looks.
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Where the regions listen and log, as a table, and the key of the S3 servers and the SQS servers.
pub(super) fn places(local: &Local) -> Vec<String> {
    let row = |region: RegionId| {
        [
            region.to_string(),
            local.address(&region, Server::Resp).to_string(),
            local.address(&region, Server::Http).to_string(),
            local.address(&region, Server::S3).to_string(),
            local.address(&region, Server::Sqs).to_string(),
            local.address(&region, Server::Cache).to_string(),
            local.log(&region).display().to_string(),
        ]
    };
    let rows: Vec<[String; 7]> = local.regions().into_iter().map(row).collect();
    let mut lines = table(["region", "redis", "http", "s3", "sqs", "cache", "log"], &rows);
    lines.push(String::new());
    lines
        .push("For clients of S3 and SQS, and for `rhumb cp`, `ls`, `sync` and `ship`:".to_owned());
    lines.extend(local.client_environment());
    lines
}

/// Whom to ask.
pub(super) struct Board {
    clients: Vec<(RegionId, Client)>,
}

impl Board {
    pub(super) fn new(local: &Local) -> Result<Self> {
        let client = |region: RegionId| {
            let address = local.address(&region, Server::Http);
            Ok((region, Client::open(&format!("http://{address}"))?))
        };
        Ok(Self { clients: local.regions().into_iter().map(client).collect::<Result<_>>()? })
    }

    /// How every region is doing now.
    pub(super) async fn lines(&self, local: &mut Local) -> Result<Vec<String>> {
        let mut asked = JoinSet::new();
        for (nth, (_, client)) in self.clients.iter().enumerate() {
            let client = client.clone();
            asked.spawn(async move {
                let answer = timeout(ANSWER_WAIT, client.json(Ask::get("/v1/status"))).await;
                (nth, answer.ok().and_then(Result::ok))
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(nth, _)| *nth);
        let mut rows = Vec::with_capacity(answers.len());
        for ((region, _), (_, status)) in self.clients.iter().zip(answers) {
            rows.push(match (local.has_ended(region)?, status) {
                (Some(how), _) => silent(region, &format!("ended, {how}")),
                (None, None) => silent(region, "no answer"),
                (None, Some(status)) => row(region, &status),
            });
        }
        let head = ["region", "state", "links", "duties", "others behind", "conflicts", "alarm"];
        let mut lines = places(local);
        lines.push(String::new());
        lines.extend(table(head, &rows));
        lines.push(String::new());
        lines.push("Ctrl-C ends them.".to_owned());
        Ok(lines)
    }
}

fn silent(region: &RegionId, state: &str) -> [String; 7] {
    let nothing = || NOTHING.to_owned();
    [region.to_string(), state.to_owned(), nothing(), nothing(), nothing(), nothing(), nothing()]
}

fn row(region: &RegionId, status: &Value) -> [String; 7] {
    let reasons: Vec<&str> = items(status, "/not_ready").iter().filter_map(Value::as_str).collect();
    let state = match reasons.as_slice() {
        [] => word(status, "/phase"),
        reasons => reasons.join(", "),
    };
    let links = items(status, "/links");
    let up = links.iter().filter(|link| word(link, "/up") == "yes").count();
    let duties: Vec<String> =
        items(status, "/leases").iter().map(|lease| word(lease, "/region")).collect();
    let behind = items(status, "/peers").iter();
    let behind = behind.filter_map(|peer| peer.pointer("/lag/it_behind_here_ms")?.as_f64());
    [
        region.to_string(),
        state,
        format!("{up} of {}", links.len()),
        if duties.is_empty() { NOTHING.to_owned() } else { duties.join(", ") },
        say_millis(behind.reduce(f64::max)),
        word(status, "/conflicts"),
        items(status, "/alarms").first().map_or(NOTHING.to_owned(), |it| word(it, "/detail")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_region_is_one_line() {
        let region = RegionId::new("us-east-1").unwrap();
        let status = json!({
            "phase": "running", "not_ready": [], "conflicts": 2, "alarms": [],
            "links": [{ "up": true }, { "up": false }],
            "leases": [{ "region": "us-east-1" }, { "region": "eu-west-1" }],
            "peers": [
                { "lag": { "it_behind_here_ms": 3 } }, { "lag": { "it_behind_here_ms": 70 } },
            ],
        });
        let cells = row(&region, &status);
        let wanted = ["us-east-1", "running", "1 of 2", "us-east-1, eu-west-1", "70 ms", "2", "-"];
        assert_eq!(cells, wanted.map(str::to_owned));
        let status = json!({ "phase": "running", "not_ready": ["clock_off", "draining"] });
        assert_eq!(row(&region, &status)[1], "clock_off, draining");
    }
}
