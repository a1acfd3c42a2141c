//! waysteer's kernel programs: load, classify, report, steer.
//!
//! One hook a file under `programs`. Entry points only wrap; what they call returns an enum, and one
//! exhaustive match makes the kernel's return code of it.

#![no_std]
#![no_main]
// There is no compare and swap among this target's features, so the stable types have no methods.
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "the only way to atomic operations")
)]

mod atomic;
mod connections;
mod load;
mod local_flows;
mod lookup;
mod maps;
mod programs;
mod report;
mod settings;
mod steer;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a reachable endless loop, and so a reachable panic.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    // The crate is only checked on the host, never run there.
    1
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
