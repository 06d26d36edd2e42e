//! Services and names as they are seen from everywhere: the machine, pods, and another machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skiff_tests::machine::{ADDRESS, GATEWAY};
use skiff_tests::{
    Cluster, Engine, Place, Process, Registry, eventually, http_get, ip, output, registry, repository,
};

/// The address that the resolver outside gives for [`KNOWN`].
const ELSEWHERE: [u8; 4] = [203, 0, 113, 77];

/// The only name that the resolver outside knows, as it stands in a question.
const KNOWN: &[u8] = b"\x03www\x07example\x03com\x00";

/// A cluster with the seed manifest's Deployment and Service, and a machine outside.
struct World {
    cluster: Cluster,
    outside: Place,
    /// The pods of the Deployment.
    web: Vec<String>,
    /// A pod that belongs to no Service and has `curl`.
    client: String,
    _hub: Registry,
}

fn world() -> World {
    let hub = Registry::start();
    let engine = Engine::start(Some(&hub));
    let dir = tempfile::tempdir().unwrap();
    let root = registry::nginx_root(dir.path());
    engine.import(&root, &["CMD [\"/usr/sbin/nginx\"]"], "nginx:latest");
    hub.push(&engine, "nginx:latest");
    registry::copy_program("/usr/bin/curl", &root);
    std::os::unix::fs::symlink("../usr/bin/curl", root.join("bin/curl")).unwrap();
    engine.import(&root, &["CMD [\"/bin/sleep\", \"3600\"]"], "client:1");
    let outside = Place::outside();
    outside.run(resolve);
    let cluster = Cluster::start(engine);
    let manifest = repository("manifests/web.yaml");
    cluster.ctl(&["apply", "-f", manifest.to_str().unwrap()]);
    cluster.ctl(&["run", "client", "--image=client:1"]);
    let web = cluster.ready_pods("app=my-web-app", 3, 60);
    let client = cluster.ready_pods("run=client", 1, 60).remove(0);
    World { cluster, outside, web, client, _hub: hub }
}

/// A resolver that knows one name, for as long as the test lasts.
fn resolve() {
    let socket = UdpSocket::bind((GATEWAY, 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            // The header, the question, and one answer or the code of "no such name".
            let question = query[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let known = query[12..].starts_with(KNOWN);
            let mut answer = query[..12 + question].to_vec();
            let (code, count) = if known { (0x80, 1) } else { (0x83, 0) };
            answer[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, count, 0, 0, 0, 0]);
            if known {
                // A pointer to the name, A, IN, one minute, four bytes.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(ELSEWHERE);
            }
            socket.send_to(&answer, client).unwrap();
        }
    });
}

impl World {
    fn service(&self, name: &str, spec: Value) {
        self.cluster
            .apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}));
    }

    fn field(&self, object: &[&str], path: &str) -> String {
        self.cluster.ctl(&[&["get"], object, &["-o", &format!("jsonpath={{{path}}}")]].concat())
    }

    fn cluster_ip(&self, service: &str) -> String {
        self.field(&["service", service], ".spec.clusterIP")
    }

    fn node_port(&self, service: &str) -> String {
        self.field(&["service", service], ".spec.ports[0].nodePort")
    }

    fn pod_ip(&self, pod: &str) -> String {
        self.field(&["pod", pod], ".status.podIP")
    }

    /// What the pod with `curl` reads from a URL, by its own means.
    fn read(&self, url: &str) -> Result<String, String> {
        self.cluster.exec(&self.client, &["curl", "-sS", "--max-time", "3", "--fail", url])
    }

    /// What a pod's resolver says.
    fn lookup(&self, pod: &str, words: &[&str]) -> String {
        // Busybox asks for the name under every suffix, and fails if one of them is not there.
        self.cluster.exec(pod, &[&["nslookup"], words].concat()).unwrap_or_else(|said| said)
    }

    /// Waits until all pods of the Deployment have answered.
    fn all_answer(&self, what: &str, get: impl Fn() -> Result<String, String>) {
        let mut seen = BTreeSet::new();
        eventually(&format!("an answer of every pod to {what}"), 20, || {
            seen.insert(get()?.trim().to_owned());
            if seen.len() == 3 { Ok(()) } else { Err(format!("{seen:?}")) }
        });
        assert_eq!(seen, self.web.iter().cloned().collect(), "{what}");
    }
}

