//! Answers to questions.

use rhumb_types::control::{
    AdminQuery, AdminQueryAnswer, AdminRefusal, ControlView, Document, limits::FAILOVERS_MAX,
};

use super::agreed::Agreed;

impl Agreed {
    pub(super) fn answer(&self, query: &AdminQuery) -> AdminQueryAnswer {
        use AdminQueryAnswer as A;
        match query {
            AdminQuery::View => A::View(Box::new(self.view())),
            AdminQuery::Failovers { limit } => {
                let newest = self.failovers.values().rev().cloned();
                A::Failovers(newest.take(count(*limit, FAILOVERS_MAX)).collect())
            }
            AdminQuery::Failover { id } => match self.failovers.get(id) {
                Some(record) => A::Failovers(vec![record.clone()]),
                None => refused(format!("failover {}", id.0)),
            },
            AdminQuery::Audit { after, limit } => {
                let entries =
                    self.chain.after(*after, count(*limit, usize::MAX)).cloned().collect();
                A::Audit { first: self.chain.anchor().index + 1, entries }
            }
            AdminQuery::Heads => A::Heads(self.heads.values().flatten().cloned().collect()),
            AdminQuery::ApiTokens => A::ApiTokens(self.api_tokens.values().cloned().collect()),
            AdminQuery::ApiTokenOf { secret } => {
                let found = self.api_tokens.values().filter(|token| token.secret == *secret);
                A::ApiTokens(found.cloned().collect())
            }
            AdminQuery::Config => A::Config {
                version: self.config.version(),
                document: self.config.current().cloned().unwrap_or_default(),
            },
            AdminQuery::ConfigAt { version } => match self.config.at(*version) {
                Some(document) => A::Config { version: *version, document: document.clone() },
                None => refused(format!("version {version} of the configuration")),
            },
            AdminQuery::History { document } => A::History(match document {
                Document::Rules => self.rules.stamps().cloned().collect(),
                Document::Config => self.config.stamps().cloned().collect(),
            }),
        }
    }

    pub(super) fn view(&self) -> ControlView {
        let open = self.failovers.values().filter(|record| !record.state.is_closed());
        ControlView {
            cluster: self.cluster,
            protocol: self.protocol,
            applied: self.applied,
            members: self.members.values().cloned().collect(),
            retired: self.retired.iter().copied().collect(),
            regions: self.regions.clone(),
            leases: self.leases.clone(),
            rules_version: self.rules.version(),
            rules: self.rules.current().cloned().unwrap_or_default(),
            config_version: self.config.version(),
            closed_origins: self.closed_origins.clone(),
            open_failovers: open.cloned().collect(),
            displaced: self.displaced(),
            homes: self.homes.clone(),
        }
    }
}

fn count(asked: u64, most: usize) -> usize {
    usize::try_from(asked).unwrap_or(usize::MAX).min(most)
}

fn refused(what: String) -> AdminQueryAnswer {
    AdminQueryAnswer::Refused(AdminRefusal::NotFound(what))
}
