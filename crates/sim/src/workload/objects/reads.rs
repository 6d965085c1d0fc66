//! Who reads what, and what a reader may rely on.

use rhumb_types::{RegionId, record::VersionVector};

use super::{Asked, Kind, Object, Objects, seen};
use crate::world::{World, objects::Ask};

/// Of how many objects that were written last one is read.
const RECENT: usize = 4;

/// A read that was asked for.
#[derive(Debug)]
pub(super) struct Get {
    pub(super) object: Object,
    pub(super) before: VersionVector,
    /// Regions that hold the object for certain and are in reach, with their connection and life.
    pub(super) holders: Vec<(usize, u64, u64)>,
    /// The region that had written it for certain, and knows of it.
    pub(super) writer: Option<RegionId>,
}

impl Objects {
    /// A client of a host reads something.
    pub(super) fn get(&mut self, world: &mut World, host: usize) {
        let random = &mut world.random;
        let object = match random.below(10) {
            0..=2 => self.read_last.get(&host).cloned(),
            3..=5 => {
                let back = 1 + random.index(RECENT);
                let at = self.lasting.len().checked_sub(back);
                at.and_then(|at| self.lasting.get(at)).cloned()
            }
            6 => self.lasting.get(random.index(self.lasting.len())).cloned(),
            _ => None,
        };
        let object = object.unwrap_or_else(|| self.hot(&mut world.random));
        self.read(world, host, object);
    }

    /// A client of a host reads an object.
    pub(super) fn read(&mut self, world: &mut World, host: usize, object: Object) {
        let (bucket, key) = object.clone();
        self.read_last.insert(host, object.clone());
        let before = seen(world, host);
        // Written once and acknowledged: there it is.
        let only = match self.changes.get(&object).map(Vec::as_slice) {
            Some([only]) if only.dot().is_some() && only.kind == Kind::Put => Some(only.host),
            _ => None,
        };
        let holders = only.map_or_else(Vec::new, |only| in_reach(world, host, only));
        let writer = only.and_then(|only| world.hosts.get(only));
        let writer = writer.map(|writer| writer.config.region.clone());
        let get = Get { object, before, holders, writer };
        self.ask(world, host, Ask::Get { bucket, key }, Asked::Get(get));
    }
}

/// A region that another asks and hears from, as it seems.
fn in_reach(world: &mut World, host: usize, other: usize) -> Vec<(usize, u64, u64)> {
    let calm = |world: &World, host: usize| {
        world.hosts.get(host).is_some_and(|machine| {
            machine.process.is_some()
                && !machine.is_held(world.now())
                && machine.handling_micros == 0
        })
    };
    if host == other || !calm(world, host) || !calm(world, other) {
        return Vec::new();
    }
    if !world.network.is_clear(host, other) {
        return Vec::new();
    }
    let connection = world.network.link(host, other).connection;
    let life = world.hosts.get(other).map_or(0, |machine| machine.incarnation);
    vec![(other, connection, life)]
}

pub(super) fn stayed_in_reach(world: &mut World, host: usize, holder: (usize, u64, u64)) -> bool {
    in_reach(world, host, holder.0).contains(&holder)
}
