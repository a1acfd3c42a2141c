//! How connections end, and that nobody else is affected.

use super::peer::{ACK, SNAPSHOT_SENT, field};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_makes_its_pods_wait_and_the_next_one_gets_them_all() {
    let server = Server::new();
    let peer = server.synced();
    assert_eq!(server.closed_for("gone"), 0);
    server.add("a");
    peer.take(&add("a", "a"));
    server.wait_until_ready("a");
    drop(peer);
    server.wait_until_connected(0);
    assert_eq!(server.waiting("a"), "no ztunnel is connected");
    server.add("b");
    let peer = server.connect();
    peer.hello();
    peer.take(&add("a", "a"));
    peer.take(&add("b", "b"));
    peer.take_snapshot();
    server.wait_until_ready("a");
    server.wait_until_ready("b");
    assert_eq!(server.closed_for("gone"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_before_the_answer_is_told_again() {
    let server = Server::new();
    server.add("a");
    let peer = server.connect();
    peer.hello();
    peer.expect(&add("a", "a"));
    drop(peer);
    server.wait_until_closed_for("gone");
    assert_eq!(server.messages("add", "none"), 1);
    let peer = server.connect();
    peer.hello();
    peer.take(&add("a", "a"));
    peer.take_snapshot();
    server.wait_until_ready("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_in_time_is_cut_off() {
    let server = Server::impatient();
    server.add("a");
    let start = Instant::now();
    let peer = server.connect();
    peer.hello();
    peer.expect(&add("a", "a"));
    peer.expect_end();
    assert!(start.elapsed() >= IMPATIENT);
    server.wait_until_closed_for("no_answer");
    assert_eq!(server.messages("add", "none"), 1);
    assert_eq!(server.waiting("a"), "no ztunnel is connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_counts_as_long_as_it_is_in_time() {
    let server = Server::new();
    server.add("a");
    let peer = server.connect();
    peer.hello();
    peer.expect(&add("a", "a"));
    let asked = Instant::now();
    wait_until("a while", || (asked.elapsed() > IMPATIENT).then_some(()));
    peer.ack();
    peer.take_snapshot();
    server.wait_until_ready("a");
    assert!(server.ztunnel.status().latency.sum >= IMPATIENT.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_cut_off() {
    let server = Server::impatient();
    let peer = server.connect();
    peer.expect_end();
    server.wait_until_closed_for("no_hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_refused() {
    let server = Server::new();
    for (count, version) in [2, 0].into_iter().enumerate() {
        let peer = server.connect();
        peer.send(&[0x08, version]);
        peer.expect_end();
        let wanted = count as u64 + 1;
        server.wait_until("the count", |status| {
            (status.closed["version"] == wanted).then_some(())
        });
    }
}

/// What no ztunnel says, as a hello and as an answer, and how the connection is closed for it.
fn nonsense() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (vec![0xff; 40], "garbage"),
        // A length that leads out of the packet.
        (vec![0x0a, 0x7f, 0x00], "garbage"),
        // Text that is none.
        (field(0x0a, &field(0x0a, &[0xc3, 0x28])), "garbage"),
        (vec![0; 1025], "oversize"),
        (vec![0x0a; 60_000], "oversize"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_place_of_a_hello_ends_that_connection_only() {
    let server = Server::new();
    let other = server.synced();
    for (bytes, reason) in nonsense() {
        // A text in field 1 is as good as a wrong type there.
        let before = server.closed_for(reason);
        let peer = server.connect();
        peer.send(&bytes);
        peer.expect_end();
        server.wait_until(reason, |status| {
            (status.closed[reason] == before + 1).then_some(())
        });
    }
    server.add("a");
    other.take(&add("a", "a"));
    server.wait_until_ready("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_place_of_an_answer_ends_that_connection_only() {
    let server = Server::new();
    let other = server.synced();
    let mut bad = nonsense();
    // An answer without content, and one with a content of tomorrow.
    bad.push((vec![0x12, 0x00], "garbage"));
    bad.push((vec![0x08, 0x01], "garbage"));
    for (bytes, reason) in bad {
        let before = server.closed_for(reason);
        let peer = server.connect();
        peer.hello();
        peer.expect(&message(SNAPSHOT_SENT));
        peer.send(&bytes);
        peer.expect_end();
        server.wait_until(reason, |status| {
            (status.closed[reason] == before + 1).then_some(())
        });
    }
    server.add("a");
    other.take(&add("a", "a"));
    server.wait_until_ready("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_question_ends_the_connection() {
    let server = Server::new();
    let peer = server.synced();
    server.wait_until("the snapshot", |s| {
        s.connected[0].snapshot_sent.then_some(())
    });
    peer.send(ACK);
    peer.expect_end();
    server.wait_until_closed_for("unasked");
    // Also while it waits for the pods of before.
    let server = Server::closed();
    let peer = server.connect();
    peer.hello();
    peer.send(ACK);
    peer.expect_end();
    server.wait_until_closed_for("unasked");
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_that_a_peer_sends_are_closed() {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd as _;

    let server = Server::new();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let peer = server.connect();
    let fds = [writer.as_raw_fd()];
    let hello = [0x08, 0x01];
    sendmsg::<()>(
        peer.raw(),
        &[IoSlice::new(&hello)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    peer.take_snapshot();
    drop(writer);
    // The end comes only when nobody has the writing end any more.
    assert_eq!(nix::unistd::read(&reader, &mut [0; 8]).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_few_are_turned_away() {
    let server = Server::new();
    let peers: Vec<Peer> = (0..16).map(|_| server.synced()).collect();
    let one_more = server.connect();
    one_more.expect_end();
    server.wait_until_closed_for("too_many");
    drop(peers);
    // One that is gone makes room when its end was heard of.
    wait_until("there is room again", || {
        server.connect().has_come_in().then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_removals_and_leaves_the_rest() {
    let server = Server::new();
    let first = server.synced();
    let second = server.synced();
    server.add("a");
    server.add("b");
    second.take(&add("a", "a"));
    second.take(&add("b", "b"));
    server.wait_until_ready("b");
    server.ztunnel.remove("a");
    let stopped = tokio::spawn(async move {
        server.ztunnel.stop().await;
        server
    });
    for peer in [&first, &second] {
        peer.take(&peer::del("a"));
        peer.expect_end();
    }
    let server = stopped.await.unwrap();
    assert!(!server.directory.socket().exists());
    assert_eq!(server.closed_for("stopping"), 2);
}
