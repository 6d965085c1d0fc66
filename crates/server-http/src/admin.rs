//! Handlers of what operators ask for.
