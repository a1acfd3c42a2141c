//! How a connection starts.

use super::peer::{SNAPSHOT_SENT, del, keep};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn all_pods_then_the_snapshot_each_after_the_answer_to_the_last() {
    let server = Server::new();
    server.add("a");
    server.add("b");
    server.ztunnel.keep(&pod("k")).unwrap();
    let peer = server.connect();
    assert!(peer.has_nothing(), "nothing is said before the hello");
    peer.hello();
    for expected in [add("a", "a"), add("b", "b"), keep("k")] {
        peer.expect(&expected);
        assert!(peer.has_nothing(), "an answer is waited for");
        assert!(!server.ztunnel.status().connected[0].snapshot_sent);
        peer.ack();
    }
    peer.take(&message(SNAPSHOT_SENT));
    server.wait_until("snapshot", |s| s.connected[0].snapshot_sent.then_some(()));
    server.wait_until_ready("a");
    server.wait_until_ready("b");
    assert_eq!(
        server.waiting("k"),
        "its network namespace cannot be opened"
    );
    // The next message is this add: no second snapshot came in between.
    server.add("c");
    peer.take(&add("c", "c"));
    server.wait_until_ready("c");
    assert_eq!(server.messages("add", "ack"), 3);
    assert_eq!(server.messages("snapshot_sent", "ack"), 1);
    assert_eq!(server.ztunnel.status().latency.count, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_anything_before_the_pods_of_before_are_registered() {
    let server = Server::closed();
    server.add("a");
    let peer = server.connect();
    peer.hello();
    server.wait_until_connected(1);
    server.add("b");
    server.ztunnel.remove("a");
    assert_eq!(server.waiting("b"), "ztunnel has not acknowledged it yet");
    assert!(peer.has_nothing());
    server.ztunnel.pods_registered();
    // It may have had this pod from an earlier agent.
    peer.take(&del("a"));
    peer.take(&add("b", "b"));
    peer.take_snapshot();
    server.wait_until_ready("b");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_go_during_the_snapshot_are_deleted() {
    let server = Server::new();
    server.add("a");
    server.add("b");
    server.add("c");
    let peer = server.connect();
    peer.hello();
    peer.expect(&add("a", "a"));
    server.ztunnel.remove("a");
    server.ztunnel.remove("b");
    peer.ack();
    peer.take(&del("a"));
    peer.take(&del("b"));
    peer.take(&add("c", "c"));
    peer.take_snapshot();
    server.wait_until_ready("c");
    assert_eq!(server.waiting("a"), "ztunnel is not told of this pod yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_come_during_the_snapshot_are_told_once() {
    let server = Server::new();
    server.add("b");
    let peer = server.connect();
    peer.hello();
    peer.expect(&add("b", "b"));
    // Before and after the one that is being told.
    server.add("a");
    server.add("c");
    peer.ack();
    peer.take(&add("a", "a"));
    peer.take(&add("c", "c"));
    peer.expect(&message(SNAPSHOT_SENT));
    // Neither in the snapshot nor lost.
    server.add("d");
    server.ztunnel.remove("b");
    peer.ack();
    // Who waits for it goes first.
    peer.take(&add("d", "d"));
    peer.take(&del("b"));
    server.add("d");
    server.ztunnel.remove("d");
    peer.take(&del("d"));
    assert_eq!(server.messages("snapshot_sent", "ack"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_after_the_snapshot() {
    let server = Server::new();
    let peer = server.synced();
    server.ztunnel.keep(&pod("k")).unwrap();
    server.add("a");
    peer.take(&add("a", "a"));
    // Its netns was found.
    server.add("k");
    peer.take(&add("k", "k"));
    server.wait_until_ready("k");
    assert_eq!(server.messages("keep", "ack"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_another_netns_is_another_pod() {
    let server = Server::new();
    let peer = server.synced();
    server.add("a");
    peer.take(&add("a", "a"));
    server.wait_until_ready("a");
    server.add_with_netns("a", "after reboot");
    assert_eq!(server.waiting("a"), "ztunnel has not acknowledged it yet");
    peer.take(&del("a"));
    peer.take(&add("a", "after reboot"));
    server.wait_until_ready("a");
    // The same once more changes nothing.
    server.add_with_netns("a", "after reboot");
    server.add("b");
    peer.take(&add("b", "b"));
}
