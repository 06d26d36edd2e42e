//! The one error of this crate, and how a person reads it: kubectl's sentences.

use std::path::PathBuf;

use kube::core::Status;

/// Whatever can end a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused; `doing` says during what, as `error when creating "web.yaml"`.
    #[error("{}", status_text(.status, .doing.as_deref()))]
    Status {
        /// What the server said.
        status: Box<Status>,
        /// What was being done, where that helps to find the culprit.
        doing: Option<String>,
    },
    /// No answer from the server.
    #[error("{}", transport_text(.server, .source))]
    Transport {
        /// Which server, as `https://127.0.0.1:6443`; empty if that is not known.
        server: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The kubeconfig cannot be used.
    #[error("error: {}", kubeconfig_text(.0))]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// A file or stream cannot be read or written.
    #[error("error: {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The server answered with something that is not JSON.
    #[error("error: the server's answer cannot be read: {0}")]
    Decode(#[from] serde_json::Error),
    /// A mistake of the caller, already in kubectl's words.
    #[error("error: {0}")]
    Usage(String),
    /// Text that is printed as it is.
    #[error("{0}")]
    Plain(String),
    /// All has been said; only the exit code is left (that of a remote process, or of failed parts).
    #[error("exit code {0}")]
    Exit(u8),
}

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A usage error from any text.
    pub fn usage(text: impl Into<String>) -> Self {
        Error::Usage(text.into())
    }

    /// Adds what was being done to an answer of the server; other errors stay as they are.
    pub fn while_doing(self, what: impl Into<String>) -> Self {
        match self {
            Error::Status { status, doing: None } => Error::Status { status, doing: Some(what.into()) },
            other => other,
        }
    }

    /// Says which server gave no answer.
    pub fn of_server(self, address: &str) -> Self {
        match self {
            Error::Transport { source, .. } => Error::Transport { server: address.to_owned(), source },
            other => other,
        }
    }

    /// What a person can do about it, where the sentence itself does not say.
    pub fn advice(&self) -> Option<&'static str> {
        match self.code()? {
            401 => Some(
                "The server did not accept these credentials: choose others with --context, --kubeconfig or --token, or have them renewed.",
            ),
            403 => Some(
                "`ctl auth can-i --list` shows what you may do; an administrator grants more with a RoleBinding or ClusterRoleBinding.",
            ),
            _ => None,
        }
    }

    /// The HTTP code of the server's refusal, if it was one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Status { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// Whether the server said that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the server said that the object has changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Status { status, .. } if status.code == 409 && status.reason == "Conflict")
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Exit(code) => *code,
            _ => 1,
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Error::Status { status, doing: None },
            other => Error::Transport { server: String::new(), source: Box::new(other) },
        }
    }
}

/// Upstream: `k8s.io/kubectl/pkg/cmd/util/helpers.go`, `StandardErrorMessage` and `MultilineError`.
fn status_text(status: &Status, doing: Option<&str>) -> String {
    let details = status.details.as_ref();
    if status.reason == "Invalid"
        && let Some(details) = details.filter(|details| !details.kind.is_empty())
    {
        let causes: Vec<String> =
            details.causes.iter().map(|cause| join_nonempty(&cause.field, &cause.message)).collect();
        let subject = format!("The {} \"{}\" is invalid", details.kind, details.name);
        return match causes.as_slice() {
            [] => subject,
            [one] => format!("{subject}: {one}"),
            many => format!("{subject}: \n* {}", many.join("\n* ")),
        };
    }
    if status.reason == "Unauthorized" && doing.is_none() {
        return "error: You must be logged in to the server (Unauthorized)".to_owned();
    }
    let message = match doing {
        Some(doing) => format!("{doing}: {}", status.message),
        None => status.message.clone(),
    };
    match status.reason.as_str() {
        "" => format!("Error from server: {message}"),
        reason => format!("Error from server ({reason}): {message}"),
    }
}

fn join_nonempty(field: &str, message: &str) -> String {
    if field.is_empty() { message.to_owned() } else { format!("{field}: {message}") }
}

/// kubectl's words where it has some, and what to do.
fn kubeconfig_text(error: &kube::config::KubeconfigError) -> String {
    use kube::config::KubeconfigError as Why;
    match error {
        Why::LoadContext(name) => {
            format!("context \"{name}\" does not exist; `ctl config get-contexts` lists those that do")
        }
        Why::CurrentContextNotSet => {
            "the kubeconfig names no current context; choose one with --context or `ctl config use-context`"
                .to_owned()
        }
        Why::ReadConfig(source, path) => {
            format!("the kubeconfig {} cannot be read: {source}", path.display())
        }
        other => other.to_string(),
    }
}

/// A sentence for the failures that people meet, with what to do; for others the whole chain of causes, since the
/// outermost one ("ServiceError") says nothing.
fn transport_text(server: &str, error: &kube::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    let mut refused = false;
    while let Some(current) = next {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        let text = current.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = current.source();
    }
    let chain = parts.join(": ");
    let host = server.split_once("://").map_or(server, |(_, host)| host).trim_end_matches('/');
    let server = if host.is_empty() { "the server" } else { host };
    if refused {
        return format!(
            "The connection to the server {host} was refused - did you specify the right host or port? Does the cluster run there?"
        );
    }
    let last = parts.last().map_or("", String::as_str);
    if chain.contains("dns error") {
        return format!(
            "Unable to connect to the server: {server} cannot be found ({last}); check the name in the kubeconfig"
        );
    }
    if chain.contains("certificate") || chain.contains("UnknownIssuer") {
        return format!(
            "Unable to connect to the server: its certificate is not trusted ({last}); the kubeconfig's certificate-authority must be that of {server}"
        );
    }
    if chain.contains("invalid HTTP version") {
        return format!(
            "Unable to connect to the server: {server} does not answer in HTTP; is it https:// instead?"
        );
    }
    format!("Unable to connect to the server: {chain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_kubectl_prints_it() {
        let cases = [
            (
                r#"{"reason":"NotFound","message":"pods \"x\" not found","code":404}"#,
                None,
                "Error from server (NotFound): pods \"x\" not found",
            ),
            (r#"{"message":"boom","code":500}"#, None, "Error from server: boom"),
            (
                r#"{"reason":"BadRequest","message":"strict decoding error","code":400}"#,
                Some("error when creating \"a.yaml\""),
                "Error from server (BadRequest): error when creating \"a.yaml\": strict decoding error",
            ),
            (
                r#"{"reason":"Invalid","code":422,"details":{"kind":"Pod","name":"x","causes":[
                   {"field":"spec.a","message":"Required value"}]}}"#,
                None,
                "The Pod \"x\" is invalid: spec.a: Required value",
            ),
            (
                r#"{"reason":"Invalid","code":422,"details":{"kind":"Pod","name":"x","causes":[
                   {"field":"a","message":"b"},{"field":"c","message":"d"}]}}"#,
                None,
                "The Pod \"x\" is invalid: \n* a: b\n* c: d",
            ),
        ];
        for (json, doing, want) in cases {
            let status: Status = serde_json::from_str(json).expect("test data");
            assert_eq!(status_text(&status, doing), want);
        }
    }
}
