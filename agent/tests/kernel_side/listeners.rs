//! The tunnel's listeners are seen as they are, and taken for nobody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use waysteer::kernel::listeners::{NoListener, NoListenerReason, PORTS, missing};

use crate::bed::{Bed, without_forks};
use crate::needs_root;

const TUNNEL_MARK: u32 = 0x539;

fn listen(address: IpAddr, port: u16, mark: u32) -> Socket {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_mark(mark).expect("a mark");
    socket.set_reuse_port(true).expect("a shared port");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(16).expect("a listener");
    socket
}

#[test]
fn a_port_without_the_tunnel_is_missing() {
    needs_root!();
    let bed = Bed::new();
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let state = || missing(&bed.pod.netns).expect("sock_diag");
    let lacking = |port, reason| NoListener { port, reason };
    let all = PORTS.map(|port| lacking(port, NoListenerReason::Missing));
    assert_eq!(state(), all);

    let sockets = PORTS.map(|port| bed.pod.run(|| listen(v6, port, TUNNEL_MARK | 0x7000)));
    assert_eq!(
        state(),
        [],
        "bits outside of the mask are nobody's business"
    );
    let second = bed.pod.run(|| listen(v6, PORTS[0], TUNNEL_MARK));
    let [first, rest @ ..] = sockets;
    without_forks(|| drop(first));
    assert_eq!(state(), [], "another tunnel has the port");
    without_forks(|| drop(second));
    assert_eq!(state(), [all[0]]);
    without_forks(|| drop(rest));
    assert_eq!(state(), all);

    let _mine = bed.pod.run(|| listen(v4, PORTS[1], 0));
    let _tunnel = bed.pod.run(|| listen(v4, PORTS[2], TUNNEL_MARK));
    let foreign = lacking(PORTS[1], NoListenerReason::Foreign { mark: 0 });
    assert_eq!(state(), [all[0], foreign]);
    // Of another netns.
    assert_eq!(missing(&bed.world.netns).expect("sock_diag"), all);
}
