//! `lo_ingress` and `pod_ingress` on packets of every shape.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use socket2::{Domain, Socket, Type};
use waysteer::kernel::load::LoadOptions;
use waysteer_common::abi::names::{
    HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, RETURN_MARK, STEER_MARK, TUNNEL_MARK,
};
use waysteer_common::verdict::PacketAction;

use super::frame::{ACK, Kind, SYN, Shape, plain, shapes};
use super::runner::{Code, Runner};

/// Bits above waysteer's twelve, which are somebody else's.
const FOREIGN: u32 = 0xabcd_e000;

fn addresses(port: u16) -> Result<[(SocketAddr, SocketAddr); 2]> {
    Ok([
        (
            "10.1.0.1:40000".parse()?,
            format!("10.2.0.1:{port}").parse()?,
        ),
        (
            "[fd00:1::1]:40000".parse()?,
            format!("[fd00:2::1]:{port}").parse()?,
        ),
    ])
}

/// Whether the programs take it in with one look.
fn is_plain(shape: &Shape) -> bool {
    ["plain", "do not fragment", "cut in the TCP header"].contains(&shape.name)
}

/// A listener on port `port` that is the tunnel's if it has the mark.
fn listen(runner: &Runner, port: u16) -> Result<Socket> {
    runner.netns.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&format!("[::]:{port}").parse::<SocketAddr>()?.into())?;
        socket.listen(16)?;
        Ok(socket)
    })
}

/// What becomes of a steered packet where nobody listens.
fn steered(shape: &Shape, is_refused: bool) -> (Code, Option<PacketAction>) {
    match shape.kind {
        Kind::Tcp if is_refused && is_plain(shape) => (Code::Next, None),
        Kind::Tcp | Kind::Tagged => (Code::Drop, Some(PacketAction::OutboundHeld)),
        Kind::FirstFragment => (Code::Drop, Some(PacketAction::FragmentDropped)),
        Kind::Unreadable => (Code::Drop, Some(PacketAction::UnreadableDropped)),
        Kind::LaterFragment | Kind::Other => (Code::Next, None),
    }
}

/// The same of a packet that comes to the pod.
fn inbound(shape: &Shape, is_refused: bool) -> (Code, Option<PacketAction>) {
    match shape.kind {
        Kind::Tcp if is_refused && is_plain(shape) => (Code::Next, None),
        Kind::Tcp => (Code::Drop, Some(PacketAction::InboundHeld)),
        Kind::FirstFragment => (Code::Drop, Some(PacketAction::FragmentDropped)),
        Kind::Unreadable => (Code::Drop, Some(PacketAction::UnreadableDropped)),
        Kind::Tagged => (Code::Next, Some(PacketAction::VlanPassed)),
        Kind::LaterFragment => (Code::Next, Some(PacketAction::FragmentPassed)),
        Kind::Other => (Code::Next, None),
    }
}

#[test]
fn steered_packets_are_held_without_a_tunnel() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("lo_ingress")?;
    for (from, to) in addresses(80)? {
        for (flags, is_refused) in [(SYN, false), (ACK, true), (SYN | ACK, true)] {
            for shape in shapes(from, to, flags) {
                let (code, action) = steered(&shape, is_refused);
                for mark in [STEER_MARK, FOREIGN | STEER_MARK] {
                    program.expect(shape.name, mark, &shape.frame, code, action)?;
                }
            }
        }
    }
    Ok(())
}

