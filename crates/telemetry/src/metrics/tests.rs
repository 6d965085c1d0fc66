use std::time::Duration;

use rhumb_ports::blobs::BlobCounts;
use rhumb_types::{Epoch, ErrorCode, control::AdminState};

use super::*;

fn metrics() -> Metrics {
    Metrics::new("1.2.3", &RegionId::new("us-east-1").unwrap())
}

#[track_caller]
fn assert_lines(metrics: &Metrics, expected: &[&str]) {
    let text = metrics.render();
    for line in expected {
        assert!(text.lines().any(|found| found == *line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn commands_are_counted_by_name_and_result() {
    let metrics = metrics();
    let get = metrics.command("get");
    get.record(Outcome::Ok, Duration::from_micros(80));
    get.count(Outcome::Ok, 15);
    metrics.command("get").record(Outcome::Failed(ErrorCode::Overloaded), Duration::from_secs(3));
    assert_lines(
        &metrics,
        &[
            "# TYPE rhumb_commands counter",
            "rhumb_commands_total{command=\"get\",result=\"ok\"} 16",
            "rhumb_commands_total{command=\"get\",result=\"overloaded\"} 1",
            "rhumb_command_seconds_count{command=\"get\"} 2",
            "rhumb_command_seconds_bucket{le=\"0.0001\",command=\"get\"} 1",
        ],
    );
}

#[test]
fn every_error_code_has_its_own_result() {
    let metrics = metrics();
    let codes = [
        ErrorCode::Invalid,
        ErrorCode::Unauthenticated,
        ErrorCode::Forbidden,
        ErrorCode::NotFound,
        ErrorCode::Conflict,
        ErrorCode::Overloaded,
        ErrorCode::Unavailable,
        ErrorCode::Unconfirmed,
        ErrorCode::Internal,
    ];
    for code in codes {
        metrics.command("set").count(Outcome::Failed(code), 7);
        // The label is the code's own name in JSON.
        let label = serde_json::to_string(&code).unwrap();
        let line = format!("rhumb_commands_total{{command=\"set\",result={label}}} 7");
        assert_lines(&metrics, &[&line]);
    }
}

#[test]
fn a_region_shows_one_state_of_each_kind() {
    let metrics = metrics();
    let eu = RegionId::new("eu-west-1").unwrap();
    let region = metrics.region(&eu);
    region.set_health("healthy");
    region.set_health("down");
    region.set_admin(AdminState::Draining);
    region.lease.set(true, Epoch(4));
    region.peer.up.set(1);
    region.replication.lag_transactions.set(12);
    assert_lines(
        &metrics,
        &[
            "rhumb_region_health{region=\"eu-west-1\",state=\"down\"} 1",
            "rhumb_region_health{region=\"eu-west-1\",state=\"healthy\"} 0",
            "rhumb_region_admin{region=\"eu-west-1\",state=\"draining\"} 1",
            "rhumb_region_admin{region=\"eu-west-1\",state=\"active\"} 0",
            "rhumb_lease_held{region=\"eu-west-1\"} 1",
            "rhumb_lease_epoch{region=\"eu-west-1\"} 4",
            "rhumb_peer_up{region=\"eu-west-1\"} 1",
            "rhumb_replication_lag_transactions{origin_region=\"eu-west-1\"} 12",
        ],
    );
    metrics.forget_region(&eu);
    assert!(!metrics.render().contains("eu-west-1"));
}

#[test]
fn the_rest_is_there_and_the_text_ends_as_openmetrics_does() {
    let metrics = metrics();
    metrics.conflicts("concurrent_write").inc();
    let resp = metrics.connections("resp");
    resp.open.inc();
    resp.accepted.inc_by(3);
    metrics.commits.seconds.observe_time(Duration::from_millis(2));
    metrics.commits.rows.observe(16.0);
    metrics.serving.set(1);
    assert_lines(
        &metrics,
        &[
            "rhumb_build_info{version=\"1.2.3\",region=\"us-east-1\"} 1",
            "rhumb_conflicts_total{kind=\"concurrent_write\"} 1",
            "rhumb_connections{server=\"resp\"} 1",
            "rhumb_connections_accepted_total{server=\"resp\"} 3",
            "rhumb_commit_seconds_count 1",
            "rhumb_commit_rows_bucket{le=\"16.0\"} 1",
            "rhumb_serving 1",
        ],
    );
    assert!(metrics.render().ends_with("# EOF\n"));
}

#[test]
fn http_requests_are_counted_by_route_and_status() {
    let metrics = metrics();
    let route = metrics.http_route("GET", "/v1/kv/{*key}");
    route.record(200, Duration::from_micros(300));
    route.record(200, Duration::from_micros(300));
    route.record(404, Duration::from_micros(300));
    metrics.http_refused("expired").inc();
    metrics.queues.acks_waiting.set(3);
    assert_lines(
        &metrics,
        &[
            "rhumb_http_requests_total{method=\"GET\",route=\"/v1/kv/{*key}\",status=\"200\"} 2",
            "rhumb_http_requests_total{method=\"GET\",route=\"/v1/kv/{*key}\",status=\"404\"} 1",
            "rhumb_http_request_seconds_count{method=\"GET\",route=\"/v1/kv/{*key}\"} 3",
            "rhumb_http_refused_total{reason=\"expired\"} 1",
            "rhumb_acks_waiting 3",
        ],
    );
}

#[test]
fn a_queue_is_shown_by_home_and_place_until_it_is_no_more() {
    let metrics = metrics();
    let name = QueueName::new("jobs").unwrap();
    let home = RegionId::new("eu-west-1").unwrap();
    metrics.queue(&name).completed.inc();
    metrics.queue_depth(&name, &home).set([7, 0, 0, 2, 0, 1], 1.5);
    assert_lines(
        &metrics,
        &[
            "rhumb_queue_completed_total{queue=\"jobs\"} 1",
            "rhumb_queue_jobs{queue=\"jobs\",region=\"eu-west-1\",place=\"ready\"} 7",
            "rhumb_queue_jobs{queue=\"jobs\",region=\"eu-west-1\",place=\"dead\"} 1",
            "rhumb_queue_oldest_age_seconds{queue=\"jobs\",region=\"eu-west-1\"} 1.5",
        ],
    );
    metrics.forget_queue(&name, &[home]);
    assert!(!metrics.render().contains("jobs\""));
}

#[test]
fn blobs_are_counted_where_their_store_counts() {
    let metrics = metrics();
    assert!(!metrics.render().contains("rhumb_blobs"), "there is no store yet");
    let counts = BlobCounts { stored: 3, stored_bytes: 700, damaged: 1, ..BlobCounts::default() };
    metrics.blobs.read_from(move || counts);
    assert_lines(
        &metrics,
        &[
            "rhumb_blobs_stored_total 3",
            "rhumb_blobs_stored_bytes_total 700",
            "rhumb_blobs_damaged_total 1",
            "rhumb_blobs_verified_total 0",
        ],
    );
}

#[test]
fn runners_are_shown_by_label_set_and_region() {
    let metrics = metrics();
    let (runners, eu) = (metrics.runners(), RegionId::new("eu-west-1").unwrap());
    runners.set("linux", &eu, [3, 1], [4, 2, 0, 1, 0]);
    runners.set("linux", &eu, [2, 2], [4, 0, 2, 2, 0]);
    runners.started("linux", &eu, "started");
    runners.ended("linux", &eu, "exited");
    runners.called("limited");
    runners.answered("queued", Duration::from_millis(3));
    runners.happened("lease_lost");
    assert_lines(
        &metrics,
        &[
            "rhumb_runner_jobs{set=\"linux\",region=\"eu-west-1\",state=\"waiting\"} 2",
            "rhumb_runner_jobs{set=\"linux\",region=\"eu-west-1\",state=\"served\"} 2",
            "rhumb_runners{set=\"linux\",region=\"eu-west-1\",state=\"wanted\"} 4",
            "rhumb_runners{set=\"linux\",region=\"eu-west-1\",state=\"starting\"} 0",
            "rhumb_runner_starts_total{set=\"linux\",region=\"eu-west-1\",outcome=\"started\"} 1",
            "rhumb_runner_ends_total{set=\"linux\",region=\"eu-west-1\",outcome=\"exited\"} 1",
            "rhumb_github_calls_total{outcome=\"limited\"} 1",
            "rhumb_webhook_answers_total{outcome=\"queued\"} 1",
            "rhumb_webhook_seconds_bucket{le=\"0.005\",outcome=\"queued\"} 1",
            "rhumb_runner_events_total{outcome=\"lease_lost\"} 1",
        ],
    );
}
