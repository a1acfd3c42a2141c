//! Packet programs in a namespace of their own, with the table's mesh in their maps.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use waysteer::compile::Node;
use waysteer::kernel::load::LoadOptions;
use waysteer::kernel::observe::DropReport;
use waysteer_common::verdict::PacketAction;
use waysteer_tests::netns::NetNs;

use super::agreement::{Kernel, mesh, node};

/// `struct __sk_buff` as far as the mark, which is the last that is set here.
const CONTEXT: usize = 12;

/// What a tcx program returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Next,
    Drop,
    Redirect,
}

pub(super) struct Runner {
    pub(super) netns: NetNs,
    kernel: Kernel,
}

/// One program of it.
pub(super) struct Program<'a> {
    runner: &'a Runner,
    program: SchedClassifier,
}

impl Runner {
    pub(super) fn new() -> Result<Self> {
        Self::with(&LoadOptions::default())
    }

    pub(super) fn with(options: &LoadOptions) -> Result<Self> {
        Self::on(options, &node()?)
    }

    /// One whose programs are told that somebody listens.
    pub(super) fn listening() -> Result<Self> {
        let events = true;
        Self::on(&LoadOptions::default(), &Node { events, ..node()? })
    }

    /// What the programs have told since the last time.
    pub(super) fn drops(&mut self) -> Result<Vec<DropReport>> {
        let drops = &mut self.kernel.loaded.drops;
        Ok(std::iter::from_fn(|| drops.take()).collect::<Result<_, _>>()?)
    }

    fn on(options: &LoadOptions, node: &Node) -> Result<Self> {
        let mut kernel = Kernel::load_with(options)?;
        kernel.apply(&mesh()?, node)?;
        Ok(Self {
            netns: NetNs::new("prog-run")?,
            kernel,
        })
    }

    pub(super) fn program(&self, name: &'static str) -> Result<Program<'_>> {
        Ok(Program {
            runner: self,
            program: self.kernel.loaded.programs.classifier(name)?,
        })
    }
}

impl Program<'_> {
    /// Runs it on a packet with a mark, so often: what it counted.
    pub(super) fn repeat(
        &self,
        times: u32,
        mark: u32,
        frame: &[u8],
    ) -> Result<BTreeMap<PacketAction, u64>> {
        let before = self.counters()?;
        self.test_run(mark, frame, times)?;
        let counted = self.counters()?.into_iter().map(|(action, count)| {
            let by = count - before.get(&action).copied().unwrap_or_default();
            (action, by)
        });
        Ok(counted.filter(|(_, by)| *by > 0).collect())
    }

    /// Runs it on a packet with a mark: what it returns, and what it counted.
    pub(super) fn run(&self, mark: u32, frame: &[u8]) -> Result<(Code, Vec<PacketAction>)> {
        let before = self.counters()?;
        let code = self.test_run(mark, frame, 1)?;
        let mut counted = Vec::new();
        for (action, count) in self.counters()? {
            let by = count - before.get(&action).copied().unwrap_or_default();
            ensure!(by <= 1, "{action:?} counted {by} times");
            counted.extend((by == 1).then_some(action));
        }
        Ok((code, counted))
    }

    /// Runs it and compares.
    pub(super) fn expect(
        &self,
        what: &str,
        mark: u32,
        frame: &[u8],
        code: Code,
        action: Option<PacketAction>,
    ) -> Result<()> {
        let found = self.run(mark, frame).with_context(|| what.to_owned())?;
        let expected = (code, action.into_iter().collect::<Vec<_>>());
        ensure!(
            found == expected,
            "{what}, mark {mark:#x}: {found:?}, expected {expected:?}"
        );
        Ok(())
    }

    fn test_run(&self, mark: u32, frame: &[u8], times: u32) -> Result<Code> {
        let mut context = [0; CONTEXT];
        context[8..].copy_from_slice(&mark.to_ne_bytes());
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = Some(&context);
        options.repeat = times;
        // The namespace is the calling thread's.
        let ran = self.runner.netns.run(|| self.program.test_run(options));
        Ok(match ran?.return_value as i32 {
            -1 => Code::Next,
            2 => Code::Drop,
            7 => Code::Redirect,
            code => anyhow::bail!("return code {code}"),
        })
    }

    fn counters(&self) -> Result<BTreeMap<PacketAction, u64>> {
        Ok(self.runner.kernel.loaded.counters.packets()?)
    }
}
