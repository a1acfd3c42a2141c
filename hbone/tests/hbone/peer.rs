//! The `hbone-peer` binary, as a node and as a waypoint before it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::client::{Pool, PoolConfig, PoolKey};
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::refusal::Refusal;

use crate::support::*;

struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: std::net::SocketAddr,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hbone-peer"))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self {
            child,
            lines,
            address: ([0, 0, 0, 0], 0).into(),
        };
        let listening = process.line();
        assert_eq!(listening["event"], "listening");
        process.address = listening["address"].as_str().unwrap().parse().unwrap();
        process
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_waypoint_to_a_node() {
    let dir = TempDir::new("peer");
    let ca_dir = dir.0.to_str().unwrap();
    let waypoint_id = SpiffeId::new("cluster.local", "demo", "waypoint").unwrap();
    // The node has its authority from the directory, the waypoint its certificate from files.
    let mut node = Process::start(&[
        "--ca",
        ca_dir,
        "--identity",
        server_id().as_str(),
        "--allow",
        waypoint_id.as_str(),
        "--map-to",
        "127.0.0.1",
    ]);
    let written = Command::new(env!("CARGO_BIN_EXE_hbone-peer"))
        .args(["certs", "--ca", ca_dir, "--out", ca_dir])
        .args(["--identity", waypoint_id.as_str()])
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    let file = |name: &str| dir.0.join(name).to_str().unwrap().to_owned();
    let mut waypoint = Process::start(&[
        "--cert",
        &file("waypoint.pem"),
        "--key",
        &file("waypoint.key"),
        "--root",
        &file("ca.pem"),
        "--mode",
        "waypoint",
        "--next-hop",
        &node.address.to_string(),
        "--expect",
        server_id().as_str(),
    ]);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let application = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        tcp.read_to_end(&mut question).await.unwrap();
        tcp.write_all(b"the answer").await.unwrap();
        question
    });
    let ca = Arc::new(LocalCa::load(&dir.0).unwrap());
    let pool = Pool::new(PoolConfig::default(), ca, Direct);
    let to = |next_hop, expected: &SpiffeId| PoolKey {
        local: client_id(),
        next_hop,
        expected: Arc::new([expected.clone()].into()),
        scope: 0,
    };
    let authority = format!("10.96.0.1:{port}");
    let key = to(waypoint.address, &waypoint_id);
    let stream = soon(pool.connect(&key, &authority, HeaderMap::new()))
        .await
        .unwrap();
    assert_eq!(exchange(stream, b"question").await.unwrap(), b"the answer");
    assert_eq!(soon(application).await.unwrap(), b"question");

    for (process, peer) in [
        (&mut waypoint, client_id()),
        (&mut node, waypoint_id.clone()),
    ] {
        let line = process.line();
        assert_eq!(line["event"], "connect");
        assert_eq!(line["peer"], peer.as_str());
        assert_eq!(line["authority"], authority);
        assert_eq!(line["status"], 200);
        assert_eq!(line["bytes_in"], 8);
        assert_eq!(line["bytes_out"], 10);
        assert_eq!(line["error"], Value::Null);
    }

    let key = to(node.address, &server_id());
    let denied = soon(pool.connect(&key, &authority, HeaderMap::new()))
        .await
        .unwrap_err();
    assert_eq!(denied.refusal(), Some(Refusal::Denied));
    assert_eq!(node.line()["status"], 401);

    // Nobody listens there any more: the node's answer passes the waypoint.
    let key = to(waypoint.address, &waypoint_id);
    let gone = soon(pool.connect(&key, &authority, HeaderMap::new()))
        .await
        .unwrap_err();
    assert_eq!(gone.refusal(), Some(Refusal::Unavailable));

    waypoint.signal("-TERM");
    assert!(waypoint.child.wait().unwrap().success());
}
