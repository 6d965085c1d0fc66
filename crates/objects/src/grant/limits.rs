//! Every bound of grants, in one place.

use std::time::Duration;

/// How old a copy is at least before its removal is granted, where nobody refers to the blob.
pub const GRACE: Duration = Duration::from_secs(24 * 3_600);
/// The same, where there are more copies than need be.
pub const SURPLUS_GRACE: Duration = Duration::from_secs(3_600);
/// The same, where a copy is only cached: for so long it need not be read to stay.
pub const CACHED_GRACE: Duration = Duration::from_secs(24 * 3_600);
/// Cached copies that a holder likes to keep.
pub const LIKED_MAX: usize = 262_144;
/// Hashes that one pass of a walk looks at; what is past that is for the next pass.
pub const WALK_HASHES_MAX: usize = 262_144;
/// Rounds at a time.
pub const ROUNDS_MAX: usize = 4_096;
/// Candidates that wait for a round.
pub const CANDIDATES_MAX: usize = 4_096;
/// How long a home waits for the answers of all holders before it decides without the rest.
pub const ANSWERS_WAIT: Duration = Duration::from_secs(5);
/// No grant is sent later than this after its round began.
pub const ROUND_TIME: Duration = Duration::from_secs(30);
/// How long a holder that has started says nothing: two rounds, and what clocks may differ.
pub const SILENCE: Duration = Duration::from_secs(66);
/// How long a ticket is good.
pub const TICKET_TIME: Duration = Duration::from_secs(60);
/// Tickets at a time.
pub const TICKETS_MAX: usize = 65_536;
/// Questions to the store whether it holds a blob, at a time.
pub const LOOKS_MAX: usize = 4_096;
/// Removals under way at a time.
pub const REMOVALS_MAX: usize = 1_024;
/// Pins at a time.
pub const PINS_MAX: usize = 262_144;
/// How long a pin waits for a transaction of another region.
pub const PIN_WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// References that are remembered in one generation,
pub const GENERATION_MAX: usize = 65_536;
/// and how many generations.
pub const GENERATIONS_MAX: usize = 32;

const _: () = assert!(SILENCE.as_secs() > 2 * ROUND_TIME.as_secs());
const _: () = assert!(TICKET_TIME.as_secs() >= ROUND_TIME.as_secs());
const _: () = assert!(ANSWERS_WAIT.as_secs() < ROUND_TIME.as_secs());
