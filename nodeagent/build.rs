//! Compiles the sandbox's `pause` program for the machine that the agent is built for.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=pause/pause.rs");
    let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(var("OUT_DIR")).join("pause");
    let status = Command::new(var("RUSTC"))
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=pause"])
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Crelocation-model=static",
            "-Cdebuginfo=0",
        ])
        .args([
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
            "-Clink-arg=-Wl,--build-id=none",
        ])
        .arg(format!("--target={}", var("TARGET")))
        .arg("-o")
        .arg(&out)
        .arg("pause/pause.rs")
        .status()
        .expect("rustc runs");
    assert!(status.success(), "the pause program does not compile");
}
