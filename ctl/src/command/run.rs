//! `ctl run`: an image as a pod, or, with `--replicas`, as a Deployment.

use serde_json::{Map, Value, json};

use super::create::{self, How};
use super::{attach, delete, logs};
use crate::cli::DryRun;
use crate::error::{Error, Result};
use crate::manifest::Document;
use crate::remote::Streams;
use crate::select;
use crate::session::Session;
use crate::term;
use crate::watch::{self, Verdict};

/// Flags of `run`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Name of what is made
    pub name: String,
    /// The image
    #[arg(long)]
    pub image: String,
    /// Make a Deployment of so many pods; without it, a pod
    #[arg(long)]
    pub replicas: Option<u32>,
    /// NAME=VALUE for the container
    #[arg(long)]
    pub env: Vec<String>,
    /// The container's port
    #[arg(long)]
    pub port: Option<u16>,
    /// Make a Service for the port too
    #[arg(long, requires = "port")]
    pub expose: bool,
    /// Labels, as a=b,c=d
    #[arg(long, short = 'l')]
    pub labels: Option<String>,
    /// Annotations, as a=b
    #[arg(long)]
    pub annotations: Vec<String>,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always")]
    pub restart: String,
    /// Always, IfNotPresent or Never
    #[arg(long)]
    pub image_pull_policy: Option<String>,
    /// JSON merged over the object
    #[arg(long)]
    pub overrides: Option<String>,
    /// What follows -- replaces the image's entry point
    #[arg(long)]
    pub command: bool,
    /// Delete the pod when its command ends (with -i)
    #[arg(long)]
    pub rm: bool,
    /// Attach when it runs
    #[arg(long)]
    pub attach: bool,
    /// What is connected
    #[command(flatten)]
    pub streams: Streams,
    /// More privileges
    #[arg(long)]
    pub privileged: bool,
    /// How it is made and shown
    #[command(flatten)]
    pub how: How,
    /// Arguments, or with --command the command
    #[arg(trailing_var_arg = true)]
    pub arguments: Vec<String>,
}

/// What the flags describe.
pub fn object(args: &Args) -> Result<Value> {
    let mut container = json!({"name": args.name, "image": args.image});
    let env: Result<Vec<Value>> = args
        .env
        .iter()
        .map(|pair| {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| Error::usage(format!("invalid env: {pair}")))?;
            Ok(json!({"name": name, "value": value}))
        })
        .collect();
    let env = env?;
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            container[key] = value;
        }
    };
    set("env", (!env.is_empty()).then(|| json!(env)));
    set("ports", args.port.map(|port| json!([{"containerPort": port}])));
    set("imagePullPolicy", args.image_pull_policy.as_ref().map(|policy| json!(policy)));
    set("securityContext", args.privileged.then(|| json!({"privileged": true})));
    set("stdin", args.streams.stdin.then_some(json!(true)));
    set("stdinOnce", (args.streams.stdin && args.replicas.is_none()).then_some(json!(true)));
    set("tty", args.streams.tty.then_some(json!(true)));
    let key = if args.command { "command" } else { "args" };
    set(key, (!args.arguments.is_empty()).then(|| json!(args.arguments)));

    let label = if args.replicas.is_some() { "app" } else { "run" };
    let labels = match &args.labels {
        Some(text) => pairs(text.split(','))?,
        None => Map::from_iter([(label.to_owned(), json!(args.name))]),
    };
    let mut meta = json!({"name": args.name, "labels": labels});
    if !args.annotations.is_empty() {
        meta["annotations"] = Value::Object(pairs(args.annotations.iter().map(String::as_str))?);
    }
    let mut object = match args.replicas {
        Some(replicas) => json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
        None => {
            if !["Always", "OnFailure", "Never"].contains(&args.restart.as_str()) {
                return Err(Error::usage(format!("invalid restart policy: {}", args.restart)));
            }
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": meta,
                "spec": {"containers": [container], "restartPolicy": args.restart, "dnsPolicy": "ClusterFirst"},
            })
        }
    };
    if let Some(overrides) = &args.overrides {
        let over: Value = serde_json::from_str(overrides)
            .map_err(|error| Error::usage(format!("Invalid JSON Patch: --overrides: {error}")))?;
        json_patch::merge(&mut object, &over);
    }
    Ok(object)
}

