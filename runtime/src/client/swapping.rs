//! A client whose credentials change while it is in use.
//!
//! Requests go through the client that counts at that moment. One that is replaced ends when its last request does, and
//! with it its connections: the API server judges a connection by the certificate that it began with.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use kube::client::Body;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::Error;

/// Replaces what a client stands on.
#[derive(Clone)]
pub struct Swap(Arc<ArcSwap<kube::Client>>);

impl Swap {
    /// From now on requests go through `client`.
    pub fn swap(&self, client: kube::Client) {
        self.0.store(Arc::new(client));
    }
}

/// A client that stands on `client` until that is replaced.
pub fn swapping(client: kube::Client) -> (kube::Client, Swap) {
    let namespace = client.default_namespace().to_owned();
    let current = Arc::new(ArcSwap::from_pointee(client));
    (kube::Client::new(Through(current.clone()), namespace), Swap(current))
}

/// How often a kubeconfig is compared with what is known of it.
const COMPARE: Duration = Duration::from_secs(1);

/// A client as a kubeconfig says, and as it says next, until `shutdown`.
///
/// # Errors
/// The file cannot be read, or names what does not exist. Later mistakes are logged, and the client goes on as it was.
pub async fn following(path: &Path, shutdown: CancellationToken) -> Result<kube::Client, Error> {
    let mut known = std::fs::read(path).ok();
    let (client, swap) = swapping(super::from_kubeconfig(path).await?);
    let path = path.to_owned();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(COMPARE) => {}
                () = shutdown.cancelled() => return,
            }
            let found = std::fs::read(&path).ok();
            if found.is_none() || found == known {
                continue;
            }
            match super::from_kubeconfig(&path).await {
                Ok(client) => {
                    swap.swap(client);
                    tracing::info!(file = %path.display(), "new credentials count");
                }
                Err(error) => tracing::warn!(%error, "new credentials cannot be used; the old ones go on"),
            }
            known = found;
        }
    });
    Ok(client)
}

struct Through(Arc<ArcSwap<kube::Client>>);

impl Service<http::Request<Body>> for Through {
    type Response = http::Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each client has a queue of its own, and waits there.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let client = kube::Client::clone(&self.0.load());
        Box::pin(async move { client.send(request).await })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A client that answers every request with that text.
    fn saying(text: &'static str) -> kube::Client {
        let service = tower::service_fn(move |_: http::Request<Body>| async move {
            Ok::<_, Infallible>(http::Response::new(Body::from(text.as_bytes().to_vec())))
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn requests_go_through_the_client_that_counts_now() {
        let (client, swap) = swapping(saying("old"));
        let ask = || async { client.request_text(http::Request::new(Vec::new())).await.unwrap() };
        assert_eq!(ask().await, "old");
        swap.swap(saying("new"));
        assert_eq!(ask().await, "new");
    }
}
