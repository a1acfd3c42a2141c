//! Verdicts as they come, for whoever listens. Nobody who listens slowly holds anybody up: what he
//! has not taken in time is lost to him, and counted.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::state::FlowRecord;

/// The side that tells.
#[derive(Debug)]
pub struct Feed {
    sender: broadcast::Sender<Arc<FlowRecord>>,
}

/// The side that listens.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<FlowRecord>>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Verdict(Arc<FlowRecord>),
    /// So many were not taken in time.
    Lost(u64),
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(Self::CAPACITY),
        }
    }
}

impl Feed {
    /// Verdicts that wait for the slowest listener.
    const CAPACITY: usize = 8192;

    /// Costs nothing where nobody listens.
    pub fn tell(&self, flow: &FlowRecord) {
        if self.sender.receiver_count() > 0 {
            // It fails where the last one has just gone.
            let _ = self.sender.send(Arc::new(flow.clone()));
        }
    }

    pub fn listen(&self) -> Listener {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }

    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}

impl Listener {
    /// Waits for the next; `None` at the end. Safe to cancel.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(flow) => Some(Heard::Verdict(flow)),
            Err(RecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(RecvError::Closed) => None,
        }
    }

    /// What is there already.
    pub fn take(&mut self) -> Option<Heard> {
        match self.receiver.try_recv() {
            Ok(flow) => Some(Heard::Verdict(flow)),
            Err(TryRecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(number: u64) -> FlowRecord {
        FlowRecord {
            number,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn whoever_is_slow_loses_the_oldest_and_is_told_how_many() {
        let feed = Feed::default();
        feed.tell(&flow(0));
        let (mut quick, mut slow) = (feed.listen(), feed.listen());
        let all = Feed::CAPACITY as u64 + 5;
        for number in 0..all {
            feed.tell(&flow(number));
            let heard = quick.take();
            assert!(
                matches!(&heard, Some(Heard::Verdict(flow)) if flow.number == number),
                "{heard:?}"
            );
        }
        assert_eq!(slow.take(), Some(Heard::Lost(5)));
        let rest: Vec<u64> = std::iter::from_fn(|| match slow.take()? {
            Heard::Verdict(flow) => Some(flow.number),
            Heard::Lost(_) => None,
        })
        .collect();
        assert_eq!(rest, (5..all).collect::<Vec<_>>());
        drop((quick, slow));
        assert_eq!(feed.listeners(), 0);
    }
}
