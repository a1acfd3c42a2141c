//! One connected ztunnel, from its hello to its end.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::error::Closed;
use super::message::{self, VERSION};
use super::packet::Connection;
use super::registry::{Message, Step};
use super::stats::{Answer, Kind};

/// A connection that was accepted, under a number higher than all before.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) number: u64,
    /// Only removals are still told, then it ends.
    pub(super) stopping: CancellationToken,
}

impl Session {
    pub(super) async fn run(self) {
        let pid = self.connection.pid();
        let why = match self.hello().await {
            Ok(()) => {
                tracing::info!(ztunnel = self.number, pid, "ztunnel connected");
                self.shared.enter(self.number, pid);
                let why = self.converse().await;
                self.shared.leave(self.number);
                why
            }
            Err(why) => why,
        };
        self.shared.stats.closed(&why);
        let error: &dyn std::error::Error = &why;
        match why {
            Closed::Gone | Closed::Stopping => {
                tracing::info!(
                    ztunnel = self.number,
                    pid,
                    reason = error,
                    "ztunnel is gone"
                );
            }
            _ => tracing::error!(
                ztunnel = self.number,
                pid,
                reason = error,
                "connection of ztunnel closed"
            ),
        }
    }

    async fn hello(&self) -> Result<(), Closed> {
        let packet = tokio::select! {
            () = self.stopping.cancelled() => return Err(Closed::Stopping),
            packet = timeout(self.shared.deadline, self.connection.receive()) => packet,
        };
        let packet = packet.map_err(|_| Closed::NoHello(self.shared.deadline))??;
        match message::version_in(&packet) {
            Some(VERSION) => Ok(()),
            Some(version) => Err(Closed::Version(version)),
            None => Err(Closed::Garbage { expected: "hello" }),
        }
    }

    async fn converse(&self) -> Closed {
        // Subscribed before the first look, so no change falls in between.
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let stopping = self.stopping.is_cancelled();
            if stopping && !self.shared.registry().has_removals(self.number) {
                return Closed::Stopping;
            }
            let step = self.shared.registry().next(self.number, Instant::now());
            let done = match step {
                Step::Say(message) => self.say(&message).await,
                Step::Wait(until) => self.wait(&mut changes, until).await,
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Says something and waits for the answer: answers have no numbers, so there is never more
    /// than one question in the air.
    async fn say(&self, message: &Message) -> Result<(), Closed> {
        if self.connection.is_readable() {
            return Err(self.unasked().await);
        }
        let started = Instant::now();
        let after = self.shared.deadline;
        let kind = message.kind;
        let answer = timeout(after, self.ask(message)).await;
        let answer = answer.unwrap_or(Err(Closed::NoAnswer { kind, after }));
        let took = started.elapsed();
        let error = match answer {
            Ok(error) => error,
            Err(why) => {
                self.shared.stats.sent(kind, Answer::None, took);
                return Err(why);
            }
        };
        let result = match error.is_empty() {
            true => Answer::Ack,
            false => Answer::Nack,
        };
        self.shared.stats.sent(kind, result, took);
        self.shared.answered(self.number, message, &error);
        self.log(message, &error);
        match kind {
            // It is out of step with us, and would take every other message wrongly too.
            Kind::SnapshotSent if result == Answer::Nack => Err(Closed::Refused { kind, error }),
            Kind::Add | Kind::Keep | Kind::Del | Kind::SnapshotSent => Ok(()),
        }
    }

    async fn ask(&self, message: &Message) -> Result<String, Closed> {
        let fd = message.netns.as_ref().map(|fd| fd.as_fd());
        match self.connection.send(&message.packet, fd).await {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return Err(Closed::Gone);
            }
            sent => sent.map_err(Closed::Io)?,
        }
        let packet = self.connection.receive().await?;
        message::error_in(&packet).ok_or(Closed::Garbage { expected: "answer" })
    }

    /// Until there may be something to say. ztunnel has nothing to say meanwhile but goodbye.
    async fn wait(
        &self,
        changes: &mut watch::Receiver<u64>,
        until: Option<Instant>,
    ) -> Result<(), Closed> {
        let alarm = async {
            match until {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stopping.cancelled() => Ok(()),
            _ = changes.changed() => Ok(()),
            () = alarm => Ok(()),
            why = self.unasked() => Err(why),
        }
    }

    async fn unasked(&self) -> Closed {
        match self.connection.receive().await {
            Ok(_) => Closed::Unasked,
            Err(why) => why,
        }
    }

    fn log(&self, message: &Message, error: &str) {
        let Message { kind, uid, .. } = message;
        let ztunnel = self.number;
        let kind = kind.label();
        match error {
            "" => tracing::debug!(ztunnel, kind, uid, "ztunnel acknowledged"),
            error => tracing::error!(ztunnel, kind, uid, error, "ztunnel refused"),
        }
    }
}
