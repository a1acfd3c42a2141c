//! Senders that make their packets themselves.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::foreign::Foreign;
use waysteer_tests::raw::{Answer, converse, send_syn};

use super::watched::{SECRET, Watched};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_segment_made_by_hand_is_steered() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    let mut port = 46_000;
    for v6 in [false, true] {
        for to in [
            watched.pod("far", v6),
            Bed::service(bed::WEB, v6),
            Bed::service(bed::SHOP, v6),
        ] {
            let mut from = watched.pod("client", v6);
            port += 1;
            from.set_port(port);
            let mark = watched.bed.mark()?;
            let steered = watched.action("guard_steered")?;
            let answer = send_syn(client, from, to, PATIENCE).with_context(|| to.to_string())?;
            ensure!(answer == Answer::Accepted, "{to}: {answer:?}");
            ensure!(
                watched.action("guard_steered")? > steered,
                "{to}: not by the guard"
            );
            let verdict = watched.bed.flow_to(to, mark)?;
            ensure!(
                verdict.steered && verdict.hook == "pod_egress",
                "{verdict:?}"
            );
            watched.nothing_leaked(to)?;
        }
        // What needs no tunnel leaves as it is.
        let mut from = watched.pod("client", v6);
        port += 1;
        from.set_port(port);
        let to = watched.external(v6);
        let answer = send_syn(client, from, to, PATIENCE)?;
        ensure!(answer == Answer::Accepted, "{to}: {answer:?}");
        ensure!(
            watched.capture.sum_to(to).syns > 0,
            "{to}: no SYN on the wire"
        );
    }
    Ok(())
}

#[test]
fn a_conversation_made_by_hand_goes_through_the_tunnel() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    let request = format!("GET {SECRET} HTTP/1.1\r\nhost: any\r\n\r\n");
    for v6 in [false, true] {
        for (port, to) in [
            (47_001, watched.pod("far", v6)),
            (47_002, Bed::service(bed::WEB, v6)),
        ] {
            let mut from = watched.pod("client", v6);
            from.set_port(port);
            // The kernel must not reset what it knows nothing of.
            let _hidden = Foreign::dropping(client, "lo", from)?;
            let ends = [from, to];
            let verdicts = watched.bed.metric("waysteer_verdicts", &[])?;
            let answer = converse(client, "lo", ends, request.as_bytes(), b"\"far\"", PATIENCE)
                .with_context(|| format!("to {to}"))?;
            let answer = String::from_utf8_lossy(&answer);
            let address = from.ip().to_string();
            ensure!(answer.contains(&address), "{to}: {answer}");
            watched.nothing_leaked(to)?;
            let now = watched.bed.metric("waysteer_verdicts", &[])?;
            ensure!(now == verdicts + 1, "{to}: {verdicts}, then {now}");
        }
    }
    Ok(())
}
