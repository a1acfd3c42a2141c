use super::*;

#[test]
fn a_bypass_that_cannot_be_goes_to_the_same_endpoint_through_the_tunnel() {
    let endpoint = Address::from_v4([10, 1, 1, 11]);
    let mut verdict = Verdict {
        class: Class::DirectLocal,
        reason: Reason::ServiceLocalBypass,
        steer: false,
        next_hop: NextHop {
            address: endpoint,
            port: 8080,
            hbone: false,
            authority: Address::from_v4([10, 96, 0, 12]),
            authority_port: 80,
            workload: 7,
        },
        service: 3,
    };
    verdict.into_tunnel();
    let through = Verdict {
        class: Class::DirectLocal,
        reason: Reason::ServiceLocal,
        steer: true,
        next_hop: NextHop {
            address: endpoint,
            port: HBONE_PORT,
            hbone: true,
            authority: endpoint,
            authority_port: 8080,
            workload: 7,
        },
        service: 3,
    };
    assert_eq!(verdict, through);
}

#[test]
fn sockets_of_different_processors_do_not_share_their_slots() {
    use crate::abi::value::HandedOverValue as Slots;
    // Each has begun a block of its own, and both are equally far.
    for number in 0..4096 {
        assert_ne!(Slots::slot(4096 + number), Slots::slot(2 * 4096 + number));
    }
    assert!((0..100_000).all(|cookie| Slots::slot(cookie) < Slots::SLOTS));
}
