//! The last words of a container that left none: the end of its log, where the pod asks for it.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Container as Wanted;

use super::Worker;
use crate::cri::{Chunk, Container, LogQuery, Observed, State};

/// As much of a log as upstream takes.
const MAX_LINES: u64 = 80;
/// And of these as many bytes.
const MAX_BYTES: usize = 2048;

impl Worker {
    /// Fills the files of failed containers; once each, so that the file is the answer ever after.
    pub(super) async fn gather_words(&mut self, observed: &Observed) {
        for ended in &observed.containers {
            let Some(wanted) = self.wanted(&ended.name) else { continue };
            let Some(file) = silent(ended, &wanted) else { continue };
            if !self.words_gathered.insert(ended.id.clone()) {
                continue;
            }
            match self.end_of_log(&ended.id).await {
                Ok(text) => {
                    if let Err(error) = std::fs::write(file, text) {
                        tracing::warn!(%file, %error, "last words not kept");
                    }
                }
                Err(error) => {
                    tracing::warn!(id = %ended.id, %error, "log not read for last words");
                    self.words_gathered.remove(&ended.id);
                }
            }
        }
        self.words_gathered.retain(|id| observed.containers.iter().any(|c| c.id == *id));
    }

    async fn end_of_log(&self, id: &str) -> crate::Result<Vec<u8>> {
        let query = LogQuery { tail: Some(MAX_LINES), ..LogQuery::default() };
        let mut log = self.shared.runtime.logs(id, &query).await?;
        let mut text = Vec::new();
        while let Some(chunk) = log.next().await {
            let (Chunk::Out(bytes) | Chunk::Err(bytes)) = chunk?;
            text.extend_from_slice(&bytes);
            text.drain(..text.len().saturating_sub(MAX_BYTES));
        }
        Ok(text)
    }
}

/// The file of a container whose log is to stand in for its words.
fn silent<'a>(ended: &'a Container, wanted: &Wanted) -> Option<&'a str> {
    let failed = matches!(&ended.state, State::Exited { code, .. } if *code != 0);
    let asked = wanted.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    let file = ended.termination_file.as_deref().filter(|_| failed && asked)?;
    std::fs::metadata(file).is_ok_and(|found| found.len() == 0).then_some(file)
}
