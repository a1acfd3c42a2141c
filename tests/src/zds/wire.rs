//! The messages, byte by byte.
//!
//! | message | fields |
//! |---|---|
//! | hello | 1 version |
//! | request | one of 1 add, 2 del, 3 snapshot sent, 5 keep |
//! | add | 1 uid, 2 info {1 name, 2 namespace, 3 service account} |
//! | keep | 1 uid |
//! | del | **2** uid |
//! | response | 1 ack {1 error} |

/// Version 1.
pub const HELLO: [u8; 2] = [0x08, 0x01];
/// An ack without error.
pub const ACK: [u8; 2] = [0x0a, 0x00];

/// Whose pod it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    pub name: String,
    pub namespace: String,
    pub service_account: String,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The info is optional on the wire, and a ztunnel ends without it.
    Add {
        uid: String,
        info: Option<Info>,
    },
    Keep {
        uid: String,
    },
    Del {
        uid: String,
    },
    SnapshotSent,
}

impl Request {
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::Add { uid, .. } | Self::Keep { uid } | Self::Del { uid } => Some(uid),
            Self::SnapshotSent => None,
        }
    }
}

/// An ack that says what went wrong.
pub fn nack(error: &str) -> Vec<u8> {
    let mut ack = vec![0x0a];
    put_bytes(&mut ack, error.as_bytes());
    let mut response = vec![0x0a];
    put_bytes(&mut response, &ack);
    response
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// Reads one packet. A field that the text does not name is an error: an older ztunnel would pass
/// over it, and do something else than was meant.
pub fn read_request(packet: &[u8]) -> Result<Request, String> {
    let fields = read_fields(packet)?;
    let [(number, body)] = fields.as_slice() else {
        return Err(format!("{} messages in one request", fields.len()));
    };
    match number {
        1 => read_add(body),
        2 => Ok(Request::Del {
            uid: only_string(body, 2)?,
        }),
        3 if body.is_empty() => Ok(Request::SnapshotSent),
        3 => Err("snapshot sent has no fields".to_owned()),
        5 => Ok(Request::Keep {
            uid: only_string(body, 1)?,
        }),
        other => Err(format!("there is no request {other}")),
    }
}

fn read_add(body: &[u8]) -> Result<Request, String> {
    let (mut uid, mut info) = (String::new(), None);
    for (number, value) in read_fields(body)? {
        match number {
            1 => uid = string(value)?,
            2 => info = Some(read_info(value)?),
            other => return Err(format!("add has no field {other}")),
        }
    }
    Ok(Request::Add { uid, info })
}

fn read_info(body: &[u8]) -> Result<Info, String> {
    let mut info = Info::default();
    for (number, value) in read_fields(body)? {
        let field = match number {
            1 => &mut info.name,
            2 => &mut info.namespace,
            3 => &mut info.service_account,
            other => return Err(format!("workload info has no field {other}")),
        };
        *field = string(value)?;
    }
    Ok(info)
}

/// A message of one string, with the number that it must have.
fn only_string(body: &[u8], number: u64) -> Result<String, String> {
    match read_fields(body)?.as_slice() {
        [] => Ok(String::new()),
        [(found, value)] if *found == number => string(value),
        other => Err(format!("{other:?} where field {number} alone should be")),
    }
}

fn string(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| format!("not UTF-8: {value:?}"))
}

/// Numbers and contents; all fields of this protocol's requests are of wire type 2.
fn read_fields(mut bytes: &[u8]) -> Result<Vec<(u64, &[u8])>, String> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = read_varint(&mut bytes)?;
        if tag & 7 != 2 {
            return Err(format!("field {} is of wire type {}", tag >> 3, tag & 7));
        }
        let length = usize::try_from(read_varint(&mut bytes)?).map_err(|e| e.to_string())?;
        let (value, rest) = bytes
            .split_at_checked(length)
            .ok_or("a field ends after its message")?;
        fields.push((tag >> 3, value));
        bytes = rest;
    }
    Ok(fields)
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("a number is cut off")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_each_request() {
        let add = b"\x0a\x15\x0a\x01u\x12\x10\x0a\x01n\x12\x02ns\x1a\x07account";
        let info = Info {
            name: "n".to_owned(),
            namespace: "ns".to_owned(),
            service_account: "account".to_owned(),
        };
        let uid = "u".to_owned();
        for (bytes, wanted) in [
            (
                add.as_slice(),
                Request::Add {
                    uid: uid.clone(),
                    info: Some(info),
                },
            ),
            (
                b"\x0a\x03\x0a\x01u",
                Request::Add {
                    uid: uid.clone(),
                    info: None,
                },
            ),
            (b"\x12\x03\x12\x01u", Request::Del { uid: uid.clone() }),
            (b"\x1a\x00", Request::SnapshotSent),
            (b"\x2a\x03\x0a\x01u", Request::Keep { uid }),
        ] {
            assert_eq!(read_request(bytes), Ok(wanted));
        }
    }

    #[test]
    fn what_is_not_in_the_text_is_refused() {
        for bytes in [
            b"".as_slice(),
            // A del with the uid as field 1.
            b"\x12\x03\x0a\x01u",
            b"\x22\x00",
            b"\x1a\x00\x1a\x00",
            b"\x1a\x01\x00",
            b"\x08\x01",
            b"\x2a\x09\x0a\x01u",
            b"\x2a\xff",
            b"\x2a\x03\x0a\x01\xff",
        ] {
            assert!(read_request(bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_long_nack_has_long_lengths() {
        let nack = nack(&"x".repeat(300));
        assert_eq!(nack[..6], [0x0a, 0xaf, 0x02, 0x0a, 0xac, 0x02]);
        assert_eq!(nack.len(), 306);
    }
}
