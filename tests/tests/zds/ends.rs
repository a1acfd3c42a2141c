//! Connections that end, at any point, and such as never begin.

use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::zds::wire::HELLO;
use waysteer_tests::zds::{Answer, Connection, Peer, Request};

use super::answers::serves_the_next;
use super::{PATIENCE, PODS, bed};

#[test]
fn a_ztunnel_may_go_at_any_point() -> Result<()> {
    let bed = bed()?;
    for last in 0..=PODS.len() {
        let manner = move |number, _: &Request| match number == last {
            true => Answer::Close,
            false => Answer::Ack,
        };
        let peer = Peer::with(&bed.zds_socket(), false, Box::new(manner))?;
        peer.wait(PATIENCE, "it goes", |seen| seen.closed)?;
        let requests = peer.finish()?.requests;
        ensure!(requests.len() == last + 1, "{requests:?}");
    }
    serves_the_next(&bed)
}

#[test]
fn whoever_does_not_say_hello_is_told_nothing() -> Result<()> {
    let bed = bed()?;
    let silent = Connection::open_silently(&bed.zds_socket())?;
    for hello in [
        b"".as_slice(),
        b"\x08\x02",
        b"\x08\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        &[0x08; 2000],
    ] {
        let connection = Connection::open_silently(&bed.zds_socket())?;
        connection.send(hello)?;
        ensure!(connection.is_readable(PATIENCE), "{hello:02x?}: not closed");
        let answer = connection.receive()?;
        ensure!(answer.is_none(), "{hello:02x?}: {answer:?}");
    }
    ensure!(!silent.is_readable(Duration::ZERO), "nothing was asked");
    // Others do not wait for the silent one.
    serves_the_next(&bed)?;
    ensure!(silent.is_readable(PATIENCE), "silence is not for ever");
    ensure!(silent.receive()?.is_none());
    Ok(())
}

#[test]
fn an_answer_before_any_question_ends_the_connection() -> Result<()> {
    let bed = bed()?;
    let connection = Connection::open_silently(&bed.zds_socket())?;
    connection.send(&HELLO)?;
    connection.send(&HELLO)?;
    let mut packets = 0;
    while connection.is_readable(PATIENCE) && connection.receive()?.is_some() {
        packets += 1;
    }
    ensure!(packets <= 1, "{packets} requests, none of them answered");
    serves_the_next(&bed)
}
