//! What GitHub says in a `workflow_job` event, read strictly where it matters.
//!
//! Names that later stand in paths of the API are held to their alphabet here, so that nothing after
//! this has to.

use rhumb_types::UnixMillis;
use serde::Deserialize;

use crate::{
    job::{Action, JobRef, WorkflowJob},
    limits::{LABEL_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, REPOSITORY_BYTES_MAX},
};

/// An event of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobEvent {
    /// What happened.
    pub action: Action,
    /// Whether the job waits for an approval, whatever the action says.
    pub waiting: bool,
    /// The job.
    pub job: WorkflowJob,
    /// The runner that has it.
    pub runner: Option<RunnerSeen>,
    /// How it ended.
    pub conclusion: Option<String>,
}

/// A runner, as an event names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunnerSeen {
    /// GitHub's id.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Why an event is not understood.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is not JSON, or something is missing.
    #[error("the body is no event of a workflow job: {0}")]
    Shape(#[from] serde_json::Error),
    /// An action that there was not when this was written.
    #[error("`{0}` is an action that this version does not know")]
    Action(String),
    /// A value that cannot be used.
    #[error("{what}: {value:?}")]
    Value {
        /// What is wrong.
        what: &'static str,
        /// What was sent, cut.
        value: String,
    },
}

#[derive(Deserialize)]
struct Body {
    action: String,
    workflow_job: RawJob,
    repository: RawRepository,
    organization: Option<RawLogin>,
    installation: Option<RawId>,
}

#[derive(Deserialize)]
struct RawJob {
    id: u64,
    run_id: u64,
    run_attempt: Option<u32>,
    status: String,
    conclusion: Option<String>,
    labels: Vec<String>,
    name: Option<String>,
    workflow_name: Option<String>,
    created_at: Option<String>,
    runner_id: Option<u64>,
    runner_name: Option<String>,
}

#[derive(Deserialize)]
struct RawRepository {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct RawLogin {
    login: String,
}

#[derive(Deserialize)]
struct RawId {
    id: u64,
}

/// Reads the body of a `workflow_job` event.
///
/// # Errors
/// [`PayloadError`].
pub fn job_event(body: &[u8]) -> Result<JobEvent, PayloadError> {
    let Body { action, workflow_job: raw, repository, organization, installation } =
        serde_json::from_slice(body)?;
    let action = Action::of(&action).ok_or_else(|| PayloadError::Action(cut(&action)))?;
    let repository_name = repository_name(&repository.full_name)?;
    let organisation = organization.map(|it| owner_name(&it.login)).transpose()?;
    let labels = labels(raw.labels)?;
    // An id of 0 and an empty name are how older servers say that there is none.
    let runner_name = raw.runner_name.filter(|name| !name.is_empty());
    let runner = raw.runner_id.filter(|id| *id > 0).zip(runner_name);
    let attempt = raw.run_attempt.filter(|attempt| *attempt > 0).unwrap_or(1);
    Ok(JobEvent {
        action,
        waiting: action == Action::Waiting || raw.status == Action::Waiting.name(),
        job: WorkflowJob {
            job: JobRef { repository: repository.id, job: raw.id, attempt },
            run: raw.run_id,
            repository: repository_name,
            organisation,
            installation: installation.map(|it| it.id),
            labels,
            name: cut(raw.name.as_deref().unwrap_or_default()),
            workflow: cut(raw.workflow_name.as_deref().unwrap_or_default()),
            created_at: raw.created_at.as_deref().and_then(unix_millis),
        },
        runner: runner.map(|(id, name)| RunnerSeen { id, name: cut(&name) }),
        conclusion: raw.conclusion.map(|it| cut(&it)),
    })
}

/// Labels as GitHub compares them: without regard to case.
///
/// # Errors
/// [`PayloadError::Value`].
pub(crate) fn labels(labels: Vec<String>) -> Result<Vec<String>, PayloadError> {
    let refuse = |what, value: &str| PayloadError::Value { what, value: cut(value) };
    if labels.len() > LABELS_MAX {
        return Err(refuse("the job has too many labels", &labels.len().to_string()));
    }
    let mut kept = Vec::with_capacity(labels.len());
    for label in labels {
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || label.contains(char::is_control) {
            return Err(refuse("a label is empty, too long or not printable", &label));
        }
        let label = label.to_lowercase();
        if !kept.contains(&label) {
            kept.push(label);
        }
    }
    Ok(kept)
}

/// The name of a repository with its owner, if it can stand in a path.
///
/// # Errors
/// [`PayloadError::Value`].
pub(crate) fn repository_name(text: &str) -> Result<String, PayloadError> {
    let good = text.len() <= REPOSITORY_BYTES_MAX
        && text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name));
    let what = "the repository's name is not `owner/name`";
    if good { Ok(text.to_owned()) } else { Err(PayloadError::Value { what, value: cut(text) }) }
}

/// The name of an organisation or user, if it can stand in a path.
///
/// # Errors
/// [`PayloadError::Value`].
pub(crate) fn owner_name(text: &str) -> Result<String, PayloadError> {
    let good = text.len() <= REPOSITORY_BYTES_MAX && is_name(text);
    let what = "the organisation's name has other characters than GitHub allows";
    if good { Ok(text.to_owned()) } else { Err(PayloadError::Value { what, value: cut(text) }) }
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(known) && text.bytes().any(|byte| byte != b'.')
}

