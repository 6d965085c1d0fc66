//! Commands of the connection and the server.

use std::time::Duration;

use bytes::Bytes;
use rhumb_resp::Protocol;
use rhumb_state::number;
use rhumb_types::record::{Record, VersionVector};

use crate::{
    command::{self, Class, CommandError, Control, script_by_digest, script_by_text},
    connection::{Connection, NO_KEY, Queue, Queued},
    greet::client_name,
    limits, render,
};

/// What `CONFIG GET` tells; clients ask for these at their start.
const CONFIG: [(&str, &str); 7] = [
    ("save", ""),
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("proto-max-bulk-len", "4194304"),
    ("timeout", "0"),
];

impl Connection {
    /// Does what concerns the connection or the server.
    pub(crate) async fn control(
        &mut self,
        control: Control,
        words: Vec<Bytes>,
    ) -> Result<(), CommandError> {
        match control {
            Control::Ping if words.len() > 1 => {
                return Err(CommandError::LateArity("ping".to_owned()));
            }
            Control::Ping => self.ping(&words),
            Control::Echo => self.writer().bulk(first(&words)?),
            Control::Hello => self.hello(&words).await?,
            Control::Auth => self.auth(&words).await,
            Control::Select => match number::parse_int(first(&words)?) {
                Some(0) => self.writer().ok(),
                Some(_) => return Err(CommandError::Other("DB index is out of range")),
                None => return Err(CommandError::NotAnInteger),
            },
            Control::Quit => {
                self.writer().ok();
                self.close_after_reply();
            }
            Control::Reset => self.reset().await,
            Control::Client => self.client(&words)?,
            Control::Command => self.describe(&words)?,
            Control::Config => self.config(&words)?,
            Control::Info => self.info(),
            Control::Time => self.time(),
            Control::Acl => self.acl(&words)?,
            // These two do no harm to the transaction that they stand in.
            Control::Multi if self.queue.is_some() => {
                self.writer().error("ERR MULTI calls can not be nested");
            }
            Control::Multi => {
                self.queue = Some(Queue::default());
                self.writer().ok();
            }
            Control::Exec => self.exec_queue().await?,
            Control::Discard => {
                self.queue.take().ok_or(CommandError::Other("DISCARD without MULTI"))?;
                self.unwatch().await;
                self.writer().ok();
            }
            Control::Watch if self.queue.is_some() => {
                self.writer().error("ERR WATCH inside MULTI is not allowed");
            }
            Control::Watch => match self.watch(words).await {
                Ok(()) => self.writer().ok(),
                Err(error) => self.writer().error(&error),
            },
            Control::Unwatch => {
                self.unwatch().await;
                self.writer().ok();
            }
            Control::Wait => self.wait(&words).await?,
            Control::Publish => self.publish(words).await,
            Control::Subscribe
            | Control::Unsubscribe
            | Control::PSubscribe
            | Control::PUnsubscribe => self.subscriptions(control, words)?,
            Control::PubSub => self.pubsub(&words)?,
            Control::Script => self.script(&words)?,
            Control::Eval | Control::EvalSha => self.eval(control, &words).await?,
            Control::Fence => self.fence(first(&words)?.clone()).await,
            Control::Session => self.session(words.first())?,
            Control::Why => self.why(first(&words)?).await,
            Control::Conflicts => self.conflicts(words.first())?,
        }
        Ok(())
    }

    async fn exec_queue(&mut self) -> Result<(), CommandError> {
        let queue = self.queue.take().ok_or(CommandError::Other("EXEC without MULTI"))?;
        if queue.broken {
            self.unwatch().await;
            let error = "EXECABORT Transaction discarded because of previous errors.";
            self.writer().error(error);
            return Ok(());
        }
        self.exec(queue).await;
        Ok(())
    }

    async fn reset(&mut self) {
        self.queue = None;
        self.unwatch().await;
        self.subscription = None;
        self.channels.clear();
        self.patterns.clear();
        self.protocol = Protocol::Resp2;
        self.user = self.shared.stranger();
        self.writer().simple("RESET");
    }

    fn client(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let what = first(words)?.to_ascii_lowercase();
        let id = i64::try_from(self.id.0).unwrap_or(i64::MAX);
        match what.as_slice() {
            b"id" => self.writer().integer(id),
            b"getname" => {
                let name = Some(self.name.clone()).filter(|name| !name.is_empty());
                self.writer().bulk_or_null(name.as_deref());
            }
            b"setname" => {
                self.name = client_name(words.get(1).ok_or(CommandError::Syntax)?)?;
                self.writer().ok();
            }
            b"setinfo" | b"no-evict" | b"no-touch" => self.writer().ok(),
            b"info" | b"list" => {
                let name = String::from_utf8_lossy(&self.name).into_owned();
                let user = self.user.as_ref().map_or("", |user| user.name.as_str()).to_owned();
                let address = self.address;
                let told = format!("id={id} addr={address} name={name} user={user} db=0\n");
                self.writer().verbatim(*b"txt", told.as_bytes());
            }
            _ => return Err(unknown_part("CLIENT", words)),
        }
        Ok(())
    }

