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
use http::{Request, Response};
use skiff_apiserver::App;
use skiff_apiserver::app::Identity;
use skiff_apiserver::security::User;
use tower::Service;

/// A client of this process's API server that acts as `user`.
pub fn client(app: &Arc<App>, user: User) -> kube::Client {
    kube::Client::new(InProcess { app: app.clone(), user }, "default")
}

#[derive(Clone)]
struct InProcess {
    app: Arc<App>,
    user: User,
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
        Box::pin(async move { Ok(app.handle(request.map(Body::new), Identity::Known(user)).await) })
    }
}
