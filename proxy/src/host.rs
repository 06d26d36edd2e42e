//! What is done to the machine: programs run, kernel settings written. Everything made here is undone by [`clean`],
//! except forwarding, which others (Docker, for one) may have come to rely on.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::net::Cidr;
use crate::nft;

pub mod bridges;
pub mod changes;
pub mod docker;

/// The interface that carries the DNS server's address, and the route by which the machine's own clients reach
/// services even when it has no default route.
pub const INTERFACE: &str = "skiff-dns";

const BRIDGE_SETTING: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Without it the machine is no router.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Node ports on 127.0.0.1 need it. Our rules keep others out of the loopback, so it must not outlive them.
const LOCAL_ROUTES: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// Said on our interface when it was us who set [`LOCAL_ROUTES`]: like the setting, it lasts until the machine restarts.
const WAS_OFF: &str = "route_localnet was off";

/// Runs an nft transaction: all of it happens, or nothing.
pub async fn transact(text: &str) -> Result<()> {
    run("nft", &["-f", "-"], Some(text)).await.map(drop)
}

/// Makes the machine ready. Tells whether pods of one bridge must be masqueraded to each other, for want of br_netfilter.
pub async fn prepare(config: &Config) -> Result<bool> {
    set(FORWARDING, "1")?;
    let bridged_replies_pass_rules = prepare_bridges().await;
    if !bridged_replies_pass_rules {
        tracing::warn!("no br_netfilter: pods see the node as the client of services on their own node");
    }
    if config.dns {
        make_interface(config.dns_ip, config.service_cidr).await?;
        if !is(LOCAL_ROUTES, "1") {
            run("ip", &["link", "set", INTERFACE, "alias", WAS_OFF], None).await?;
        }
    }
    set(LOCAL_ROUTES, "1")?;
    accept_in_docker(config.cluster_cidr).await;
    Ok(!bridged_replies_pass_rules)
}

/// Removes every rule and interface.
pub async fn clean() -> Result<()> {
    match transact(&nft::removal()).await {
        // Without nft there has never been a rule.
        Ok(()) | Err(Error::Start { .. }) => {}
        Err(error) => return Err(error),
    }
    if Path::new("/proc/sys/net/ipv4/conf").join(INTERFACE).exists() {
        if run("ip", &["link", "show", INTERFACE], None).await?.contains(WAS_OFF) {
            set(LOCAL_ROUTES, "0")?;
        }
        run("ip", &["link", "delete", INTERFACE], None).await?;
    }
    docker::clean().await
}

/// Puts what Docker must let through in place again, if it is not.
pub async fn accept_in_docker(cluster: Cidr) {
    match docker::accept(cluster).await {
        Ok(()) => {}
        // Without iptables there is no Docker that would drop.
        Err(Error::Start { program, source }) => tracing::debug!(program, %source, "no rules for Docker"),
        Err(error) => tracing::warn!(%error, "Docker may drop traffic between nodes"),
    }
}

/// Whether our table is there.
pub async fn has_table() -> bool {
    run("nft", &["list", "chain", "ip", "skiff", "dispatch"], None).await.is_ok()
}

/// Makes replies from pod to pod on one bridge pass the rules, so that they are translated back.
async fn prepare_bridges() -> bool {
    if !Path::new(BRIDGE_SETTING).exists() {
        // Built in, or not to be had: either shows below.
        let _ = run("modprobe", &["br_netfilter"], None).await;
    }
    Path::new(BRIDGE_SETTING).exists() && set(BRIDGE_SETTING, "1").is_ok()
}

async fn make_interface(dns: Ipv4Addr, services: Cidr) -> Result<()> {
    if !Path::new("/proc/sys/net/ipv4/conf").join(INTERFACE).exists() {
        // A bridge without ports is as good as a dummy, which many kernels lack.
        if run("ip", &["link", "add", INTERFACE, "type", "dummy"], None).await.is_err() {
            run("ip", &["link", "add", INTERFACE, "type", "bridge"], None).await?;
        }
    }
    let address = format!("{dns}/32");
    run("ip", &["address", "replace", &address, "dev", INTERFACE], None).await?;
    run("ip", &["link", "set", INTERFACE, "up"], None).await?;
    let (services, source) = (services.to_string(), dns.to_string());
    run("ip", &["route", "replace", &services, "dev", INTERFACE, "src", &source], None).await.map(drop)
}

fn is(path: &str, value: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|held| held.trim() == value)
}

fn set(path: &str, value: &str) -> Result<()> {
    if is(path, value) {
        return Ok(());
    }
    std::fs::write(path, value).map_err(|source| Error::File { path: PathBuf::from(path), source })
}

async fn run(program: &'static str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    let start = |source| Error::Start { program, source };
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(start)?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that stops reading says why on its own; the pipe's error would only hide that.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    // nft repeats the line it did not take, which may be very long.
    let message: String = message.trim().chars().take(2000).collect();
    Err(Error::Failed { program, arguments: arguments.join(" "), message })
}
