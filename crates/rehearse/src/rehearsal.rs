//! All that goes into a rehearsal.

use std::{fmt, time::Duration};

use rhumb_node::{NodeConfig, oversee::OverseerConfig};
pub use rhumb_sim::{group::Patience, network::Spread};
use rhumb_types::{Ratio, RegionId, units::Spelled};

use crate::{
    clients::SEATS, jobs::Jobs, objects::Objects, prices::Prices, scenario::Scenario,
    text::Percent, traffic::Traffic,
};

/// One rehearsal; with a seed, it is one run.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The nodes, as `rhumb serve` would start them.
    pub nodes: Vec<Setup>,
    /// What clients do when they get no answer.
    pub clients: Clients,
    /// What they ask for.
    pub traffic: Traffic,
    /// The jobs of a queue, if any are rehearsed.
    pub jobs: Option<Jobs>,
    /// Objects, if any are rehearsed.
    pub objects: Option<Objects>,
    /// What goes wrong.
    pub scenario: Scenario,
    /// What it costs.
    pub prices: Prices,
    /// How long nodes wait for the leader of the control plane before they stand for election. Without it
    /// elections are quick.
    pub elections: Option<Patience>,
    /// What each message, of a node or a client, takes besides half of its round trip. It is drawn for every
    /// message anew, so that a few take much longer than most; [`Spread::None`] adds nothing.
    pub spread: Spread,
    /// How long all of it takes, without the time in which the cluster forms.
    pub lasting: Duration,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its configuration.
    pub node: NodeConfig,
    /// Its overseer's; the facts in it name every region, and their round trips.
    pub oversight: OverseerConfig,
    /// How many requests it serves per second before they queue.
    pub requests_per_second: f64,
}

/// How clients find a node, and when they give it up.
#[derive(Clone, PartialEq, Debug)]
pub struct Clients {
    /// How they find a node.
    pub finding: Finding,
    /// How many processes, or resolvers, there are near each region.
    pub seats: usize,
    /// How long they wait for an answer.
    pub timeout: Duration,
    /// How often they ask again after that.
    pub retries: u32,
    /// From here on an answer is a slow one.
    pub slow: Duration,
}

/// How clients find a node.
#[derive(Clone, PartialEq, Debug)]
pub enum Finding {
    /// They know every node, and go on to the next nearest when one does not answer.
    List,
    /// A name, whose answer follows the routing of the nearest node that answers.
    Dns {
        /// How long an answer may be kept.
        ttl: Duration,
        /// The share of resolvers that keep it longer.
        ignoring: Ratio,
        /// How long those keep it.
        kept: Duration,
    },
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::List => f.write_str("know every node")?,
            Finding::Dns { ttl, ignoring, kept } => {
                write!(f, "by name, with a time to live of {}", Spelled(*ttl))?;
                if *ignoring > Ratio::ZERO {
                    let kept = Spelled(*kept);
                    write!(f, " that {} of resolvers stretch to {kept}", Percent(*ignoring))?;
                }
            }
        }
        write!(f, "; wait {}, then ask again, {} times", Spelled(self.timeout), self.retries)
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            finding: Finding::List,
            seats: SEATS,
            timeout: Duration::from_millis(500),
            retries: 2,
            slow: Duration::from_secs(1),
        }
    }
}

impl Rehearsal {
    /// The regions that hold data, in the order of their nodes.
    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.nodes.iter().filter(|setup| !setup.node.witness).map(|setup| &setup.node.region)
    }
}
