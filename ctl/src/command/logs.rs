//! `ctl logs`: what containers wrote.

use std::sync::Arc;

use futures::{AsyncBufReadExt, AsyncReadExt, StreamExt, stream};
use serde_json::Value;

use super::exec;
use crate::age;
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::select::{Item, Selection};
use crate::session::Session;
use crate::term;

/// Flags of `logs`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// POD and perhaps CONTAINER, or TYPE/NAME of a workload
    pub target: Vec<String>,
    /// Go on as it is written
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only the last lines; -1 for all
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only what is newer than this: 5s, 2m, 3h
    #[arg(long)]
    pub since: Option<String>,
    /// Only what is newer than this time (RFC 3339)
    #[arg(long)]
    pub since_time: Option<String>,
    /// Put the time before each line
    #[arg(long)]
    pub timestamps: bool,
    /// Of the container before its last restart
    #[arg(long, short = 'p')]
    pub previous: bool,
    /// Which container
    #[arg(long, short = 'c')]
    pub container: Option<String>,
    /// All containers of the pod
    #[arg(long)]
    pub all_containers: bool,
    /// All pods with these labels
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Put pod and container before each line
    #[arg(long)]
    pub prefix: bool,
    /// At most so many bytes
    #[arg(long)]
    pub limit_bytes: Option<u64>,
    /// Follow at most so many containers at once
    #[arg(long, default_value_t = 5)]
    pub max_log_requests: usize,
    /// Say why a log cannot be read, and go on
    #[arg(long)]
    pub ignore_errors: bool,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let pods = match (&args.selector, args.target.as_slice()) {
        (Some(selector), []) => {
            let selection = Selection {
                args: vec!["pods".to_owned()],
                selector: Some(selector.clone()),
                ..Selection::default()
            };
            selection.items(session).await?.into_iter().collect::<Result<Vec<Item>>>()?
        }
        (None, [target]) | (None, [target, _]) => vec![exec::pod(session, target).await?],
        (Some(_), _) => return Err(Error::usage("only a selector (-l) or a POD name is allowed")),
        (None, _) => {
            return Err(Error::usage(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command",
            ));
        }
    };
    if pods.is_empty() {
        term::err("No resources found");
        return Ok(());
    }
    let named = args.container.as_deref().or(args.target.get(1).map(String::as_str));
    let mut sources = Vec::new();
    for pod in &pods {
        if args.all_containers {
            for key in ["initContainers", "containers"] {
                let list: &[Value] =
                    pod.object["spec"][key].as_array().map(Vec::as_slice).unwrap_or_default();
                sources.extend(
                    list.iter().filter_map(|container| Some((pod, container["name"].as_str()?.to_owned()))),
                );
            }
        } else {
            sources.push((pod, exec::container(pod, named, false)?));
        }
    }
    if args.follow && sources.len() > args.max_log_requests {
        return Err(Error::usage(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        )));
    }
    let query = Arc::new(query(&args)?);
    // Followed logs run side by side, others one after the other.
    let at_once = if args.follow { sources.len().max(1) } else { 1 };
    let results: Vec<Result<()>> = stream::iter(sources)
        .map(|(pod, container)| {
            let (query, prefix) = (Arc::clone(&query), args.prefix);
            async move {
                let mark = if prefix { format!("[pod/{}/{container}] ", pod.name) } else { String::new() };
                let call =
                    query.iter().fold(Call::get(format!("{}/log", pod.path())), |call, (key, value)| {
                        call.query(key, value.as_str())
                    });
                print(session, call.query("container", container), &mark).await
            }
        })
        .buffer_unordered(at_once)
        .collect()
        .await;
    for result in results {
        match result {
            Err(error) if args.ignore_errors => crate::report(&error),
            other => other?,
        }
    }
    Ok(())
}

fn query(args: &Args) -> Result<Vec<(&'static str, String)>> {
    let mut query = Vec::new();
    for (key, set) in [("follow", args.follow), ("previous", args.previous), ("timestamps", args.timestamps)]
    {
        if set {
            query.push((key, "true".to_owned()));
        }
    }
    // Of many pods only the end is shown, as kubectl does.
    let tail = args.tail.or(args.selector.as_ref().map(|_| 10)).filter(|tail| *tail >= 0);
    query.extend(tail.map(|tail| ("tailLines", tail.to_string())));
    query.extend(args.limit_bytes.map(|limit| ("limitBytes", limit.to_string())));
    match (&args.since, &args.since_time) {
        (Some(_), Some(_)) => {
            return Err(Error::usage("at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        (Some(since), None) => {
            let seconds = age::parse(since).map_err(Error::Usage)?.unwrap_or_default().as_secs_f64().ceil();
            query.push(("sinceSeconds", format!("{seconds:.0}")));
        }
        (None, Some(time)) => query.push(("sinceTime", time.clone())),
        (None, None) => {}
    }
    Ok(query)
}

/// Prints a whole log of a pod's only container.
pub async fn whole(session: &Session, namespace: &str, pod: &str) -> Result<()> {
    let kind = session.kind("pods").await?;
    print(session, Call::get(format!("{}/log", kind.object_path(namespace, pod))), "").await
}

async fn print(session: &Session, call: Call, mark: &str) -> Result<()> {
    let mut stream = Box::pin(session.rest().await?.stream(call).await?);
    let failed = |source| Error::Io { path: "log".into(), source };
    if mark.is_empty() {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer).await.map_err(failed)? {
                0 => return Ok(()),
                read => term::verbatim(&buffer[..read]),
            }
        }
    }
    loop {
        let mut line = mark.as_bytes().to_vec();
        if stream.read_until(b'\n', &mut line).await.map_err(failed)? == 0 {
            return Ok(());
        }
        term::verbatim(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_query() {
        let args = Args { follow: true, tail: Some(5), since: Some("1500ms".into()), ..Args::default() };
        assert_eq!(
            query(&args).expect("valid"),
            [("follow", "true".into()), ("tailLines", "5".into()), ("sinceSeconds", "2".into())]
        );
        let all = Args { tail: Some(-1), selector: Some("a=b".into()), ..Args::default() };
        assert!(query(&all).expect("valid").is_empty());
        let selected = Args { selector: Some("a=b".into()), ..Args::default() };
        assert_eq!(query(&selected).expect("valid"), [("tailLines", "10".into())]);
    }
}
