//! The file `rhumb.yaml`.
//!
//! [`Config::load`] reads the file, lays the environment over it, and checks the whole. It either
//! gives settings in which every name resolves and every limit fits the others, or it gives all
//! the [`Fault`]s at once, each with its line and column, what is wrong and what to do.
//!
//! How all faults are found at once: the text becomes a tree in which every value knows its place
//! ([`tree`]). The tree is read into [`Settings`] by serde; when that stops at a value, the value
//! is noted, taken out of the tree, and the reading starts again, until it reaches the end. Only
//! then the parts are compared with each other ([`check`]). So the structs in [`settings`] are the
//! only description of the file: the schema comes from them too.
//!
//! This is the only crate that reads the process's environment. Deliberately absent: defaults
//! that depend on the machine, and any knowledge of what the settings are for.

mod check;
mod config;
mod cursor;
pub mod dev;
mod diff;
mod environment;
mod fault;
mod outside;
mod path;
mod read;
pub mod settings;
mod timing;
mod tree;
mod units;
mod voters;
mod wording;
mod words;

pub use check::probes::REGION_WORD;
pub use config::{Config, ConfigError, Domain};
pub use diff::{Change, diff};
pub use environment::{CONFIG_VARIABLE, OVERRIDES, Override, process_environment};
pub use fault::{Fault, Place};
pub use outside::Outside;
pub use path::Path;
pub use settings::Settings;
pub use units::{Period, Rate, Share, Size};
