//! What can go wrong in the node agent.

/// The crate's error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine answered with a refusal; the text is the engine's own.
    #[error("{message}")]
    Engine {
        /// HTTP status of the answer.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine could not be reached at all.
    #[error("the container engine does not answer: {0}")]
    EngineDown(String),
    /// The API server refused or could not be reached.
    #[error("api: {0}")]
    Api(#[from] kube::Error),
    /// A file or socket of this machine.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// The cause.
        source: std::io::Error,
    },
    /// An object that a pod refers to is absent or lacks a key.
    #[error("{0}")]
    Reference(String),
    /// The pod asks for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The work was cut short because the pod is going away.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether the engine said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Engine { status: 404, .. })
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to an I/O error.
pub(crate) trait Context<T> {
    /// `context` names the action and the path.
    fn context(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { context: context(), source })
    }
}
