//! What the control plane agrees on: members, administrative states, leases, rules and audit.
