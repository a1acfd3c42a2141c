//! The command line's side of the admin socket.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent answers on {}: is it running, and are you root?", path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the agent's answer broke off")]
    Broken(#[source] std::io::Error),
    #[error("the agent's answer is not HTTP")]
    Malformed,
    #[error("{0}")]
    Refused(String),
}

/// Gets a page. HTTP/1.0, so the answer is all that comes until the end.
///
/// # Errors
/// When no agent answers, or when it answers that it cannot.
pub async fn get(socket: &Path, page: &str) -> Result<String, ClientError> {
    request(socket, "GET", page, "").await
}

/// Asks for something to be done.
///
/// # Errors
/// As for [`get`].
pub async fn post(socket: &Path, page: &str, body: &str) -> Result<String, ClientError> {
    request(socket, "POST", page, body).await
}

async fn request(
    socket: &Path,
    method: &str,
    page: &str,
    body: &str,
) -> Result<String, ClientError> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Connect {
            path: socket.to_owned(),
            source,
        })?;
    let length = body.len();
    let request = format!(
        "{method} {page} HTTP/1.0\r\nhost: waysteer\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(ClientError::Broken)?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .map_err(ClientError::Broken)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(ClientError::Malformed)?;
    let status = head.split(' ').nth(1).ok_or(ClientError::Malformed)?;
    if status == "200" {
        Ok(body.to_owned())
    } else {
        Err(ClientError::Refused(body.trim_end().to_owned()))
    }
}
