//! Which runners can take a job: label sets.
//!
//! GitHub gives a job to any runner that has all of the job's labels, whatever the case of the letters.

use rhumb_types::{RegionId, record::QueueName};

/// A label that starts so names a region.
pub const REGION_LABEL: &str = "rhumb-region-";

/// The labels that runners of one kind have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelSet {
    /// Its name, which is part of its queue's name.
    pub name: String,
    /// The labels, in lower case.
    pub labels: Vec<String>,
}

/// Why a set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelSetError {
    /// The name is part of a queue's name.
    #[error("`{0}` is no name of a label set: use 1 to 32 of a-z, 0-9 and `-`")]
    Name(String),
    /// Without labels, GitHub gives it nothing.
    #[error("a label set has 1 to 32 labels; jobs name them in `runs-on`")]
    Labels,
    /// Labels of regions are added by Rhumb.
    #[error("`{0}` is a label that Rhumb adds itself, for the region in which a runner is started")]
    Region(String),
}

/// Longest name of a set, in bytes.
const NAME_BYTES_MAX: usize = 32;

impl LabelSet {
    /// Takes a name and labels.
    ///
    /// # Errors
    /// [`LabelSetError`].
    pub fn new(name: &str, labels: &[String]) -> Result<Self, LabelSetError> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(known) {
            return Err(LabelSetError::Name(name.to_owned()));
        }
        let labels = crate::payload::labels(labels.to_vec()).map_err(|_| LabelSetError::Labels)?;
        if labels.is_empty() {
            return Err(LabelSetError::Labels);
        }
        if let Some(label) = labels.iter().find(|label| label.starts_with(REGION_LABEL)) {
            return Err(LabelSetError::Region(label.clone()));
        }
        Ok(Self { name: name.to_owned(), labels })
    }

    /// Whether its runners can take a job with these labels.
    #[must_use]
    pub fn serves(&self, wanted: &[String]) -> bool {
        let mut plain = wanted.iter().filter(|label| region_of(label).is_none());
        plain.all(|label| self.labels.contains(label))
    }

    /// The labels of a runner in a region. It also has the label of the region that its job asks for,
    /// when another acts for that one: GitHub gives the job to nobody else.
    #[must_use]
    pub fn of_runner(&self, region: &RegionId, wanted: Option<&RegionId>) -> Vec<String> {
        let regions = [Some(region), wanted.filter(|it| *it != region)];
        let regions = regions.into_iter().flatten().map(|it| format!("{REGION_LABEL}{it}"));
        self.labels.iter().cloned().chain(regions).collect()
    }

    /// The queue of its jobs; of jobs that must stay in some jurisdictions, a queue of their own, to
    /// which only regions of these jurisdictions listen.
    #[must_use]
    pub fn queue(&self, residency: &[impl AsRef<str>]) -> Option<QueueName> {
        let mut name = format!("{QUEUE_PREFIX}{}", self.name);
        for tag in residency {
            name.push('.');
            name.push_str(tag.as_ref());
        }
        QueueName::new(&name).ok()
    }
}

/// What the queues of runners are named with.
pub const QUEUE_PREFIX: &str = "runners.";

/// The set for a job with these labels: of those that serve it the one with the fewest labels, and of
/// these the first. None when no set serves it, or the job asks for nothing.
#[must_use]
pub fn set_for<'s>(sets: &'s [LabelSet], wanted: &[String]) -> Option<&'s LabelSet> {
    if wanted.is_empty() {
        return None;
    }
    sets.iter().filter(|set| set.serves(wanted)).min_by_key(|set| set.labels.len())
}

/// The region that a label names.
#[must_use]
pub fn region_of(label: &str) -> Option<RegionId> {
    RegionId::new(label.strip_prefix(REGION_LABEL)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    fn set(name: &str, labels: &[&str]) -> LabelSet {
        LabelSet::new(name, &texts(labels)).unwrap()
    }

    #[test]
    fn the_smallest_set_that_has_every_label_serves() {
        let sets = [
            set("gpu", &["self-hosted", "Linux", "x64", "gpu"]),
            set("linux", &["self-hosted", "linux", "x64"]),
            set("mac", &["self-hosted", "macos"]),
        ];
        let found = |labels: &[&str]| set_for(&sets, &texts(labels)).map(|set| set.name.as_str());
        assert_eq!(found(&["self-hosted", "linux"]), Some("linux"));
        assert_eq!(found(&["self-hosted", "gpu"]), Some("gpu"));
        assert_eq!(found(&["self-hosted", "rhumb-region-eu-west-1"]), Some("mac"));
        assert_eq!(found(&["linux", "rhumb-region-eu-west-1"]), Some("linux"));
        assert_eq!(found(&["ubuntu-latest"]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_runner_has_the_labels_of_its_region_and_of_the_one_it_stands_in_for() {
        let linux = set("linux", &["linux"]);
        let (eu, us) = (RegionId::new("eu-west-1").unwrap(), RegionId::new("us-east-1").unwrap());
        assert_eq!(linux.of_runner(&eu, Some(&eu)), ["linux", "rhumb-region-eu-west-1"]);
        let labels = linux.of_runner(&us, Some(&eu));
        assert_eq!(labels, ["linux", "rhumb-region-us-east-1", "rhumb-region-eu-west-1"]);
        assert_eq!(region_of("rhumb-region-eu-west-1"), Some(eu));
        assert_eq!(region_of("linux"), None);
    }

    #[test]
    fn queues_are_named_by_set_and_jurisdiction() {
        let linux = set("linux", &["linux"]);
        assert_eq!(linux.queue(&[""; 0]).unwrap().as_str(), "runners.linux");
        assert_eq!(linux.queue(&["eu", "ch"]).unwrap().as_str(), "runners.linux.eu.ch");
    }

    #[test]
    fn sets_that_serve_nobody_are_refused() {
        let refused = |name: &str, labels: &[&str]| LabelSet::new(name, &texts(labels)).is_err();
        assert!(refused("", &["a"]) && refused("A", &["a"]) && refused("a.b", &["a"]));
        assert!(refused("a", &[]) && refused("a", &[""]));
        assert!(refused("a", &["rhumb-region-eu-west-1"]));
    }
}
