//! Rules as nft text: the table every packet meets, and changes of it.
//!
//! One table, `ip skiff`. Dispatch is by verdict map. Each text is one transaction for `nft -f -`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::net::Cidr;
use crate::rules::{Change, Container};

/// The table, family included.
pub const TABLE: &str = "ip skiff";

/// The bit of the packet mark that asks for masquerading; upstream's.
pub const MASQUERADE: &str = "0x4000";

/// What the fixed part of the table depends on.
#[derive(Debug, Clone)]
pub struct Base {
    /// All pods.
    pub cluster: Cidr,
    /// All services.
    pub services: Cidr,
    /// Where our DNS server answers, if it runs.
    pub dns: Option<Ipv4Addr>,
    /// The addresses that node ports are served on; empty for all of the machine's own.
    pub node_port_addresses: Vec<Cidr>,
    /// Replies between pods of one bridge pass no rules (no br_netfilter), so requests must come from the machine.
    pub masquerade_pods: bool,
    /// Masquerade whatever goes to a cluster IP.
    pub masquerade_all: bool,
}

/// The whole table in one transaction, in the place of what is there.
pub fn whole(base: &Base, change: &Change) -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\n");
    text.push_str(&base_table(base));
    text.push_str(&incremental(change));
    text
}

/// A transaction that removes the table, whether it is there or not.
pub fn removal() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

/// A change of the table in one transaction.
pub fn incremental(change: &Change) -> String {
    let mut text = String::new();
    let deleted = change.delete_elements.iter().map(|element| (element.container, element.key.clone()));
    elements(&mut text, "delete", deleted);
    for (name, declaration) in &change.add_sets {
        line(&mut text, format_args!("add set {TABLE} {name} {{ {declaration} }}"));
    }
    for name in change.new_chains.keys() {
        line(&mut text, format_args!("add chain {TABLE} {name}"));
    }
    for name in change.chains.keys() {
        line(&mut text, format_args!("flush chain {TABLE} {name}"));
    }
    for (name, rules) in change.new_chains.iter().chain(&change.chains) {
        for rule in rules {
            line(&mut text, format_args!("add rule {TABLE} {name} {rule}"));
        }
    }
    let added = change.add_elements.iter().map(|(element, value)| {
        let entry = if value.is_empty() { element.key.clone() } else { format!("{} : {value}", element.key) };
        (element.container, entry)
    });
    elements(&mut text, "add", added);
    for name in &change.delete_chains {
        line(&mut text, format_args!("flush chain {TABLE} {name}"));
    }
    for name in &change.delete_chains {
        line(&mut text, format_args!("delete chain {TABLE} {name}"));
    }
    for name in &change.delete_sets {
        line(&mut text, format_args!("delete set {TABLE} {name}"));
    }
    text
}

