//! The sandbox's only process: it holds a pod's namespaces, reaps orphans and leaves on SIGTERM.
//!
//! Built by `build.rs` as a static program without the standard library or libc, so that the image made of it
//! is one file of a few kilobytes and needs no registry.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {main}", "brk #1", main = sym main);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(n: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let r: isize;
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => r, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    r
}
#[cfg(target_arch = "aarch64")]
unsafe fn call(n: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let r: isize;
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a as isize => r, in("x1") b, in("x2") c, in("x3") d, options(nostack));
    }
    r
}

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const WNOHANG: usize = 1;

extern "C" fn main() -> ! {
    // The first process of a namespace loses signals it has no handler for, unless they are blocked: so block
    // the three of interest and take them one by one.
    let set: u64 = (1 << (SIGINT - 1)) | (1 << (SIGTERM - 1)) | (1 << (SIGCHLD - 1));
    let set_at = &raw const set as usize;
    unsafe {
        call(number::RT_SIGPROCMASK, 0, set_at, 0, 8);
        loop {
            let signal = call(number::RT_SIGTIMEDWAIT, set_at, 0, 0, 8);
            if signal == SIGINT || signal == SIGTERM {
                call(number::EXIT_GROUP, 0, 0, 0, 0);
            }
            // One signal may stand for many children.
            while call(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {}
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        unsafe {
            call(number::EXIT_GROUP, 2, 0, 0, 0);
        }
    }
}
