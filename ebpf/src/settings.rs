//! Facts that are fixed when the object is loaded; the verifier prunes what they rule out.

use aya_ebpf::Global;

/// Nothing is marked, assigned, redirected or dropped: verdicts are only counted and reported.
#[unsafe(no_mangle)]
static DRY_RUN: Global<u8> = Global::new(0);

#[inline(always)]
pub(crate) fn dry_run() -> bool {
    DRY_RUN.load() != 0
}
