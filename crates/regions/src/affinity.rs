//! What a key belongs to, and the rules by which an operator places it.
//!
//! Rules are explicit: they come before hashing. First the override of everything, by which an
//! operator evacuates; then the most specific: the longest prefix of the key, its repository, its
//! organisation, the country and the continent of the client.

use std::{cmp::Reverse, fmt};

use rhumb_types::{
    RegionId,
    control::{AffinityRule, RuleMatch},
};
use serde::{Deserialize, Serialize};

use crate::{hash, set::RegionIndex};

/// Most rules of a cluster.
pub const RULES_MAX: usize = 65_536;

/// What is to be placed: a session, a queue group, a domain, a repository, a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Key<'a> {
    name: &'a [u8],
    organisation: Option<&'a str>,
    repository: Option<&'a str>,
}

impl<'a> Key<'a> {
    /// A key that belongs to nobody. The bytes are taken as they are: bring names of hosts and
    /// repositories into one form first.
    #[must_use]
    pub const fn new(name: &'a [u8]) -> Self {
        Self { name, organisation: None, repository: None }
    }

    /// A repository as the key, such as `acme/api`; the organisation is the part before the slash.
    #[must_use]
    pub fn repository(repository: &'a str) -> Self {
        Self {
            name: repository.as_bytes(),
            organisation: repository.split_once('/').map(|(organisation, _)| organisation),
            repository: Some(repository),
        }
    }

    /// An organisation as the key.
    #[must_use]
    pub const fn organisation(organisation: &'a str) -> Self {
        Self { name: organisation.as_bytes(), organisation: Some(organisation), repository: None }
    }

    /// The same key, as a part of a repository.
    #[must_use]
    pub fn within(self, repository: &'a str) -> Self {
        Self { name: self.name, ..Self::repository(repository) }
    }

    /// The same key, as a part of an organisation.
    #[must_use]
    pub const fn owned_by(self, organisation: &'a str) -> Self {
        Self { name: self.name, organisation: Some(organisation), repository: None }
    }

    /// The bytes that are hashed.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }
}

/// A country (ISO 3166-1) or a continent (such as `eu`), as two lower-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GeoCode([u8; 2]);

/// Why a text is not a code of a country or continent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a country or continent: use two letters")]
pub struct GeoCodeError(String);

impl GeoCode {
    /// Reads two letters of either case.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn new(code: &str) -> Result<Self, GeoCodeError> {
        match code.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_lowercase(), b.to_ascii_lowercase()]))
            }
            _ => Err(GeoCodeError(code.to_owned())),
        }
    }
}

impl TryFrom<String> for GeoCode {
    type Error = GeoCodeError;
    fn try_from(code: String) -> Result<Self, GeoCodeError> {
        Self::new(&code)
    }
}

impl From<GeoCode> for String {
    fn from(code: GeoCode) -> Self {
        code.to_string()
    }
}

impl fmt::Display for GeoCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b]) = self;
        write!(f, "{}{}", char::from(*a), char::from(*b))
    }
}

impl fmt::Debug for GeoCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which kind of rule decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// The override of everything. It also wins over a sticky token.
    Override,
    /// A prefix of the key.
    KeyPrefix,
    /// The key's repository.
    Repository,
    /// The key's organisation.
    Organisation,
    /// The client's country.
    Country,
    /// The client's continent.
    Continent,
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Override => "override",
            Self::KeyPrefix => "key prefix",
            Self::Repository => "repository",
            Self::Organisation => "organisation",
            Self::Country => "country",
            Self::Continent => "continent",
        })
    }
}

/// What is known of where a client is, for rules of geography.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// Its country.
    pub country: Option<GeoCode>,
    /// Its continent.
    pub continent: Option<GeoCode>,
}

/// A sorted map that is searched and never changed. Of equal keys the last one counts.
#[derive(Clone, Debug)]
struct Sorted<K>(Vec<(K, RegionIndex)>);