    fn describe(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let what = words.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
        let names: Vec<&str> = command::offered().map(|known| known.name).collect();
        let mut out = self.writer();
        match what.as_slice() {
            b"count" => out.integer(i64::try_from(names.len()).unwrap_or(i64::MAX)),
            b"docs" => out.map(0),
            b"list" => {
                out.array(names.len());
                names.iter().for_each(|name| out.bulk(name.as_bytes()));
            }
            b"" | b"info" | b"getkeys" | b"getkeysandflags" => out.array(0),
            _ => return Err(unknown_part("COMMAND", words)),
        }
        Ok(())
    }

    fn config(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let (what, rest) = words.split_first().ok_or(CommandError::Syntax)?;
        if what.eq_ignore_ascii_case(b"resetstat") {
            self.writer().ok();
            return Ok(());
        }
        if !what.eq_ignore_ascii_case(b"get") {
            if !what.eq_ignore_ascii_case(b"set") && !what.eq_ignore_ascii_case(b"rewrite") {
                return Err(unknown_part("CONFIG", words));
            }
            let why = "the configuration is changed with `rhumb config apply`";
            return Err(CommandError::Refused { name: "config set".to_owned(), why });
        }
        let wanted = |name: &str| {
            let matches = |pattern: &Bytes| rhumb_state::glob::matches(pattern, name.as_bytes());
            rest.iter().any(matches)
        };
        let found: Vec<_> = CONFIG.iter().filter(|(name, _)| wanted(name)).collect();
        let mut out = self.writer();
        out.map(found.len());
        for (name, value) in found {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        Ok(())
    }

    fn info(&mut self) {
        let status = self.shared.engine.status();
        let connections = self.shared.connections.load(std::sync::atomic::Ordering::Relaxed);
        let mut text = format!(
            "# Server\r\nredis_version:7.0.0\r\nrhumb_version:{}\r\nregion:{}\r\nphase:{:?}\r\n\
             clock_ok:{}\r\n\r\n# Clients\r\nconnected_clients:{connections}\r\n\r\n\
             # Replication\r\nrole:master\r\norigin:{}\r\n",
            env!("CARGO_PKG_VERSION"),
            self.shared.region,
            status.phase,
            status.clock_ok,
            status.origin,
        );
        for peer in &status.peers {
            text.push_str(&format!(
                "region_{}:up={},lag_ms={},behind={},ahead={},rtt_us={}\r\n",
                peer.region,
                peer.up,
                peer.behind_millis,
                peer.behind_transactions,
                peer.ahead_transactions,
                peer.round_trip_micros.unwrap_or_default(),
            ));
        }
        text.push_str(&format!("conflicts:{}\r\n", status.conflicts));
        self.writer().verbatim(*b"txt", text.as_bytes());
    }

    fn time(&mut self) {
        let now = self.shared.engine.clock().now().wall;
        let mut out = self.writer();
        out.array(2);
        out.bulk((now.0 / 1_000).to_string().as_bytes());
        out.bulk((now.0 % 1_000 * 1_000).to_string().as_bytes());
    }

    fn acl(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let name = self.user.as_ref().map_or("", |user| user.name.as_str()).to_owned();
        let users: Vec<String> = self.shared.users.keys().cloned().collect();
        let mut out = self.writer();
        match first(words)?.to_ascii_lowercase().as_slice() {
            b"whoami" => out.bulk(name.as_bytes()),
            b"users" => {
                out.array(users.len());
                users.iter().for_each(|user| out.bulk(user.as_bytes()));
            }
            b"cat" => {
                let classes: Vec<_> = Class::names().collect();
                out.array(classes.len());
                classes.iter().for_each(|class| out.bulk(class.as_bytes()));
            }
            _ => {
                let why = "users stand in the configuration, under `acl`";
                return Err(CommandError::Refused { name: "acl".to_owned(), why });
            }
        }
        Ok(())
    }

    async fn wait(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let number = |at: usize| {
            words.get(at).and_then(|word| number::parse_int(word)).ok_or(CommandError::NotAnInteger)
        };
        let (regions, millis) = (number(0)?, number(1)?);
        let negative = |_| CommandError::Other("timeout is negative");
        let millis = u64::try_from(millis).map_err(negative)?;
        let wait = if millis == 0 { limits::WAIT_MAX } else { Duration::from_millis(millis) };
        let regions = usize::try_from(regions).unwrap_or(0);
        let written = Some(self.written.clone());
        let had = self.shared.engine.wait_acks(written, regions, wait).await;
        self.writer().integer(i64::try_from(had).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn publish(&mut self, words: Vec<Bytes>) {
        let [channel, payload] = words.as_slice() else {
            return self.writer().error("ERR syntax error");
        };
        if !self.user.as_ref().is_some_and(|user| user.may_use(channel)) {
            return self.writer().error("NOPERM No permissions to access a channel");
        }
        let reached = self.shared.engine.publish(channel.clone(), payload.clone()).await;
        self.writer().integer(i64::try_from(reached).unwrap_or(i64::MAX));
    }

    fn script(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let (what, rest) = words.split_first().ok_or(CommandError::Syntax)?;
        if what.eq_ignore_ascii_case(b"load") {
            let (_, digest) = script_by_text(first(rest)?).ok_or_else(unknown_script)?;
            self.writer().bulk(digest.as_bytes());
        } else if what.eq_ignore_ascii_case(b"exists") {
            let mut out = self.writer();
            out.array(rest.len());
            rest.iter().for_each(|sha| out.integer(i64::from(script_by_digest(sha).is_some())));
        } else if what.eq_ignore_ascii_case(b"flush") {
            self.writer().ok();
        } else {
            return Err(unknown_part("SCRIPT", words));
        }
        Ok(())
    }

    async fn eval(&mut self, control: Control, words: &[Bytes]) -> Result<(), CommandError> {
        let (text, rest) = words.split_first().ok_or(CommandError::Syntax)?;
        let (count, rest) = rest.split_first().ok_or(CommandError::Syntax)?;
        let count = number::parse_int(count).ok_or(CommandError::NotAnInteger)?;
        let negative = |_| CommandError::Other("Number of keys can't be negative");
        let count = usize::try_from(count).map_err(negative)?;
        if count > rest.len() {
            let few = "Number of keys can't be greater than number of args";
            return Err(CommandError::Other(few));
        }
        let script = if control == Control::Eval {
            script_by_text(text).map(|(script, _)| script)
        } else {
            script_by_digest(text)
        };
        let Some(script) = script else {
            if control == Control::EvalSha {
                self.writer().error("NOSCRIPT No matching script. Please use EVAL.");
                return Ok(());
            }
            return Err(unknown_script());
        };
        let (keys, values) = rest.split_at(count);
        let step = script.step(keys, values)?;
        if !keys.iter().all(|key| self.may_touch(key)) {
            self.writer().error(NO_KEY);
            return Ok(());
        }
        match &self.queue {
            Some(_) => self.enqueue(Queued::Step(step)),
            None => self.step(step).await,
        }
        Ok(())
    }

    async fn fence(&mut self, key: Bytes) {
        let Some(client) = self.shared.engine.strong() else {
            return self.writer().error("UNAVAILABLE the control plane is not running");
        };
        match client.fence(key).await {
            Ok(Some(fence)) => self.writer().integer(i64::try_from(fence).unwrap_or(i64::MAX)),
            Ok(None) => self.writer().null(),
            Err(error) => self.writer().error(&render::strong_error(&error)),
        }
    }

    /// Without a word: what this node has, as a token. With a token: later reads wait for it.
    fn session(&mut self, token: Option<&Bytes>) -> Result<(), CommandError> {
        let Some(token) = token else {
            let mut seen = self.shared.engine.status().applied.clone();
            seen.merge(&self.written);
            let text: String = seen.encode().iter().map(|byte| format!("{byte:02x}")).collect();
            self.writer().bulk(text.as_bytes());
            return Ok(());
        };
        let refused = CommandError::Other("this is not a token of RHUMB.SESSION");
        let vector = unhex(token).and_then(|bytes| VersionVector::decode(&bytes).ok());
        self.session = Some(vector.ok_or(refused)?);
        self.writer().ok();
        Ok(())
    }
}

pub(crate) fn first(words: &[Bytes]) -> Result<&Bytes, CommandError> {
    words.first().ok_or(CommandError::Syntax)
}

/// A part of a command that nobody knows, as Redis says it.
pub(crate) fn unknown_part(command: &'static str, words: &[Bytes]) -> CommandError {
    let part = words.first().map(|part| String::from_utf8_lossy(part).into_owned());
    CommandError::UnknownPart { command, part: part.unwrap_or_default() }
}

const fn unknown_script() -> CommandError {
    CommandError::Other(
        "only the well-known lock scripts run, as built-ins: use MULTI with WATCH, or a strong \
         namespace",
    )
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 2 == 1 {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.chunks(2).map(pair).collect()
}
