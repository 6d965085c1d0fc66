//! What the audit chain says of a command: names, numbers and reasons, never secrets.
//!
//! These words are hashed on every replica, so they are part of the protocol: nodes of two
//! releases must write the same (rule 16). A test pins them.

use rhumb_types::{
    UnixMillis,
    control::{
        AdminCommand, AdminOutcome, AdminRefusal, AdminRequest, BucketAct, Digest, QueueAct,
        limits::LABEL_BYTES_MAX, limits::REASON_BYTES_MAX,
    },
};

use crate::audit::Deed;

/// The entry for a command that was run or refused.
pub(super) fn deed(request: &AdminRequest, answer: &Result<AdminOutcome, AdminRefusal>) -> Deed {
    let (action, subject) = name(&request.command);
    let outcome = match answer {
        Ok(AdminOutcome::Done) => "done".to_owned(),
        Ok(AdminOutcome::Unchanged) => "unchanged".to_owned(),
        Ok(AdminOutcome::Lease(lease)) => format!("epoch {}", lease.epoch.0),
        Ok(AdminOutcome::Version(version)) => format!("version {version}"),
        Ok(AdminOutcome::Failover { id, sequence }) => format!("failover {} at {sequence}", id.0),
        Ok(AdminOutcome::Vote { down, needed, verdict }) => {
            let verdict = if *verdict { ", under a verdict" } else { "" };
            format!("{down} of {needed} hold that it is down{verdict}")
        }
        Err(refusal) => format!("refused: {}", refusal.name()),
    };
    let reason = clip(&request.reason, REASON_BYTES_MAX);
    Deed {
        at: request.at,
        actor: clip(&request.actor, LABEL_BYTES_MAX).to_owned(),
        action: action.to_owned(),
        subject: clip(&subject, LABEL_BYTES_MAX).to_owned(),
        detail: match reason {
            "" => outcome,
            reason => format!("{outcome}; because: {reason}"),
        },
    }
}

/// The entry for bytes that are no command.
pub(super) fn unreadable(command: &[u8]) -> Deed {
    Deed {
        at: UnixMillis::default(),
        actor: "unknown".to_owned(),
        action: "unreadable".to_owned(),
        subject: String::new(),
        detail: format!("{} bytes", command.len()),
    }
}

/// The longest prefix of whole characters within a number of bytes.
fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

/// The beginning of a digest: enough to tell tokens apart.
fn print(secret: Digest) -> String {
    format!("{:.8}", secret.to_string())
}

fn name(command: &AdminCommand) -> (&'static str, String) {
    use AdminCommand as C;
    match command {
        C::Form { cluster, members } => ("form", format!("{cluster}, {} members", members.len())),
        C::Join { member, .. } => ("join", format!("{} in {}", member.node, member.region)),
        C::ReplaceMember { old, member } => ("replace-member", format!("{old} by {}", member.node)),
        C::RemoveMember { node } => ("remove-member", node.to_string()),
        C::SetMemberRole { node, role } => ("set-member-role", format!("{node} to {role:?}")),
        C::RotateIdentity { node, .. } => ("rotate-identity", node.to_string()),
        C::ReportVersion { node, reads } => ("report-version", format!("{node} reads {reads}")),
        C::Recover { cluster, survivors } => {
            ("recover", format!("{cluster}, {} survivors", survivors.len()))
        }
        C::SetRegionState { region, state, .. } => {
            ("set-region-state", format!("{region} to {state:?}"))
        }
        C::SetRamp { region, percent } => ("set-ramp", format!("{region} to {percent} %")),
        C::RemoveRegion { region, .. } => ("remove-region", region.to_string()),
        C::AcquireLease { region, node, .. } => ("acquire-lease", format!("{region} by {node}")),
        C::RenewLease { region, node, .. } => ("renew-lease", format!("{region} by {node}")),
        C::TakeOverLease { region, node, .. } => ("take-over-lease", format!("{region} by {node}")),
        C::ReleaseLease { region, node, .. } => ("release-lease", format!("{region} by {node}")),
        C::Vote { subject, voter, ballot } => {
            let says = if ballot.down { "down" } else { "up" };
            ("vote", format!("{voter} holds that {subject} is {says}"))
        }
        C::LiftVerdict { region } => ("lift-verdict", region.to_string()),
        C::PutRules { rules, .. } => ("put-rules", format!("{} rules", rules.len())),
        C::PutConfig { document, .. } => ("put-config", format!("{} bytes", document.len())),
        C::Rollback { document, to, .. } => ("roll-back", format!("{document:?} to {to}")),
        C::StartFailover { plan } => {
            ("start-failover", format!("{:?} of {}", plan.kind, plan.region))
        }
        C::AdvanceFailover { id, state, step, .. } => {
            let step = step.as_ref().map(|s| format!(", {:?} {:?}", s.step, s.state));
            ("advance-failover", format!("{} is {state:?}{}", id.0, step.unwrap_or_default()))
        }
        C::NameSuccessor { id, successor, .. } => {
            ("name-successor", format!("{successor} in {}", id.0))
        }
        C::CreateJoinToken { token } => {
            ("create-join-token", format!("{} for {}", print(token.secret), token.region))
        }
        C::RevokeJoinToken { secret } => ("revoke-join-token", print(*secret)),
        C::CreateApiToken { token } => {
            ("create-api-token", format!("{} as {:?}", token.id, token.role))
        }
        C::RevokeApiToken { id } => ("revoke-api-token", id.clone()),
        C::DropApiToken { id } => ("drop-api-token", id.clone()),
        C::PublishHead { head } => ("publish-head", format!("{} at {}", head.region, head.index)),
        C::SettleHomes { version } => ("settle-homes", format!("version {version}")),
        C::NoteQueue { .. } | C::NoteBucket { .. } | C::NoteRunners { .. } => note(command),
        // Of a whole group only a malformed one is told; otherwise each has an entry of its own.
        C::Together { commands } => ("together", format!("{} commands", commands.len())),
    }
}
/// What was about to be done elsewhere.
fn note(command: &AdminCommand) -> (&'static str, String) {
    use AdminCommand as C;
    match command {
        C::NoteQueue { queue, act } => {
            let act = match act {
                QueueAct::Create => "create-queue",
                QueueAct::Change => "change-queue",
                QueueAct::Delete => "delete-queue",
                QueueAct::Purge => "purge-queue",
                QueueAct::Redrive => "redrive-queue",
            };
            (act, queue.to_string())
        }
        C::NoteBucket { bucket, act } => {
            let act = match act {
                BucketAct::Create => "create-bucket",
                BucketAct::Change => "change-bucket",
                BucketAct::Delete => "delete-bucket",
            };
            (act, bucket.to_string())
        }
        C::NoteRunners { region, set, started, ended } => {
            let list = |names: &[String]| match names {
                [] => "none".to_owned(),
                names => names.join(", "),
            };
            let (started, ended) = (list(started), list(ended));
            ("note-runners", format!("{set} in {region}: started {started}; ended {ended}"))
        }
        _ => ("note", String::new()),
    }
}
