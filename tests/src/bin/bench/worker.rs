//! Threads that stay where they are put: in a network namespace, in a cgroup, on a processor.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use waysteer_tests::netns::NetNs;

use crate::cgroup::{self, Cgroup};

/// Ahead of whatever else the machine does.
const NICE: i32 = -20;

type Job = Box<dyn FnOnce() + Send>;

/// Where a thread is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) netns: &'a NetNs,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) processor: usize,
}

/// A thread that does what it is told. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Place<'_> {
    /// Starts a thread there.
    pub(crate) fn spawn(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        let cgroup = self.cgroup.map(|cgroup| cgroup.path().to_owned());
        let processor = self.processor;
        let (settled, is_settled) = mpsc::channel();
        let thread = self.netns.spawn(name, move || {
            let cgroup = cgroup.as_deref().map_or(Ok(()), cgroup::enter);
            let there = cgroup.and_then(|()| settle(processor));
            let is_there = there.is_ok();
            let _ = settled.send(there);
            if is_there {
                body();
            }
        })?;
        is_settled.recv().context("a thread has ended at once")??;
        Ok(thread)
    }
}

impl Worker {
    pub(crate) fn start(name: &str, place: &Place<'_>) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = place.spawn(name, move || {
            for job in queue {
                job();
            }
        })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Has something done, and waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = mpsc::channel();
        let job: Job = Box::new(move || drop(done.send(job())));
        let jobs = self.jobs.as_ref().context("the thread is there")?;
        jobs.send(job).ok().context("the thread has ended")?;
        result.recv().context("the thread has panicked")?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Puts the calling thread, and so those that it starts, on one processor and before all others.
fn settle(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("going to processor {processor}"))?;
    // SAFETY: the call takes numbers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    // Less of a priority makes numbers worse, and is no reason to have none.
    if result != 0 {
        eprintln!("a thread's priority stays as it is");
    }
    Ok(())
}

/// The processor time of all of this process's threads that are or were.
pub(crate) fn own_processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The processor time of another process, from what the scheduler counts of each of its threads.
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue; // It has just ended.
        };
        let first = text
            .split_whitespace()
            .next()
            .context("schedstat is empty")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The one that both ends are on: so what is measured is work, and not how long another processor
/// takes to wake up, which on a virtual machine is longer than all the rest. Not the first, which
/// most interrupts go to.
pub(crate) fn processor() -> usize {
    thread::available_parallelism().map_or(0, |count| 1.min(usize::from(count) - 1))
}
