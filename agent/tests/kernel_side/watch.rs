//! What changes in a netns is told, whatever it is.

use std::time::Duration;

use waysteer::kernel::watch::NetnsWatch;

use crate::bed::Bed;
use crate::needs_root;

/// One a group, and its opposite.
const CHANGES: [&str; 11] = [
    "link set lo up",
    "link set lo down",
    "addr add 10.77.9.9/32 dev eth0",
    "-6 addr add fd77:9::9/128 dev eth0",
    "rule add fwmark 1 lookup 99",
    "-6 rule add fwmark 1 lookup 99",
    "route add 10.99.0.0/16 dev eth0",
    "-6 route add fd99::/64 dev eth0",
    "link set eth0 name renamed",
    "link set renamed name eth0",
    "link del eth0",
];

const PATIENCE: Duration = Duration::from_secs(5);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn every_change_is_told() {
    needs_root!();
    let bed = Bed::new();
    runtime().block_on(async {
        let watch = NetnsWatch::open(&bed.pod.netns).expect("a watch");
        let told = async |what: &str| {
            tokio::time::timeout(PATIENCE, watch.changed())
                .await
                .unwrap_or_else(|_| panic!("not told: {what}"))
                .expect("a watch");
        };
        // Until the events of the last change are over: the kernel may send more than one.
        let is_told = async || {
            let soon = tokio::time::timeout(Duration::from_millis(50), watch.changed());
            soon.await.is_ok()
        };
        for change in CHANGES {
            bed.pod.ip(change);
            told(change).await;
            while is_told().await {}
        }
        bed.world.ip("addr add 10.88.0.1/24 dev lo");
        assert!(!is_told().await, "another netns is nobody's business here");
    });
}

#[test]
fn more_than_the_socket_holds_is_a_change_too() {
    needs_root!();
    let bed = Bed::new();
    runtime().block_on(async {
        let watch = NetnsWatch::open(&bed.pod.netns).expect("a watch");
        // Each event takes at least 2 KiB of the buffer (`skb->truesize`), which has 208 KiB.
        let batch: String = (0..400).fold(String::new(), |batch, number| {
            let (high, low) = (number / 200, number % 200);
            batch + &format!("addr add 10.66.{high}.{low}/32 dev eth0\n")
        });
        let path = std::env::temp_dir().join(format!("waysteer-batch-{}", std::process::id()));
        std::fs::write(&path, batch).expect("a file");
        bed.pod.ip(&format!("-batch {}", path.display()));
        std::fs::remove_file(&path).expect("the file");
        watch.changed().await.expect("told");
        bed.pod.ip("link set lo up");
        tokio::time::timeout(PATIENCE, watch.changed())
            .await
            .expect("told again")
            .expect("a watch");
    });
}