#[test]
fn services_answer_on_their_addresses_from_everywhere() {
    let mut world = world();
    addresses(&world);
    hairpin(&world);
    sources(&world);
    affinity(&world);
    refusals(&world);
    datagrams(&world);
    changes(&world);
    leftovers(&mut world);
}

fn selecting_web(more: Value) -> Value {
    let mut spec = json!({"selector": {"app": "my-web-app"}, "ports": [{"port": 80}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// The cluster IP and the node port, from the machine, from a pod and from outside, spread over all pods.
fn addresses(world: &World) {
    let cluster_ip = world.cluster_ip("my-web-app-service");
    let by_cluster_ip = format!("http://{cluster_ip}/");
    world.all_answer("the cluster IP from the machine", || http_get(&by_cluster_ip));
    world.all_answer("the cluster IP from a pod", || world.read(&by_cluster_ip));
    // A machine that routes the services through the node.
    world.outside.run(|| ip(&format!("route add 10.96.0.0/16 via {ADDRESS}")));
    world.all_answer("the cluster IP from outside", || world.outside.run(|| http_get(&by_cluster_ip)));

    world.service("web-port", selecting_web(json!({"type": "NodePort"})));
    let port = world.node_port("web-port");
    for address in [ADDRESS, "127.0.0.1"] {
        let url = format!("http://{address}:{port}/");
        world.all_answer("the node port from the machine", || http_get(&url));
    }
    let url = format!("http://{ADDRESS}:{port}/");
    world.all_answer("the node port from a pod", || world.read(&url));
    world.all_answer("the node port from outside", || world.outside.run(|| http_get(&url)));
}

/// A pod reaches itself through its Service.
fn hairpin(world: &World) {
    let alone = &world.web[0];
    world.cluster.ctl(&["label", "pod", alone, "alone=yes"]);
    world
        .service("alone", json!({"selector": {"alone": "yes"}, "ports": [{"port": 80}], "type": "NodePort"}));
    let cluster_ip = world.cluster_ip("alone");
    let port = world.node_port("alone");
    let inside = world.cluster.place(alone);
    for url in [format!("http://{cluster_ip}/"), format!("http://{ADDRESS}:{port}/")] {
        let answer = eventually("a pod to reach itself", 10, || inside.run(|| http_get(&url)));
        assert_eq!(answer.trim(), alone);
    }
}

/// Whom pods see, and whom others see when pods come to them.
fn sources(world: &World) {
    let client = |port: &str| {
        let url = format!("http://{ADDRESS}:{port}/client");
        eventually("an answer from outside", 10, || world.outside.run(|| http_get(&url)))
    };
    assert_ne!(
        client(&world.node_port("web-port")).trim(),
        GATEWAY,
        "any node may serve, so it goes between"
    );
    let local = selecting_web(json!({"type": "NodePort", "externalTrafficPolicy": "Local"}));
    world.service("web-local", local);
    assert_eq!(client(&world.node_port("web-local")).trim(), GATEWAY, "the policy Local keeps the client");
    // Between pods of one node nobody is hidden.
    let cluster_ip = world.cluster_ip("my-web-app-service");
    let seen = world.read(&format!("http://{cluster_ip}/client")).unwrap();
    assert_eq!(seen.trim(), world.pod_ip(&world.client));

    // Outside sees the machine and not the pod.
    let listener = world.outside.run(|| TcpListener::bind((GATEWAY, 8080)).unwrap());
    let target: SocketAddr = format!("{GATEWAY}:8080").parse().unwrap();
    let place = world.cluster.place(&world.client);
    let stream = place.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5)).unwrap());
    let (_, seen) = listener.accept().unwrap();
    assert_eq!(seen.ip().to_string(), ADDRESS);
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), world.pod_ip(&world.client));
}

/// `sessionAffinity: ClientIP`: each client stays with the pod that it came to first.
fn affinity(world: &World) {
    world.service("sticky", selecting_web(json!({"sessionAffinity": "ClientIP", "type": "NodePort"})));
    let by_cluster_ip = format!("http://{}/", world.cluster_ip("sticky"));
    let by_port = format!("http://{ADDRESS}:{}/", world.node_port("sticky"));
    let answers = |get: &dyn Fn() -> Result<String, String>| {
        eventually("the sticky service", 10, get);
        (0..20).map(|_| get().unwrap()).collect::<BTreeSet<_>>()
    };
    let of_machine = answers(&|| http_get(&by_cluster_ip));
    assert_eq!(of_machine.len(), 1, "{of_machine:?}");
    let of_outside = answers(&|| world.outside.run(|| http_get(&by_port)));
    assert_eq!(of_outside.len(), 1, "{of_outside:?}");
    let of_pod = answers(&|| world.read(&by_cluster_ip));
    assert_eq!(of_pod.len(), 1, "{of_pod:?}");
}

