//! Moves trees of files and streams to the S3 endpoints of many regions, and back.
//!
//! [`ship`] reads a [`Source`], packs it in the format of `rhumb-pack`, and sends every pack to each region
//! that lacks it. What holds:
//! - a region has an archive wholly or not at all: its manifest is written there last;
//! - a shipment that broke off goes on where it was, because packs are named by what is in them, and what
//!   is there is listed first; nothing is remembered on this side;
//! - nothing that is received has its name before all of its bytes were compared with what was sealed, and
//!   no link, of the archive or of the folder, leads out of the folder;
//! - memory is bounded, however large the source is and however slow a region.
//!
//! Deliberately absent: any knowledge of Rhumb's own nodes. A Rhumb region is an S3 endpoint here.

mod archive;
mod budget;
mod drive;
mod lane;
mod level;
pub mod limits;
mod meter;
mod objects;
mod progress;
mod read;
mod receive;
mod remote;
mod ship;
mod upload;
mod walk;

pub use archive::Prefix;
pub use objects::{Action, Objects, ObjectsError, SyncPlan};
pub use progress::{Count, Progress, RegionProgress};
pub use read::{ReadError, Source, Summary};
pub use receive::{Differences, Holding, ReceiveError, Received, Said, Target, Written, receive};
pub use remote::{Credentials, Listed, Reason, Remote, RemoteError, Site, SiteError};
pub use rhumb_objects::{transfer::Limits, upload::Verdict};
pub use rhumb_types::RegionId;
pub use ship::{
    Estimate, Outcome, RegionPlan, RegionReport, Report, Settings, ShipError, rehearse, ship,
};
pub use upload::{UploadError, UploadSettings, UploadSource, Uploaded, UploadedRegion, Uploader};
pub use walk::{Found, Walk, WalkError};
