//! Every route times every bearer.

use rhumb_front::token::digest_of;
use rhumb_types::{
    UnixMillis,
    control::{ApiRole, ApiToken},
};
use serde_json::json;

use super::harness::{Client, HERE, Node, bearer, token, with_tokens};
use crate::{
    HttpConfig, StaticToken,
    limits::FAILURES_BURST,
    routes::{ROUTES, Reach, Verb},
};

/// The documented table is what the program is held to.
const DOCUMENT: &str = include_str!("../../../../docs/http.md");

/// A row of it: the method, the path, and the least role.
fn documented() -> Vec<(String, String, String)> {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [method, path, role, _about] = cells.as_slice() else { return None };
        let path = path.strip_prefix('`')?.strip_suffix('`')?;
        path.starts_with('/').then(|| ((*method).to_owned(), path.to_owned(), (*role).to_owned()))
    });
    rows.collect()
}

/// Who may use what needs a role at least.
fn may(least: &str) -> &'static [&'static str] {
    match least {
        "none" => &["reader", "operator", "admin", "auditor"],
        "reader" => &["reader", "operator", "admin"],
        "operator" => &["operator", "admin"],
        "admin" => &["admin"],
        "auditor" => &["auditor", "admin"],
        other => panic!("there is no role {other}"),
    }
}

/// A path with its named parts filled in; nothing that it asks for is carried out.
fn filled(path: &str) -> String {
    path.replace("{*key}", "ci:x")
        .replace("{region}", HERE)
        .replace("{queue}", "ci-none")
        .replace("{topic}", "ci.none")
        .replace("{id}", "7")
        .replace("{version}", "7")
        .replace("{node}", "n7")
}

const ROLES: [(&str, ApiRole); 4] = [
    ("reader", ApiRole::Reader),
    ("operator", ApiRole::Operator),
    ("admin", ApiRole::Admin),
    ("auditor", ApiRole::Auditor),
];

fn guarded() -> HttpConfig {
    let mut tokens: Vec<StaticToken> = ROLES.map(|(name, role)| token(name, role)).into();
    let scopes = vec!["ci:".to_owned(), "queue:ci-".to_owned(), "event:ci.".to_owned()];
    tokens.push(StaticToken { scopes, ..token("scoped", ApiRole::Admin) });
    tokens.push(StaticToken { expires: Some(UnixMillis(1)), ..token("expired", ApiRole::Admin) });
    with_tokens(tokens)
}

#[test]
fn the_documented_table_is_the_table() {
    let rows = documented();
    assert_eq!(rows.len(), ROUTES.len());
    for ((method, path, role), route) in rows.iter().zip(ROUTES) {
        assert_eq!((method.as_str(), path.as_str()), (route.verb.name(), route.path));
        assert_eq!(role, route.access.least(), "{method} {path}");
    }
}

