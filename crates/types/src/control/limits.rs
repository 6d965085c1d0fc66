//! Every bound of the agreed state, in one place.

use std::time::Duration;

/// Most voting members of the administrative group, witnesses included (DESIGN mechanism 6).
pub const VOTERS_MAX: usize = 5;
/// Most members of any role.
pub const MEMBERS_MAX: usize = 64;
/// Most regions.
pub const REGIONS_MAX: usize = 64;
/// How many ids of former members are remembered, so that none returns.
pub const RETIRED_NODES_MAX: usize = 1_024;
/// How many origins of removed regions are remembered as closed.
pub const CLOSED_ORIGINS_MAX: usize = 4_096;
/// Longest name, label or address, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;
/// Longest reason or note, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Longest configuration document, in bytes.
pub const CONFIG_BYTES_MAX: usize = 256 << 10;
/// Most affinity rules.
pub const RULES_MAX: usize = 4_096;
/// Most namespaces.
pub const NAMESPACES_MAX: usize = 256;
/// Earlier versions of the rules, and of the configuration, that are kept to roll back to.
pub const DOCUMENT_HISTORY_MAX: usize = 16;
/// Shortest region lease.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// Longest region lease.
pub const LEASE_MAX: Duration = Duration::from_secs(600);
/// How long a vote about a region stays fresh, by the wall clocks of the voters; a voter repeats
/// it at a third of this.
pub const VOTE_AGE_MAX: Duration = Duration::from_secs(30);
/// Failover records kept; the oldest closed one makes room.
pub const FAILOVERS_MAX: usize = 128;
/// Most moves of duties in one failover.
pub const DUTIES_MAX: usize = 1_024;
/// Most steps that one failover records, retries included.
pub const FAILOVER_STEPS_MAX: usize = 64;
/// Most join tokens that are neither used nor expired.
pub const JOIN_TOKENS_MAX: usize = 64;
/// Most API tokens, revoked ones included until they are dropped.
pub const API_TOKENS_MAX: usize = 1_024;
/// Most scopes of one API token.
pub const TOKEN_SCOPES_MAX: usize = 64;
/// Audit entries that the agreed state itself keeps; nodes keep the older ones on their disks.
pub const AUDIT_ENTRIES_MAX: usize = 4_096;
/// CI runners that one entry of the chain names.
pub const RUNNERS_NOTED_MAX: usize = 32;
/// Most audit entries in one answer.
pub const AUDIT_PAGE_MAX: usize = 512;
/// Signed heads kept per region.
pub const AUDIT_HEADS_PER_REGION_MAX: usize = 16;
/// Largest encoded command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Commands in one [`super::AdminCommand::Together`].
pub const COMMANDS_TOGETHER_MAX: usize = 16;
