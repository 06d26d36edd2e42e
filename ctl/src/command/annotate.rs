//! `ctl annotate`.

pub use super::label::Args;
use super::label::{Which, change};
use crate::error::Result;
use crate::session::Session;

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    change(args, session, Which { field: "annotations", done: "annotated" }).await
}
