//! The server as a value: one function from a request to an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use skiff_api::kind::Registry;
use skiff_api::status::Status;
use skiff_storage::Storage;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Admission};
use crate::aggregation::{self, Aggregation};
use crate::allocate::{self, Allocator};
use crate::audit::{self, Audit};
use crate::backend::{self, Backends};
use crate::cache::Cache;
pub use crate::call::Call;
use crate::context::Context;
use crate::encode::Wish;
use crate::flow::{self, Flow, Limits};
use crate::metrics::{self, Metrics};
use crate::negotiate::{self, Accept};
use crate::node::NodeDialer;
use crate::openapi::Documents;
use crate::request::{self, Query, RequestInfo};
use crate::security::authenticate::{self, ShownCertificate};
use crate::security::authorize;
use crate::security::{Authenticator, User};
use crate::{discovery, layers, lookup, read, review, subresource, watch, write};

/// What the API server is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Cluster IPs come from here, such as `10.96.0.0/16`.
    pub service_cidr: String,
    /// Node ports, both ends included.
    pub node_ports: (u16, u16),
    /// Where clients reach this server, for the `kubernetes` Service.
    pub advertise: (IpAddr, u16),
    /// The cluster's CA, as PEM; clients' certificates are checked against it.
    pub ca_pem: String,
    /// The private key that signs service-account tokens, as PEM.
    pub service_account_key_pem: String,
    /// The certificate and key shown to node agents, as PEM.
    pub node_client_pem: (String, String),
    /// How much is done at once.
    pub limits: Limits,
    /// What is recorded of requests, and where.
    pub audit: audit::Options,
    /// How extension API servers know this one.
    pub aggregation: aggregation::Options,
    /// Which admission plugins are on.
    pub admission: admission::Switches,
    /// How long new pods stay on a node that fails, unless they say so themselves.
    pub tolerations: Tolerations,
    /// Who is believed.
    pub authentication: authenticate::Options,
    /// Who may do what.
    pub authorization: authorize::Options,
}

/// How long pods stay on a node that fails, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Tolerations {
    /// One that says it is not ready (`--default-not-ready-toleration-seconds`).
    pub not_ready_s: i64,
    /// One that is silent (`--default-unreachable-toleration-seconds`).
    pub unreachable_s: i64,
}

impl Default for Tolerations {
    fn default() -> Self {
        Self { not_ready_s: 300, unreachable_s: 300 }
    }
}

/// The API server.
pub struct App {
    /// What it was told.
    pub config: Config,
    /// The kinds it serves.
    pub registry: ArcSwap<Registry>,
    /// Told whenever these change.
    pub served: tokio::sync::watch::Sender<()>,
    /// Everything stored.
    pub cache: Arc<Cache>,
    /// The store, for writes and for reads that must be fresh.
    pub storage: Arc<dyn Storage>,
    /// Finds out who asks; signs and checks service-account tokens.
    pub authenticator: Authenticator,
    /// Whose turn it is.
    pub flow: Arc<Flow>,
    /// What is recorded.
    pub audit: Arc<Audit>,
    /// What is let in.
    pub admission: Admission,
    /// What needs an order over all Services.
    pub allocator: Allocator,
    /// The way to node agents.
    pub nodes: NodeDialer,
    /// The way to webhooks and extension API servers.
    pub backends: Backends,
    /// Roles, bindings, and what nodes' pods refer to.
    pub authorizer: Arc<lookup::Live>,
    /// What extension API servers serve.
    pub aggregation: Aggregation,
    /// Answers who may do what.
    pub authorization: Arc<authorize::Chain>,
    /// What it counts.
    pub metrics: Metrics,
    /// The OpenAPI documents that were asked for.
    pub documents: Documents,
    ready: AtomicBool,
    /// Ends watches when the server stops.
    pub shutdown: CancellationToken,
}

/// Who a request comes from, before it has been checked.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A component in this process; only the binary builds this.
    Known(User),
    /// A client certificate that was judged when the connection began.
    Certificate(Arc<ShownCertificate>),
    /// Whoever the request's own credentials say.
    Unknown,
}

