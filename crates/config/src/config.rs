//! A file that was found to be sound, in the words of the machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::PathBuf,
    time::Duration,
};

use rhumb_regions::{
    Link, Policy, Registry, ResidencyTag, health::HealthConfig, spillover::Limits,
};
use rhumb_types::{
    DomainId, RegionId,
    control::{AffinityRule, NamespacePolicy},
    record::{QueueDefinition, QueueName},
};

use crate::{
    Outside, Settings,
    check::{self, Found},
    fault::{Fault, Place},
    path::Path,
    read,
    settings::{ListenerSettings, ObjectsSettings, Server},
    timing, voters,
};

/// Settings in which every name resolves and every limit fits the others.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    settings: Settings,
    health: HealthConfig,
    voters: Vec<RegionId>,
    registry: Registry,
    rules: Vec<AffinityRule>,
    namespaces: Vec<NamespacePolicy>,
    domains: BTreeMap<DomainId, Domain>,
    notes: Vec<String>,
}

/// A set of regions outside which some records are never kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// The jurisdictions that were asked for; none for the domain of all regions.
    pub residency: BTreeSet<ResidencyTag>,
    /// The data regions that lie in any of them.
    pub regions: BTreeSet<RegionId>,
}

/// Why a file is not a configuration: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// In the order of the file; at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.faults.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            match fault.place {
                Place::File { .. } => write!(f, "{}:{fault}", self.file.display())?,
                Place::Environment(_) => write!(f, "{fault}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a file, lays the environment over it, and checks the whole.
    ///
    /// # Errors
    /// All faults together, in the order of the file.
    pub fn load(file: &std::path::Path, outside: &Outside<'_>) -> Result<Self, ConfigError> {
        let refused = |faults| ConfigError { file: file.to_owned(), faults };
        let text = fs::read_to_string(file).map_err(|error| {
            let place = Place::File { line: 1, column: 1 };
            let message = format!("the file cannot be read: {error}");
            refused(vec![Fault { place, path: Path::default(), message }])
        })?;
        Self::parse(&text, outside).map_err(refused)
    }

    /// As [`Config::load`], from the text of a file.
    ///
    /// # Errors
    /// All faults together, in the order of the file.
    pub fn parse(text: &str, outside: &Outside<'_>) -> Result<Self, Vec<Fault>> {
        let reading = read::read(text, outside).map_err(|fault| vec![fault])?;
        let checked = check::check(&reading, outside);
        let mut faults = reading.faults;
        faults.extend(checked.faults);
        faults.sort();
        faults.dedup();
        match checked.found {
            Some(found) if faults.is_empty() => Ok(Self::new(reading.settings, found)),
            _ => Err(faults),
        }
    }

    fn new(settings: Settings, found: Found) -> Self {
        let Found { health, voters, registry, rules, namespaces, domains, notes } = found;
        Self { settings, health, voters, registry, rules, namespaces, domains, notes }
    }

    /// The JSON Schema of the file.
    #[must_use]
    pub fn schema() -> schemars::Schema {
        let mut schema = schemars::schema_for!(Settings);
        schema.insert("title".to_owned(), "rhumb.yaml".into());
        schema
    }

    /// The settings as they stand in the file, with defaults for what is left out.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The region of this node, if the file or the environment names it.
    #[must_use]
    pub const fn region(&self) -> Option<&RegionId> {
        self.settings.region.as_ref()
    }

    /// The regions.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The affinity rules of a new cluster.
    #[must_use]
    pub fn rules(&self) -> &[AffinityRule] {
        &self.rules
    }

    /// The policies of key prefixes. The empty prefix is always among them.
    #[must_use]
    pub fn namespaces(&self) -> &[NamespacePolicy] {
        &self.namespaces
    }

    /// The residency domains that namespaces ask for, and the domain of all regions.
    #[must_use]
    pub const fn domains(&self) -> &BTreeMap<DomainId, Domain> {
        &self.domains
    }

    /// How health is judged, and the leases that rest on it.
    #[must_use]
    pub const fn health(&self) -> &HealthConfig {
        &self.health
    }

    /// When work leaves a region that says nothing else, and when it stops to.
    #[must_use]
    pub fn spillover(&self) -> Limits {
        timing::spillover(&self.settings.spillover)
    }

    /// When work leaves a region, and when it stops to.
    #[must_use]
    pub fn spillover_of(&self, region: &RegionId) -> Limits {
        let own = self.settings.regions.get(region).and_then(|it| it.spillover.as_ref());
        timing::spillover(own.unwrap_or(&self.settings.spillover))
    }

    /// The queues of a new cluster.
    #[must_use]
    pub fn queues(&self) -> BTreeMap<QueueName, QueueDefinition> {
        let queues = self.settings.queues.iter();
        queues.map(|(name, queue)| (name.clone(), queue.definition())).collect()
    }

    /// Where a region keeps the bytes of objects.
    #[must_use]
    pub fn objects(&self, region: &RegionId) -> &ObjectsSettings {
        let own = self.settings.regions.get(region).and_then(|it| it.objects.as_ref());
        own.unwrap_or(&self.settings.objects)
    }

    /// The residency domains that a region carries. A witness carries none.
    #[must_use]
    pub fn domains_of(&self, region: &RegionId) -> BTreeSet<DomainId> {
        let carried = self.domains.iter().filter(|(_, domain)| domain.regions.contains(region));
        carried.map(|(id, _)| *id).collect()
    }

    /// The regions whose nodes vote in the control plane from the start, the best leader first:
    /// all, or of more than five the witnesses and then the first by priority and name.
    #[must_use]
    pub fn voters(&self) -> &[RegionId] {
        &self.voters
    }

    /// The longest round trip between two voters, as far as the file and their places tell.
    #[must_use]
    pub fn voter_round_trip(&self) -> Duration {
        voters::round_trip_max(&self.settings, &self.voters)
    }

    /// The round trips that the file gives.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let given = self.settings.round_trips.iter();
        given
            .map(|trip| {
                let [from, to] = trip.between.clone();
                Link { from, to, rtt: trip.time.0 }
            })
            .collect()
    }

    /// How traffic is spread.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let selection = &self.settings.selection;
        let mut policy = Policy::new(selection.strategy);
        policy.levels = selection.levels.unwrap_or(policy.levels);
        policy.preferred.clone_from(&selection.preferred);
        policy
    }

    /// A server of a region's node, if it is on there: the region's own setting, else that of all
    /// nodes.
    #[must_use]
    pub fn listener(&self, region: &RegionId, server: Server) -> Option<&ListenerSettings> {
        let own = self.settings.regions.get(region).and_then(|r| r.listeners.get(server));
        own.or_else(|| self.settings.listeners.get(server))
    }

    /// Where clients reach the S3 server of a region, if it is on there: at its own address, unless that is
    /// any or its certificate is for a name; then at the host where the other nodes reach it.
    #[must_use]
    pub fn s3_url(&self, region: &RegionId) -> Option<String> {
        let listener = self.listener(region, Server::S3)?;
        let at = listener.address(Server::S3);
        let peer = &self.settings.regions.get(region)?.address;
        let host = peer.rsplit_once(':').map_or(peer.as_str(), |(host, _)| host);
        let scheme = if listener.tls { "https" } else { "http" };
        Some(if listener.tls || at.ip().is_unspecified() {
            format!("{scheme}://{host}:{}", at.port())
        } else {
            format!("{scheme}://{at}")
        })
    }

    /// What is allowed but worth knowing, as sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
