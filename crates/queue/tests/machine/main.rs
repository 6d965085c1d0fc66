//! The queues of one region, step by step.

#[cfg(test)]
#[path = "../regions/host.rs"]
#[expect(dead_code, reason = "shared with the tests of several regions")]
mod host;
#[cfg(test)]
mod model;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod spill;
#[cfg(test)]
mod steps;
