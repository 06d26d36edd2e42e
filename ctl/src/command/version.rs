//! `ctl version`.

use serde_json::json;

use crate::error::Result;
use crate::output::Output;
use crate::rest::Call;
use crate::session::Session;
use crate::term;

/// Flags of `version`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Only ctl's own
    #[arg(long)]
    pub client: bool,
    /// json or yaml
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    let mut versions = json!({"clientVersion": {"gitVersion": own}});
    // The client's version is told even when there is no server.
    let server = if args.client {
        None
    } else {
        let asked = async { session.rest().await?.call(Call::get("/version")).await };
        Some(asked.await)
    };
    let failure = match server {
        Some(Ok(server)) => {
            versions["serverVersion"] = server;
            None
        }
        Some(Err(error)) => Some(error),
        None => None,
    };
    match &args.output {
        Some(output) => output.print(&versions, "version")?,
        None => {
            term::out(format!("Client Version: {own}"));
            if let Some(server) = versions["serverVersion"]["gitVersion"].as_str() {
                term::out(format!("Server Version: {server}"));
            }
        }
    }
    failure.map_or(Ok(()), Err)
}