fn elements(text: &mut String, verb: &str, entries: impl Iterator<Item = (Container, String)>) {
    let mut by_container: BTreeMap<Container, Vec<String>> = BTreeMap::new();
    for (container, entry) in entries {
        by_container.entry(container).or_default().push(entry);
    }
    for (container, entries) in by_container {
        let entries = entries.join(", ");
        line(text, format_args!("{verb} element {TABLE} {} {{ {entries} }}", container.name()));
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{what}");
}

/// The part of the table that no service changes.
fn base_table(base: &Base) -> String {
    let mut text = format!("table {TABLE} {{\n");
    for container in Container::ALL {
        let (kind, of) = container.declaration();
        line(&mut text, format_args!("{kind} {} {{\n type {of}\n}}", container.name()));
    }
    for (name, rules) in base_chains(base) {
        line(&mut text, format_args!("chain {name} {{\n {}\n}}", rules.join("\n ")));
    }
    text.push_str("}\n");
    text
}

fn base_chains(base: &Base) -> Vec<(&'static str, Vec<String>)> {
    let Base { cluster, services, .. } = base;
    let not_dns = base.dns.map(|dns| format!("ip daddr != {dns} ")).unwrap_or_default();
    let node_port_addresses = match base.node_port_addresses.as_slice() {
        [] => String::new(),
        some => format!("ip daddr {{ {} }} ", join(some)),
    };
    // Names that the chain walks by: what is addressed, in the form that the maps have as key.
    let (to_service, to_port) =
        ("ip daddr . meta l4proto . th dport", "fib daddr type local meta l4proto . th dport");
    let refused = vec![
        format!("ip daddr {services} {not_dns}jump refuse"),
        // What a local bridge carries is its own next hop; a default route's next hop is elsewhere.
        format!("ip daddr {cluster} rt ip nexthop != {cluster} jump refuse"),
        format!("ct state new {to_service} @rejected_ips jump refuse"),
    ];
    let hook = |hook: &str, priority: i32| format!("{hook} priority {priority}; policy accept;");
    let mut chains = vec![
        (
            "refuse",
            vec![
                "meta l4proto tcp reject with tcp reset".to_owned(),
                "reject with icmp type port-unreachable".to_owned(),
            ],
        ),
        (
            "dispatch",
            vec![
                format!("{to_service} vmap @service_ips"),
                format!("{not_dns}{node_port_addresses}{to_port} vmap @node_ports"),
            ],
        ),
        // Before Docker's chains, so that a published port cannot take a node port away.
        (
            "prerouting",
            vec![format!("type nat hook {}", hook("prerouting", -110)), "jump dispatch".to_owned()],
        ),
        ("output", vec![format!("type nat hook {}", hook("output", -110)), "jump dispatch".to_owned()]),
        ("postrouting", postrouting(base)),
        (
            // Node ports on 127.0.0.1 need route_localnet, which would open the machine's loopback to its neighbours.
            "guard",
            vec![
                format!("type filter hook {}", hook("prerouting", -150)),
                "iifname != \"lo\" ip daddr 127.0.0.0/8 drop".to_owned(),
            ],
        ),
    ];
    let mut forwarded = vec![format!("type filter hook {}", hook("forward", -10))];
    forwarded.extend(refused.clone());
    chains.push(("forwarded", forwarded));
    let mut sent = vec![format!("type filter hook {}", hook("output", -10))];
    sent.extend(refused);
    sent.push(format!("ct state new {not_dns}{to_port} @rejected_ports jump refuse"));
    chains.push(("sent", sent));
    let mut received = vec![
        format!("type filter hook {}", hook("input", -10)),
        format!("ct state new {to_service} @rejected_ips jump refuse"),
        format!("ct state new {not_dns}{to_port} @rejected_ports jump refuse"),
    ];
    if let Some(dns) = base.dns {
        // The address is for names only, and only for this cluster: no open resolver.
        received.push(format!(
            "ip daddr {dns} ct state new ip saddr != {cluster} fib saddr type != local jump refuse"
        ));
        received.push(format!(
            "ip daddr {dns} ct state new meta l4proto {{ tcp, udp }} th dport != 53 jump refuse"
        ));
    }
    chains.push(("received", received));
    chains
}

fn postrouting(base: &Base) -> Vec<String> {
    let Base { cluster, services, .. } = base;
    let mut rules = vec![
        "type nat hook postrouting priority 90; policy accept;".to_owned(),
        "oifname \"lo\" accept".to_owned(),
        format!(
            "meta mark & {MASQUERADE} == {MASQUERADE} meta mark set meta mark & 0xffffbfff masquerade fully-random"
        ),
        "ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random".to_owned(),
        // The machine's own clients at loopback, and those whose route chose the DNS address as their source.
        "ip saddr 127.0.0.0/8 masquerade fully-random".to_owned(),
    ];
    if let Some(dns) = base.dns {
        rules.push(format!("ct status dnat ip saddr {dns} masquerade fully-random"));
    }
    if base.masquerade_pods {
        rules.push(format!("ct status dnat ip saddr {cluster} ip daddr {cluster} masquerade fully-random"));
    }
    if base.masquerade_all {
        rules.push(format!("ct status dnat ct original ip daddr {services} masquerade fully-random"));
    }
    rules.push(format!(
        "ip saddr {cluster} ip daddr != {{ {cluster}, {services}, 224.0.0.0/4, 255.255.255.255 }} masquerade fully-random"
    ));
    rules
}

fn join(ranges: &[Cidr]) -> String {
    ranges.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", ")
}
