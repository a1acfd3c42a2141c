//! What is held or dropped is told: whose it is, from where to where, where and why.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use waysteer::kernel::observe::DropReport;
use waysteer_common::abi::names::{
    HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, STEER_MARK, TUNNEL_MARK,
};
use waysteer_common::abi::value::DropsToldValue;
use waysteer_common::verdict::{Hook, PacketAction};

use super::agreement::netns;
use super::frame::{Kind, SYN, plain, shapes};
use super::runner::{Code, Runner};

const CLIENT: [&str; 2] = ["10.1.0.1:40000", "[fd00:1::1]:40000"];
const FAR: [&str; 2] = ["10.2.0.1:80", "[fd00:2::1]:80"];

/// Of the same family.
fn pairs() -> Result<Vec<(SocketAddr, SocketAddr)>> {
    let both = CLIENT.iter().zip(FAR);
    both.map(|(pod, far)| Ok((pod.parse()?, far.parse()?)))
        .collect()
}

impl Runner {
    /// What one run tells, which must be a drop.
    fn told(&mut self, program: &'static str, mark: u32, frame: &[u8]) -> Result<DropReport> {
        let (code, counted) = self.program(program)?.run(mark, frame)?;
        let drops = self.drops()?;
        ensure!(
            code == Code::Drop && drops.len() == 1,
            "{code:?} {counted:?} {drops:?}"
        );
        let told = drops.into_iter().next().context("a drop")?;
        ensure!(counted == [told.action], "{counted:?} and {told:?}");
        Ok(told)
    }
}

/// What matters of a drop.
fn fields(
    told: &DropReport,
) -> (
    Hook,
    PacketAction,
    u64,
    Option<SocketAddr>,
    Option<SocketAddr>,
) {
    let DropReport {
        at: _,
        netns,
        hook,
        action,
        source,
        destination,
    } = *told;
    (hook, action, netns, source, destination)
}

#[test]
fn every_hook_tells_whose_packet_it_was() -> Result<()> {
    let mut runner = Runner::listening()?;
    let client = netns("client");
    let mut last = 0;
    for (pod, far) in pairs()? {
        let hbone = SocketAddr::new(pod.ip(), HBONE_PORT);
        for (program, mark, from, to, hook, action) in [
            (
                "lo_ingress",
                STEER_MARK,
                pod,
                far,
                Hook::LoIngress,
                PacketAction::OutboundHeld,
            ),
            (
                "pod_ingress",
                0,
                far,
                pod,
                Hook::PodIngress,
                PacketAction::InboundHeld,
            ),
            (
                "pod_ingress",
                0,
                far,
                hbone,
                Hook::PodIngress,
                PacketAction::InboundHeld,
            ),
        ] {
            let told = runner.told(program, mark, &plain(from, to, SYN))?;
            let expected = (hook, action, client, Some(from), Some(to));
            ensure!(fields(&told) == expected, "{told:?}, expected {expected:?}");
            ensure!(told.at > last, "{told:?} is not after {last}");
            last = told.at;
        }
    }
    Ok(())
}