impl App {
    /// Reads the store, installs what every cluster has, and is ready to answer.
    pub async fn start(
        config: Config,
        storage: Arc<dyn Storage>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        Self::start_with(config, skiff_api::builtin::registry(), storage, shutdown).await
    }

    /// The same with these kinds.
    pub async fn start_with(
        config: Config,
        registry: Registry,
        storage: Arc<dyn Storage>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let metrics = Metrics::default();
        let cache = Cache::start(storage.clone(), &registry, shutdown.clone()).await?;
        let authenticator =
            Authenticator::new(&config.authentication, &config.ca_pem, &config.service_account_key_pem)?
                .with_servers(&config.authentication, &cache, &metrics.authentication_reloads, &shutdown)?;
        let live = Arc::new(lookup::Live::default());
        let authorization = Arc::new(authorize::Chain::new(&config.authorization, live.clone(), &cache)?);
        let front_proxy = &config.aggregation.client_pem;
        let front_proxy =
            front_proxy.as_ref().map(|(certificate, key)| backend::Identity::read(certificate, key));
        let front_proxy = front_proxy.transpose()?;
        let app = Arc::new(Self {
            authenticator,
            flow: Flow::new(config.limits),
            audit: Arc::new(Audit::new(&config.audit, &cache, &shutdown)?),
            admission: Admission::new(&config.admission).map_err(anyhow::Error::msg)?,
            allocator: Allocator::new(&config)?,
            nodes: NodeDialer::new(&config)?,
            backends: Backends::new(cache.clone(), front_proxy),
            aggregation: Aggregation::default(),
            authorizer: live,
            authorization,
            registry: ArcSwap::from_pointee(registry),
            served: tokio::sync::watch::Sender::new(()),
            cache,
            storage,
            config,
            metrics,
            documents: Documents::default(),
            ready: AtomicBool::new(false),
            shutdown,
        });
        lookup::follow(&app);
        if let Some(path) = app.config.authorization.config_file.clone() {
            let (every, count) = (app.config.authorization.reload, app.metrics.authorization_reloads.clone());
            app.authorization.follow(path, every, count, app.cache.clone(), app.shutdown.clone());
        }
        crate::extension::follow(&app).await;
        allocate::repair::once(&app).await?;
        crate::bootstrap::install(&app).await?;
        flow::follow(&app);
        admission::policy::follow(&app);
        allocate::repair::keep(&app);
        app.ready.store(true, Ordering::Release);
        aggregation::keep(&app);
        Ok(app)
    }

