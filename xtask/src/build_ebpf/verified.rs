//! What the verifier says: each program is loaded once and let go again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use aya::programs::Program;
use aya::{Btf, Ebpf, EbpfLoader};

use crate::budget::Budget;

/// Loads every program and prints how many instructions the verifier walked; more than the budget
/// is an error.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let btf = Btf::from_sys_fs().context("the kernel's own BTF could not be read")?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .load(bytes)
        .context("the object's maps could not be made")?;
    let budget = Budget::read()?;
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    let mut counts = BTreeMap::new();
    for name in names {
        let count = load(&mut ebpf, &name).with_context(|| format!("program {name}"))?;
        counts.insert(name, count);
    }
    println!("{:<24} {:>24}", "program", "verified instructions");
    for (name, count) in &counts {
        let limit = budget.limit(name).unwrap_or_default();
        println!("{name:<24} {count:>15} of {limit}");
    }
    budget.check(&counts)
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<u32> {
    let program = ebpf.program_mut(name).context("is gone")?;
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        Program::SockOps(program) => program.load()?,
        other => bail!(
            "is of a type that nothing here loads: {:?}",
            other.prog_type()
        ),
    }
    let info = program.info()?;
    info.verified_instruction_count()
        .context("this kernel does not tell the verified instructions (before 5.16)")
}
