//! In which region a job's runner is wanted.
//!
//! The shared selection decides by what all nodes agree on, so that a delivery that is repeated to
//! another node finds the same home. In this order: residency, which nothing overrules; the region that
//! the job names by a label; the operator's rules by repository, organisation and where the account's
//! people are; rendezvous hashing by repository. What the chosen region cannot take spills as any queue's
//! jobs do.

use std::collections::BTreeMap;

use rhumb_regions::{
    Key, ResidencyTag, RoutingSnapshot,
    affinity::{GeoCode, Origin},
    pool::RouteError,
    residency::may_lie,
};
use rhumb_types::{RegionId, control::AdminState};

use crate::{job::WorkflowJob, labels::region_of};

/// What the configuration says of accounts: of a repository (`owner/name`) or of an owner. What is said
/// of the repository counts more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accounts {
    /// Where its people are.
    pub geography: BTreeMap<String, Origin>,
    /// The jurisdictions in one of which its jobs must run.
    pub residency: BTreeMap<String, Vec<ResidencyTag>>,
}

/// Why a text is no geography.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a place: write a country (DE) or a continent (continent:EU)")]
pub struct OriginError(String);

/// Reads `DE` or `continent:EU`.
///
/// # Errors
/// When it is neither.
pub fn origin(text: &str) -> Result<Origin, OriginError> {
    let error = |_| OriginError(text.to_owned());
    match text.strip_prefix("continent:") {
        Some(continent) => {
            let continent = Some(GeoCode::new(continent).map_err(error)?);
            Ok(Origin { country: None, continent })
        }
        None => Ok(Origin { country: Some(GeoCode::new(text).map_err(error)?), continent: None }),
    }
}

impl Accounts {
    /// The jurisdictions of a job; none when it may run anywhere.
    #[must_use]
    pub fn residency_of(&self, job: &WorkflowJob) -> &[ResidencyTag] {
        of(&self.residency, job).map_or(&[], Vec::as_slice)
    }

    fn origin_of(&self, job: &WorkflowJob) -> Origin {
        of(&self.geography, job).copied().unwrap_or_default()
    }
}

fn of<'m, T>(map: &'m BTreeMap<String, T>, job: &WorkflowJob) -> Option<&'m T> {
    map.get(&job.repository).or_else(|| map.get(job.owner_and_name().0))
}

/// The region that a job names by a label.
#[must_use]
pub fn wish(job: &WorkflowJob) -> Option<RegionId> {
    job.labels.iter().find_map(|label| region_of(label))
}

/// The home of a job.
///
/// # Errors
/// When no region may have it: see [`RouteError`].
pub fn home(
    snapshot: &RoutingSnapshot,
    accounts: &Accounts,
    job: &WorkflowJob,
) -> Result<RegionId, RouteError> {
    let residency = accounts.residency_of(job);
    let key = Key::repository(&job.repository);
    // Asked in any case: it says why when no region may have the job.
    let home = snapshot.home_from(&key, accounts.origin_of(job), residency)?;
    let wished = wish(job).filter(|region| may_have(snapshot, region, residency));
    Ok(wished.unwrap_or_else(|| snapshot.id(home).clone()))
}

fn may_have(snapshot: &RoutingSnapshot, region: &RegionId, residency: &[ResidencyTag]) -> bool {
    let Some(index) = snapshot.index(region) else { return false };
    snapshot.data().contains(index)
        && snapshot.region(index).admin == AdminState::Active
        && may_lie(snapshot, residency, region)
}

#[cfg(test)]
mod tests {
    use rhumb_regions::{Facts, Policy, Region, RegionFacts, Strategy};
    use rhumb_types::control::{AffinityRule, RuleMatch};

    use super::*;
    use crate::job::JobRef;

    fn id(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn tag(name: &str) -> ResidencyTag {
        ResidencyTag::new(name).unwrap()
    }

    fn snapshot() -> RoutingSnapshot {
        let region = |name: &str, tags: &[&str]| {
            let mut region = Region::new(id(name), format!("{name}.example.net:7401"));
            region.residency = tags.iter().map(|it| tag(it)).collect();
            RegionFacts::new(region)
        };
        let rule = |matches, region| AffinityRule { matches, region: id(region) };
        RoutingSnapshot::build(Facts {
            version: 1,
            here: id("us-east-1"),
            regions: vec![
                region("us-east-1", &["us"]),
                region("eu-west-1", &["eu"]),
                region("eu-central-1", &["eu"]),
            ],
            links: Vec::new(),
            rules: vec![
                rule(RuleMatch::Organisation("acme".into()), "us-east-1"),
                rule(RuleMatch::Repository("acme/api".into()), "eu-west-1"),
                rule(RuleMatch::Geography("DE".into()), "eu-central-1"),
                rule(RuleMatch::Geography("continent:EU".into()), "eu-west-1"),
            ],
            policy: Policy::new(Strategy::Affinity),
        })
        .unwrap()
    }

    fn job(repository: &str, labels: &[&str]) -> WorkflowJob {
        WorkflowJob {
            job: JobRef { repository: 1, job: 1, attempt: 1 },
            run: 1,
            repository: repository.to_owned(),
            organisation: None,
            installation: None,
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
            name: String::new(),
            workflow: String::new(),
            created_at: None,
        }
    }

    fn accounts() -> Accounts {
        Accounts {
            geography: [
                ("berlin".to_owned(), origin("DE").unwrap()),
                ("berlin/paris".to_owned(), origin("continent:EU").unwrap()),
            ]
            .into(),
            residency: [("acme/secret".to_owned(), vec![tag("eu")])].into(),
        }
    }

    fn home_of(repository: &str, labels: &[&str]) -> String {
        home(&snapshot(), &accounts(), &job(repository, labels)).unwrap().to_string()
    }

    #[test]
    fn rules_go_from_repository_to_organisation_to_geography() {
        assert_eq!(home_of("acme/api", &[]), "eu-west-1");
        assert_eq!(home_of("acme/web", &[]), "us-east-1");
        assert_eq!(home_of("berlin/site", &[]), "eu-central-1");
        assert_eq!(home_of("berlin/paris", &[]), "eu-west-1");
    }

    #[test]
    fn a_label_names_the_region_unless_it_may_not_have_the_job() {
        assert_eq!(home_of("acme/api", &["rhumb-region-eu-central-1"]), "eu-central-1");
        assert_eq!(home_of("acme/api", &["rhumb-region-nowhere"]), "eu-west-1");
        let home = home_of("acme/secret", &["rhumb-region-us-east-1"]);
        assert!(home.starts_with("eu-"), "residency overrules the label and the rule: {home}");
    }

    #[test]
    fn what_may_run_nowhere_is_an_error() {
        let residency = [("acme".to_owned(), vec![tag("mars")])].into();
        let accounts = Accounts { residency, ..Accounts::default() };
        assert!(home(&snapshot(), &accounts, &job("acme/api", &[])).is_err());
        assert!(origin("Germany").is_err() && origin("continent:").is_err());
    }
}
