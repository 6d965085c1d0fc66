//! Channels and patterns.

use bytes::Bytes;
use rhumb_engine::Delivery;
use rhumb_resp::Protocol;

use crate::{
    command::{CommandError, Control},
    connection::Connection,
    info::unknown_part,
};

impl Connection {
    /// Writes a message; a client that did not keep up is closed.
    pub(crate) fn deliver(&mut self, message: Option<Delivery>) {
        let Some(Delivery { pattern, channel, payload }) = message else {
            return self.close_after_reply();
        };
        let mut out = self.writer();
        out.push(if pattern.is_some() { 4 } else { 3 });
        match pattern {
            Some(pattern) => {
                out.bulk(b"pmessage");
                out.bulk(&pattern);
            }
            None => out.bulk(b"message"),
        }
        out.bulk(&channel);
        out.bulk(&payload);
    }

    /// `SUBSCRIBE` and its kin.
    pub(crate) fn subscriptions(
        &mut self,
        control: Control,
        names: Vec<Bytes>,
    ) -> Result<(), CommandError> {
        if self.queue.is_some() {
            return Err(CommandError::Other("subscriptions are not allowed in transactions"));
        }
        let (word, by_pattern, add) = match control {
            Control::Subscribe => ("subscribe", false, true),
            Control::PSubscribe => ("psubscribe", true, true),
            Control::Unsubscribe => ("unsubscribe", false, false),
            _ => ("punsubscribe", true, false),
        };
        let all = if by_pattern { &self.patterns } else { &self.channels };
        let names = if names.is_empty() && !add { all.clone() } else { names };
        if names.is_empty() {
            self.confirm(word, None);
        }
        for name in names {
            let allowed = self.user.as_ref().is_some_and(|user| user.may_use(&name));
            if add && !allowed {
                self.writer().error("NOPERM No permissions to access a channel");
                continue;
            }
            self.subscribe(&name, by_pattern, add);
            self.confirm(word, Some(&name));
        }
        if self.channels.is_empty() && self.patterns.is_empty() {
            self.subscription = None;
        }
        Ok(())
    }

    fn subscribe(&mut self, name: &Bytes, by_pattern: bool, add: bool) {
        let engine = &self.shared.engine;
        let subscription = self.subscription.get_or_insert_with(|| engine.subscriber());
        let names = if by_pattern { &mut self.patterns } else { &mut self.channels };
        names.retain(|known| known != name);
        if add {
            names.push(name.clone());
        }
        match (by_pattern, add) {
            (false, true) => subscription.add(name.clone()),
            (false, false) => subscription.remove(name),
            (true, true) => subscription.add_pattern(name.clone()),
            (true, false) => subscription.remove_pattern(name),
        }
    }

    fn confirm(&mut self, word: &str, name: Option<&Bytes>) {
        let count = self.channels.len() + self.patterns.len();
        let mut out = self.writer();
        out.push(3);
        out.bulk(word.as_bytes());
        out.bulk_or_null(name.map(AsRef::as_ref));
        out.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `PUBSUB CHANNELS|NUMSUB|NUMPAT`, for this node.
    pub(crate) fn pubsub(&mut self, words: &[Bytes]) -> Result<(), CommandError> {
        let (channels, patterns) = self.shared.engine.subscriptions();
        let (what, rest) = words.split_first().ok_or(CommandError::Syntax)?;
        let mut out = self.writer();
        if what.eq_ignore_ascii_case(b"channels") {
            let wanted = |name: &Bytes| {
                rest.first().is_none_or(|pattern| rhumb_state::glob::matches(pattern, name))
            };
            let names: Vec<_> = channels.iter().filter(|(name, _)| wanted(name)).collect();
            out.array(names.len());
            names.iter().for_each(|(name, _)| out.bulk(name));
        } else if what.eq_ignore_ascii_case(b"numsub") {
            out.array(rest.len() * 2);
            for name in rest {
                let count = channels.iter().find(|(known, _)| known == name);
                out.bulk(name);
                out.integer(count.map_or(0, |(_, count)| i64::try_from(*count).unwrap_or(0)));
            }
        } else if what.eq_ignore_ascii_case(b"numpat") {
            out.integer(i64::try_from(patterns).unwrap_or(i64::MAX));
        } else {
            return Err(unknown_part("PUBSUB", words));
        }
        Ok(())
    }

    /// `PING`, which looks different to a subscriber in RESP2.
    pub(crate) fn ping(&mut self, words: &[Bytes]) {
        let subscribed = self.subscription.is_some() && self.protocol == Protocol::Resp2;
        let text = words.first().cloned();
        let mut out = self.writer();
        match (subscribed, text) {
            (true, text) => {
                out.array(2);
                out.bulk(b"pong");
                out.bulk(&text.unwrap_or_default());
            }
            (false, Some(text)) => out.bulk(&text),
            (false, None) => out.simple("PONG"),
        }
    }
}
