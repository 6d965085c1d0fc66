//! Requests of the HTTP server, by route and status.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::Family,
    registry::{Registry, Unit},
};

use super::Count;
use crate::Histogram;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteAndStatus {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The handle of one route.
#[derive(Debug, Clone)]
pub struct HttpRoute {
    labels: Route,
    requests: Family<RouteAndStatus, Count>,
    seconds: Histogram,
}

impl HttpRoute {
    /// Counts a request that was answered. Statuses are the server's own, so they are few.
    pub fn record(&self, status: u16, time: Duration) {
        let Route { method, route } = self.labels;
        self.requests.get_or_create(&RouteAndStatus { method, route, status }).inc();
        self.seconds.observe_time(time);
    }
}

#[derive(Debug)]
pub(super) struct Families {
    requests: Family<RouteAndStatus, Count>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    refused: Family<Reason, Count>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        let seconds: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(Histogram::of_times);
        let help = "Time of an HTTP request, to the head of its answer";
        registry.register_with_unit("http_request", help, Unit::Seconds, seconds.clone());
        let refused = Family::default();
        let help = "HTTP requests whose bearer was refused, by reason";
        registry.register("http_refused", help, refused.clone());
        Self { requests, seconds, refused }
    }

    pub(super) fn route(&self, method: &'static str, route: &'static str) -> HttpRoute {
        let labels = Route { method, route };
        let seconds = self.seconds.get_or_create_owned(&labels);
        HttpRoute { labels, requests: self.requests.clone(), seconds }
    }

    pub(super) fn refused(&self, reason: &'static str) -> Count {
        self.refused.get_or_create_owned(&Reason { reason })
    }
}
