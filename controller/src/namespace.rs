//! To come.
pub(crate) async fn run(_context: std::sync::Arc<crate::context::Context>) {}