/// What has nothing behind it is refused at once, and does not leave the machine.
fn refusals(world: &World) {
    world.service("empty", json!({"selector": {"app": "none"}, "ports": [{"port": 80}], "type": "NodePort"}));
    // The next machine would answer at this address of the service range, and in the place of a pod.
    world.outside.run(|| {
        ip("route delete 10.96.0.0/16");
        ip("address add 10.96.77.77/32 dev lo");
        ip("address add 10.244.0.250/32 dev lo");
    });
    let listener = world.outside.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
    let inside = world.cluster.place(&world.client);
    let refused = |what: &str, address: String| {
        let began = Instant::now();
        let target: SocketAddr = address.parse().unwrap();
        let error = TcpStream::connect_timeout(&target, Duration::from_secs(3)).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{what}: {error}");
        assert!(began.elapsed() < Duration::from_secs(1), "{what}: {:?}", began.elapsed());
    };
    let empty = format!("{}:80", world.cluster_ip("empty"));
    let empty_port = format!("{ADDRESS}:{}", world.node_port("empty"));
    eventually("the empty service to be known", 10, || {
        let rules = output(Command::new("nft").args(["list", "table", "ip", "skiff"]));
        if rules.contains(empty.trim_end_matches(":80")) { Ok(()) } else { Err(rules) }
    });
    for nobody in [empty.clone(), empty_port.clone(), "10.96.77.77:80".to_owned()] {
        refused("from the machine", nobody.clone());
        inside.run(|| refused("from a pod", nobody));
    }
    world.outside.run(|| refused("from outside", empty_port));
    // A port that the Service does not have is nobody's either.
    refused("another port", format!("{}:81", world.cluster_ip("my-web-app-service")));
    listener.set_nonblocking(true).unwrap();
    let stranger = listener.accept().map(|(_, who)| who);
    assert!(stranger.is_err(), "{stranger:?} came to the next machine");
}

/// UDP, also when the endpoint that a client talks to goes away.
fn datagrams(world: &World) {
    world.service(
        "echo",
        json!({"selector": {"echo": "yes"}, "ports": [{"port": 5300, "protocol": "UDP"}], "type": "NodePort"}),
    );
    for pod in &world.web[..2] {
        world.cluster.ctl(&["label", "pod", pod, "echo=yes"]);
        let name = pod.clone();
        world.cluster.place(pod).run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5300)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(name.as_bytes(), client);
                }
            });
        });
    }
    let ask = |socket: &UdpSocket| -> Result<String, String> {
        let text = |error: std::io::Error| error.to_string();
        socket.set_read_timeout(Some(Duration::from_millis(500))).map_err(text)?;
        socket.send(b"?").map_err(text)?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).map_err(text)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let socket = |address: &str| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(address).unwrap();
        socket
    };
    let by_cluster_ip = format!("{}:5300", world.cluster_ip("echo"));
    let by_port = format!("{ADDRESS}:{}", world.node_port("echo"));
    let from_machine = socket(&by_cluster_ip);
    let place = world.cluster.place(&world.client);
    let from_pod = place.run(|| socket(&by_cluster_ip));
    let from_outside = world.outside.run(|| socket(&by_port));
    let mut served = Vec::new();
    for client in [&from_machine, &from_pod, &from_outside] {
        served.push(eventually("an answer by UDP", 10, || ask(client)));
    }
    // The pod of the first client leaves the Service: the same socket gets the other one.
    let (gone, left) = if served[0] == world.web[0] {
        (&world.web[0], &world.web[1])
    } else {
        (&world.web[1], &world.web[0])
    };
    world.cluster.ctl(&["label", "pod", gone, "echo-"]);
    for client in [&from_machine, &from_pod, &from_outside] {
        eventually("the other pod by UDP", 10, || match ask(client)? {
            other if &other == left => Ok(()),
            other => Err(other),
        });
    }
}

