//! Documents that change by compare-and-set, with a bounded history to roll back to.

use std::collections::VecDeque;

use rhumb_types::control::{
    AdminCommand, AdminOutcome, AdminRefusal, AdminRequest, Document, DocumentVersion,
    limits::DOCUMENT_HISTORY_MAX,
};
use serde::{Deserialize, Serialize};

use super::agreed::{Agreed, Answer};

/// The versions of a document, the present one last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History<T> {
    versions: VecDeque<(DocumentVersion, T)>,
}

impl<T: Clone + PartialEq> History<T> {
    /// The present version; 0 while there is none.
    pub(super) fn version(&self) -> u64 {
        self.versions.back().map_or(0, |(stamp, _)| stamp.version)
    }

    pub(super) fn current(&self) -> Option<&T> {
        self.versions.back().map(|(_, content)| content)
    }

    pub(super) fn at(&self, version: u64) -> Option<&T> {
        let found = self.versions.iter().find(|(stamp, _)| stamp.version == version);
        found.map(|(_, content)| content)
    }

    pub(super) fn stamps(&self) -> impl Iterator<Item = &DocumentVersion> {
        self.versions.iter().map(|(stamp, _)| stamp)
    }

    fn expect(&self, expected: u64) -> Result<(), AdminRefusal> {
        compare(self.version(), expected)
    }

    /// Sets the content, if the present version is the expected one.
    fn put(&mut self, request: &AdminRequest, expected: u64, content: T) -> Answer {
        self.expect(expected)?;
        if self.current() == Some(&content) {
            return Ok(AdminOutcome::Unchanged);
        }
        let version = expected + 1;
        let (actor, reason) = (request.actor.clone(), request.reason.clone());
        let stamp = DocumentVersion { version, at: request.at, actor, reason };
        self.versions.push_back((stamp, content));
        if self.versions.len() > DOCUMENT_HISTORY_MAX {
            self.versions.pop_front();
        }
        Ok(AdminOutcome::Version(version))
    }

    fn roll_back(&mut self, request: &AdminRequest, expected: u64, to: u64) -> Answer {
        self.expect(expected)?;
        let content = self.at(to).cloned();
        let gone = || AdminRefusal::NotFound(format!("version {to} of the document"));
        self.put(request, expected, content.ok_or_else(gone)?)
    }
}

fn compare(found: u64, expected: u64) -> Result<(), AdminRefusal> {
    if found == expected { Ok(()) } else { Err(AdminRefusal::VersionChanged { found }) }
}

impl Agreed {
    pub(super) fn execute_document(&mut self, request: &AdminRequest) -> Answer {
        use AdminCommand as C;
        match &request.command {
            C::PutRules { expected, rules } => {
                if let Some(rule) = rules.iter().find(|r| !self.regions.contains_key(&r.region)) {
                    return Err(AdminRefusal::UnknownRegion(rule.region.clone()));
                }
                self.rules.put(request, *expected, rules.clone())
            }
            C::PutConfig { expected, document } => {
                self.config.put(request, *expected, document.clone())
            }
            C::Rollback { document: Document::Rules, expected, to } => {
                self.rules.roll_back(request, *expected, *to)
            }
            C::Rollback { document: Document::Config, expected, to } => {
                self.config.roll_back(request, *expected, *to)
            }
            _ => Err(AdminRefusal::NotFound("document command".to_owned())),
        }
    }
}
