//! `ctl uncordon`: a node takes pods again.

pub use super::cordon::Args;
use crate::error::Result;
use crate::session::Session;

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    super::cordon::mark(&args, session, false).await
}
