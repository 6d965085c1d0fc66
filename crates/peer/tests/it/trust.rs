//! Who is let in.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_peer::{
    ClusterAuthority, Identities, Validity,
    identity::{IdentityError, Issued},
};
use rhumb_ports::peer::{CallError, PeerCall, PeerLink, Service};
use tokio::net::TcpListener;

use crate::support::{CLUSTER, Cluster, Running, follow, identity, region};

async fn refused(caller: &Running, to: &str) -> CallError {
    caller.peer.call(region(to), Service::Control, Bytes::new()).await.unwrap_err()
}

/// How often a refusal may go without its reason.
const REFUSALS_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_foreign_authority_is_refused() {
    let mut cluster = Cluster::new(&["a", "b"]).await;
    let foreign = ClusterAuthority::create(CLUSTER).unwrap();
    let home = cluster.home("foreign");
    foreign.issue(&identity("b", 2), Validity::node()).unwrap().write(&home).unwrap();
    let a = cluster.start("a").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let intruder = cluster.start_on(&home, listener, BTreeMap::new());
    let error = refused(&intruder, "a").await;
    // Each side refuses the other's certificate; the dialler sees it first.
    assert!(error.to_string().contains("no authority that this node trusts"), "{error}");
    drop(a);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_by_both_sides() {
    let mut cluster = Cluster::new(&["a", "b"]).await;
    let brief = Validity::lasting(Duration::from_secs(2));
    let issued = cluster.authority.issue(&identity("b", 2), brief).unwrap();
    issued.write(&cluster.home("b")).unwrap();
    let b = cluster.start("b").await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    let a = cluster.start("a").await;
    let dialled = refused(&a, "b").await;
    assert!(dialled.to_string().to_lowercase().contains("expired"), "{dialled}");
    // In TLS 1.3 the refusal of a client's certificate comes after the client's handshake, and a
    // connection that is torn down at once may take it along: every call fails, and soon one says
    // why.
    let mut reasons = Vec::new();
    for _ in 0..REFUSALS_MAX {
        let reason = refused(&b, "a").await.to_string();
        let told = reason.contains("refuses this node's certificate");
        reasons.push(reason);
        if told {
            break;
        }
    }
    let told = reasons.last().is_some_and(|last| last.contains("refuses this node's certificate"));
    assert!(told, "{reasons:?}");
    let loaded = Identities::load(&cluster.home("b"), None).unwrap_err();
    assert!(matches!(loaded, IdentityError::Expired { .. }), "{loaded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_no_member_is_refused_until_it_is() {
    let mut cluster = Cluster::new(&["a", "b"]).await;
    let a = cluster.start("a").await;
    let before = cluster.members.clone();
    cluster.add("c", 3).await;
    let c = cluster.start("c").await;
    let error = refused(&c, "a").await;
    assert!(matches!(&error, CallError::Refused { reason, .. } if reason.contains("member list")));
    a.peer.update_members(cluster.members.clone());
    c.peer.call(region("a"), Service::Control, Bytes::new()).await.unwrap();
    a.peer.update_members(before);
    assert!(matches!(refused(&c, "a").await, CallError::Refused { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_node_loses_its_link() {
    let (mut cluster, mut a, b) = Cluster::pair(Duration::ZERO).await;
    cluster.members[1].node = Some(rhumb_types::NodeId(77));
    a.peer.update_members(cluster.members.clone());
    assert_eq!(a.down("b").await, rhumb_peer::DownReason::Removed);
    let error = refused(&a, "b").await;
    assert!(error.to_string().contains("is not b/n4d"), "{error}");
    assert!(matches!(refused(&b, "a").await, CallError::Refused { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_becomes_known_by_its_id_keeps_its_link() {
    let (mut cluster, a, _b) = Cluster::pair(Duration::ZERO).await;
    let linked = || a.peer.links().pop().unwrap();
    while !linked().heartbeats {
        tokio::task::yield_now().await;
    }
    let node = linked().node;
    cluster.members[1].node = node;
    a.peer.update_members(cluster.members.clone());
    assert!(node.is_some() && linked().node == node && linked().heartbeats);
    // Listed by another id it loses the link at once.
    cluster.members[1].node = Some(rhumb_types::NodeId(77));
    a.peer.update_members(cluster.members.clone());
    assert_eq!(linked().node, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region_at_the_address_is_refused() {
    let mut cluster = Cluster::new(&["a", "b", "c"]).await;
    let address = cluster.address("c");
    cluster.members[1].address = address;
    let a = cluster.start("a").await;
    let _c = cluster.start("c").await;
    let error = refused(&a, "b").await;
    assert!(error.to_string().contains("rhumb://cc1/c/n3 is not b/n2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_dropping_the_link() {
    let (cluster, mut a, mut b) = Cluster::pair(Duration::ZERO).await;
    drop(a.peer.call(region("b"), Service::Control, Bytes::new()).await.unwrap());
    let longer = Validity::lasting(Duration::from_secs(9 * 365 * 86_400));
    let issued = cluster.authority.issue(&identity("b", 2), longer).unwrap();
    issued.write(&cluster.home("b")).unwrap();
    let identities = b.peer.identities();
    let before = identities.expires_at();
    identities.reload().unwrap();
    assert!(identities.expires_at() > before);
    a.peer.send(&region("b"), follow(1)).unwrap();
    assert_eq!(b.message().await, follow(1));
    assert_eq!(a.events.try_next(), None);
    // A new connection shows the new certificate, and it is good.
    a.peer.call(region("b"), Service::Forward, Bytes::new()).await.unwrap();
}

#[test]
fn clear_words_for_files_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("node");
    let missing = Identities::load(&home, None).unwrap_err();
    assert!(missing.to_string().contains("ca.pem"), "{missing}");

    let authority = ClusterAuthority::create(CLUSTER).unwrap();
    let issued = authority.issue(&identity("a", 1), Validity::node()).unwrap();
    issued.write(&home).unwrap();
    let wrong = Identities::load(&home, Some(&region("b"))).unwrap_err();
    assert!(matches!(wrong, IdentityError::WrongRegion { .. }), "{wrong}");

    let other = ClusterAuthority::create(CLUSTER).unwrap();
    let foreign = other.issue(&identity("a", 1), Validity::node()).unwrap();
    std::fs::write(home.join("ca.pem"), &foreign.ca_pem).unwrap();
    let error = Identities::load(&home, None).unwrap_err();
    assert!(matches!(error, IdentityError::Foreign { .. }), "{error}");

    issued.write(&home).unwrap();
    std::fs::write(home.join("node.key"), &foreign.key_pem).unwrap();
    let error = Identities::load(&home, None).unwrap_err();
    assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");

    let later = Validity {
        from: std::time::SystemTime::now() + Duration::from_secs(600),
        until: std::time::SystemTime::now() + Duration::from_secs(6_000),
    };
    authority.issue(&identity("a", 1), later).unwrap().write(&home).unwrap();
    let error = Identities::load(&home, None).unwrap_err();
    assert!(matches!(error, IdentityError::NotYetValid { .. }), "{error}");

    use std::os::unix::fs::PermissionsExt;
    for private in ["node.key", "cluster.key"] {
        issued.write(&home).unwrap();
        let key = home.join(private);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identities::load(&home, None).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    issued.write(&home).unwrap();
    std::fs::remove_file(home.join("cluster.key")).unwrap();
    let error = Identities::load(&home, None).unwrap_err();
    assert!(error.to_string().contains("copy it from"), "{error}");
}

#[test]
fn a_running_node_does_not_change_its_cluster_secret() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(CLUSTER).unwrap();
    let issued = authority.issue(&identity("a", 1), Validity::node()).unwrap();
    issued.write(folder.path()).unwrap();
    let identities = Identities::load(folder.path(), None).unwrap();
    let other = ClusterAuthority::create(CLUSTER).unwrap();
    let replaced = Issued { secret: other.secret().clone(), ..issued };
    replaced.write(folder.path()).unwrap();
    let error = identities.reload().unwrap_err();
    assert!(error.to_string().contains("restart"), "{error}");
    let kept = identities.secret().derive("test");
    assert_eq!(kept, authority.secret().derive("test"));
}

#[test]
fn an_authority_survives_its_files_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("ca");
    let authority = ClusterAuthority::create(CLUSTER).unwrap();
    authority.save(&home).unwrap();
    assert!(authority.save(&home).is_err());
    let loaded = ClusterAuthority::load(&home).unwrap();
    assert_eq!(loaded.cluster(), CLUSTER);
    assert_eq!(loaded.secret().derive("test"), authority.secret().derive("test"));
    let node = folder.path().join("node");
    loaded.issue(&identity("a", 1), Validity::node()).unwrap().write(&node).unwrap();
    std::fs::write(node.join("ca.pem"), authority.certificate_pem()).unwrap();
    assert_eq!(Identities::load(&node, None).unwrap().identity(), identity("a", 1));
}
