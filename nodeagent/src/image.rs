//! Which image a container gets, and whether it is fetched.

mod credentials;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

pub use credentials::credentials;

use crate::{
    cri::{Image, Runtime},
    error::Error,
    references::Resolved,
    step::{Failure, Waiting},
};

/// What an attempt to have an image came to.
pub struct Outcome {
    /// The image, or why there is none.
    pub result: Result<Image, Failure>,
    /// Events to record: warning?, reason, message.
    pub events: Vec<(bool, &'static str, String)>,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Before each start.
    Always,
    /// When it is absent.
    IfNotPresent,
    /// At no time.
    Never,
}

/// The policy of a container; without one, `:latest` is always fetched.
pub fn policy(container: &Container) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some("IfNotPresent") => Policy::IfNotPresent,
        _ if is_latest(container.image.as_deref().unwrap_or_default()) => Policy::Always,
        _ => Policy::IfNotPresent,
    }
}

/// Whether a name says or means `:latest`.
pub fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// The name with its tag: without one, an engine would fetch every tag.
pub fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if image.contains('@') || last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

/// Whether it can be the name of an image at all.
pub fn is_valid(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let (path, tag) = match name.rfind(':') {
        Some(at) if !name[at..].contains('/') => (&name[..at], Some(&name[at + 1..])),
        _ => (name, None),
    };
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        parts.remove(0);
    }
    let path_ok = parts.iter().all(|p| {
        p.chars().all(word)
            && p.starts_with(|c: char| c.is_ascii_alphanumeric())
            && p.ends_with(|c: char| c.is_ascii_alphanumeric())
    });
    let tag_ok = tag.is_none_or(|t| {
        !t.is_empty()
            && t.len() <= 128
            && t.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    });
    path_ok && tag_ok && digest.is_none_or(|d| d.split_once(':').is_some_and(|(_, hex)| hex.len() >= 32))
}

/// Waits between fetches of one image: 10 s doubling to 300 s.
pub fn pull_delay(tries: u32) -> SignedDuration {
    SignedDuration::from_secs(10_i64.saturating_mul(1 << tries.min(5)).min(300))
}

/// Makes the image present, as the policy wants. `tries` counts earlier failures.
pub async fn ensure(
    runtime: &dyn Runtime,
    pod: &Pod,
    container: &Container,
    resolved: &Resolved,
    tries: u32,
    now: Timestamp,
) -> Outcome {
    let name = container.image.clone().unwrap_or_default();
    let mut events = Vec::new();
    let fail = |reason: &str, message: String| Failure {
        waiting: Waiting { reason: reason.to_owned(), message: Some(message) },
        retry_at: now.checked_add(pull_delay(tries)).unwrap_or(now),
    };
    if !is_valid(&name) {
        let message = format!(
            "Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": invalid reference format"
        );
        events.push((true, "InspectFailed", message.clone()));
        return Outcome { result: Err(fail("InvalidImageName", message)), events };
    }
    let name = with_tag(&name);
    let present = match runtime.image(&name).await {
        Ok(present) => present,
        Err(error) => {
            events.push((true, "InspectFailed", format!("Failed to inspect image \"{name}\": {error}")));
            return Outcome { result: Err(fail("ImageInspectError", error.to_string())), events };
        }
    };
    let policy = policy(container);
    match (policy, present) {
        (Policy::IfNotPresent | Policy::Never, Some(image)) => {
            events.push((false, "Pulled", format!("Container image \"{name}\" already present on machine")));
            Outcome { result: Ok(image), events }
        }
        (Policy::Never, None) => {
            let message = format!("Container image \"{name}\" is not present with pull policy of Never");
            events.push((true, "ErrImageNeverPull", message.clone()));
            Outcome { result: Err(fail("ErrImageNeverPull", message)), events }
        }
        (_, present) => pull(runtime, pod, &name, resolved, present, events, fail).await,
    }
}

async fn pull(
    runtime: &dyn Runtime,
    pod: &Pod,
    name: &str,
    resolved: &Resolved,
    present: Option<Image>,
    mut events: Vec<(bool, &'static str, String)>,
    fail: impl Fn(&str, String) -> Failure,
) -> Outcome {
    events.push((false, "Pulling", format!("Pulling image \"{name}\"")));
    let begun = std::time::Instant::now();
    let pulled = runtime.pull(name, credentials(pod, resolved, name)).await;
    let found = match pulled {
        Ok(()) => runtime.image(name).await,
        Err(error) => Err(error),
    };
    match (found, present) {
        (Ok(Some(image)), _) => {
            let took = begun.elapsed().as_millis();
            events.push((
                false,
                "Pulled",
                format!(
                    "Successfully pulled image \"{name}\" in {took}ms. Image size: {} bytes.",
                    image.size
                ),
            ));
            Outcome { result: Ok(image), events }
        }
        // Built here and never pushed, or the registry is away: the engine has it, so it runs. A refusal for lack of
        // rights is no such case.
        (Err(error), Some(image)) if !is_refusal(&error) => {
            let message = format!(
                "Failed to pull image \"{name}\": {error}; using the image that is present on the machine"
            );
            events.push((true, "PullFailed", message));
            Outcome { result: Ok(image), events }
        }
        (found, _) => {
            let why = found
                .err()
                .map_or_else(|| "the engine does not have it after the pull".to_owned(), |e| e.to_string());
            let message = format!("Failed to pull image \"{name}\": {why}");
            events.push((true, "Failed", message.clone()));
            events.push((true, "Failed", "Error: ErrImagePull".into()));
            Outcome { result: Err(fail("ErrImagePull", message)), events }
        }
    }
}

/// Docker Hub says "denied" of what does not exist too; only a plain "unauthorized" is a refusal. The engine hands on the
/// registry's words up to Docker 28, and since then that of the status.
fn is_refusal(error: &Error) -> bool {
    let Error::Engine { message, .. } = error else { return false };
    message.to_lowercase().contains("unauthorized") && !message.contains("does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged() {
        let cases = [
            ("nginx", true, true),
            ("nginx:latest", true, true),
            ("nginx:1.25", true, false),
            ("127.0.0.1:5000/a/b", true, true),
            ("127.0.0.1:5000/a/b:v1", true, false),
            ("Nginx", false, true),
            ("a b", false, true),
            ("", false, true),
        ];
        for (name, valid, latest) in cases {
            assert_eq!((is_valid(name), is_latest(name)), (valid, latest), "{name}");
        }
    }

    #[test]
    fn a_lack_of_rights_is_told_from_a_lack_of_an_image() {
        for (message, refusal) in [
            ("Head \"http://r/v2/hidden/manifests/1\": unauthorized: authentication required", true),
            (
                "unknown: failed to resolve reference \"r/hidden:1\": unexpected status from HEAD request to \
                 http://r/v2/hidden/manifests/1: 401 Unauthorized",
                true,
            ),
            ("pull access denied for local, repository does not exist or may require 'docker login'", false),
            (
                "pull access denied, repository does not exist or may require authorization: unauthorized",
                false,
            ),
            ("manifest for r/local:latest not found: manifest unknown", false),
        ] {
            let error = Error::Engine { status: 500, message: message.to_owned() };
            assert_eq!(is_refusal(&error), refusal, "{message}");
        }
    }

    #[test]
    fn fetches_wait_longer_each_time() {
        let waits: Vec<i64> = (0..7).map(|n| pull_delay(n).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }
}
