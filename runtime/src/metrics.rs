//! Metrics in the OpenMetrics text form.
//!
//! A component registers what it counts in its [`Metrics`], and the health server shows them at `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

/// The metrics of one component; clones share them.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Adds a metric; keep a clone of it to count with.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    /// All metrics as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))
            .expect("writing to a string cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        let pods = Counter::<u64>::default();
        metrics.register("pods_created", "Pods created", pods.clone());
        pods.inc_by(3);
        assert!(metrics.render().contains("pods_created_total 3"));
    }
}
