//! `GET /v1/route` and `GET /v1/home`: where a key goes, and why.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rhumb_engine::{RoutingError, Seat};
use rhumb_regions::{
    Capability, Client, Key, Plan, Policy, Request, ResidencyTag, RoutingSnapshot, Sticky,
    StickyKeys, Strategy,
    affinity::{GeoCode, Origin},
    plan::Score,
    select,
    sticky::StickyError,
};
use rhumb_types::{RegionId, UnixMillis};
use serde_json::{Value, json};

use crate::{
    encode,
    limits::STICKY_LASTING,
    params::Params,
    problem::Problem,
    request::{Call, Outcome},
};

/// Turns of requests that name none, so that round robin goes round.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// What names the thing that is to be placed.
struct Named {
    key: Bytes,
    tenant: Option<String>,
    repository: Option<String>,
}

impl Named {
    fn of(params: &mut Params) -> Result<Self, Problem> {
        let key = params.bytes("key");
        let (tenant, repository) = (params.text("tenant")?, params.text("repository")?);
        if tenant.is_some() && repository.is_some() {
            let both = "`tenant` and `repository` exclude each other: a repository names its owner";
            return Err(Problem::invalid(both));
        }
        let name = repository.as_ref().or(tenant.as_ref()).map(|name| Bytes::from(name.clone()));
        let Some(key) = key.or(name) else {
            return Err(Problem::invalid("name what is to be placed, with `key`"));
        };
        Ok(Self { key, tenant, repository })
    }

    fn key(&self) -> Key<'_> {
        let key = Key::new(&self.key);
        match (&self.repository, &self.tenant) {
            (Some(repository), _) => key.within(repository),
            (None, Some(tenant)) => key.owned_by(tenant),
            (None, None) => key,
        }
    }
}

fn strategy(text: &str) -> Option<Strategy> {
    Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == text)
}

/// Names in a list, separated by commas.
fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).map(read).collect()
}

fn residency(params: &mut Params) -> Result<Vec<ResidencyTag>, Problem> {
    let read = |text: &str| list(text, |tag| ResidencyTag::new(tag).ok());
    Ok(params.read("residency", "a list of residency tags", read)?.unwrap_or_default())
}

pub(crate) fn plan(call: &Call) -> Outcome {
    let mut params = call.params()?;
    let named = Named::of(&mut params)?;
    let residency = residency(&mut params)?;
    let capabilities = |text: &str| list(text, |name| Capability::new(name).ok());
    let needs = params.read("needs", "a list of capabilities", capabilities)?.unwrap_or_default();
    let known = "one of round_robin, weighted, latency, geographic, priority, cost, affinity";
    let strategy = params.read("strategy", known, strategy)?;
    let region = params.read("client_region", "a region", |text| RegionId::new(text).ok())?;
    let code = |text: &str| GeoCode::new(text).ok();
    let country = params.read("country", "two letters", code)?;
    let continent = params.read("continent", "two letters", code)?;
    let turn = params.number("turn", 0..=u64::MAX)?;
    let token = params.text("token")?;
    params.done()?;
    let session = Session::of(call, token);
    let client =
        Client { region: region.as_ref(), location: None, origin: Origin { country, continent } };
    let request = Request {
        key: named.key(),
        client,
        turn: turn.unwrap_or_else(|| TURNS.fetch_add(1, Ordering::Relaxed)),
        residency: &residency,
        needs: &needs,
        sticky: session.sticky.as_ref(),
    };
    let snapshot = call.engine().routing().ok_or(RoutingError::Off)?;
    let policy = strategy.map_or_else(|| snapshot.policy().clone(), Policy::new);
    let plan = select::select(&snapshot, &request, &policy).map_err(RoutingError::Route)?;
    let record = plan.to_record();
    let mut body = json!({
        "version": record.version,
        "strategy": policy.strategy,
        "home": home_of(call, &named, &residency),
        "regions": record.regions,
        "panic": record.panic,
        "reasons": record.reasons,
        "scores": record.scores.iter().map(score).collect::<Vec<_>>(),
        "sticky": session.answer(&snapshot, &plan),
    });
    encode::put_key(&mut body, &named.key);
    Ok(encode::json(&body))
}

/// The client's session, where this cluster keeps clients in their regions.
struct Session<'c> {
    keys: Option<&'c StickyKeys>,
    now: UnixMillis,
    token: Option<String>,
    sticky: Option<Sticky>,
    /// Why the token does not count.
    refused: Option<StickyError>,
}

impl<'c> Session<'c> {
    fn of(call: &'c Call, token: Option<String>) -> Self {
        let keys = call.shared.surroundings.sticky.as_ref();
        let now = call.engine().clock().now().wall;
        let read = keys.zip(token.as_deref()).map(|(keys, token)| keys.verify(token, now));
        let (sticky, refused) = match read {
            Some(Ok(sticky)) => (Some(sticky), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        Self { keys, now, token, sticky, refused }
    }

    /// The token that the client shows from now on: its own while that counts, else a new one.
    fn answer(&self, snapshot: &RoutingSnapshot, plan: &Plan<'_>) -> Option<Value> {
        let keys = self.keys?;
        let kept = self.sticky.as_ref().zip(self.token.as_ref()).filter(|(sticky, _)| {
            let left = sticky.expires.saturating_since(self.now);
            !plan.needs_token() && left > STICKY_LASTING / 2
        });
        let (token, expires) = match kept {
            Some((sticky, token)) => (token.clone(), sticky.expires),
            None => {
                let first = snapshot.region(*plan.order().first()?);
                let (region, epoch) = (first.region.id.clone(), first.epoch);
                let expires = self.now.saturating_add(STICKY_LASTING);
                (keys.issue(&Sticky { region, epoch, expires }), expires)
            }
        };
        let refused = self.refused.map(|error| error.to_string());
        let outcome = plan.sticky();
        Some(json!({ "token": token, "expires": expires, "outcome": outcome, "refused": refused }))
    }
}

fn score(score: &Score) -> Value {
    json!({
        "region": score.region,
        "admin": score.admin,
        "health": score.health,
        "utilisation": score.utilisation,
        "load": score.load,
        "priority": score.priority,
        "weight": score.weight,
        "round_trip_ms": score.rtt.as_secs_f64() * 1e3,
        "micro_dollars_per_gb": score.cost,
        "draw": score.draw,
    })
}

fn home_of(call: &Call, named: &Named, residency: &[ResidencyTag]) -> Option<RegionId> {
    call.engine().home(&named.key(), residency).ok()
}

pub(crate) fn home(call: &Call) -> Outcome {
    let mut params = call.params()?;
    let named = Named::of(&mut params)?;
    let residency = residency(&mut params)?;
    params.done()?;
    let Seat { home, acting, epoch } = call.engine().seat(&named.key(), &residency)?;
    let here = home == call.shared.surroundings.region;
    let mut body = json!({ "home": home, "acting": acting, "epoch": epoch, "here": here });
    encode::put_key(&mut body, &named.key);
    Ok(encode::json(&body))
}
