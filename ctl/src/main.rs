//! The `ctl` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(skiff_ctl::run(std::env::args_os()));
            // A read of stdin may still block a thread; it must not keep the process alive.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            skiff_ctl::term::err(format!("error: cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}
