//! What can go wrong while a plan is carried out.

/// The controllers' errors. All of them mean: look again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// An object says what no API server would have admitted.
    #[error("{kind} {key}: {message}")]
    Invalid {
        /// The object's kind.
        kind: &'static str,
        /// The object's namespace and name.
        key: skiff_runtime::Key,
        /// What is wrong.
        message: String,
    },
    /// The key that signs tokens of service accounts is not usable.
    #[error("the key of service accounts: {0}")]
    Key(String),
    /// Something is left to do once other work is done.
    #[error("{0}")]
    Unfinished(String),
}

/// Whether the API server said that the object does not exist.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server said that the object has changed meanwhile, or that a precondition does not hold.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict")
}

/// Whether the API server said that there is an object of that name.
pub(crate) fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// Whether the object cannot be created because its namespace is on its way out.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// "It is gone" is as good as "I deleted it".
pub(crate) fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other.map(|_| ()),
    }
}
