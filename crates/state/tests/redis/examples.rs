//! One family of commands at a time.
