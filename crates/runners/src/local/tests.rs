//! The API's answers, held against GitHub's published description; and the client against its faults.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use rhumb_engine::Tasks;
use rhumb_types::{MonoTime, Timestamp, UnixMillis};
use serde_json::{Value, json};

use super::{Fault, LocalGitHub, run_as_runner};
use crate::{
    capacity::Scope,
    github::{ApiError, Auth, GitHub, Hook, JitRequest, JobAnswer, Outside, Removed},
    job::{JobRef, WorkflowJob},
    signature::Secrets,
    web::Place,
};

const DESCRIPTION: &str = include_str!("../../fixtures/github-openapi.json");

/// A clock that stands unless it is moved.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn outside(&self) -> Outside {
        let micros = self.0.clone();
        let now = move || {
            let micros = micros.load(Ordering::Relaxed);
            let wall = UnixMillis(1_795_000_000_000 + micros / 1_000);
            Timestamp { wall, mono: MonoTime(micros) }
        };
        let drawn = AtomicU64::new(0);
        let random =
            move || drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Outside { now: Arc::new(now), random: Arc::new(random) }
    }

    fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

struct Bench {
    api: LocalGitHub,
    client: GitHub,
    hand: Hand,
    tasks: Tasks,
}

async fn bench(auth: Auth) -> Bench {
    let (tasks, hand) = (Tasks::new(), Hand::default());
    let secrets = Secrets::new(&["a secret of some length"]).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let api = LocalGitHub::start(&tasks, address, secrets, hand.outside()).await.unwrap();
    let place = Place::new(&api.url(), None).unwrap();
    let client = GitHub::new(place, auth, hand.outside());
    Bench { api, client, hand, tasks }
}

fn token() -> Auth {
    Auth::token("ghp_test").unwrap()
}

fn acme() -> Scope {
    Scope::Organisation("acme".to_owned())
}

fn wanted(nth: u32) -> JitRequest {
    JitRequest {
        name: JobRef { repository: 1, job: 1, attempt: 1 }.runner(nth).to_string(),
        runner_group_id: 1,
        labels: vec!["linux".to_owned()],
        work_folder: "_work".to_owned(),
    }
}

fn job(id: u64) -> WorkflowJob {
    WorkflowJob {
        job: JobRef { repository: 1, job: id, attempt: 1 },
        run: 1,
        repository: "acme/web".to_owned(),
        organisation: Some("acme".to_owned()),
        installation: None,
        labels: Vec::new(),
        name: String::new(),
        workflow: String::new(),
        created_at: None,
    }
}

/// Whether a value has the types, members and enumerations of a schema; says where it has not.
fn holds(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if value.is_null() && schema["nullable"] == json!(true) {
        return Ok(());
    }
    if let Some(all) = schema["allOf"].as_array() {
        all.iter().try_for_each(|schema| holds(schema, value, at))?;
    }
    for any in ["anyOf", "oneOf"].iter().filter_map(|name| schema[name].as_array()) {
        if !any.iter().any(|schema| holds(schema, value, at).is_ok()) {
            return Err(format!("{at}: none of the forms fits {value}"));
        }
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        return Err(format!("{at}: {value} is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return Err(format!("{at}: `{name}` is missing"));
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            holds(schema, value, &format!("{at}/{name}"))?;
        }
    }
    for (nth, value) in value.as_array().into_iter().flatten().enumerate() {
        holds(&schema["items"], value, &format!("{at}/{nth}"))?;
    }
    Ok(())
}

#[test]
fn the_check_finds_what_does_not_fit() {
    let schema = json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": "string", "enum": ["x"] }, "b": { "type": "integer", "nullable": true } }
    });
    assert!(holds(&schema, &json!({ "a": "x", "b": null }), "").is_ok());
    for bad in [
        json!({}),
        json!({ "a": 1 }),
        json!({ "a": "y" }),
        json!({ "a": "x", "b": "2" }),
        json!([]),
    ] {
        assert!(holds(&schema, &bad, "").is_err(), "{bad}");
    }
}

/// Asks for a path and holds the answer against the description of its route.
async fn described(bench: &Bench, method: Method, route: &str, path: &str, body: &Value) -> Value {
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let place = Place::new(&bench.api.url(), None).unwrap();
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header("authorization", "Bearer x")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let answer = place.ask(request).await.unwrap();
    let status = answer.status().as_u16().to_string();
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    let schema = &description[format!("{method} {route}")][&status];
    if status == "204" {
        return body;
    }
    assert!(!schema.is_null(), "{method} {path}: {status} is not described: {body}");
    holds(schema, &body, path).unwrap();
    body
}

