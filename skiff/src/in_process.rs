//! Clients without sockets: the API server's own service, with an identity put on each request.
//!
//! Only this crate builds these, so that a component in the same process has exactly the rights
//! of its user, as if it were alone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use skiff_apiserver::App;
use skiff_apiserver::app::Identity;
use skiff_apiserver::security::User;
use tower::Service;

/// A client of this process's API server that acts as `user`.
pub fn client(app: &Arc<App>, user: User) -> kube::Client {
    let agent = agent(&user.name);
    kube::Client::new(InProcess { app: app.clone(), user, agent }, "default")
}

#[derive(Clone)]
struct InProcess {
    app: Arc<App>,
    user: User,
    agent: HeaderValue,
}

/// What a component calls itself, as upstream's does: it becomes the manager of the fields that it writes.
fn agent(user: &str) -> HeaderValue {
    let name = match user.strip_prefix("system:") {
        Some(node) if node.starts_with("node:") => "kubelet",
        Some(name) => name,
        None => "skiff",
    };
    let text = format!("{name}/{}", env!("CARGO_PKG_VERSION"));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("skiff"))
}

impl Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (app, user) = (self.app.clone(), self.user.clone());
        let mut request = request;
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| self.agent.clone());
        Box::pin(async move { Ok(app.handle(request.map(Body::new), Identity::Known(user)).await) })
    }
}
