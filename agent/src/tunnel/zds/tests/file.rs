//! The socket in the file system.

use std::os::unix::fs::PermissionsExt as _;

use socket2::{Domain, SockAddr, Socket, Type};

use super::super::ZdsError;
use super::*;

#[tokio::test]
async fn it_is_for_root_only_and_its_directory_is_made() {
    let directory = Directory::new();
    let path = directory.0.join("run").join("ztunnel.sock");
    let ztunnel = Ztunnel::start(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    ztunnel.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn what_a_killed_agent_left_is_replaced() {
    let directory = Directory::new();
    let path = directory.socket();
    let dead = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    dead.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    dead.listen(1).unwrap();
    drop(dead);
    let ztunnel = Ztunnel::start(&path).unwrap();
    Peer::connect(&path);
    ztunnel.stop().await;
}

#[tokio::test]
async fn what_another_agent_serves_is_left_alone() {
    for kind in [Type::SEQPACKET, Type::STREAM] {
        let directory = Directory::new();
        let path = directory.socket();
        let other = Socket::new(Domain::UNIX, kind, None).unwrap();
        other.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        other.listen(1).unwrap();
        let error = Ztunnel::start(&path).unwrap_err();
        assert!(
            matches!(&error, ZdsError::Owned { path: p } if *p == path),
            "{error}"
        );
        assert!(path.exists());
    }
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = Directory::new();
    let path = directory.socket();
    std::fs::write(&path, "precious").unwrap();
    let error = Ztunnel::start(&path).unwrap_err();
    assert!(matches!(error, ZdsError::NoSocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn the_socket_of_a_successor_is_not_removed() {
    let directory = Directory::new();
    let path = directory.socket();
    let first = Ztunnel::start(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Ztunnel::start(&path).unwrap();
    first.stop().await;
    Peer::connect(&path);
    second.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_that_is_too_long_is_named() {
    let directory = Directory::new();
    let path = directory.0.join("x".repeat(108));
    let error = Ztunnel::start(&path).unwrap_err().to_string();
    assert!(error.contains("xxx"), "{error}");
}
