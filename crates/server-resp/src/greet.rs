//! Who a client is: HELLO and AUTH.

use bytes::Bytes;
use rhumb_resp::Protocol;
use rhumb_state::number;

use crate::{command::CommandError, connection::Connection, limits};

/// How much of the name of a user that nobody knows goes to the log.
const NAME_BYTES_LOGGED: usize = 64;
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
                           default user. Are you sure your configuration is correct?";

impl Connection {
    pub(crate) async fn hello(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let mut words = words.iter();
        let version = words.next().map(|word| number::parse_int(word));
        let protocol = match version {
            None => self.protocol,
            Some(Some(2)) => Protocol::Resp2,
            Some(Some(3)) => Protocol::Resp3,
            Some(Some(_)) => {
                self.writer().error("NOPROTO unsupported protocol version");
                return Ok(());
            }
            Some(None) => {
                let why = "Protocol version is not an integer or out of range";
                return Err(CommandError::Other(why));
            }
        };
        while let Some(option) = words.next() {
            let wrong = || CommandError::HelloOption(String::from_utf8_lossy(option).into_owned());
            if option.eq_ignore_ascii_case(b"auth") {
                let name = words.next().ok_or_else(wrong)?;
                let password = words.next().ok_or_else(wrong)?;
                if let Err(error) = self.log_in(name, password).await {
                    self.writer().error(&error);
                    return Ok(());
                }
            } else if option.eq_ignore_ascii_case(b"setname") {
                self.name = client_name(words.next().ok_or_else(wrong)?)?;
            } else {
                return Err(wrong());
            }
        }
        if self.user.is_none() {
            self.writer().error("NOAUTH HELLO must be called with AUTH");
            return Ok(());
        }
        self.protocol = protocol;
        let id = i64::try_from(self.id.0).unwrap_or(i64::MAX);
        let mut out = self.writer();
        out.map(7);
        out.bulk(b"server");
        out.bulk(b"redis");
        out.bulk(b"version");
        out.bulk(b"7.0.0");
        out.bulk(b"proto");
        out.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
        out.bulk(b"id");
        out.integer(id);
        out.bulk(b"mode");
        out.bulk(b"standalone");
        out.bulk(b"role");
        out.bulk(b"master");
        out.bulk(b"modules");
        out.array(0);
        Ok(())
    }

    pub(crate) async fn auth(&mut self, words: &[Bytes]) {
        let (name, password) = match words {
            [name, password] => (name.as_ref(), password),
            [_] if !self.shared.users.contains_key("default") => {
                return self.writer().error(NO_PASSWORD);
            }
            [password] => (b"default".as_slice(), password),
            _ => return self.writer().error("ERR syntax error"),
        };
        match self.log_in(name, password).await {
            Ok(()) => self.writer().ok(),
            Err(error) => self.writer().error(&error),
        }
    }

    async fn log_in(&mut self, name: &[u8], password: &[u8]) -> Result<(), String> {
        let (guesses, address) = (&self.shared.guesses, self.address);
        if let Err(wait) = guesses.take(address, self.shared.engine.clock().now().mono) {
            // The refusals that used the tries up are in the log.
            tracing::debug!(target: "audit", %address, "too many refused passwords");
            let seconds = wait.as_secs() + 1;
            return Err(format!(
                "OVERLOADED too many refused passwords from your address: try again in {seconds} s"
            ));
        }
        let named = std::str::from_utf8(name).ok().and_then(|name| self.shared.users.get(name));
        if let Some(user) = named.filter(|user| user.has_password(password)).cloned() {
            guesses.give_back(address);
            self.authenticated(user);
            return Ok(());
        }
        let user = String::from_utf8_lossy(name.get(..NAME_BYTES_LOGGED).unwrap_or(name));
        tracing::warn!(target: "audit", %user, %address, "a password was refused");
        tokio::time::sleep(limits::PASSWORD_PAUSE).await;
        Err("WRONGPASS invalid username-password pair or user is disabled.".to_owned())
    }
}

/// A client's name for itself, which stands in lists and so may hold no blanks.
pub(crate) fn client_name(name: &Bytes) -> Result<Bytes, CommandError> {
    let why = "Client names cannot contain spaces, newlines or special characters.";
    let fits = name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if fits { Ok(name.clone()) } else { Err(CommandError::Other(why)) }
}