impl<K: Ord> Sorted<K> {
    fn new(mut pairs: Vec<(K, RegionIndex)>) -> Self {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        Self(pairs)
    }

    fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<RegionIndex>
    where
        K: std::borrow::Borrow<Q>,
    {
        let at = self.0.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        self.0.get(at).map(|(_, region)| *region)
    }
}

/// The code of a rule of geography: a country, or after `continent:` a continent.
fn geography(text: &str) -> Option<Result<GeoCode, GeoCode>> {
    match text.strip_prefix("continent:") {
        Some(continent) => GeoCode::new(continent).ok().map(Err),
        None => GeoCode::new(text).ok().map(Ok),
    }
}

/// Whether a rule can ever apply: its geography is one.
pub(crate) fn is_meaningful(rule: &AffinityRule) -> bool {
    !matches!(&rule.matches, RuleMatch::Geography(text) if geography(text).is_none())
}

/// Rules, arranged for look-up.
#[derive(Clone, Debug)]
pub(crate) struct RuleTable {
    everything: Option<RegionIndex>,
    prefixes: Sorted<Vec<u8>>,
    /// The lengths of the prefixes, longest first, each once.
    prefix_lengths: Vec<usize>,
    repositories: Sorted<Vec<u8>>,
    organisations: Sorted<Vec<u8>>,
    countries: Sorted<GeoCode>,
    continents: Sorted<GeoCode>,
    empty: bool,
}

