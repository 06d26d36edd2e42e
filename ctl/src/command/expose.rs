//! `ctl expose`: a Service for a pod, a workload or another Service.

use serde_json::{Map, Value, json};

use super::create::{self, How};
use crate::error::{Error, Result};
use crate::select::{FileArgs, Item, Selection};
use crate::session::Session;

/// Flags of `expose`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE[/NAME]")]
    pub args: Vec<String>,
    /// Expose the object of this manifest
    #[command(flatten)]
    pub files: FileArgs,
    /// The Service's port
    #[arg(long)]
    pub port: Option<String>,
    /// The pods' port, or its name
    #[arg(long)]
    pub target_port: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long)]
    pub protocol: Option<String>,
    /// The Service's name
    #[arg(long)]
    pub name: Option<String>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName
    #[arg(long = "type")]
    pub service_type: Option<String>,
    /// A fixed address, or None for a headless Service
    #[arg(long)]
    pub cluster_ip: Option<String>,
    /// Which pods, as a=b,c=d
    #[arg(long)]
    pub selector: Option<String>,
    /// Labels of the Service
    #[arg(long, short = 'l')]
    pub labels: Option<String>,
    /// None or ClientIP
    #[arg(long)]
    pub session_affinity: Option<String>,
    /// How it is made and shown
    #[command(flatten)]
    pub how: How,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let selection = Selection { args: args.args.clone(), files: args.files.clone(), ..Selection::default() };
    for item in selection.items(session).await? {
        let service = service(&args, &item?)?;
        create::make_and_say(&args.how, session, service, "exposed").await?;
    }
    Ok(())
}

/// The Service.
fn service(args: &Args, item: &Item) -> Result<Value> {
    let selector = match &args.selector {
        Some(text) => parse(text)?,
        None => selector_of(item)?,
    };
    let ports = ports(args, item)?;
    let labels = match &args.labels {
        Some(text) => Value::Object(parse(text)?),
        None => item.object["metadata"]["labels"].clone(),
    };
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": args.name.as_deref().unwrap_or(&item.name)},
        "spec": {"selector": selector, "ports": ports},
    });
    if labels.is_object() {
        service["metadata"]["labels"] = labels;
    }
    for (key, value) in [
        ("type", &args.service_type),
        ("clusterIP", &args.cluster_ip),
        ("sessionAffinity", &args.session_affinity),
    ] {
        if let Some(value) = value {
            service["spec"][key] = json!(value);
        }
    }
    Ok(service)
}

fn parse(text: &str) -> Result<Map<String, Value>> {
    text.split(',')
        .map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Error::usage(format!("unexpected label spec: {pair}")))?;
            Ok((key.to_owned(), json!(value)))
        })
        .collect()
}

fn selector_of(item: &Item) -> Result<Map<String, Value>> {
    let spec = &item.object["spec"];
    let found = match item.kind.kind.as_str() {
        "Pod" => &item.object["metadata"]["labels"],
        "Service" | "ReplicationController" => &spec["selector"],
        "Deployment" | "ReplicaSet" => {
            if spec["selector"]["matchExpressions"].as_array().is_some_and(|rules| !rules.is_empty()) {
                return Err(Error::usage(
                    "couldn't convert expressions - \"matchExpressions\" to map-based selector format",
                ));
            }
            &spec["selector"]["matchLabels"]
        }
        _ => return Err(Error::usage(format!("cannot expose a {}", item.kind.resource()))),
    };
    match found.as_object() {
        Some(map) if !map.is_empty() => Ok(map.clone()),
        _ => Err(Error::usage(
            "couldn't retrieve selectors via --selector flag or introspection: the object has no labels to select by and cannot be exposed",
        )),
    }
}

fn ports(args: &Args, item: &Item) -> Result<Vec<Value>> {
    let number = |text: &str| text.parse::<u16>().map_or_else(|_| json!(text), |number| json!(number));
    let target = args.target_port.as_deref().map(number);
    let protocol = args.protocol.as_deref();
    let declared: Vec<(Value, String)> = match &args.port {
        Some(list) => {
            list.split(',').map(|port| (number(port), protocol.unwrap_or("TCP").to_owned())).collect()
        }
        None => {
            let spec = &item.object["spec"];
            let pod = if item.kind.kind == "Pod" { spec } else { &spec["template"]["spec"] };
            let own = spec["ports"].as_array().into_iter().flatten().map(|port| (port["port"].clone(), port));
            let containers = pod["containers"].as_array().into_iter().flatten();
            let theirs = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
            own.chain(theirs.map(|port| (port["containerPort"].clone(), port)))
                .map(|(number, port)| {
                    (number, protocol.or(port["protocol"].as_str()).unwrap_or("TCP").to_owned())
                })
                .collect()
        }
    };
    if declared.is_empty() {
        return Err(Error::usage("couldn't find port via --port flag or introspection"));
    }
    let many = declared.len() > 1;
    Ok(declared
        .into_iter()
        .enumerate()
        .map(|(index, (port, protocol))| {
            let mut entry = json!({"protocol": protocol, "targetPort": target.clone().unwrap_or_else(|| port.clone()), "port": port});
            if many {
                entry["name"] = json!(format!("port-{}", index + 1));
            }
            entry
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Kind;

    #[test]
    fn a_service_takes_what_the_workload_says() {
        let item = Item {
            kind: Kind { kind: "Deployment".into(), ..Kind::default() },
            namespace: "n".into(),
            name: "web".into(),
            object: json!({"metadata": {"labels": {"x": "y"}}, "spec": {"selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [{"ports": [{"containerPort": 80}]}]}}}}),
        };
        let made = service(&Args::default(), &item).expect("valid");
        assert_eq!(
            made["spec"],
            json!({"selector": {"app": "web"}, "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}]})
        );
        let args = Args {
            port: Some("8080".into()),
            target_port: Some("http".into()),
            service_type: Some("NodePort".into()),
            ..Args::default()
        };
        let made = service(&args, &item).expect("valid");
        assert_eq!(made["spec"]["ports"], json!([{"protocol": "TCP", "port": 8080, "targetPort": "http"}]));
        assert_eq!(made["spec"]["type"], "NodePort");
    }
}
