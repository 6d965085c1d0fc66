//! How a new node gets its identity, and keeps it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_peer::{Identities, JoinDesk, JoinToken, Seat, Validity, join, join::JoinError};
use rhumb_ports::peer::{PeerCall, PeerLink, Service};
use rhumb_types::{NodeId, control::MemberRole};
use tokio::net::TcpListener;

use crate::support::{Cluster, Running, follow, identity, region};

const HOUR: Duration = Duration::from_secs(3_600);

async fn with_desk() -> (Cluster, Running, Arc<JoinDesk>) {
    let mut cluster = Cluster::new(&["a"]).await;
    let ca = cluster.folder.path().join("ca");
    cluster.authority.save(&ca).unwrap();
    let desk = Arc::new(JoinDesk::open(&ca).unwrap());
    let a = cluster.start("a").await;
    a.peer.hand_out(Arc::clone(&desk));
    (cluster, a, desk)
}

fn invite(cluster: &Cluster, desk: &JoinDesk, lasting: Duration) -> JoinToken {
    desk.invite(region("b"), NodeId(5), None, cluster.address("a"), lasting).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_makes_a_node_that_links_and_is_then_used_up() {
    let (mut cluster, mut a, desk) = with_desk().await;
    let token = invite(&cluster, &desk, HOUR).to_string().parse().unwrap();
    let home = cluster.home("b");
    assert_eq!(join(&token, &home).await.unwrap(), identity("b", 5));
    let secret = Identities::load(&home, None).unwrap().secret();
    assert_eq!(secret.derive("test"), cluster.authority.secret().derive("test"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.members.push(rhumb_peer::Member {
        region: region("b"),
        node: Some(NodeId(5)),
        address: listener.local_addr().unwrap().to_string(),
    });
    let mut b = cluster.start_on(&home, listener, BTreeMap::new());
    a.peer.update_members(cluster.members.clone());
    assert_eq!(a.up("b").await, NodeId(5));
    b.up("a").await;
    b.peer.send(&region("a"), follow(3)).unwrap();
    assert_eq!(a.message().await, follow(3));

    let again = join(&token, &cluster.home("thief")).await.unwrap_err();
    assert!(matches!(&again, JoinError::Refused(reason) if reason.contains("was used")), "{again}");
    let exists = join(&token, &home).await.unwrap_err();
    assert!(matches!(exists, JoinError::Exists(_)), "{exists}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_use_one_token_at_once_make_one_node() {
    let (cluster, _a, desk) = with_desk().await;
    let token = invite(&cluster, &desk, HOUR);
    let (first, second) = (cluster.home("first"), cluster.home("second"));
    let (first, second) = tokio::join!(join(&token, &first), join(&token, &second));
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1, "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_an_expired_token_and_another_authority_are_refused() {
    let (cluster, _a, desk) = with_desk().await;
    let good = invite(&cluster, &desk, HOUR);
    let home = cluster.home("b");

    let guess = JoinToken { secret: [0; 16], ..good.clone() };
    assert!(matches!(join(&guess, &home).await, Err(JoinError::Refused(_))));

    let elsewhere = JoinToken { fingerprint: [1; 32], ..good.clone() };
    let error = join(&elsewhere, &home).await.unwrap_err();
    assert!(matches!(&error, JoinError::Unreachable(why) if why.contains("token")), "{error}");

    let brief = invite(&cluster, &desk, Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let error = join(&brief, &home).await.unwrap_err();
    assert!(matches!(&error, JoinError::Refused(why) if why.contains("expired")), "{error}");
    assert!(!Identities::is_in(&home));
    // None of that has used up the good one.
    join(&good, &home).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_the_authority_signs_nothing() {
    let mut cluster = Cluster::new(&["a", "b"]).await;
    let _a = cluster.start("a").await;
    let b = cluster.start("b").await;
    let ca = cluster.folder.path().join("ca");
    cluster.authority.save(&ca).unwrap();
    let desk = JoinDesk::open(&ca).unwrap();
    let token = invite(&cluster, &desk, HOUR);
    let error = join(&token, &cluster.home("c")).await.unwrap_err();
    assert!(error.to_string().contains("does not hold the cluster's authority"), "{error}");
    let error = b.peer.renew(region("a")).await.unwrap_err();
    assert!(error.to_string().contains("does not hold the cluster's authority"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_while_the_link_goes_on() {
    let (mut cluster, mut a, _desk) = with_desk().await;
    cluster.add("b", 2).await;
    let soon = cluster.authority.issue(&identity("b", 2), Validity::lasting(HOUR)).unwrap();
    soon.write(&cluster.home("b")).unwrap();
    a.peer.update_members(cluster.members.clone());
    let mut b = cluster.start("b").await;
    a.up("b").await;
    b.up("a").await;
    let before = b.peer.identities().expires_at();
    let after = b.peer.renew(region("a")).await.unwrap();
    assert!(after > before + HOUR);
    assert_eq!(b.peer.identities().expires_at(), after);
    b.peer.send(&region("a"), follow(1)).unwrap();
    assert_eq!(a.message().await, follow(1));
    b.peer.call(region("a"), Service::Control, Bytes::new()).await.unwrap();
    // Who holds the authority needs nobody; who does not cannot sign for itself.
    let own = a.peer.identities().expires_at();
    assert!(a.peer.renew(region("a")).await.unwrap() >= own);
    let error = b.peer.renew(region("b")).await.unwrap_err();
    assert!(error.to_string().contains("does not hold the cluster's authority"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_seat_is_registered_first_and_may_try_again_until_then() {
    let (cluster, a, desk) = with_desk().await;
    let seat = Seat {
        address: "b.example:7401".to_owned(),
        role: MemberRole::Witness,
        replaces: Some(NodeId(4)),
        agreed: false,
    };
    let address = cluster.address("a");
    let token = desk.invite(region("b"), NodeId(5), Some(seat.clone()), address, HOUR).unwrap();
    let starting = join(&token, &cluster.home("b")).await.unwrap_err();
    assert!(starting.to_string().contains("still starting"), "{starting}");

    let (agrees, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (agreed, all) = (Arc::clone(&agrees), Arc::clone(&heard));
    a.peer.register_with(Arc::new(move |newcomer| {
        all.lock().unwrap().push(newcomer);
        let agrees = agreed.load(Ordering::Relaxed);
        Box::pin(async move { if agrees { Ok(()) } else { Err("no majority".to_owned()) } })
    }));
    let refused = join(&token, &cluster.home("b")).await.unwrap_err();
    assert!(refused.to_string().contains("no majority"), "{refused}");
    agrees.store(true, Ordering::Relaxed);
    assert_eq!(join(&token, &cluster.home("b")).await.unwrap(), identity("b", 5));
    let shown = Identities::load(&cluster.home("b"), None).unwrap().current().fingerprint();
    let last = heard.lock().unwrap().pop().unwrap();
    assert_eq!((last.identity, last.seat, last.fingerprint), (identity("b", 5), seat, shown));
    assert!(join(&token, &cluster.home("c")).await.is_err(), "it works once");
}
