//! The command line's side of the admin socket.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
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

/// What comes a line at a time, until the agent or the caller has enough.
#[derive(Debug)]
pub struct Lines {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// # Errors
/// As for [`get`].
pub async fn lines(socket: &Path, page: &str) -> Result<Lines, ClientError> {
    let stream = ask(socket, "GET", page, "").await?;
    let mut lines = Lines {
        stream: BufReader::new(stream),
        line: Vec::new(),
    };
    let head = lines.next().await?.ok_or(ClientError::Malformed)?;
    let status = head.split(' ').nth(1).ok_or(ClientError::Malformed)?;
    let is_well = status == "200";
    while let Some(line) = lines.next().await? {
        if !line.is_empty() {
            continue;
        }
        if is_well {
            return Ok(lines);
        }
        let why = lines.next().await?.unwrap_or_default();
        return Err(ClientError::Refused(why));
    }
    Err(ClientError::Malformed)
}

impl Lines {
    /// The next one; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// When the agent goes.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        // What a cancelled call has read stays in `line`.
        let read = self.stream.read_until(b'\n', &mut self.line).await;
        if read.map_err(ClientError::Broken)? == 0 {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8(line).map_err(|_| ClientError::Malformed)?;
        Ok(Some(line.trim_end().to_owned()))
    }
}

async fn request(
    socket: &Path,
    method: &str,
    page: &str,
    body: &str,
) -> Result<String, ClientError> {
    let mut stream = ask(socket, method, page, body).await?;
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

async fn ask(
    socket: &Path,
    method: &str,
    page: &str,
    body: &str,
) -> Result<UnixStream, ClientError> {
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
    Ok(stream)
}