/// Connects from an address of its own, so that failures are not counted together.
async fn from(node: &Node, nth: usize) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let host = u8::try_from(nth + 2).unwrap();
    socket.bind(([127, 0, 1, host], 0).into()).unwrap();
    let stream = socket.connect(node.address).await.unwrap();
    Client::over(stream, &node.engine, node.address.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_held_to_its_role() {
    let node = Node::start(guarded(), |_| {}).await;
    for (nth, (method, path, least)) in documented().into_iter().enumerate() {
        let mut client = from(&node, nth).await;
        let path = filled(&path);
        for (role, _) in ROLES {
            let auth = bearer(role);
            let reply = client.send(&method, &path, &[("authorization", &auth)], "").await;
            let status = reply.status.as_u16();
            if may(&least).contains(&role) {
                assert!(
                    ![401, 403, 429, 500].contains(&status),
                    "{method} {path} {role}: {reply:?}"
                );
            } else {
                reply.problem(403, "forbidden");
            }
        }
        let wrong = "Bearer rhumb_admin_operator".to_owned();
        let unknown = bearer("nobody");
        for auth in ["", "Basic YWRtaW46YWRtaW4=", &wrong, &unknown, &bearer("expired")] {
            let headers = [("authorization", auth)];
            let headers = if auth.is_empty() { &[][..] } else { &headers };
            let reply = client.send(&method, &path, headers, "").await;
            if least == "none" {
                assert_ne!(reply.status.as_u16(), 401, "{method} {path}");
                continue;
            }
            assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"rhumb\"");
            reply.problem(401, "unauthenticated");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_scopes_keeps_to_its_keys() {
    let node = Node::start(guarded(), |_| {}).await;
    let mut client = node.client().await.with("authorization", bearer("scoped"));
    for route in ROUTES {
        let reply = client.send(route.verb.name(), &filled(route.path), &[], "").await;
        match route.reach {
            Reach::Everything => {
                reply.problem(403, "forbidden");
            }
            // The list of all keys is not among its own.
            Reach::Keys if route.path == "/v1/kv" => {
                reply.problem(403, "forbidden");
            }
            _ => assert_ne!(reply.status.as_u16(), 403, "{route:?}"),
        }
    }
    for verb in [Verb::Get, Verb::Put, Verb::Delete] {
        for key in ["c", "user:1", "CI:x"] {
            let path = format!("/v1/kv/{key}");
            client.send(verb.name(), &path, &[], "").await.problem(403, "forbidden");
        }
    }
    client.put("/v1/kv/ci:a", "1").await.expect(204);
    client.get("/v1/kv?prefix=ci:").await.expect(200);
    client.get("/v1/kv?prefix=c").await.problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreed_token_is_made_used_and_revoked() {
    let node = Node::start(guarded(), |_| {}).await;
    let mut admin = node.client().await.with("authorization", bearer("admin"));
    let body = json!({ "id": "grafana", "role": "reader", "lasting": "30d", "reason": "boards" });
    let made = admin.json("POST", "/admin/tokens", body.clone()).await.expect(201).json();
    let secret = made["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("rhumb_grafana_") && secret.len() > 64, "{secret}");
    let mut reader = node.client().await.with("authorization", format!("Bearer {secret}"));
    reader.get("/v1/status").await.expect(200);
    reader.put("/v1/kv/a", "1").await.problem(403, "forbidden");
    let again = admin.json("POST", "/admin/tokens", body).await.problem(409, "conflict");
    assert_eq!(again["refusal"], "exists");
    let listed = admin.get("/admin/tokens").await.expect(200);
    let text = String::from_utf8(listed.body.to_vec()).unwrap();
    let (_, bare) = secret.rsplit_once('_').unwrap();
    assert!(!text.contains(bare) && !text.contains(&digest_of(bare).to_string()), "{text}");
    assert_eq!(listed.json()["tokens"][0]["valid"], true);
    admin.send("DELETE", "/admin/tokens/grafana", &[], "").await.problem(400, "invalid");
    let purge = "/admin/tokens/grafana?reason=leaked&purge";
    admin.send("DELETE", purge, &[], "").await.problem(400, "invalid");
    admin.send("DELETE", "/admin/tokens/grafana?reason=leaked", &[], "").await.expect(200);
    let revoked = reader.get("/v1/status").await.problem(401, "unauthenticated");
    assert!(revoked["detail"].as_str().unwrap().contains("revoked"), "{revoked}");
    admin.send("DELETE", purge, &[], "").await.expect(200);
    let configured = "/admin/tokens/admin?reason=gone";
    admin.send("DELETE", configured, &[], "").await.problem(409, "conflict");
    for bad in [
        json!({ "id": "Bad Id", "role": "reader", "reason": "x" }),
        json!({ "id": "a", "role": "king", "reason": "x" }),
        json!({ "id": "a", "role": "reader", "reason": "x", "lasting": "9999d" }),
        json!({ "id": "a", "role": "reader", "reason": "x", "colour": 1 }),
        json!({ "id": "a", "role": "reader", "reason": " " }),
        json!({ "id": "a", "role": "reader" }),
    ] {
        admin.json("POST", "/admin/tokens", bad).await.problem(400, "invalid");
    }
    let taken = json!({ "id": "admin", "role": "reader", "reason": "x" });
    admin.json("POST", "/admin/tokens", taken).await.problem(409, "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreed_token_expires() {
    let node = Node::start(guarded(), |_| {}).await;
    let now = node.engine.clock().now().wall;
    let token = ApiToken {
        id: "brief".to_owned(),
        secret: digest_of("brief"),
        role: ApiRole::Admin,
        scopes: vec![],
        created: now,
        expires: Some(now),
        revoked: None,
    };
    let command = rhumb_types::control::AdminCommand::CreateApiToken { token };
    node.engine.admin().unwrap().propose("ops", "test", command).await.unwrap();
    let mut client = node.client().await.with("authorization", bearer("brief"));
    let problem = client.get("/v1/status").await.problem(401, "unauthenticated");
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_slowed_down_and_hold_back_nobody_else() {
    let node = Node::start(guarded(), |_| {}).await;
    let mut client = node.client().await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small constant")]
    let burst = FAILURES_BURST as usize;
    let unknown = bearer("nobody");
    for _ in 0..burst {
        let headers = [("authorization", unknown.as_str())];
        client.send("GET", "/v1/status", &headers, "").await.problem(401, "unauthenticated");
    }
    let headers = [("authorization", unknown.as_str())];
    let held = client.send("GET", "/v1/status", &headers, "").await;
    assert!(held.header("retry-after").parse::<u64>().unwrap() >= 1);
    held.problem(429, "overloaded");
    let good = bearer("reader");
    client.send("GET", "/v1/status", &[("authorization", &good)], "").await.expect(200);
    let metrics = client.send("GET", "/metrics", &[("authorization", &good)], "").await.expect(200);
    let line = format!("rhumb_http_refused_total{{reason=\"unknown\"}} {}", burst + 1);
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_only_this_machine_and_no_foreign_page_is_answered() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let own = format!("http://{}", node.address);
    client.send("GET", "/v1/status", &[("origin", &own)], "").await.expect(200);
    client.send("GET", "/v1/status", &[("host", "localhost:7400")], "").await.expect(200);
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example:7400"),
        ("host", "127.0.0.1.evil.example"),
    ] {
        client.send("GET", "/v1/status", &[foreign], "").await.problem(403, "forbidden");
    }
    // What browsers send to other sites without asking first is not taken as JSON.
    let plain = [("content-type", "text/plain")];
    let body = r#"{"reason": "x"}"#;
    let path = format!("/admin/failover/{HERE}");
    client.send("POST", &path, &plain, body).await.problem(415, "unsupported_media_type");
}