#[tokio::test]
async fn answers_are_as_the_published_description_says() {
    let bench = bench(token()).await;
    let id = bench.api.queue("acme/web", &["linux"]).await;
    let run = bench.api.jobs()[0].run;
    let (get, post) = (Method::GET, Method::POST);
    let wanted =
        json!({ "name": "r1", "runner_group_id": 1, "labels": ["linux"], "work_folder": "_work" });
    for (base, path) in
        [("/orgs/{org}", "/orgs/acme"), ("/repos/{owner}/{repo}", "/repos/acme/web")]
    {
        let runners = format!("{base}/actions/runners");
        let at = format!("{path}/actions/runners");
        let jit = |text: &str| format!("{text}/generate-jitconfig");
        let made = described(&bench, post.clone(), &jit(&runners), &jit(&at), &wanted).await;
        described(&bench, post.clone(), &jit(&runners), &jit(&at), &wanted).await;
        described(&bench, post.clone(), &jit(&runners), &jit(&at), &json!({ "name": "" })).await;
        described(&bench, get.clone(), &runners, &at, &Value::Null).await;
        let one = format!("{at}/{}", made["runner"]["id"]);
        let route = format!("{runners}/{{runner_id}}");
        described(&bench, Method::DELETE, &route, &one, &Value::Null).await;
        let hooks = format!("{base}/hooks/{{hook_id}}/deliveries");
        described(&bench, get.clone(), &hooks, &format!("{path}/hooks/7/deliveries"), &Value::Null)
            .await;
    }
    let sent = described(
        &bench,
        get.clone(),
        "/app/hook/deliveries",
        "/app/hook/deliveries",
        &Value::Null,
    )
    .await;
    let again = format!("/app/hook/deliveries/{}/attempts", sent[0]["id"]);
    let route = "/app/hook/deliveries/{delivery_id}/attempts";
    described(&bench, post.clone(), route, &again, &Value::Null).await;
    let repo = "/repos/{owner}/{repo}/actions";
    for (route, path) in [
        ("runs", "runs?status=queued".to_owned()),
        ("runs/{run_id}/jobs", format!("runs/{run}/jobs")),
        ("jobs/{job_id}", format!("jobs/{id}")),
    ] {
        let at = format!("/repos/acme/web/actions/{path}");
        described(&bench, get.clone(), &format!("{repo}/{route}"), &at, &Value::Null).await;
    }
    let route = "/app/installations/{installation_id}/access_tokens";
    described(&bench, post, route, "/app/installations/7/access_tokens", &Value::Null).await;
    bench.tasks.stop().await;
}

