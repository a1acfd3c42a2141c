//! Several ztunnels at once.

use super::peer::del;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_to_the_newest_and_removals_to_all() {
    let server = Server::new();
    server.add("a");
    let old = server.connect();
    old.hello();
    old.take(&add("a", "a"));
    old.take_snapshot();
    server.wait_until_ready("a");
    let new = server.connect();
    new.hello();
    new.expect(&add("a", "a"));
    assert_eq!(
        server.ztunnel.readiness("a"),
        Readiness::Ready,
        "the old one serves it"
    );
    new.ack();
    new.take_snapshot();
    server.add("b");
    new.take(&add("b", "b"));
    server.wait_until_ready("b");
    server.ztunnel.remove("a");
    server.ztunnel.remove("b");
    for peer in [&old, &new] {
        // The old one was not told of b, and of no other pod before this.
        peer.take(&del("a"));
        peer.take(&del("b"));
    }
    let status = server.ztunnel.status();
    let numbers: Vec<u64> = status.connected.iter().map(|c| c.number).collect();
    assert!(numbers.is_sorted());
    assert!(
        status
            .connected
            .iter()
            .all(|c| c.pid == Some(std::process::id() as i32))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_newest_goes_the_next_one_gets_what_it_lacks() {
    let server = Server::new();
    server.add("a");
    let old = server.connect();
    old.hello();
    old.take(&add("a", "a"));
    old.take_snapshot();
    let new = server.connect();
    new.hello();
    new.take(&add("a", "a"));
    new.take_snapshot();
    server.add("b");
    new.take(&add("b", "b"));
    server.wait_until_ready("b");
    drop(new);
    old.expect(&add("b", "b"));
    assert_eq!(server.ztunnel.readiness("a"), Readiness::Ready);
    assert_eq!(server.waiting("b"), "ztunnel has not acknowledged it yet");
    old.ack();
    server.wait_until_ready("b");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_old_one_goes_nothing_changes() {
    let server = Server::new();
    server.add("a");
    let old = server.connect();
    old.hello();
    old.take(&add("a", "a"));
    old.take_snapshot();
    let new = server.connect();
    new.hello();
    new.take(&add("a", "a"));
    new.take_snapshot();
    server.wait_until("the new one has it", |status| {
        (status.connected.last()?.acknowledged == 1).then_some(())
    });
    drop(old);
    server.wait_until_connected(1);
    assert_eq!(server.ztunnel.readiness("a"), Readiness::Ready);
    server.add("b");
    new.take(&add("b", "b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_that_refuses_a_pod_is_believed() {
    let server = Server::new();
    server.add("a");
    let old = server.connect();
    old.hello();
    old.take(&add("a", "a"));
    old.take_snapshot();
    server.wait_until_ready("a");
    let new = server.connect();
    new.hello();
    new.expect(&add("a", "a"));
    new.nack("no");
    new.take_snapshot();
    server.wait_until("the refusal", |status| (status.refused == 1).then_some(()));
    // It serves nobody any more, and the old one still does.
    drop(new);
    server.wait_until_ready("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_one_that_hangs_does_not_hold_the_new_one_up() {
    let server = Server::new();
    server.add("a");
    let old = server.connect();
    old.hello();
    old.expect(&add("a", "a"));
    let new = server.connect();
    new.hello();
    new.take(&add("a", "a"));
    new.take_snapshot();
    server.wait_until_ready("a");
    server.ztunnel.remove("a");
    new.take(&del("a"));
    old.ack();
    old.take(&del("a"));
    old.take_snapshot();
}
