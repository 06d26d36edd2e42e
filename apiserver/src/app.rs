//! The server as a value: one function from a request to an answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use serde_json::Value;
use skiff_api::kind::{Action, Kind, Registry};
use skiff_api::status::Status;
use skiff_storage::Storage;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Admission};
use crate::allocate::{self, Allocator};
use crate::audit::{self, Audit};
use crate::backend::Backends;
use crate::cache::Cache;
use crate::context::Context;
use crate::encode::Wish;
use crate::flow::{self, Flow, Limits};
use crate::metrics::{self, Metrics};
use crate::negotiate::{self, Accept};
use crate::node::NodeDialer;
use crate::openapi::Documents;
use crate::request::{self, Query, RequestInfo};
use crate::security::authenticate::ShownCertificate;
use crate::security::{
    self, Attributes, Authenticator, Authorizer, Credentials, Decision, ServiceAccountTokens, User,
};
use crate::{discovery, lookup, read, review, subresource, watch, write};

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
    /// Which admission plugins are on.
    pub admission: admission::Switches,
    /// How long new pods stay on a node that fails, unless they say so themselves.
    pub tolerations: Tolerations,
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
    /// Answers who may do what.
    pub authorizer: lookup::Live,
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
    /// A client certificate that TLS has verified.
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
        let cache = Cache::start(storage.clone(), &registry, shutdown.clone()).await?;
        let tokens =
            ServiceAccountTokens::new(&config.service_account_key_pem).map_err(anyhow::Error::msg)?;
        let app = Arc::new(Self {
            authenticator: Authenticator::new(tokens),
            flow: Flow::new(config.limits),
            audit: Arc::new(Audit::new(&config.audit)?),
            admission: Admission::new(&config.admission).map_err(anyhow::Error::msg)?,
            allocator: Allocator::new(&config)?,
            nodes: NodeDialer::new(&config)?,
            backends: Backends::new(cache.clone(), None),
            authorizer: lookup::Live::default(),
            registry: ArcSwap::from_pointee(registry),
            cache,
            storage,
            config,
            metrics: Metrics::default(),
            documents: Documents::default(),
            ready: AtomicBool::new(false),
            shutdown,
        });
        lookup::follow(&app);
        crate::extension::follow(&app).await;
        allocate::repair::once(&app).await?;
        crate::bootstrap::install(&app).await?;
        flow::follow(&app);
        allocate::repair::keep(&app);
        app.ready.store(true, Ordering::Release);
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
        let time = if long { Duration::MAX } else { self.config.limits.request_timeout };
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
        let user = self.identify(&request, identity);
        self.record(user.as_ref(), &request, &info, id, context);
        let own = user?;
        let user = self.impersonate(&request, own.clone())?;
        if let Some(record) = context.record().filter(|_| user != own) {
            record.impersonates(&user);
        }
        let _seats = self.sit_down(&user, &info, &query, context).await?;
        let mut context = context.clone();
        context.user = user;
        context.dry_run = query.all("dryRun").iter().any(|text| text == "All");
        self.authorize(&context, &info, &query)?;
        if !info.is_resource {
            return discovery::answer(self, &request.map(drop), &query).await;
        }
        let registry = self.registry.load_full();
        let Some(kind) = registry.resource(&info.group, &info.version, &info.resource) else {
            if !discovery::is_served(&registry, &info.group, &info.version) {
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

    fn identify(&self, request: &Request<Body>, identity: Identity) -> Result<User, Status> {
        let certificate = match &identity {
            Identity::Known(user) => return Ok(user.clone()),
            Identity::Certificate(shown) => Some(&**shown),
            Identity::Unknown => None,
        };
        let authorization =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credentials = Credentials { certificate, authorization };
        let objects = lookup::Objects(self.cache.clone());
        let now_s = jiff::Timestamp::now().as_second();
        self.authenticator.authenticate(request.uri().path(), &credentials, &objects, now_s)
    }

    /// `Impersonate-User` and its kin: allowed to whom RBAC gives the verb `impersonate`.
    fn impersonate(&self, request: &Request<Body>, user: User) -> Result<User, Status> {
        let text = |name: &str| {
            request.headers().get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned)
        };
        let wanted: Option<String> = text("impersonate-user").next();
        let groups: Vec<String> = text("impersonate-group").collect();
        let Some(name) = wanted else {
            return if groups.is_empty() {
                Ok(user)
            } else {
                Err(Status::bad_request("requested groups without impersonating a user"))
            };
        };
        let service_account = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        let mut questions = vec![match &service_account {
            Some((namespace, name)) => ("serviceaccounts", namespace.clone(), name.clone()),
            None => ("users", String::new(), name.clone()),
        }];
        questions.extend(groups.iter().map(|group| ("groups", String::new(), group.clone())));
        for (resource, namespace, name) in &questions {
            let attributes = Attributes {
                user: &user,
                verb: "impersonate",
                version: "v1",
                resource,
                namespace,
                name,
                resource_request: true,
                ..Attributes::default()
            };
            self.decide(&attributes)?;
        }
        let mut groups = groups;
        if let Some((namespace, _)) = &service_account
            && groups.is_empty()
        {
            groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        }
        if !groups.iter().any(|group| group == "system:authenticated") && name != "system:anonymous" {
            groups.push("system:authenticated".into());
        }
        Ok(User { name, uid: String::new(), groups, extra: BTreeMap::new() })
    }

    /// Begins the record of a request, whoever sent it.
    fn record(
        &self,
        user: Result<&User, &Status>,
        request: &Request<Body>,
        info: &RequestInfo,
        id: &str,
        context: &Context,
    ) {
        let nobody = User::default();
        let attributes = Attributes::of(user.unwrap_or(&nobody), info, "", "");
        let Some(record) = self.audit.begin(&attributes, id, request, context.now) else { return };
        match user {
            Ok(_) => context.recorded(record),
            Err(status) => record.unauthenticated(status),
        }
    }

    /// Waits for the request's turn. Streams are not held up: they cost nothing while they are open.
    async fn sit_down(
        &self,
        user: &User,
        info: &RequestInfo,
        query: &Query,
        context: &Context,
    ) -> Result<Option<flow::Seats>, Status> {
        if !self.config.limits.fair || (is_long_running(info) && info.verb != "watch") {
            return Ok(None);
        }
        let class = context.classed(self.flow.class(user, info));
        let width = match info.verb.as_str() {
            "list" => self.cache.find(&info.group, &info.resource).map_or(1, |cache| {
                let limit = query.get("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
                cache.snapshot().items.len().min(limit).div_ceil(OBJECTS_PER_SEAT).min(WIDEST)
            }),
            _ => 1,
        };
        self.flow.admit(class, width).await.map(Some)
    }

    fn authorize(&self, context: &Context, info: &RequestInfo, query: &Query) -> Result<(), Status> {
        let selected = name_selected(query);
        let mut attributes =
            Attributes::of(&context.user, info, query.get("fieldSelector"), query.get("labelSelector"));
        if info.name.is_empty() {
            attributes.name = &selected;
        }
        let decision = self.authorizer.authorize(&attributes);
        let (word, reason) = match &decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::NoOpinion(reason) | Decision::Deny(reason) => ("forbid", reason),
        };
        context.annotate("authorization.k8s.io/decision", word);
        context.annotate("authorization.k8s.io/reason", reason);
        if word == "allow" {
            return Ok(());
        }
        Err(security::forbidden(&attributes, reason))
    }

    /// Refuses what the authorizers do not allow, in upstream's words.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorizer.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) | Decision::Deny(reason) => {
                Err(security::forbidden(attributes, &reason))
            }
        }
    }

    /// Whether the server has started and may be used.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// How many objects of a list are worth a seat, and the most seats of a list; as upstream's.
