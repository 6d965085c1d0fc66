//! What has a name and settings that are agreed, and is made, changed and removed with a reason: a queue,
//! a bucket.

use anyhow::{Context, Result, bail};
use http::{HeaderValue, Method, header};
use serde_json::{Map, Value};

use super::{queue::shown::print, show::word};
use crate::{
    cli::Change,
    http::{Ask, Http},
};

/// One of them, and how an answer about it is shown.
pub(super) struct Thing<'t> {
    /// What all of its kind are under.
    pub(super) path: &'static str,
    /// What it is called.
    pub(super) name: &'t str,
    /// The lines of an answer.
    pub(super) lines: fn(&Value) -> Vec<String>,
}

impl Thing<'_> {
    fn ask(&self, method: Method) -> Ask {
        Ask::new(method, self.path).part(self.name.as_bytes())
    }

    /// Makes it, with the settings that were said.
    pub(super) fn create(&self, said: Map<String, Value>, change: &Change) -> Result<()> {
        let node = Http::new(&change.asked.node)?;
        self.put(&node, (header::IF_NONE_MATCH, HeaderValue::from_static("*")), said, change)
    }

    /// Reads the settings and writes them with the changes, unless somebody else changed them meanwhile.
    pub(super) fn alter(
        &self,
        said: Map<String, Value>,
        unset: &[String],
        change: &Change,
    ) -> Result<()> {
        let node = Http::new(&change.asked.node)?;
        let mut present = node.json(self.ask(Method::GET))?;
        let version = HeaderValue::try_from(format!("\"{}\"", word(&present, "/version")))?;
        let Some(Value::Object(mut settings)) = present.get_mut("settings").map(Value::take) else {
            bail!("the node's answer has no settings");
        };
        for name in unset {
            settings.remove(name).with_context(|| format!("there is no setting `{name}`"))?;
        }
        settings.extend(said);
        self.put(&node, (header::IF_MATCH, version), settings, change)
    }

    fn put(
        &self,
        node: &Http,
        (condition, version): (header::HeaderName, HeaderValue),
        settings: Map<String, Value>,
        change: &Change,
    ) -> Result<()> {
        let ask = self.ask(Method::PUT).header(condition, version).param("reason", &change.reason);
        print(&change.asked, &node.json(ask.json(&settings.into()))?, self.lines)
    }

    /// Removes it.
    pub(super) fn delete(&self, Change { asked, reason }: &Change) -> Result<()> {
        let ask = self.ask(Method::DELETE).param("reason", reason);
        Http::new(&asked.node)?.send(ask).map(drop).map_err(Into::into)
    }
}
