//! Load: so many requests over so many connections, as fast as the server answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use crate::connection::{Call, Server};
use crate::tree::Tree;

/// What one run of load showed.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Requests a second.
    pub rate: f64,
    /// Half of the requests took no longer, in ms.
    pub p50_ms: f64,
    /// 99 of 100 took no longer, in ms.
    pub p99_ms: f64,
    /// Processor time of the server a request, in ms.
    pub cpu_ms: f64,
}

/// Sends `count` requests made by `make` over `connections`.
pub async fn run(
    server: &Server,
    tree: &Tree,
    count: usize,
    connections: usize,
    make: impl Fn(usize) -> Call + Send + Sync + 'static,
) -> anyhow::Result<Sample> {
    // Of nothing there is no sample.
    let count = count.max(1);
    let (make, next) = (Arc::new(make), Arc::new(AtomicUsize::new(0)));
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(server.connect().await?);
    }
    let (cpu, start) = (tree.cpu_s(), Instant::now());
    let workers: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (make, next) = (make.clone(), next.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(times);
                    }
                    let call = make(number);
                    let start = Instant::now();
                    connection.call(call).await?;
                    times.push(start.elapsed());
                }
            })
        })
        .collect();
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    for worker in workers {
        times.extend(worker.await??);
    }
    let (took, cpu) = (start.elapsed(), tree.cpu_s() - cpu);
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    Ok(Sample {
        rate: count as f64 / took.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_ms: cpu / count as f64 * 1e3,
    })
}

/// The namespace that holds what is measured.
pub const NAMESPACE: &str = "bench";

/// Makes the namespace and waits for its service account, without which no pod is let in. A server without
/// controllers gets it from here.
pub async fn prepare(server: &Server) -> anyhow::Result<()> {
    let mut connection = server.connect().await?;
    let namespace =
        format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{NAMESPACE}"}}}}"#);
    let account = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
    for (path, body) in [
        ("/api/v1/namespaces".to_owned(), namespace),
        (format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), account.to_owned()),
    ] {
        let (_, said) = connection.answer(("POST", path, JSON, Bytes::from(body))).await?;
        anyhow::ensure!(said.is_empty() || said.contains("AlreadyExists"), "{said}");
    }
    Ok(())
}

/// The content type of most requests.
pub const JSON: &str = "application/json";

/// Where the pods are.
pub fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// Creates a pod of 2 KB that no scheduler looks at; it is bound to a node that does not exist.
pub fn create_pod(run: usize, number: usize) -> Call {
    let env: Vec<String> =
        (0..18).map(|n| format!(r#"{{"name":"SETTING_{n}","value":"{:040}"}}"#, n * 7)).collect();
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p-{run}-{number}","labels":{{"app":"bench","name":"p-{number}"}},"annotations":{{"note":"{:0400}"}}}},"spec":{{"schedulerName":"nobody","containers":[{{"name":"main","image":"example/image:v1","env":[{}],"ports":[{{"containerPort":80}}]}}]}}}}"#,
        number,
        env.join(",")
    );
    ("POST", pods(), JSON, Bytes::from(body))
}