    /// Answers one request. Never fails: what goes wrong becomes a `Status`.
    pub async fn handle(self: &Arc<Self>, request: Request<Body>, identity: Identity) -> Response<Body> {
        let accept = Accept::parse(request.headers().get(header::ACCEPT));
        let head = request.method() == http::Method::HEAD;
        let wish = Wish::of(&request);
        let context = Context::new(User::default());
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = request::parse(request.method(), request.uri().path(), &query);
        let (begun, open) = (Instant::now(), self.metrics.begin(&info));
        let apply = request.headers().get(header::CONTENT_TYPE).is_some_and(|media| media == APPLY);
        let known = self.registry.load().resource(&info.group, &info.version, &info.resource).is_some();
        let labels = metrics::labels(&info, known, apply);
        let dry_run = !query.all("dryRun").is_empty();
        let long = is_long_running(&info);
        let id = audit::id(request.headers());
        // What it asks of itself while it starts takes as long as it takes.
        let unbound = long || !self.is_ready();
        let time = if unbound { Duration::MAX } else { self.config.limits.request_timeout };
        let answer = self.answer(request, info, query, identity, &id, &context);
        let answer = match tokio::time::timeout(time, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(too_slow()),
        };
        let (mut response, refusal) = match answer {
            Ok(response) => (response, None),
            Err(status) => (negotiate::refusal(&status, &accept), Some(status)),
        };
        if let Some(record) = context.record() {
            response = record.clone().answered(response, refusal.as_ref(), long).await;
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(audit::AUDIT_ID, id);
        }
        if let Some(class) = context.class() {
            class.mark(&mut response);
        }
        drop(open);
        let size = axum::body::HttpBody::size_hint(response.body()).exact();
        self.metrics.answered(&labels, dry_run, response.status().as_u16(), begun.elapsed(), size);
        for warning in context.warnings() {
            let text = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        if head {
            *response.body_mut() = Body::empty();
            return response;
        }
        wish.fulfil(response).await
    }

    async fn answer(
        self: &Arc<Self>,
        mut request: Request<Body>,
        info: RequestInfo,
        query: Query,
        identity: Identity,
        id: &str,
        context: &Context,
    ) -> Result<Response<Body>, Status> {
        let mut context = context.clone();
        context.dry_run = query.all("dryRun").iter().any(|text| text == "All");
        let asked = layers::identify(self, &mut request, identity, &mut context).await;
        layers::audit(self, &request, asked.as_ref().err(), &info, id, &context);
        asked?;
        layers::impersonate(self, &mut request, &info, &query, &mut context).await?;
        let _seats = layers::take_turn(self, &context, &info, &query).await?;
        layers::authorize(self, &context, &info, &query).await?;
        self.handle_allowed(request, info, query, context).await
    }

    /// Answers a request that may pass.
    async fn handle_allowed(
        self: &Arc<Self>,
        mut request: Request<Body>,
        mut info: RequestInfo,
        query: Query,
        context: Context,
    ) -> Result<Response<Body>, Status> {
        if let Some(service) = self.aggregation.find(&self.cache, &info.path) {
            return aggregation::forward(self, &service, &context.user, request).await;
        }
        if !info.is_resource {
            return discovery::answer(self, &request.map(drop), &query).await;
        }
        if info.group.is_empty() && (&*info.resource, &*info.verb) == ("bindings", "create") {
            (info, request) = subresource::of_binding(info, request).await?;
        }
        let registry = self.registry.load_full();
        let Some(kind) = registry.resource(&info.group, &info.version, &info.resource) else {
            if !discovery::is_served(&registry, &info.group, &info.version) {
                if discovery::is_group(&registry, &info.group) {
                    return Err(Status::no_such_path());
                }
                return Ok(discovery::no_page());
            }
            return review::answer(self, &context, &info, &mut request).await;
        };
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let call = Call {
            app: self.clone(),
            context,
            manager: write::manager_of(query.get("fieldManager"), agent.unwrap_or_default()),
            kind: kind.clone(),
            version: info.version.clone(),
            info,
            query,
            accept: Accept::parse(request.headers().get(header::ACCEPT)),
            admitted: false,
        };
        if let Some(warning) = &call.kind_version().deprecated {
            call.context.warn(warning);
        }
        call.check_shape()?;
        // What could not be answered is not done.
        if call.accept.refused
            && !STREAMS.contains(&call.info.subresource.as_str())
            && call.info.verb != "watch"
        {
            return Err(read::not_acceptable());
        }
        if !call.info.subresource.is_empty() {
            return subresource::answer(&call, request).await;
        }
        match call.info.verb.as_str() {
            "get" => read::get(&call).await,
            "list" => read::list(&call).await,
            "watch" => watch::watch(&call).await,
            "create" => write::create(&call, request).await,
            "update" => write::update(&call, request).await,
            "patch" => write::patch(&call, request).await,
            "delete" => write::delete(&call, request).await,
            "deletecollection" => write::delete_collection(&call, request).await,
            verb => Err(Status::method_not_supported(&call.kind.group, &call.kind.plural, verb)),
        }
    }

    /// Whether the server has started and may be used.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// 504.
fn too_slow() -> Status {
    let why = "Timeout: request did not complete within the allotted timeout";
    Status::new(504, "Timeout", why)
}

/// Whether an answer goes on for as long as its client wants.
pub fn is_long_running(info: &RequestInfo) -> bool {
    info.is_resource && (info.verb == "watch" || STREAMS.contains(&info.subresource.as_str()))
}

const APPLY: &str = "application/apply-patch+yaml";

/// Subresources whose answers are not objects: any `Accept` will do.
const STREAMS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];