fn pairs<'a>(pairs: impl Iterator<Item = &'a str>) -> Result<Map<String, Value>> {
    pairs
        .map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Error::usage(format!("unexpected label spec: {pair}")))?;
            Ok((key.to_owned(), json!(value)))
        })
        .collect()
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let attached = args.attach || args.streams.stdin || args.streams.tty;
    if args.rm && !attached {
        return Err(Error::usage("--rm should only be used for attached containers"));
    }
    if args.replicas.is_some() && attached {
        return Err(Error::usage("-i, -t, --attach and --rm need a single pod: leave out --replicas"));
    }
    let object = object(&args)?;
    if !attached || args.how.dry_run != DryRun::None {
        create::make(&args.how, session, object).await?;
    } else {
        return run_attached(&args, session, object).await;
    }
    if args.expose {
        let label = if args.replicas.is_some() { "app" } else { "run" };
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": args.name},
            "spec": {"selector": {label: args.name}, "ports": [{"port": args.port, "protocol": "TCP", "targetPort": args.port}]},
        });
        create::make(&args.how, session, service).await?;
    }
    Ok(())
}

async fn run_attached(args: &Args, session: &Session, object: Value) -> Result<()> {
    let document = Document { source: "flags".to_owned(), line: 1, object };
    let (made, _) = create::create(&args.how, session, document).await?;
    let kind = session.kind("pods").await?;
    let item = select::item(kind.clone(), made);
    let result = attach_and_wait(args, session, &item).await;
    if args.rm {
        delete::quietly(session, &item).await?;
    }
    result
}

async fn attach_and_wait(args: &Args, session: &Session, item: &select::Item) -> Result<()> {
    let phase = watch::until(session, &item.kind, &item.namespace, &item.name, None, |pod| {
        let Some(pod) = pod else { return Err(Error::usage(format!("pod {} was deleted", item.name))) };
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        if matches!(
            waiting["reason"].as_str(),
            Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "CreateContainerError")
        ) {
            let text = |key: &str| waiting[key].as_str().unwrap_or_default();
            return Err(Error::usage(format!(
                "container of pod {} cannot start: {}: {}",
                item.name,
                text("reason"),
                text("message")
            )));
        }
        Ok(match pod["status"]["phase"].as_str() {
            Some(phase @ ("Running" | "Succeeded" | "Failed")) => Verdict::Done(phase.to_owned()),
            _ => Verdict::Wait,
        })
    })
    .await?;
    if phase == "Running" {
        if !args.streams.quiet && args.streams.stdin && args.streams.tty {
            term::err("If you don't see a command prompt, try pressing enter.");
        }
        let streams = args.streams;
        // It may have ended between the look and the attaching: then its log has all there is.
        if attach::attach(session, &item.namespace, &item.name, &args.name, streams).await.is_err() {
            logs::whole(session, &item.namespace, &item.name).await?;
        }
    } else {
        logs::whole(session, &item.namespace, &item.name).await?;
    }
    if args.restart == "Always" {
        return Ok(());
    }
    let code = watch::until(session, &item.kind, &item.namespace, &item.name, None, |pod| {
        let Some(pod) = pod else { return Ok(Verdict::Done(0)) };
        let code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_u64();
        Ok(code.map_or(Verdict::Wait, Verdict::Done))
    })
    .await?;
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Error::Exit(code)),
        Err(_) => Err(Error::Exit(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args { name: "x".into(), image: "nginx".into(), restart: "Always".into(), ..Args::default() }
    }

    #[test]
    fn replicas_make_a_deployment_and_none_a_pod() {
        let pod = object(&args()).expect("valid");
        assert_eq!((&pod["kind"], &pod["metadata"]["labels"]["run"]), (&json!("Pod"), &json!("x")));
        let deployment = object(&Args { replicas: Some(3), ..args() }).expect("valid");
        assert_eq!(deployment["kind"], "Deployment");
        assert_eq!(deployment["spec"]["replicas"], 3);
        assert_eq!(
            deployment["spec"]["selector"]["matchLabels"],
            deployment["spec"]["template"]["metadata"]["labels"]
        );
    }

    #[test]
    fn flags_reach_the_container() {
        let pod = object(&Args {
            env: vec!["A=b=c".into()],
            port: Some(80),
            command: true,
            arguments: vec!["sh".into(), "-c".into()],
            overrides: Some(r#"{"spec":{"hostNetwork":true}}"#.into()),
            ..args()
        })
        .expect("valid");
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["env"], json!([{"name": "A", "value": "b=c"}]));
        assert_eq!(container["command"], json!(["sh", "-c"]));
        assert_eq!(container["ports"][0]["containerPort"], 80);
        assert_eq!(pod["spec"]["hostNetwork"], true);
        assert!(object(&Args { restart: "Sometimes".into(), ..args() }).is_err());
    }
}
