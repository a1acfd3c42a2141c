//! The answers to a CONNECT other than 200.

use std::fmt;

use http::StatusCode;

/// Why a server did not open the tunnel. Both sides use it: the handler returns it, the client's
/// error carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 400: the authority is malformed or does not belong to this server.
    BadAuthority,
    /// 401: policy does not let this identity in.
    Denied,
    /// 405: the request is not a CONNECT.
    NotConnect,
    /// 503: the application behind the server could not be reached.
    Unavailable,
    /// Any other status that is not a success.
    Other(StatusCode),
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadAuthority => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::UNAUTHORIZED,
            Self::NotConnect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Other(status) => status,
        }
    }

    /// The refusal that a response's status means.
    pub fn from_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::BadAuthority,
            StatusCode::UNAUTHORIZED => Self::Denied,
            StatusCode::METHOD_NOT_ALLOWED => Self::NotConnect,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Self::BadAuthority => "the authority does not belong there",
            Self::Denied => "denied by policy",
            Self::NotConnect => "only CONNECT is served",
            Self::Unavailable => "the application could not be reached",
            Self::Other(_) => "unexpected status",
        };
        write!(f, "{} ({meaning})", self.status().as_u16())
    }
}