/// The beginning of a text.
pub(crate) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

/// A time as GitHub writes it (RFC 3339 in UTC, whole seconds or with a fraction); none for any other.
#[must_use]
pub fn unix_millis(text: &str) -> Option<UnixMillis> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hours, minutes) = (time.next()?.parse::<u64>().ok()?, time.next()?.parse::<u64>().ok()?);
    let seconds = time.next()?.split('.').next()?.parse::<u64>().ok()?;
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds <= 60;
    if !sound {
        return None;
    }
    // Days from the civil calendar, counted from March so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let epoch = 719_468;
    let seconds = ((days.checked_sub(epoch)? * 24 + hours) * 60 + minutes) * 60 + seconds;
    Some(UnixMillis(seconds * 1_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const QUEUED: &[u8] = include_bytes!("../fixtures/workflow_job.queued.json");
    const WAITING: &[u8] = include_bytes!("../fixtures/workflow_job.queued.waiting.json");
    const IN_PROGRESS: &[u8] = include_bytes!("../fixtures/workflow_job.in_progress.json");
    const OLD: &[u8] = include_bytes!("../fixtures/workflow_job.in_progress.old.json");
    const COMPLETED: &[u8] = include_bytes!("../fixtures/workflow_job.completed.json");

    #[test]
    fn real_payloads_are_read() {
        let event = job_event(QUEUED).unwrap();
        assert_eq!((event.action, event.waiting), (Action::Queued, false));
        let job = JobRef { repository: 186_853_002, job: 289_782_451, attempt: 1 };
        assert_eq!(event.job.job, job);
        assert_eq!(event.job.repository, "Codertocat/Hello-World");
        assert_eq!(event.job.labels, ["ubuntu-latest"]);
        assert_eq!(event.job.created_at, Some(UnixMillis(1_631_499_673_000)));
        let event = job_event(IN_PROGRESS).unwrap();
        assert_eq!(event.action, Action::InProgress);
        assert_eq!(event.runner.unwrap().name, "GitHub Actions 5");
        let event = job_event(COMPLETED).unwrap();
        assert_eq!(event.conclusion.as_deref(), Some("success"));
        assert_eq!(event.job.organisation.as_deref(), Some("Octocoders"));
    }

    #[test]
    fn queued_that_waits_for_an_approval_is_waiting() {
        let event = job_event(WAITING).unwrap();
        assert_eq!((event.action, event.waiting), (Action::Queued, true));
        assert_eq!(event.runner, None);
    }

    #[test]
    fn a_payload_without_an_attempt_is_the_first() {
        let event = job_event(OLD).unwrap();
        assert_eq!(event.job.job.attempt, 1);
        assert_eq!(event.job.created_at, None);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (pointer, field) in [
            ("", "action"),
            ("", "workflow_job"),
            ("", "repository"),
            ("/workflow_job", "id"),
            ("/workflow_job", "run_id"),
            ("/workflow_job", "labels"),
            ("/workflow_job", "status"),
            ("/repository", "id"),
            ("/repository", "full_name"),
        ] {
            let mut payload: Value = serde_json::from_slice(QUEUED).unwrap();
            payload.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field);
            let error = job_event(payload.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains(field), "{field}: {error}");
        }
        assert!(matches!(job_event(b"<xml>"), Err(PayloadError::Shape(_))));
    }

    #[test]
    fn names_that_would_change_a_path_are_refused() {
        for (pointer, value) in [
            ("/repository/full_name", json!("acme/../../orgs/other")),
            ("/repository/full_name", json!("acme")),
            ("/repository/full_name", json!("acme/a?b")),
            ("/repository/full_name", json!("../x")),
            ("/workflow_job/labels", json!(vec!["x"; 33])),
            ("/workflow_job/labels", json!([""])),
            ("/workflow_job/labels", json!(["a\nb"])),
            ("/action", json!("exploded")),
        ] {
            let mut payload: Value = serde_json::from_slice(QUEUED).unwrap();
            *payload.pointer_mut(pointer).unwrap() = value;
            let error = job_event(payload.to_string().as_bytes()).unwrap_err();
            assert!(!matches!(error, PayloadError::Shape(_)), "{pointer}: {error}");
        }
    }

    #[test]
    fn times_are_read_as_github_writes_them() {
        assert_eq!(unix_millis("1970-01-01T00:00:00Z"), Some(UnixMillis(0)));
        assert_eq!(unix_millis("2000-02-29T12:00:01Z"), Some(UnixMillis(951_825_601_000)));
        assert_eq!(unix_millis("2026-11-21T13:00:00.123Z"), Some(UnixMillis(1_795_266_000_000)));
        for bad in ["", "2021-06-15", "2021-13-15T19:22:27Z", "2021-06-15T19:22:27+02:00", "x"] {
            assert_eq!(unix_millis(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = job_event(&body);
        }

        #[test]
        fn no_time_panics(text in "[0-9TZ:.-]{0,30}") {
            let _any = unix_millis(&text);
        }
    }
}
