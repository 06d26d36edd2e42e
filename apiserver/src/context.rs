//! What every request carries along.

use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;

use crate::audit::Record;
use crate::flow::Class;
use crate::security::User;

/// The one value that handlers, strategies and admission receive with a request.
#[derive(Debug, Clone)]
pub struct Context {
    /// As whom the request is made.
    pub user: Arc<User>,
    /// Who asks in truth, if the request is made as someone else, and the verb that allowed it (empty for `impersonate`).
    pub requester: Option<(Arc<User>, String)>,
    /// When the request came.
    pub now: Timestamp,
    /// Whether nothing may be stored.
    pub dry_run: bool,
    /// What goes out as `Warning` headers.
    warnings: Arc<Mutex<Vec<String>>>,
    record: Arc<OnceLock<Arc<Record>>>,
    class: Arc<OnceLock<Class>>,
}

impl Context {
    /// A context for a request that came now.
    pub fn new(user: User) -> Self {
        Self {
            user: Arc::new(user),
            requester: None,
            now: Timestamp::now(),
            dry_run: false,
            warnings: Arc::default(),
            record: Arc::default(),
            class: Arc::default(),
        }
    }

    /// Adds a warning for the client; the same text goes out once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock().expect("no holder of this lock panics");
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().expect("no holder of this lock panics").clone()
    }

    /// The request is recorded.
    pub fn recorded(&self, record: Arc<Record>) {
        // Begun once: the first stays.
        let _ = self.record.set(record);
    }

    /// The record of this request, if it has one.
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.record.get()
    }

    /// Adds an annotation to the audit events of this request, if it is recorded.
    pub fn annotate(&self, key: &str, value: &str) {
        if let Some(record) = self.record() {
            record.annotate(key, value);
        }
    }

    /// The request belongs to this flow.
    pub fn classed(&self, class: Class) -> &Class {
        self.class.get_or_init(|| class)
    }

    /// The flow that the request belongs to, once that is known.
    pub fn class(&self) -> Option<&Class> {
        self.class.get()
    }
}