/// A change of one Service touches the rules of no other.
fn changes(world: &World) {
    let service = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("many-{number}")},
            "spec": selecting_web(json!({})),
        })
    };
    let services: Vec<Value> = (0..100).map(service).collect();
    world.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": services}));
    let rules = || output(Command::new("nft").args(["list", "table", "ip", "skiff"]));
    eventually("the rules of all services", 30, || {
        let known = rules().matches("chain c-default/many-").count();
        if known == services.len() { Ok(()) } else { Err(known.to_string()) }
    });
    let log = world.cluster.dir().join("changes");
    let mut command = Command::new("nft");
    command.arg("monitor");
    let monitor = Process::start(command, &log);
    let seen = || std::fs::read_to_string(&log).unwrap();
    // Something of our own tells when the monitor has begun.
    eventually("the monitor", 10, || {
        output(Command::new("nft").args(["add", "table", "ip", "begun"]));
        output(Command::new("nft").args(["delete", "table", "ip", "begun"]));
        if seen().contains("delete table ip begun") { Ok(()) } else { Err(seen()) }
    });
    world.cluster.ctl(&["label", "pod", &world.web[1], "alone=yes"]);
    let mine = "default/alone/tcp/80";
    eventually("the change", 10, || {
        let text = seen();
        let chains = text.matches("add rule ip skiff").count();
        if chains > 0 && text.contains(mine) { Ok(()) } else { Err(text) }
    });
    let text = seen();
    let others: Vec<&str> =
        text.lines().filter(|line| line.contains("ip skiff") && !line.contains(mine)).collect();
    assert!(others.is_empty(), "{others:?}");
    drop(monitor);
}

/// `skiff down` leaves the engine and nothing else.
fn leftovers(world: &mut World) {
    let said = |program: &str, words: &str| output(Command::new(program).args(words.split(' ')));
    assert!(said("ip", "link").contains("skiff-"));
    assert!(said("nft", "list tables").contains("skiff"));
    world.cluster.down().unwrap();
    let docker = |words: &str| output(world.cluster.engine().docker().args(words.split(' ')));
    assert_eq!(docker("ps -aq"), "");
    for (what, left) in [
        ("networks", docker("network ls")),
        ("interfaces", said("ip", "link")),
        ("routes", said("ip", "route")),
        ("tables", said("nft", "list tables")),
        ("rules", said("iptables", "-S")),
    ] {
        assert!(!left.contains("skiff") && !left.contains("10.96."), "{what}: {left}");
    }
    let local = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap();
    assert_eq!(local.trim(), "0", "without the rules the loopback must be closed again");
    assert!(!world.cluster.dir().join("pki").exists());
}

#[test]
fn names_resolve_in_pods_and_the_api_is_reached_by_its_name() {
    let world = world();
    names(&world);
    headless(&world);
    elsewhere(&world);
    the_api(&world);
}

/// By every form of a Service's name, asked of the server in the pod's `resolv.conf`.
fn names(world: &World) {
    let configured = world.cluster.exec(&world.client, &["cat", "/etc/resolv.conf"]).unwrap();
    assert!(configured.contains("nameserver 10.96.0.10"), "{configured}");
    assert!(configured.contains("default.svc.cluster.local svc.cluster.local cluster.local"), "{configured}");
    // This one is younger than every pod.
    world.service("late", selecting_web(json!({})));
    for service in ["my-web-app-service", "late"] {
        let cluster_ip = world.cluster_ip(service);
        for suffix in ["", ".default", ".default.svc", ".default.svc.cluster.local"] {
            let name = format!("{service}{suffix}");
            world.all_answer(&name, || world.read(&format!("http://{name}/")));
            // Busybox does not look for names with dots under the suffixes, as C libraries do.
            if suffix.is_empty() || suffix.ends_with("local") {
                let found = world.lookup(&world.client, &[&name]);
                assert!(found.contains(&format!("Address: {cluster_ip}\n")), "{name}: {found}");
            }
        }
    }
    // From another namespace the namespace has to be said.
    world.cluster.ctl(&["create", "namespace", "other"]);
    world.cluster.ctl(&["run", "client", "-n", "other", "--image=client:1"]);
    world.cluster.ctl(&["wait", "-n", "other", "--for=condition=Ready", "pod/client", "--timeout=30s"]);
    let read = |url: &str| {
        let words = ["exec", "-n", "other", "client", "--", "curl", "-sS", "--max-time", "3", url];
        world.cluster.try_ctl(&words)
    };
    assert!(read("http://late.default/").is_ok());
    assert!(read("http://late/").is_err());
    let gone = world.cluster_ip("late");
    world.cluster.ctl(&["delete", "service", "late"]);
    eventually("the name to be gone", 10, || {
        let found = world.lookup(&world.client, &["late.default.svc.cluster.local"]);
        if found.contains("NXDOMAIN") && !found.contains(&gone) { Ok(()) } else { Err(found) }
    });
}