/// Under SYN cookies an ACK may be the first packet that a listener remembers: from when one may have
/// given a cookie until nobody can come with one any more.
#[test]
fn what_may_come_with_a_cookie_is_held_too() -> Result<()> {
    for (name, port) in [
        ("lo_ingress", OUTBOUND_PORT),
        ("pod_ingress", INBOUND_PLAINTEXT_PORT),
    ] {
        let runner = Runner::new()?;
        let program = runner.program(name)?;
        let expected = |shape: &Shape, is_refused| match port {
            OUTBOUND_PORT => steered(shape, is_refused),
            _ => inbound(shape, is_refused),
        };
        // The default; then cookies for everybody; and what was given then is good for a while.
        for (sysctl, is_refused) in [("1", true), ("2", false), ("1", false)] {
            runner.netns.set_sysctl("net/ipv4/tcp_syncookies", sysctl)?;
            let listener = listen(&runner, port)?;
            listener.set_mark(TUNNEL_MARK)?;
            let [(from, to), _] = addresses(80)?;
            let failed = Some(PacketAction::AssignFailed);
            let syn = plain(from, to, SYN);
            program.expect("to the tunnel", STEER_MARK, &syn, Code::Drop, failed)?;
            drop(listener);
            for (from, to) in addresses(80)? {
                for shape in shapes(from, to, ACK) {
                    let (code, action) = expected(&shape, is_refused);
                    let what = format!("{name}, tcp_syncookies {sysctl}, {}", shape.name);
                    program.expect(&what, STEER_MARK, &shape.frame, code, action)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_not_steered_passes_lo() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("lo_ingress")?;
    for (from, to) in addresses(80)? {
        for shape in shapes(from, to, SYN) {
            for mark in [
                0,
                1,
                TUNNEL_MARK,
                FOREIGN | TUNNEL_MARK,
                RETURN_MARK,
                FOREIGN,
            ] {
                program.expect(shape.name, mark, &shape.frame, Code::Next, None)?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_comes_to_the_pod_is_held_without_a_tunnel() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("pod_ingress")?;
    for (from, to) in addresses(80)? {
        for (flags, is_refused) in [(SYN, false), (ACK, true), (SYN | ACK, true)] {
            for shape in shapes(from, to, flags) {
                let (code, action) = inbound(&shape, is_refused);
                program.expect(shape.name, 0, &shape.frame, code, action)?;
            }
        }
    }
    Ok(())
}

/// But while there is nobody to answer, a connection is not refused.
#[test]
fn hbone_comes_to_the_pod_untouched() -> Result<()> {
    let runner = Runner::new()?;
    let program = runner.program("pod_ingress")?;
    let listener = runner.netns.run(|| TcpListener::bind(("::", HBONE_PORT)))?;
    let mut listener = Some(listener);
    for is_served in [true, false] {
        for (from, to) in addresses(HBONE_PORT)? {
            for flags in [SYN, ACK] {
                for shape in shapes(from, to, flags) {
                    let held = (Code::Drop, Some(PacketAction::InboundHeld));
                    let (code, action) = match shape.kind {
                        Kind::Tcp if flags == SYN && !is_served => held,
                        Kind::Tcp | Kind::FirstFragment => (Code::Next, None),
                        _ => continue,
                    };
                    program.expect(shape.name, 0, &shape.frame, code, action)?;
                }
            }
        }
        listener.take();
    }
    Ok(())
}

/// Only a privileged process can mark its listener, so an application's own is told apart.
#[test]
fn a_listener_without_the_mark_gets_nothing() -> Result<()> {
    let runner = Runner::new()?;
    for (program, port) in [
        ("lo_ingress", OUTBOUND_PORT),
        ("pod_ingress", INBOUND_PLAINTEXT_PORT),
    ] {
        let program = runner.program(program)?;
        let listener = listen(&runner, port)?;
        for (from, to) in addresses(80)? {
            let frame = plain(from, to, SYN);
            let impostor = Some(PacketAction::ImpostorListener);
            program.expect("an impostor", STEER_MARK, &frame, Code::Drop, impostor)?;
            listener.set_mark(TUNNEL_MARK)?;
            // In a test run a packet is at no device, so it can be assigned to no socket.
            let failed = Some(PacketAction::AssignFailed);
            program.expect("the tunnel", STEER_MARK, &frame, Code::Drop, failed)?;
            listener.set_mark(0)?;
        }
    }
    Ok(())
}

#[test]
fn a_dry_run_lets_everything_pass() -> Result<()> {
    let runner = Runner::with(&LoadOptions {
        dry_run: true,
        ..LoadOptions::default()
    })?;
    for program in ["lo_ingress", "pod_ingress", "pod_egress"] {
        let program = runner.program(program)?;
        for (from, to) in addresses(80)? {
            for shape in shapes(from, to, SYN) {
                for mark in [0, STEER_MARK, TUNNEL_MARK, RETURN_MARK] {
                    let (code, _) = program.run(mark, &shape.frame)?;
                    ensure!(code == Code::Next, "{}, mark {mark:#x}", shape.name);
                }
            }
        }
    }
    Ok(())
}
