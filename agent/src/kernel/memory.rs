//! Memory that is free again after something large: the allocator would keep it for good.

/// Gives all that is free back to the kernel when it is dropped.
#[derive(Debug)]
pub(super) struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        #[cfg(target_env = "gnu")]
        // SAFETY: glibc takes its own locks, and touches nothing that is in use.
        unsafe {
            nix::libc::malloc_trim(0);
        }
    }
}
