//! The messages of ZDS, one a packet. The numbers are those of ztunnel's protocol.

use prost::Message as _;

use super::error::ZdsError;
use crate::model::PodSpec;

/// No packet is longer, in either direction: it is what ztunnel reads.
pub(super) const PACKET_MAX: usize = 1024;
/// Of the only version there is.
pub(super) const VERSION: i32 = 1;

/// ztunnel's first packet.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Hello {
    #[prost(int32, tag = "1")]
    pub(super) version: i32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct WorkloadRequest {
    #[prost(oneof = "Request", tags = "1, 2, 3, 5")]
    payload: Option<Request>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
enum Request {
    #[prost(message, tag = "1")]
    Add(AddWorkload),
    #[prost(message, tag = "2")]
    Del(DelWorkload),
    #[prost(message, tag = "3")]
    SnapshotSent(SnapshotSent),
    #[prost(message, tag = "5")]
    Keep(KeepWorkload),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct AddWorkload {
    #[prost(string, tag = "1")]
    uid: String,
    /// Never absent: without it ztunnel ends.
    #[prost(message, optional, tag = "2")]
    workload_info: Option<WorkloadInfo>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct WorkloadInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    service_account: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct KeepWorkload {
    #[prost(string, tag = "1")]
    uid: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct DelWorkload {
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SnapshotSent {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct WorkloadResponse {
    #[prost(oneof = "Response", tags = "1")]
    payload: Option<Response>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
enum Response {
    #[prost(message, tag = "1")]
    Ack(Ack),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Ack {
    #[prost(string, tag = "1")]
    error: String,
}

/// # Errors
/// When a message about this pod would be longer than ztunnel reads.
pub(super) fn add(pod: &PodSpec) -> Result<Vec<u8>, ZdsError> {
    let packet = encode(Request::Add(AddWorkload {
        uid: pod.uid.clone(),
        workload_info: Some(WorkloadInfo {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            service_account: pod.service_account.clone(),
        }),
    }));
    match packet.len() {
        0..=PACKET_MAX => Ok(packet),
        length => Err(ZdsError::TooLong { length }),
    }
}

pub(super) fn keep(uid: &str) -> Vec<u8> {
    let uid = uid.to_owned();
    encode(Request::Keep(KeepWorkload { uid }))
}

pub(super) fn del(uid: &str) -> Vec<u8> {
    let uid = uid.to_owned();
    encode(Request::Del(DelWorkload { uid }))
}

pub(super) fn snapshot_sent() -> Vec<u8> {
    encode(Request::SnapshotSent(SnapshotSent {}))
}

fn encode(request: Request) -> Vec<u8> {
    let payload = Some(request);
    WorkloadRequest { payload }.encode_to_vec()
}

/// What an answer says is wrong; empty for a plain acknowledgement. `None`: it is no answer.
pub(super) fn error_in(packet: &[u8]) -> Option<String> {
    let Response::Ack(Ack { error }) = WorkloadResponse::decode(packet).ok()?.payload?;
    Some(error)
}

/// The version in a hello; `None`: it is none.
pub(super) fn version_in(packet: &[u8]) -> Option<i32> {
    Some(Hello::decode(packet).ok()?.version)
}