impl RuleTable {
    /// Arranges the rules whose region `position` knows.
    pub(crate) fn new(
        rules: &[AffinityRule],
        position: impl Fn(&RegionId) -> Option<RegionIndex>,
    ) -> Self {
        let (mut everything, mut prefixes) = (None, Vec::new());
        let (mut repositories, mut organisations) = (Vec::new(), Vec::new());
        let (mut countries, mut continents) = (Vec::new(), Vec::new());
        for rule in rules {
            let Some(region) = position(&rule.region) else { continue };
            let named = |name: &String| (name.as_bytes().to_vec(), region);
            match &rule.matches {
                RuleMatch::Everything => everything = Some(region),
                RuleMatch::KeyPrefix(prefix) => prefixes.push(named(prefix)),
                RuleMatch::Repository(name) => repositories.push(named(name)),
                RuleMatch::Organisation(name) => organisations.push(named(name)),
                RuleMatch::Geography(text) => match geography(text) {
                    Some(Ok(country)) => countries.push((country, region)),
                    Some(Err(continent)) => continents.push((continent, region)),
                    None => {}
                },
            }
        }
        let mut prefix_lengths: Vec<usize> = prefixes.iter().map(|(p, _)| p.len()).collect();
        prefix_lengths.sort_by_key(|length| Reverse(*length));
        prefix_lengths.dedup();
        Self {
            empty: rules.is_empty(),
            everything,
            prefixes: Sorted::new(prefixes),
            prefix_lengths,
            repositories: Sorted::new(repositories),
            organisations: Sorted::new(organisations),
            countries: Sorted::new(countries),
            continents: Sorted::new(continents),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.empty
    }

    /// The rule that applies to a key and its client.
    pub(crate) fn find(&self, key: &Key<'_>, client: Origin) -> Option<(RuleKind, RegionIndex)> {
        if self.empty {
            return None;
        }
        let kind = |kind: RuleKind| move |region: RegionIndex| (kind, region);
        self.everything
            .map(kind(RuleKind::Override))
            .or_else(|| self.longest_prefix(key.name).map(kind(RuleKind::KeyPrefix)))
            .or_else(|| {
                let found = self.repositories.get(key.repository?.as_bytes());
                found.map(kind(RuleKind::Repository))
            })
            .or_else(|| {
                let found = self.organisations.get(key.organisation?.as_bytes());
                found.map(kind(RuleKind::Organisation))
            })
            .or_else(|| self.countries.get(&client.country?).map(kind(RuleKind::Country)))
            .or_else(|| self.continents.get(&client.continent?).map(kind(RuleKind::Continent)))
    }

    fn longest_prefix(&self, name: &[u8]) -> Option<RegionIndex> {
        let prefixes = self.prefix_lengths.iter().filter_map(|length| name.get(..*length));
        prefixes.into_iter().find_map(|prefix| self.prefixes.get(prefix))
    }
}

/// The region that rendezvous hashing names for a key among some, all of the same weight.
pub fn rendezvous<'r>(
    key: &[u8],
    regions: impl Iterator<Item = &'r RegionId>,
) -> Option<&'r RegionId> {
    let spot = hash::of_key(key);
    let draw =
        |region: &RegionId| hash::draw(spot, hash::of_region(region.as_str()), 1.0).to_bits();
    regions.min_by_key(|region| (draw(region), *region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(matches: RuleMatch, region: &str) -> AffinityRule {
        AffinityRule { matches, region: RegionId::new(region).unwrap() }
    }

    fn table(rules: &[AffinityRule]) -> RuleTable {
        RuleTable::new(rules, |id| match id.as_str() {
            "a" => Some(RegionIndex::new(0)),
            "b" => Some(RegionIndex::new(1)),
            "c" => Some(RegionIndex::new(2)),
            _ => None,
        })
    }

    #[test]
    fn the_most_specific_rule_wins_and_an_override_over_all() {
        let mut rules = vec![
            rule(RuleMatch::Organisation("acme".into()), "a"),
            rule(RuleMatch::Repository("acme/api".into()), "b"),
            rule(RuleMatch::KeyPrefix("job:".into()), "c"),
            rule(RuleMatch::Geography("DE".into()), "b"),
            rule(RuleMatch::Geography("continent:eu".into()), "c"),
        ];
        let code = |text| Some(GeoCode::new(text).unwrap());
        let germany = Origin { country: code("de"), continent: code("EU") };
        let france = Origin { country: code("fr"), ..germany };
        let arranged = table(&rules);
        let found = |key: Key<'_>, client| arranged.find(&key, client).map(|(k, r)| (k, r.at()));
        let job = Key::new(b"job:1").within("acme/api");
        assert_eq!(found(job, germany), Some((RuleKind::KeyPrefix, 2)));
        let part = Key::new(b"part").within("acme/api");
        assert_eq!(found(part, germany), Some((RuleKind::Repository, 1)));
        let web = Key::repository("acme/web");
        assert_eq!(found(web, germany), Some((RuleKind::Organisation, 0)));
        assert_eq!(found(Key::new(b"x"), germany), Some((RuleKind::Country, 1)));
        assert_eq!(found(Key::new(b"x"), france), Some((RuleKind::Continent, 2)));
        assert_eq!(found(Key::new(b"x"), Origin::default()), None);
        rules.push(rule(RuleMatch::Everything, "a"));
        let overridden = table(&rules).find(&job, germany);
        assert_eq!(overridden, Some((RuleKind::Override, RegionIndex::new(0))));
    }

    #[test]
    fn the_longest_prefix_wins_and_the_last_rule_of_equals() {
        let rules = table(&[
            rule(RuleMatch::KeyPrefix("s".into()), "a"),
            rule(RuleMatch::KeyPrefix("session:".into()), "a"),
            rule(RuleMatch::KeyPrefix("session:".into()), "b"),
            rule(RuleMatch::KeyPrefix("session:9".into()), "gone"),
        ]);
        let region = |name: &[u8]| rules.find(&Key::new(name), Origin::default()).map(|f| f.1.at());
        assert_eq!(region(b"session:9"), Some(1));
        assert_eq!(region(b"sess"), Some(0));
        assert_eq!(region(b"x"), None);
    }

    #[test]
    fn a_rule_of_no_geography_never_applies() {
        let bad = rule(RuleMatch::Geography("Germany".into()), "a");
        assert!(!is_meaningful(&bad));
        assert!(is_meaningful(&rule(RuleMatch::Geography("de".into()), "a")));
    }
}
