//! What ztunnel or the protocol refuses.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pod_is_tried_again_and_the_others_go_on() {
    let server = Server::new();
    server.add("a");
    server.add("b");
    let changes = server.ztunnel.changes();
    let peer = server.connect();
    peer.hello();
    peer.expect(&add("a", "a"));
    peer.nack("no room");
    peer.take(&add("b", "b"));
    peer.take_snapshot();
    server.wait_until_ready("b");
    assert!(changes.has_changed().unwrap());
    let refused = Readiness::Refused {
        reason: "ztunnel refused it: no room".to_owned(),
    };
    assert_eq!(server.ztunnel.readiness("a"), refused);
    assert_eq!(server.ztunnel.status().refused, 1);
    peer.expect(&add("a", "a"));
    peer.nack("still none");
    peer.take(&add("a", "a"));
    server.wait_until_ready("a");
    assert_eq!(server.messages("add", "nack"), 2);
    assert_eq!(server.messages("add", "ack"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pod_that_is_removed_is_deleted_and_not_tried_again() {
    let server = Server::new();
    let peer = server.synced();
    server.add("a");
    peer.expect(&add("a", "a"));
    peer.nack("no");
    // ztunnel tries it again by itself as long as it is not deleted.
    server.wait_until("the refusal", |status| (status.refused == 1).then_some(()));
    server.ztunnel.remove("a");
    peer.take(&peer::del("a"));
    server.add("b");
    peer.take(&add("b", "b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ztunnel_could_not_read_is_refused_at_once() {
    let server = Server::new();
    let mut long = pod("a");
    // 1024 bytes with all keys and lengths.
    long.name = "x".repeat(1000);
    server.ztunnel.add(&long, 1, server.netns("a")).unwrap();
    long.name.push('x');
    long.uid = "b".to_owned();
    let error = server.ztunnel.add(&long, 2, server.netns("b")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ztunnel cannot be told of this pod: its uid, name, namespace and service account make a \
         message of 1025 bytes, of 1024 that it reads"
    );
    let peer = server.connect();
    peer.hello();
    assert_eq!(peer.receive().bytes.len(), 1024);
    peer.ack();
    peer.take_snapshot();
    server.wait_until_ready("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_snapshot_ends_the_connection() {
    let server = Server::new();
    let peer = server.connect();
    peer.hello();
    peer.expect(&message(peer::SNAPSHOT_SENT));
    peer.nack("again?");
    peer.expect_end();
    server.wait_until_closed_for("refused");
}