#[tokio::test]
async fn a_runner_is_registered_listed_used_and_gone() {
    let bench = bench(token()).await;
    let jit = bench.client.register(&acme(), None, &wanted(0)).await.unwrap();
    let taken = bench.client.register(&acme(), None, &wanted(0)).await.unwrap_err();
    assert_eq!(taken.status().map(|it| it.as_u16()), Some(409));
    let listed = bench.client.runners(&acme(), None).await.unwrap();
    assert_eq!((listed.len(), listed[0].online, listed[0].busy), (1, false, false));
    let id = bench.api.queue("acme/web", &["linux"]).await;
    assert_eq!(bench.client.job(&job(id)).await.unwrap(), JobAnswer::Waits);
    let queued = bench.client.queued("acme/web", Some("acme"), None).await.unwrap();
    assert_eq!(queued.iter().map(|it| it.job.job.job).collect::<Vec<_>>(), [id]);
    let runner = run_as_runner(&jit.config, Duration::from_millis(300));
    let watch = async {
        // Until the runner has the job.
        loop {
            match bench.client.job(&job(id)).await.unwrap() {
                JobAnswer::Runs(name) => break name,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let busy = async {
        let name = watch.await.unwrap();
        assert_eq!(name.as_str(), wanted(0).name);
        bench.client.remove(&acme(), None, jit.runner_id).await.unwrap()
    };
    let (done, busy) = tokio::join!(runner, busy);
    assert_eq!((done.unwrap(), busy), (id, Removed::Busy));
    assert_eq!(bench.client.job(&job(id)).await.unwrap(), JobAnswer::Ended);
    assert_eq!(bench.client.job(&job(999_999)).await.unwrap(), JobAnswer::Unknown);
    assert_eq!(bench.client.runners(&acme(), None).await.unwrap(), []);
    assert_eq!(bench.client.remove(&acme(), None, jit.runner_id).await.unwrap(), Removed::Done);
    bench.tasks.stop().await;
}

#[tokio::test]
async fn what_fails_or_lies_is_an_error_that_says_so() {
    let bench = bench(token()).await;
    let id = bench.api.queue("acme/web", &["linux"]).await;
    bench.api.fail_next([Fault::Broken]);
    let broken = bench.client.runners(&acme(), None).await.unwrap_err();
    assert_eq!(broken.name(), "server");
    assert!(broken.to_string().contains("tried again"), "{broken}");
    for fault in [Fault::Nonsense, Fault::Lie] {
        bench.api.fail_next([fault]);
        let error = bench.client.register(&acme(), None, &wanted(1)).await.unwrap_err();
        assert_eq!(error.name(), "not_believed", "{error}");
        bench.api.fail_next([fault; 4]);
        let error = bench.client.runners(&acme(), None).await.unwrap_err();
        assert_eq!(error.name(), "not_believed", "{error}");
        bench.api.forgive();
        assert!(bench.client.runners(&acme(), None).await.is_ok());
        bench.api.fail_next([fault]);
        let error = bench.client.job(&job(id)).await.unwrap_err();
        assert_eq!(error.name(), "not_believed", "{error}");
    }
    bench.tasks.stop().await;
}

#[tokio::test]
async fn nothing_is_asked_while_github_limits() {
    let bench = bench(token()).await;
    bench.api.fail_next([Fault::Limited(30)]);
    let limited = bench.client.runners(&acme(), None).await.unwrap_err();
    assert!(matches!(limited, ApiError::Later(wait) if wait.as_secs() >= 30), "{limited}");
    // It is refused here: the API would answer well.
    assert!(matches!(bench.client.runners(&acme(), None).await, Err(ApiError::Later(_))));
    bench.hand.pass(Duration::from_secs(29));
    assert!(bench.client.limited().is_some());
    bench.hand.pass(Duration::from_secs(5));
    assert!(bench.client.runners(&acme(), None).await.is_ok());
    bench.tasks.stop().await;
}

#[tokio::test]
async fn an_app_gets_a_token_per_installation_and_says_what_it_lacks() {
    let key = include_bytes!("../../fixtures/app-key.pem");
    let bench = bench(Auth::app("12345", key, None).unwrap()).await;
    assert!(matches!(bench.client.runners(&acme(), None).await, Err(ApiError::NoInstallation)));
    assert!(bench.client.runners(&acme(), Some(7)).await.is_ok());
    let since = UnixMillis(0);
    assert!(bench.client.deliveries(&Hook::App, since).await.is_ok());
    let plain =
        GitHub::new(Place::new(&bench.api.url(), None).unwrap(), token(), bench.hand.outside());
    assert!(matches!(plain.deliveries(&Hook::App, since).await, Err(ApiError::NoApp)));
    bench.tasks.stop().await;
}

#[tokio::test]
async fn deliveries_that_nobody_took_are_listed_page_by_page_and_repeated() {
    let bench = bench(token()).await;
    for _ in 0..130 {
        bench.api.queue("acme/web", &["linux"]).await;
    }
    let hook = Hook::Organisation("acme".to_owned(), 7);
    let listed = bench.client.deliveries(&hook, UnixMillis(0)).await.unwrap();
    assert_eq!(listed.len(), 130);
    assert!(listed.iter().all(|delivery| !delivery.ok));
    bench.client.redeliver(&hook, listed[0].id).await.unwrap();
    assert!(bench.client.redeliver(&hook, 5).await.is_err());
    let later = UnixMillis(1_795_000_000_001);
    assert_eq!(bench.client.deliveries(&hook, later).await.unwrap(), []);
    bench.tasks.stop().await;
}

#[tokio::test]
async fn nobody_there_is_an_error_and_not_a_wait() {
    let hand = Hand::default();
    let client =
        GitHub::new(Place::new("http://127.0.0.1:1", None).unwrap(), token(), hand.outside());
    let error = client.runners(&acme(), None).await.unwrap_err();
    assert_eq!(error.name(), "unreachable");
}