const OBJECTS_PER_SEAT: usize = 100;
const WIDEST: usize = 10;

/// 504.
fn too_slow() -> Status {
    let why = "Timeout: request did not complete within the allotted timeout";
    Status::new(504, "Timeout", why)
}

/// Whether an answer goes on for as long as its client wants.
fn is_long_running(info: &RequestInfo) -> bool {
    info.is_resource && (info.verb == "watch" || STREAMS.contains(&info.subresource.as_str()))
}

const APPLY: &str = "application/apply-patch+yaml";

/// Subresources whose answers are not objects: any `Accept` will do.
const STREAMS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// The name that `metadata.name=x` selects: upstream authorizes such a list or watch by name.
fn name_selected(query: &Query) -> String {
    query
        .get("fieldSelector")
        .split(',')
        .find_map(|part| part.strip_prefix("metadata.name="))
        .map(|name| name.trim_start_matches('=').to_owned())
        .unwrap_or_default()
}

/// Why a name cannot be part of a path.
fn bad_segment(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("may not be '{name}'")),
        _ => {
            let bad: Vec<String> = ['/', '%']
                .into_iter()
                .filter(|c| name.contains(*c))
                .map(|c| format!("may not contain '{c}'"))
                .collect();
            (!bad.is_empty()).then(|| bad.join(";"))
        }
    }
}

