//! What the kernel tells, as it comes, for whoever listens. Nobody who listens slowly holds anybody up: what he
//! has not taken in time is lost to him, and counted.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Of what waits for the slowest listener.
const CAPACITY: usize = 8192;

/// The side that tells.
#[derive(Debug)]
pub struct Feed<T> {
    sender: broadcast::Sender<Arc<T>>,
}

/// The side that listens.
#[derive(Debug)]
pub struct Listener<T> {
    receiver: broadcast::Receiver<Arc<T>>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<T> {
    Told(Arc<T>),
    /// So many were not taken in time.
    Lost(u64),
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
        }
    }
}

impl<T: Clone> Feed<T> {
    /// Costs nothing where nobody listens.
    pub fn tell(&self, it: &T) {
        if self.sender.receiver_count() > 0 {
            // It fails where the last one has just gone.
            let _ = self.sender.send(Arc::new(it.clone()));
        }
    }

    pub fn listen(&self) -> Listener<T> {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }

    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}

impl<T> Listener<T> {
    /// Waits for the next; `None` at the end. Safe to cancel.
    pub async fn next(&mut self) -> Option<Heard<T>> {
        match self.receiver.recv().await {
            Ok(it) => Some(Heard::Told(it)),
            Err(RecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(RecvError::Closed) => None,
        }
    }

    /// What is there already.
    pub fn take(&mut self) -> Option<Heard<T>> {
        match self.receiver.try_recv() {
            Ok(it) => Some(Heard::Told(it)),
            Err(TryRecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::FlowRecord;

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
        let all = CAPACITY as u64 + 5;
        for number in 0..all {
            feed.tell(&flow(number));
            let heard = quick.take();
            assert!(
                matches!(&heard, Some(Heard::Told(flow)) if flow.number == number),
                "{heard:?}"
            );
        }
        assert_eq!(slow.take(), Some(Heard::Lost(5)));
        let rest: Vec<u64> = std::iter::from_fn(|| match slow.take()? {
            Heard::Told(flow) => Some(flow.number),
            Heard::Lost(_) => None,
        })
        .collect();
        assert_eq!(rest, (5..all).collect::<Vec<_>>());
        drop((quick, slow));
        assert_eq!(feed.listeners(), 0);
    }
}
