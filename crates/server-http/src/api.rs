//! Handlers of what programs ask for.

pub(crate) mod buckets;
pub(crate) mod events;
mod expected;
pub(crate) mod feed;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod metrics;
pub(crate) mod origins;
pub(crate) mod queues;
pub(crate) mod regions;
pub(crate) mod residency;
pub(crate) mod route;
pub(crate) mod status;
pub(crate) mod webhooks;
pub(crate) mod workers;
