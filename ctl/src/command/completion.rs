//! `ctl completion`: a shell's script.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::Result;
use crate::session::Session;
use crate::term;

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    pub shell: Shell,
}

/// Does it.
pub async fn run(args: Args, _: &Session) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::Cli::command(), "ctl", &mut script);
    term::verbatim(&script);
    Ok(())
}
