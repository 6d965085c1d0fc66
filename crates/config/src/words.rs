//! Schemas of the words that `rhumb-types` reads itself.

use rhumb_regions::{Levels, Strategy};
use rhumb_types::{
    AckLevel, Consistency,
    control::{ApiRole, FailoverMode, FailoverStep, FailoverStrategy},
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::settings::HookSettings;

const ACK_LEVELS: [AckLevel; 4] =
    [AckLevel::Memory, AckLevel::Local, AckLevel::OneRemote, AckLevel::Quorum];
const CONSISTENCIES: [Consistency; 4] =
    [Consistency::Eventual, Consistency::Session, Consistency::Strong, Consistency::Cache];
const MODES: [FailoverMode; 3] =
    [FailoverMode::Manual, FailoverMode::Assisted, FailoverMode::Automatic];
const STRATEGIES: [FailoverStrategy; 2] = [FailoverStrategy::Graceful, FailoverStrategy::Immediate];

pub(crate) fn ack(_: &mut SchemaGenerator) -> Schema {
    one_of(&ACK_LEVELS)
}

pub(crate) fn consistency(_: &mut SchemaGenerator) -> Schema {
    one_of(&CONSISTENCIES)
}

pub(crate) fn mode(_: &mut SchemaGenerator) -> Schema {
    one_of(&MODES)
}

/// What the bearer of an access key may do; an auditor has nothing to do with queues.
pub(crate) fn role(_: &mut SchemaGenerator) -> Schema {
    one_of(&[ApiRole::Reader, ApiRole::Operator, ApiRole::Admin])
}

pub(crate) fn strategy(_: &mut SchemaGenerator) -> Schema {
    one_of(&STRATEGIES)
}

/// The name of a region, as `RegionId` reads it.
pub(crate) fn region(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" })
}

pub(crate) fn selection(_: &mut SchemaGenerator) -> Schema {
    one_of(&Strategy::ALL)
}

pub(crate) fn levels(_: &mut SchemaGenerator) -> Schema {
    one_of(&[Levels::Flat, Levels::ByPriority])
}

/// Hooks by the steps that they belong to.
pub(crate) fn hooks(generator: &mut SchemaGenerator) -> Schema {
    let hook = generator.subschema_for::<HookSettings>();
    json_schema!({
        "type": "object",
        "propertyNames": { "enum": FailoverStep::ALL },
        "additionalProperties": hook
    })
}

fn one_of<T: Serialize>(words: &[T]) -> Schema {
    json_schema!({ "type": "string", "enum": words })
}
