//! The command line of Rhumb.

fn main() {}