/// A request for a resource that exists, on its way through a handler.
#[derive(Clone)]
pub struct Call {
    /// The server.
    pub app: Arc<App>,
    /// Who and when.
    pub context: Context,
    /// Who comes to own what this call changes.
    pub manager: String,
    /// Of which kind.
    pub kind: Arc<Kind>,
    /// In which version.
    pub version: String,
    /// The path taken apart.
    pub info: RequestInfo,
    /// The query.
    pub query: Query,
    /// What the client reads.
    pub accept: Accept,
    /// Whether what is written was admitted in another form: a pod's binding, say, or an eviction.
    pub admitted: bool,
}

impl Call {
    /// Refuses paths and methods that lead nowhere, and names that could leave their place in the store.
    fn check_shape(&self) -> Result<(), Status> {
        let info = &self.info;
        let everywhere = self.kind.namespaced && info.namespace.is_empty();
        let stray = !self.kind.namespaced && !info.namespace.is_empty() && self.kind.plural != "namespaces";
        if stray || (everywhere && !info.name.is_empty()) {
            return Err(Status::no_such_path());
        }
        let whole = info.name.is_empty();
        let fits = match info.verb.as_str() {
            "list" => true,
            "watch" => true,
            "create" => (whole || !info.subresource.is_empty()) && !everywhere,
            "deletecollection" => !everywhere,
            _ => !whole,
        };
        if !fits {
            return Err(Status::method_not_allowed());
        }
        if !whole && let Some(why) = bad_segment(&info.name) {
            return Err(Status::bad_request(format!("Name parameter invalid: {:?}: {why}", info.name)));
        }
        if self.kind.namespaced && matches!(info.namespace.as_str(), "." | "..") {
            let root = self.kind.prefix.trim_start_matches("registry");
            let mut key = format!("{root}/{}", info.namespace);
            if !whole {
                key.push_str(&format!("/{}", info.name));
            }
            return Err(Status::new(500, "", format!("invalid key: {key:?}")));
        }
        Ok(())
    }

    /// The namespace of the object, or nothing for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        if self.kind.namespaced { &self.info.namespace } else { "" }
    }

    /// The name of the object.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// What objects are held to beyond their structure, where a schema says it.
    pub fn validator(&self) -> Option<&skiff_api::custom::Validator> {
        self.kind_version().validator.as_deref()
    }

    /// The version asked for.
    pub fn kind_version(&self) -> &skiff_api::kind::Version {
        self.kind.version(&self.version).expect("the registry matched this version")
    }

    /// The schema of the version asked for.
    pub fn schema(&self) -> &skiff_api::schema::Schema {
        &self.kind_version().schema
    }

    /// Another object, as the cache has it, in the version that is stored.
    pub fn find(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let cache = self.app.cache.find(group, resource)?;
        let item = cache.get(namespace, name)?;
        Some(item.object(cache.kind(), &cache.kind().stored().name))
    }

    /// 404 for this call's object.
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group, &self.kind.plural, self.name())
    }

    /// What the subresource of this call does.
    pub fn action(&self) -> Option<&Action> {
        let version = self.kind.version(&self.version)?;
        version.subresources.get(&self.info.subresource).map(|subresource| &subresource.action)
    }
}
