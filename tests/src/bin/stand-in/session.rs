//! The conversation with the agent, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use waysteer_tests::zds::wire::{ACK, nack};
use waysteer_tests::zds::{Connection, Packet, Request, Rules, Violation};

use crate::pods::Pods;

/// Between attempts to connect, and between looks at whether to stop.
const GLANCE: Duration = Duration::from_millis(20);

pub(crate) struct Session {
    stop: Arc<AtomicBool>,
    violation: Mutex<oneshot::Receiver<Violation>>,
}

/// Connects, and connects again, until stopped.
pub(crate) fn start(socket: PathBuf, pods: Arc<Pods>) -> Result<Session> {
    let (send, violation) = oneshot::channel();
    let stop = Arc::<AtomicBool>::default();
    let work = Work {
        socket,
        pods,
        stop: Arc::clone(&stop),
        runtime: Handle::current(),
    };
    let body = move || {
        if let Err(violation) = work.run() {
            let _ = send.send(violation);
        }
    };
    thread::Builder::new()
        .name("zds".to_owned())
        .spawn(body)
        .context("the session's thread")?;
    Ok(Session {
        stop,
        violation: Mutex::new(violation),
    })
}

impl Session {
    /// Waits for one, for ever if there is none.
    pub(crate) async fn violated(&self) -> Violation {
        match (&mut *self.violation.lock().await).await {
            Ok(violation) => violation,
            Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Work {
    socket: PathBuf,
    pods: Arc<Pods>,
    stop: Arc<AtomicBool>,
    runtime: Handle,
}

impl Work {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn run(&self) -> Result<(), Violation> {
        while !self.is_stopped() {
            if let Ok(connection) = Connection::open(&self.socket) {
                println!("connected");
                self.converse(&connection)?;
                println!("disconnected");
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Until either side ends it.
    fn converse(&self, connection: &Connection) -> Result<(), Violation> {
        let mut rules = Rules::default();
        while !self.is_stopped() {
            if !connection.is_readable(GLANCE) {
                continue;
            }
            let Ok(Some(packet)) = connection.receive() else {
                return Ok(());
            };
            let request = rules.check(&packet)?;
            let answer = match self.runtime.block_on(self.take(request, packet, &rules)) {
                Ok(()) => ACK.to_vec(),
                Err(error) => {
                    println!("refused: {error:#}");
                    let text: String = format!("{error:#}").chars().take(200).collect();
                    nack(&text)
                }
            };
            if connection.is_readable(Duration::ZERO) && self.is_early(connection) {
                return Err(Violation(
                    "a request before the last one's answer".to_owned(),
                ));
            }
            if connection.send(&answer).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is readable before an answer may only be the end.
    fn is_early(&self, connection: &Connection) -> bool {
        matches!(connection.receive(), Ok(Some(_)))
    }

    async fn take(&self, request: Request, mut packet: Packet, rules: &Rules) -> Result<()> {
        match request {
            Request::Add { uid, info } => {
                let netns = packet.descriptors.pop().context("an add's descriptor")?;
                let info = info.context("an add's info")?;
                self.pods.add(&uid, info, netns).await?;
                println!("serving {uid}");
            }
            Request::Keep { uid } => println!("keeping {uid}"),
            Request::Del { uid } => {
                self.pods.remove(&uid).await;
                println!("dropped {uid}");
            }
            Request::SnapshotSent => {
                let gone = self.pods.retain(rules.named()).await;
                println!("snapshot of {} pods, not of {gone:?}", rules.named().len());
            }
        }
        Ok(())
    }
}
