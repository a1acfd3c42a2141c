//! A filter of system calls, as container runtimes set one by default.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc::{
    self, BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter, sock_fprog,
};

/// What the default profiles of Docker and containerd refuse to root in a container with the
/// agent's capabilities.
const REFUSED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_open_by_handle_at,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Has a command start under the filter, and so everything that it starts.
pub(super) fn confine(command: &mut Command) {
    let filter = filter();
    // SAFETY: between fork and exec the closure only calls prctl(2), with memory that was allocated
    // before; that is async-signal-safe.
    unsafe { command.pre_exec(move || install(&filter)) };
}

fn filter() -> Vec<sock_filter> {
    // The number of the call is what `seccomp_data` begins with.
    let mut program = vec![instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0)];
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    for number in REFUSED {
        let number = u32::try_from(*number).expect("numbers are small");
        // Anything else skips the refusal.
        program.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, number));
        program.push(instruction(BPF_RET | BPF_K, 0, refuse));
    }
    program.push(instruction(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program
}

fn instruction(code: u32, otherwise: u8, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("codes are small"),
        jt: 0,
        jf: otherwise,
        k,
    }
}

fn install(filter: &[sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the `len` instructions, and does not write to them.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
