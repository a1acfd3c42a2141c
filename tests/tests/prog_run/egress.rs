//! `pod_egress`, the guard, on packets that no TCP socket has sent.

use std::net::SocketAddr;

use anyhow::Result;
use waysteer_common::abi::names::{RETURN_MARK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::verdict::PacketAction;

use super::frame::{ACK, Kind, RST, SYN, plain, shapes};
use super::runner::{Code, Runner};

const STEERED: (Code, Option<PacketAction>) = (Code::Redirect, Some(PacketAction::GuardSteered));
const PASSED: (Code, Option<PacketAction>) = (Code::Next, None);

fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(SocketAddr, SocketAddr)>> {
    pairs
        .iter()
        .map(|(from, to)| Ok((from.parse()?, to.parse()?)))
        .collect()
}

#[test]
fn a_first_segment_to_a_mesh_destination_is_steered() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("pod_egress")?;
    for (from, to) in pairs(&[
        ("10.1.0.1:40000", "10.2.0.1:80"),
        ("[fd00:1::1]:40000", "[fd00:2::1]:80"),
        // Whose endpoint a socket would be sent to.
        ("10.1.0.1:40000", "10.3.0.11:80"),
        ("[fd00:1::1]:40000", "[fd00:3::11]:80"),
    ])? {
        for shape in shapes(from, to, SYN) {
            let (code, action) = match shape.kind {
                Kind::Tcp => STEERED,
                Kind::FirstFragment | Kind::Tagged => {
                    (Code::Drop, Some(PacketAction::GuardDropped))
                }
                Kind::Unreadable => (Code::Drop, Some(PacketAction::UnreadableDropped)),
                Kind::LaterFragment => (Code::Next, Some(PacketAction::FragmentPassed)),
                Kind::Other => PASSED,
            };
            program.expect(shape.name, 0, &shape.frame, code, action)?;
        }
    }
    Ok(())
}

#[test]
fn marks_decide_before_anything_is_read() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("pod_egress")?;
    for (from, to) in pairs(&[
        ("10.1.0.1:40000", "10.2.0.1:80"),
        ("[fd00:1::1]:40000", "[fd00:2::1]:80"),
    ])? {
        for shape in shapes(from, to, SYN) {
            for foreign in [0, 0xabcd_e000] {
                let returned = Some(PacketAction::GuardReturned);
                for mark in [STEER_MARK, RETURN_MARK] {
                    let mark = foreign | mark;
                    program.expect(shape.name, mark, &shape.frame, Code::Redirect, returned)?;
                }
                let mark = foreign | TUNNEL_MARK;
                program.expect(shape.name, mark, &shape.frame, Code::Next, None)?;
            }
        }
    }
    Ok(())
}

#[test]
fn destinations_decide_about_first_segments() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("pod_egress")?;
    let recorded = (Code::Next, Some(PacketAction::LocalFlowRecorded));
    for (from, to, (code, action)) in [
        // A service with a waypoint, one without endpoints, and one that is lost.
        ("10.1.0.1:40001", "10.3.0.20:80", STEERED),
        ("10.1.0.1:40001", "10.3.0.40:80", STEERED),
        ("[fd00:1::1]:40001", "[fd00:3::21]:80", STEERED),
        ("10.1.0.1:40001", "10.1.0.2:80", recorded),
        ("[fd00:1::1]:40001", "[fd00:1::2]:80", recorded),
        ("10.1.0.1:40001", "10.1.0.4:80", STEERED),
        ("10.1.0.1:40001", "10.2.0.9:80", PASSED),
        ("[fd00:1::1]:40001", "[fd00:2::9]:80", PASSED),
        ("10.1.0.1:40001", "192.0.2.1:80", PASSED),
        ("[fd00:1::1]:40001", "[2001:db8::1]:80", PASSED),
        ("10.1.0.1:40001", "10.1.0.1:80", PASSED),
        ("10.1.0.1:40001", "127.0.0.1:80", PASSED),
        ("[fd00:1::1]:40001", "[::1]:80", PASSED),
        // Whoever the source is, it is not the pod.
        ("10.66.0.1:40001", "192.0.2.1:80", STEERED),
        ("[fd00:66::1]:40001", "[2001:db8::1]:80", STEERED),
    ] {
        let frame = plain(from.parse()?, to.parse()?, SYN);
        program.expect(&format!("{from} to {to}"), 0, &frame, code, action)?;
    }
    Ok(())
}

#[test]
fn later_segments_follow_unless_they_answer() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("pod_egress")?;
    for (from, to, flags, (code, action)) in [
        ("10.1.0.1:40002", "10.2.0.1:80", ACK, STEERED),
        ("[fd00:1::1]:40002", "[fd00:2::1]:80", ACK, STEERED),
        ("10.1.0.1:40002", "192.0.2.1:80", ACK, PASSED),
        // The kernel resets what came by HBONE for a port where nobody listens.
        ("10.1.0.1:80", "10.2.0.1:40002", RST | ACK, PASSED),
        ("10.1.0.1:15008", "10.2.0.1:40002", ACK, PASSED),
        ("10.1.0.1:15008", "10.2.0.1:40002", SYN | ACK, PASSED),
    ] {
        let frame = plain(from.parse()?, to.parse()?, flags);
        let what = format!("{from} to {to}, flags {flags:#x}");
        program.expect(&what, 0, &frame, code, action)?;
    }
    Ok(())
}
