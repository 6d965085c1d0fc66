//! `rhumb kv`: values by key.

use std::{
    io::{IsTerminal, Read, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use http::{HeaderValue, Method, header};
use serde_json::{Map, Value, json};

use super::{
    say,
    show::{items, word},
};
use crate::{
    cli::{Kv, KvCommand, NodeArgs},
    http::{Answer, Ask, Http},
};

/// What values are under.
const PATH: &str = "/v1/kv";
/// The largest value that is read from standard input, in bytes; a node takes no larger one.
const VALUE_BYTES_MAX: u64 = 16 << 20;
/// Keys of one page.
const PAGE: usize = 1_000;

/// Does what was asked.
pub(crate) fn run(args: &Kv) -> Result<ExitCode> {
    match &args.command {
        KvCommand::Get { key, node, consistency, json } => {
            let ask = Ask::get(PATH).part(key.as_bytes());
            let answer = Http::new(node)?.send(ask.maybe("consistency", consistency.as_ref()))?;
            if *json {
                say(&serde_json::to_string_pretty(&known(key, &answer))?);
            } else {
                print(&answer.body)?;
            }
        }
        KvCommand::Put { key, value, node, ttl, ack, if_absent } => {
            let ask = Ask::new(Method::PUT, PATH).part(key.as_bytes());
            let ask = ask.maybe("ttl", ttl.as_ref()).maybe("ack", ack.as_ref());
            let ask = ask.body(content(value)?);
            let ask = if *if_absent {
                ask.header(header::IF_NONE_MATCH, HeaderValue::from_static("*"))
            } else {
                ask
            };
            Http::new(node)?.send(ask)?;
        }
        KvCommand::Delete { key, node, ack } => {
            let ask = Ask::new(Method::DELETE, PATH).part(key.as_bytes());
            Http::new(node)?.send(ask.maybe("ack", ack.as_ref()))?;
        }
        KvCommand::List { prefix, node, limit, json } => list(prefix, node, *limit, *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The value's own bytes; a terminal also gets the end of the line.
fn print(value: &[u8]) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(value).context("print the value")?;
    if out.is_terminal() && !value.ends_with(b"\n") {
        out.write_all(b"\n").context("print the value")?;
    }
    Ok(out.flush()?)
}

fn content(argument: &str) -> Result<Vec<u8>> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut read = Vec::new();
    std::io::stdin().take(VALUE_BYTES_MAX + 1).read_to_end(&mut read).context("read the value")?;
    anyhow::ensure!(read.len() as u64 <= VALUE_BYTES_MAX, "the value has more than 16 MiB");
    Ok(read)
}

/// A value with what the node says of it.
fn known(key: &str, answer: &Answer) -> Value {
    let mut object = Map::new();
    object.insert("key".to_owned(), key.into());
    match std::str::from_utf8(&answer.body) {
        Ok(text) => object.insert("value".to_owned(), text.into()),
        Err(_) => object.insert("value_bytes".to_owned(), json!(answer.body.as_ref())),
    };
    for (name, header) in [
        ("version", "rhumb-version"),
        ("origin_region", "rhumb-origin-region"),
        ("expires_unix_ms", "rhumb-expires-unix-ms"),
        ("fence", "rhumb-fence"),
        ("session", "rhumb-session"),
    ] {
        let Some(text) = answer.header(header) else { continue };
        let number = text.parse::<u64>().map(Value::from);
        object.insert(name.to_owned(), number.unwrap_or_else(|_| text.into()));
    }
    object.into()
}

fn list(prefix: &str, node: &NodeArgs, limit: usize, as_json: bool) -> Result<()> {
    let node = Http::new(node)?;
    let mut keys: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    while keys.len() < limit {
        let page = (limit - keys.len()).min(PAGE).to_string();
        let ask = Ask::get(PATH).param("prefix", prefix).param("limit", page);
        let answer = node.json(ask.maybe("cursor", cursor.as_ref()))?;
        keys.extend(items(&answer, "/keys").iter().cloned());
        cursor = answer.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    keys.truncate(limit);
    if as_json {
        say(&serde_json::to_string_pretty(&keys)?);
        return Ok(());
    }
    for key in &keys {
        match key.get("key_base64") {
            Some(_) => say(&format!("base64:{}", word(key, "/key_base64"))),
            None => say(&word(key, "/key")),
        }
    }
    Ok(())
}
