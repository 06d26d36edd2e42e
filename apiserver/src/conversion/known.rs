//! Conversions for those that cannot wait for them: what is missing is noted, asked for, and all is done again.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use skiff_api::kind::Kind;
use skiff_api::ownership::Versions;
use skiff_api::schema::Schema;
use skiff_api::status::Status;

use crate::app::Call;

/// How often something may be found missing; each time there is more that is known.
const ROUNDS: usize = 16;

/// The versions of a kind, with the conversions that are known so far.
pub struct Known<'a> {
    kind: &'a Kind,
    /// An object, a version, and the object in it.
    known: Vec<(Value, String, Value)>,
    missing: Mutex<Vec<(Value, String)>>,
}

impl Versions for Known<'_> {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        Versions::schema(self.kind, api_version)
    }

    fn convert<'a>(&self, object: &'a Value, api_version: &str) -> Option<Cow<'a, Value>> {
        if self.kind.conversion.is_none() || object["apiVersion"] == api_version {
            return self.kind.convert(object, api_version);
        }
        Versions::schema(self.kind, api_version)?;
        let found = self.known.iter().find(|(of, to, _)| to == api_version && of == object);
        if let Some((_, _, converted)) = found {
            return Some(Cow::Owned(converted.clone()));
        }
        let mut missing = self.missing.lock().expect("no holder of this lock panics");
        missing.push((object.clone(), api_version.to_owned()));
        self.kind.convert(object, api_version)
    }
}

impl<'a> Known<'a> {
    /// None yet.
    pub fn nothing(kind: &'a Kind) -> Self {
        Self { kind, known: Vec::new(), missing: Mutex::default() }
    }
}

/// Runs what needs conversions until all that it needs are known.
pub async fn run<T>(call: &Call, act: impl Fn(&Known<'_>) -> T) -> Result<T, Status> {
    let mut known = Known::nothing(&call.kind);
    for _ in 0..ROUNDS {
        let outcome = act(&known);
        let missing = std::mem::take(known.missing.get_mut().unwrap_or_else(PoisonError::into_inner));
        if missing.is_empty() {
            return Ok(outcome);
        }
        for (object, api_version) in missing {
            if known.known.iter().any(|(of, to, _)| *to == api_version && *of == object) {
                continue;
            }
            let version = api_version.rsplit_once('/').map_or(api_version.as_str(), |(_, version)| version);
            let converted = super::object(&call.app, &call.kind, object.clone(), version).await?;
            known.known.push((object, api_version, converted));
        }
    }
    Err(Status::internal("versions are converted in circles"))
}
