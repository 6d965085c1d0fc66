//! This node's identity while it runs: it hands out others where it holds the authority, and keeps
//! its own from running out.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Result, ensure};
use rhumb_engine::Tasks;
use rhumb_peer::{JoinDesk, Peer};
use rhumb_types::RegionId;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{folders, when};

/// When this part of a certificate's life is left, it is renewed.
const RENEWED_IN_LAST: u32 = 3;
/// A certificate that ends within this and could not be renewed is an alarm.
const ALARM_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Time between two looks at a certificate that is not due; clocks jump.
const LOOK_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The first pause after a renewal that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause after a renewal that failed.
const RETRY_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a member may take to sign.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// How this node's certificate is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateHealth {
    /// When it ends.
    pub(crate) expires_at: SystemTime,
    /// Why it is about to end: an alarm.
    pub(crate) alarm: Option<String>,
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Keeping {
    /// How the certificate is doing.
    pub(super) certificate: watch::Receiver<CertificateHealth>,
    /// The join desk, when the authority is here.
    pub(super) desk: Option<Arc<JoinDesk>>,
}

/// Keeps a node's certificate fresh.
struct Keeper {
    peer: Arc<Peer>,
    others: Vec<RegionId>,
    health: watch::Sender<CertificateHealth>,
}

/// Hands out identities when the authority is here, and renews this node's own from now on.
pub(super) fn keep(
    tasks: &Tasks,
    peer: &Arc<Peer>,
    data: &Path,
    members: Vec<rhumb_peer::Member>,
) -> Keeping {
    let region = peer.identities().identity().region;
    let folder = folders::authority_of(data, &region);
    let desk = folder.and_then(|folder| open_desk(peer, &folder));
    if let Some(desk) = &desk {
        peer.hand_out(desk.clone());
    }
    let expires_at = peer.identities().expires_at();
    let (health, certificate) = watch::channel(CertificateHealth { expires_at, alarm: None });
    let others = members.into_iter().map(|member| member.region).filter(|it| *it != region);
    let keeper = Keeper { peer: peer.clone(), others: others.collect(), health };
    tasks.spawn_until_stopped(keeper.run());
    Keeping { certificate, desk }
}

/// Opens the desk; running nodes do not need it, so a fault is only told.
fn open_desk(peer: &Peer, folder: &Path) -> Option<Arc<JoinDesk>> {
    let opened = || -> Result<JoinDesk> {
        let desk = JoinDesk::open(folder)?;
        let (theirs, own) = (desk.authority().cluster(), peer.identities().identity().cluster);
        ensure!(theirs == own, "it is of cluster {theirs}, and this node of {own}");
        Ok(desk)
    };
    match opened() {
        Ok(desk) => Some(Arc::new(desk)),
        Err(error) => {
            tracing::error!(
                folder = %folder.display(),
                error = format!("{error:#}"),
                "this node holds an authority and cannot use it: nobody can join or renew here"
            );
            None
        }
    }
}

impl Keeper {
    async fn run(self) {
        let mut reloads = self.peer.identities().watch();
        let mut retry = RETRY_MIN;
        loop {
            let validity = reloads.borrow_and_update().validity();
            let life = validity.until.duration_since(validity.from).unwrap_or_default();
            let due = validity.until - life / RENEWED_IN_LAST;
            let pause = match due.duration_since(SystemTime::now()) {
                Ok(early) => {
                    self.tell(validity.until, None);
                    early.min(LOOK_INTERVAL)
                }
                Err(_) => match self.renew().await {
                    Ok(until) => {
                        tracing::info!(until = when::day(until), "the certificate is renewed");
                        self.tell(until, None);
                        retry = RETRY_MIN;
                        LOOK_INTERVAL
                    }
                    Err(reasons) => {
                        self.tell(validity.until, Some(&reasons));
                        let pause = retry;
                        retry = (retry * 2).min(RETRY_MAX);
                        pause
                    }
                },
            };
            tokio::select! {
                () = sleep(pause) => {}
                // An operator has put another certificate in place.
                reloaded = reloads.changed() => if reloaded.is_err() { return },
            }
        }
    }

    /// Asks whoever may hold the authority: this node, else the others one after the other.
    async fn renew(&self) -> Result<SystemTime, String> {
        let own = self.peer.identities().identity().region;
        let holders = if self.peer.hands_out() { std::slice::from_ref(&own) } else { &self.others };
        let mut reasons = Vec::new();
        for holder in holders {
            match timeout(ANSWER_WAIT, self.peer.renew(holder.clone())).await {
                Ok(Ok(until)) => return Ok(until),
                Ok(Err(error)) => reasons.push(format!("{holder}: {error}")),
                Err(_) => reasons.push(format!("{holder}: no answer in {ANSWER_WAIT:?}")),
            }
        }
        if reasons.is_empty() {
            reasons.push("no other node is known, and this one does not hold the authority".into());
        }
        Err(reasons.join("; "))
    }

    fn tell(&self, expires_at: SystemTime, failure: Option<&str>) {
        let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        let until = when::minute(expires_at);
        let alarm = failure.filter(|_| left < ALARM_BEFORE).map(|reasons| {
            format!(
                "this node's certificate ends at {until} and cannot be renewed. Put the \
                 authority's folder on a running node, or move the identity away and give this \
                 node a token from `rhumb join-token --node {}`. ({reasons})",
                self.peer.identities().identity().node
            )
        });
        match (&alarm, failure) {
            (Some(alarm), _) => tracing::error!("{alarm}"),
            (None, Some(reasons)) => {
                tracing::warn!(
                    until,
                    reasons,
                    "the certificate was not renewed; it is tried again"
                );
            }
            (None, None) => {}
        }
        self.health.send_replace(CertificateHealth { expires_at, alarm });
    }
}