#[test]
fn packets_of_all_shapes_are_told_as_far_as_they_can_be_read() -> Result<()> {
    let client = netns("client");
    for (program, mark, hook, is_inbound) in [
        ("lo_ingress", STEER_MARK, Hook::LoIngress, false),
        ("pod_ingress", 0, Hook::PodIngress, true),
        ("pod_egress", 0, Hook::PodEgress, false),
    ] {
        for (pod, far) in pairs()? {
            let (from, to) = if is_inbound { (far, pod) } else { (pod, far) };
            let mut runner = Runner::listening()?;
            for shape in shapes(from, to, SYN) {
                let (code, _) = runner.program(program)?.run(mark, &shape.frame)?;
                let drops = runner.drops()?;
                if code != Code::Drop {
                    ensure!(drops.is_empty(), "{} {drops:?}", shape.name);
                    continue;
                }
                let [told] = drops.as_slice() else {
                    anyhow::bail!("{program}, {}: {drops:?}", shape.name);
                };
                let (found_hook, _, netns, source, destination) = fields(told);
                ensure!(found_hook == hook, "{told:?}");
                if shape.kind == Kind::Unreadable {
                    // What was read is told, and nothing else is made up.
                    ensure!(told.action == PacketAction::UnreadableDropped, "{told:?}");
                    for (found, real) in [(source, from), (destination, to)] {
                        let is_real = found.is_none_or(|it| it == SocketAddr::new(real.ip(), 0));
                        ensure!(is_real, "{}: {told:?}", shape.name);
                    }
                    let (ours, real) = if is_inbound {
                        (destination, to)
                    } else {
                        (source, from)
                    };
                    let is_known = ours.is_some_and(|it| it.ip() == real.ip());
                    let expected = if is_known { client } else { 0 };
                    ensure!(netns == expected, "{}: {told:?}", shape.name);
                } else {
                    let expected = (client, Some(from), Some(to));
                    let found = (netns, source, destination);
                    ensure!(found == expected, "{program}, {}: {told:?}", shape.name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_the_listener_cannot_be_given_is_told() -> Result<()> {
    let mut runner = Runner::listening()?;
    let listeners = runner.netns.run(|| -> Result<Vec<Socket>> {
        let ports = [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT];
        ports.iter().map(|port| listen(*port)).collect()
    })?;
    // In a test run a packet is at no device, so the tunnel cannot be given it either.
    for (mark_of_listener, action) in [
        (0, PacketAction::ImpostorListener),
        (TUNNEL_MARK, PacketAction::AssignFailed),
    ] {
        for listener in &listeners {
            listener.set_mark(mark_of_listener)?;
        }
        for (pod, far) in pairs()? {
            for (program, mark, from, to) in [
                ("lo_ingress", STEER_MARK, pod, far),
                ("pod_ingress", 0, far, pod),
            ] {
                let told = runner.told(program, mark, &plain(from, to, SYN))?;
                let found = (told.action, told.source, told.destination);
                ensure!(found == (action, Some(from), Some(to)), "{told:?}");
                ensure!(told.netns == netns("client"), "{told:?}");
            }
        }
    }
    Ok(())
}

/// For both families.
fn listen(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from(([0_u16; 8], port)).into())?;
    socket.listen(1)?;
    Ok(socket)
}

#[test]
fn a_stranger_is_nobodys() -> Result<()> {
    let mut runner = Runner::listening()?;
    let frame = plain("10.66.0.1:1".parse()?, "10.2.0.1:80".parse()?, SYN);
    let told = runner.told("lo_ingress", STEER_MARK, &frame)?;
    ensure!(told.netns == 0, "{told:?}");
    Ok(())
}

#[test]
fn nothing_is_told_where_nobody_listens() -> Result<()> {
    let mut runner = Runner::new()?;
    for (pod, far) in pairs()? {
        let frame = plain(pod, far, SYN);
        let held = Some(PacketAction::OutboundHeld);
        let program = runner.program("lo_ingress")?;
        program.expect("held", STEER_MARK, &frame, Code::Drop, held)?;
    }
    let drops = runner.drops()?;
    ensure!(drops.is_empty(), "{drops:?}");
    Ok(())
}

/// All are held and counted; of a flood a part is told, and other pods' are not lost by it.
#[test]
fn a_flood_is_counted_and_leaves_room_for_others() -> Result<()> {
    const FLOOD: u32 = 20_000;
    let mut runner = Runner::listening()?;
    let to: SocketAddr = "10.2.0.1:80".parse()?;
    let flood = plain("10.1.0.1:40000".parse()?, to, SYN);
    let counted = runner
        .program("lo_ingress")?
        .repeat(FLOOD, STEER_MARK, &flood)?;
    let of = |action| counted.get(&action).copied().unwrap_or_default();
    ensure!(
        of(PacketAction::OutboundHeld) == u64::from(FLOOD),
        "{counted:?}"
    );
    let told = runner.drops()?.len() as u64;
    let untold = of(PacketAction::DropUntold);
    ensure!(told + untold == u64::from(FLOOD), "{told} and {counted:?}");
    ensure!(
        told >= DropsToldValue::A_SECOND && untold > 0,
        "{told} and {counted:?}"
    );
    let other = plain("10.1.0.2:40000".parse()?, to, SYN);
    let told = runner.told("lo_ingress", STEER_MARK, &other)?;
    ensure!(told.netns == netns("server-local"), "{told:?}");
    Ok(())
}
