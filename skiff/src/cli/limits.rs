//! The flags of flow control, under upstream's names.

use std::time::Duration;

use clap::{ArgAction, Args};

/// How much the API server does at once.
#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// Whether requests wait for their turn when there are many, by FlowSchemas and PriorityLevelConfigurations.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub enable_priority_and_fairness: bool,
    /// Requests at once; with the next one, the seats that the priority levels share.
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Requests at once that change something.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long a request may take, but for watches and streams.
    #[arg(long, value_name = "TIME", default_value = "1m0s", value_parser = super::duration)]
    pub request_timeout: Duration,
}

impl Limits {
    /// As the API server takes them.
    pub fn limits(&self) -> skiff_apiserver::flow::Limits {
        skiff_apiserver::flow::Limits {
            fair: self.enable_priority_and_fairness,
            seats: self.max_requests_inflight + self.max_mutating_requests_inflight,
            request_timeout: self.request_timeout,
        }
    }
}
