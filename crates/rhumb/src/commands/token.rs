//! `rhumb token`: who may use the HTTP interface.

use std::{net::SocketAddr, process::ExitCode};

use ::http::Method;
use anyhow::{Context, Result};
use rhumb_config::settings::Server;
use rhumb_peer::{ClusterSecret, Identities};
use rhumb_types::RegionId;
use serde_json::{Value, json};

use super::{
    change::say_changed,
    note, say,
    serve::load,
    show::{NOTHING, items, word},
};
use crate::{
    cli::{Asked, Change, ConfigArgs, TokenCommand},
    folders,
    http::{self, Ask, Http},
    machine_token,
    table::table,
    when,
};

/// Runs a command.
pub(crate) fn run(command: &TokenCommand) -> Result<ExitCode> {
    match command {
        TokenCommand::Create { id, role, scope, lasting, change: Change { asked, reason } } => {
            let mut body = json!({
                "id": id, "role": role.word(), "scopes": scope, "reason": reason,
            });
            if let (Some(lasting), Some(body)) = (lasting, body.as_object_mut()) {
                body.insert("lasting".to_owned(), lasting.clone().into());
            }
            let ask = Ask::new(Method::POST, "/admin/tokens").json(&body);
            created(asked, &Http::new(&asked.node)?.json(ask)?)?;
        }
        TokenCommand::S3(config) => say(&machine_key(config, Server::S3)?.join("\n")),
        TokenCommand::Sqs(config) => say(&machine_key(config, Server::Sqs)?.join("\n")),
        TokenCommand::Cache(config) => say(&cache(config)?),
        TokenCommand::List { asked } => list(asked)?,
        TokenCommand::Revoke { id, purge, change: Change { asked, reason } } => {
            let ask = Ask::new(Method::DELETE, "/admin/tokens").part(id.as_bytes());
            let ask = ask.param("reason", reason).maybe("purge", purge.then_some("true"));
            say_changed(asked, &Http::new(&asked.node)?.json(ask)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What clients of S3 or SQS on a node's machine need, as variables of their environment.
fn machine_key(args: &ConfigArgs, server: Server) -> Result<Vec<String>> {
    let Own { region, scheme, address, secret } = own(args, server)?;
    let endpoint = format!("{scheme}://{address}");
    Ok(machine_token::aws_environment(&[(server.key(), endpoint)], region.as_str(), &secret))
}

/// The address of the cache server, with a user and a password.
fn cache(args: &ConfigArgs) -> Result<String> {
    let Own { scheme, address, secret, .. } = own(args, Server::Cache)?;
    let password = machine_token::access_key_secret(&secret);
    Ok(format!("{scheme}://{}:{password}@{address}", machine_token::MachineToken::ID))
}

/// A server of this machine's node.
struct Own {
    region: RegionId,
    scheme: &'static str,
    address: SocketAddr,
    secret: ClusterSecret,
}

fn own(args: &ConfigArgs, server: Server) -> Result<Own> {
    let config = load(args)?;
    let region = http::local(&config, &args.config)?;
    let listener = config.listener(&region, server);
    let listener = listener.with_context(|| format!("the {server:?} server of {region} is off"))?;
    let identity = folders::identity(&config.settings().data, &region);
    let secret = Identities::load(&identity, Some(&region))?.secret();
    let scheme = if listener.tls { "https" } else { "http" };
    Ok(Own { region, scheme, address: listener.address(server), secret })
}

/// The token alone on standard output, so that a script can take it.
fn created(asked: &Asked, answer: &Value) -> Result<()> {
    if asked.json {
        say(&serde_json::to_string_pretty(answer)?);
        return Ok(());
    }
    say(&word(answer, "/token"));
    note(&format!(
        "{} until {}. It is shown this once: nodes keep only a hash. Use it as RHUMB_TOKEN.",
        word(answer, "/role"),
        day(answer, "/expires_unix_ms"),
    ));
    Ok(())
}

fn day(value: &Value, pointer: &str) -> String {
    let millis = value.pointer(pointer).and_then(Value::as_u64);
    millis.map_or_else(|| NOTHING.to_owned(), |at| when::day(when::from_unix_millis(at)))
}

fn list(asked: &Asked) -> Result<()> {
    let answer = Http::new(&asked.node)?.json(Ask::get("/admin/tokens"))?;
    if asked.json {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let rows: Vec<[String; 6]> = items(&answer, "/tokens").iter().map(row).collect();
    let head = ["token", "role", "keys under", "made", "until", "valid"];
    table(head, &rows).iter().for_each(|line| say(line));
    Ok(())
}

fn row(token: &Value) -> [String; 6] {
    let scopes: Vec<&str> = items(token, "/scopes").iter().filter_map(Value::as_str).collect();
    let scopes = if scopes.is_empty() { "all".to_owned() } else { scopes.join(", ") };
    let valid = match token.get("revoked_unix_ms").is_some_and(|at| !at.is_null()) {
        true => format!("revoked {}", day(token, "/revoked_unix_ms")),
        false => word(token, "/valid"),
    };
    [
        word(token, "/id"),
        word(token, "/role"),
        scopes,
        day(token, "/created_unix_ms"),
        day(token, "/expires_unix_ms"),
        valid,
    ]
}
