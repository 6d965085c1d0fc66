//! Bounds and shapes of what a command carries; nothing here looks at the state.

use rhumb_types::control::{
    AdminCommand, AdminRefusal, AdminRequest, ApiToken, FailoverPlan, Member, RuleMatch,
    StepRecord,
    limits::{
        CLOSED_ORIGINS_MAX, COMMANDS_TOGETHER_MAX, CONFIG_BYTES_MAX, DUTIES_MAX, LABEL_BYTES_MAX,
        LEASE_MAX, LEASE_MIN, MEMBERS_MAX, REASON_BYTES_MAX, REGIONS_MAX, RULES_MAX,
        RUNNERS_NOTED_MAX, TOKEN_SCOPES_MAX,
    },
};

type Check = Result<(), AdminRefusal>;

pub(super) fn invalid(field: &str, problem: impl Into<String>) -> AdminRefusal {
    AdminRefusal::Invalid { field: field.to_owned(), problem: problem.into() }
}

pub(super) fn limit(what: &str, max: usize) -> AdminRefusal {
    AdminRefusal::Limit { what: what.to_owned(), max: u64::try_from(max).unwrap_or(u64::MAX) }
}

fn text(field: &str, text: &str, max: usize) -> Check {
    if text.len() > max {
        return Err(invalid(field, format!("it has {} bytes, and {max} are the most", text.len())));
    }
    Ok(())
}

fn label(field: &str, value: &str) -> Check {
    if value.is_empty() {
        return Err(invalid(field, "it is empty"));
    }
    text(field, value, LABEL_BYTES_MAX)
}

fn count(what: &str, found: usize, max: usize) -> Check {
    if found > max { Err(limit(what, max)) } else { Ok(()) }
}

/// Checks the shape of a group of commands; each is checked by itself when its turn comes.
pub(super) fn together(commands: &[AdminCommand]) -> Check {
    if commands.is_empty() {
        return Err(invalid("the commands", "there are none"));
    }
    if commands.iter().any(|command| matches!(command, AdminCommand::Together { .. })) {
        return Err(invalid("the commands", "groups of commands do not nest"));
    }
    count("commands together", commands.len(), COMMANDS_TOGETHER_MAX)
}

/// Checks what every command carries, and then what this one does.
pub(super) fn request(request: &AdminRequest) -> Check {
    label("the actor", &request.actor)?;
    text("the reason", &request.reason, REASON_BYTES_MAX)?;
    use AdminCommand as C;
    match &request.command {
        C::Form { members, .. } => {
            count("members", members.len(), MEMBERS_MAX)?;
            members.iter().try_for_each(member)
        }
        C::Join { member: new, .. } | C::ReplaceMember { member: new, .. } => member(new),
        C::Recover { survivors, .. } => count("members", survivors.len(), MEMBERS_MAX),
        C::SetRamp { percent, .. } if *percent > 100 => {
            Err(invalid("the ramp", "it is a percentage, 0 to 100"))
        }
        C::RemoveRegion { origins, .. } => {
            count("closed origins", origins.len(), CLOSED_ORIGINS_MAX)
        }
        C::AcquireLease { duration_ms, .. } | C::TakeOverLease { duration_ms, .. } => {
            lease_duration(*duration_ms)
        }
        C::Vote { ballot, .. } => count("regions heard", ballot.hears.len(), REGIONS_MAX),
        C::PutRules { rules, .. } => {
            count("affinity rules", rules.len(), RULES_MAX)?;
            rules.iter().try_for_each(|rule| rule_match(&rule.matches))
        }
        C::PutConfig { document, .. } => text("the configuration", document, CONFIG_BYTES_MAX),
        C::StartFailover { plan } => failover(plan),
        C::NoteRunners { set, started, ended, .. } => runners(set, started, ended),
        C::AdvanceFailover { step: Some(step), .. } => note(step),
        C::CreateApiToken { token } => api_token(token),
        _ => Ok(()),
    }
}

fn member(member: &Member) -> Check {
    label("the member's address", &member.address)?;
    let has_port = member
        .address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if has_port { Ok(()) } else { Err(invalid("the member's address", "write it as host:port")) }
}

fn lease_duration(milliseconds: u64) -> Check {
    let allowed = LEASE_MIN.as_millis()..=LEASE_MAX.as_millis();
    if allowed.contains(&u128::from(milliseconds)) {
        Ok(())
    } else {
        Err(invalid("the lease's duration", format!("use {LEASE_MIN:?} to {LEASE_MAX:?}")))
    }
}

fn rule_match(matches: &RuleMatch) -> Check {
    match matches {
        RuleMatch::Everything => Ok(()),
        RuleMatch::Repository(name)
        | RuleMatch::Organisation(name)
        | RuleMatch::KeyPrefix(name)
        | RuleMatch::Geography(name) => label("what a rule matches", name),
    }
}

fn failover(plan: &FailoverPlan) -> Check {
    label("the idempotency key", &plan.idempotency_key)?;
    count("moves of duties", plan.moves.len(), DUTIES_MAX)?;
    if plan.successor.as_ref() == Some(&plan.region) {
        return Err(invalid("the successor", "it is the region whose duties move"));
    }
    plan.moves.iter().try_for_each(|step| label("the duty's name", &step.duty))
}

fn runners(set: &str, started: &[String], ended: &[String]) -> Check {
    label("the label set", set)?;
    count("runners of one entry", started.len() + ended.len(), RUNNERS_NOTED_MAX)?;
    started.iter().chain(ended).try_for_each(|name| label("the runner's name", name))
}

fn note(step: &StepRecord) -> Check {
    text("the step's note", &step.note, REASON_BYTES_MAX)
}

fn api_token(token: &ApiToken) -> Check {
    label("the token's id", &token.id)?;
    count("scopes", token.scopes.len(), TOKEN_SCOPES_MAX)?;
    if token.revoked.is_some() {
        return Err(invalid("the token", "it is revoked before it is made"));
    }
    token.scopes.iter().try_for_each(|scope| text("a scope", scope, LABEL_BYTES_MAX))
}
