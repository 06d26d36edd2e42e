//! The binary: joins the components, alone or all in one process.

mod at_rest;
mod certs;
mod cli;
mod cluster_info;
mod components;
mod down;
mod in_process;
mod pki;
mod server;
mod token;
mod up;

use clap::{CommandFactory, Parser};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // A heap of many small objects in pages of 2 MB would hold 18 MB more than it uses (of 55 MB, idle). Where the kernel
    // knows no such pages nothing is lost.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let cli = cli::Cli::parse();
    let filter = EnvFilter::try_from_env("SKIFF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("nothing was installed before");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command));
    // Threads that wait for a disk or an engine must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(command: cli::Command) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    tokio::spawn(stop_on_signal(shutdown.clone()));
    match command {
        cli::Command::Up(up) => up::run(up, shutdown).await,
        cli::Command::Down(down) => down::run(down).await,
        cli::Command::Apiserver(server) => components::apiserver(server, shutdown).await,
        cli::Command::Scheduler(component) => components::scheduler(component, shutdown).await,
        cli::Command::Controller(controller) => components::controller(controller, shutdown).await,
        cli::Command::Nodeagent(agent) => components::nodeagent(agent, shutdown).await,
        cli::Command::Proxy(proxy) => components::proxy(proxy, shutdown).await,
        cli::Command::Token(token) => token::run(token).await,
        cli::Command::Certs(certs) => certs::run(certs),
        cli::Command::Completion { shell } => {
            clap_complete::generate(shell, &mut cli::Cli::command(), "skiff", &mut std::io::stdout());
            Ok(())
        }
    }
}

async fn stop_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; pods go on running");
    shutdown.cancel();
}
