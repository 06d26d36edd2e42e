//! `ctl api-versions`.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::session::Session;
use crate::term;

/// No flags.
#[derive(Debug, Default, clap::Args)]
pub struct Args {}

/// Does it.
pub async fn run(_: Args, session: &Session) -> Result<()> {
    let versions: BTreeSet<String> =
        session.kinds().await?.0.iter().map(crate::discovery::Kind::api_version).collect();
    versions.iter().for_each(term::out);
    Ok(())
}