/// All pods at once, each by its own name, and the ports.
fn headless(world: &World) {
    world.service(
        "peers",
        json!({
            "clusterIP": "None", "selector": {"app": "peer"}, "ports": [{"name": "http", "port": 80}],
        }),
    );
    for name in ["one", "two"] {
        world.cluster.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "peer"}},
            "spec": {
                "hostname": format!("host-{name}"), "subdomain": "peers",
                "containers": [{"name": "nginx", "image": "nginx"}],
            },
        }));
    }
    world.cluster.ready_pods("app=peer", 2, 60);
    for name in ["one", "two"] {
        let ip = world.pod_ip(name);
        eventually("both addresses under the service's name", 10, || {
            let found = world.lookup(&world.client, &["peers.default.svc.cluster.local"]);
            if found.contains(&format!("Address: {ip}\n")) { Ok(()) } else { Err(found) }
        });
        let url = format!("http://host-{name}.peers/");
        let answer = eventually("an answer by the pod's own name", 10, || world.read(&url));
        assert_eq!(answer.trim(), format!("host-{name}"));
        let own = world.cluster.exec(name, &["hostname", "-f"]).unwrap();
        assert_eq!(own.trim(), format!("host-{name}.peers.default.svc.cluster.local"));
    }
    let ports = world.lookup(&world.client, &["-type=srv", "_http._tcp.peers.default.svc.cluster.local"]);
    for name in ["one", "two"] {
        assert!(ports.contains(&format!("80 host-{name}.peers.default.svc.cluster.local")), "{ports}");
    }
}

/// Names outside the cluster go to the machine's resolver, also behind an ExternalName.
fn elsewhere(world: &World) {
    let there = Ipv4Addr::from(ELSEWHERE).to_string();
    let found = world.lookup(&world.client, &["www.example.com."]);
    assert!(found.contains(&format!("Address: {there}\n")), "{found}");
    world.service("alias", json!({"type": "ExternalName", "externalName": "www.example.com"}));
    eventually("the alias", 10, || {
        let found = world.lookup(&world.client, &["alias.default.svc.cluster.local"]);
        let both = found.contains("www.example.com") && found.contains(&format!("Address: {there}\n"));
        if both { Ok(()) } else { Err(found) }
    });
    // Names of the cluster that do not exist are not asked elsewhere.
    let found = world.lookup(&world.client, &["nobody.default.svc.cluster.local"]);
    assert!(found.contains("NXDOMAIN") && !found.contains(&there), "{found}");
}

/// A pod reaches the API by name, sure of whom it talks to and known by its token, though the API listens on loopback.
fn the_api(world: &World) {
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let ask = |host: &str, path: &str, token: bool| {
        let mut script = format!("curl -sS --max-time 5 --cacert {account}/ca.crt https://{host}{path}");
        if token {
            script.push_str(&format!(" -H \"Authorization: Bearer $(cat {account}/token)\""));
        }
        world.cluster.exec(&world.client, &["sh", "-c", &script])
    };
    for host in ["kubernetes.default", "kubernetes.default.svc", "kubernetes", "$KUBERNETES_SERVICE_HOST"] {
        let version = ask(host, "/version", false).unwrap();
        assert!(version.contains("gitVersion"), "{host}: {version}");
    }
    let review = "/apis/authorization.k8s.io/v1";
    let unknown = ask("kubernetes.default", review, false).unwrap();
    assert!(unknown.contains("\"code\":401") || unknown.contains("\"code\": 401"), "{unknown}");
    // Known, and without rights of its own.
    let pods = ask("kubernetes.default", "/api/v1/namespaces/default/pods", true).unwrap();
    assert!(pods.contains("system:serviceaccount:default:default"), "{pods}");
    assert!(pods.contains("403"), "{pods}");
    world.cluster.ctl(&[
        "create",
        "rolebinding",
        "viewer",
        "--clusterrole=view",
        "--serviceaccount=default:default",
    ]);
    eventually("the pod to see pods", 10, || {
        let pods = ask("kubernetes.default", "/api/v1/namespaces/default/pods", true)?;
        if pods.contains("PodList") && pods.contains(&world.web[0]) { Ok(()) } else { Err(pods) }
    });
}
