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
    verdict.without_memory();
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
    // Others need nothing to be remembered.
    verdict.without_memory();
    assert_eq!(verdict, through);
}

#[test]
fn sockets_have_slots_of_their_own_until_all_have_been_given() {
    use crate::abi::value::ConnectionValue as Slots;
    let slots: std::collections::BTreeSet<u32> = (1_000_000..)
        .take(Slots::SLOTS as usize)
        .map(Slots::slot)
        .collect();
    assert_eq!(slots.len(), Slots::SLOTS as usize);
    assert!(slots.iter().all(|slot| *slot < Slots::SLOTS));
}

#[test]
fn connections_are_spread_over_the_slots() {
    use crate::abi::key::TupleKey;
    use crate::abi::value::LocalConnectionValue as Slots;
    // What one pod dials of another, and many of one.
    let tuples = (0..4_096_u16)
        .map(|port| (1, 32_768 + port))
        .chain((0..=255).map(|pod| (pod, 40_000)));
    let slots: std::collections::BTreeSet<u32> = tuples
        .map(|(pod, port)| {
            let [source, destination] = [pod, 9].map(|last| Address::from_v4([10, 1, 1, last]));
            Slots::slot(&TupleKey::new(source, port, destination, 8080))
        })
        .collect();
    // By chance it would be 3,750.
    assert!(slots.len() > 3_600, "{}", slots.len());
    assert!(slots.iter().all(|slot| *slot < Slots::SLOTS));
}
