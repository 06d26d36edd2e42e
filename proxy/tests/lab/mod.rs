//! A machine of its own for each test: a network namespace with two pod bridges, pods, a neighbour outside, and the
//! proxy running. All of it goes with the thread that made it. Needs root.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::mpsc::{UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use skiff_proxy::Config;
use skiff_runtime::view::View;
use tokio_util::sync::CancellationToken;

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// The neighbour outside, and the machine's address towards it.
pub const OUTSIDE: &str = "198.51.100.2";
pub const HOST: &str = "198.51.100.1";

pub struct Lab {
    services: UnboundedSender<Result<Event<Service>, kube::runtime::watcher::Error>>,
    slices: UnboundedSender<Result<Event<EndpointSlice>, kube::runtime::watcher::Error>>,
    shutdown: CancellationToken,
    proxy: Option<thread::JoinHandle<()>>,
}

/// Runs a test on a machine of its own.
pub fn lab(test: impl FnOnce(&mut Lab) + Send + 'static) {
    lab_with(|_| (), test);
}

/// The same, with a change of the configuration, made on the machine before the proxy starts.
pub fn lab_with(
    change: impl FnOnce(&mut Config) + Send + 'static,
    test: impl FnOnce(&mut Lab) + Send + 'static,
) {
    let machine = thread::spawn(|| {
        make_machine();
        let mut config = Config { node_names: vec!["n1".into(), "n2".into()], ..Config::default() };
        change(&mut config);
        let mut lab = start(config);
        test(&mut lab);
    });
    if let Err(panic) = machine.join() {
        std::panic::resume_unwind(panic);
    }
}

fn make_machine() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    sh("ip link set lo up");
    sh("ip netns add outside");
    sh("ip link add uplink type veth peer name eth0 netns outside");
    sh(&format!("ip address add {HOST}/24 dev uplink && ip link set uplink up"));
    sh(&format!("ip -n outside address add {OUTSIDE}/24 dev eth0 && ip -n outside link set eth0 up"));
    sh(&format!("ip -n outside link set lo up && ip route add default via {OUTSIDE}"));
    for n in 0..2 {
        sh(&format!("ip link add br{n} type bridge && ip address add 10.244.{n}.1/24 dev br{n}"));
        sh(&format!("ip link set br{n} up"));
    }
}

fn start(config: Config) -> Lab {
    let (services, service_events) = unbounded();
    let (slices, slice_events) = unbounded();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    // From this thread, so that it lives on the same machine.
    let proxy = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let services = View::from_events(service_events, stop.clone());
            let slices = View::from_events(slice_events, stop.clone());
            skiff_proxy::run_on_views(config, services, slices, stop).await.unwrap();
        });
    });
    let lab = Lab { services, slices, shutdown, proxy: Some(proxy) };
    lab.services.unbounded_send(Ok(Event::Init)).unwrap();
    lab.services.unbounded_send(Ok(Event::InitDone)).unwrap();
    lab.slices.unbounded_send(Ok(Event::Init)).unwrap();
    lab.slices.unbounded_send(Ok(Event::InitDone)).unwrap();
    lab.until("the table is there", || {
        sh_result("nft list table ip skiff").is_ok_and(|text| text.contains("hook")).then_some(())
    });
    lab
}

impl Lab {
    /// A pod on a bridge, that answers TCP and UDP on port 80 with its name and who asked.
    pub fn pod(&self, name: &'static str, ip: &str) {
        let bridge = ip.split('.').nth(2).unwrap();
        sh(&format!("ip netns add {name} && ip link add v{name} type veth peer name eth0 netns {name}"));
        sh(&format!("ip link set v{name} master br{bridge} up && ip -n {name} link set lo up"));
        sh(&format!("ip -n {name} address add {ip}/24 dev eth0 && ip -n {name} link set eth0 up"));
        sh(&format!("ip -n {name} route add default via 10.244.{bridge}.1"));
        serve(name, name, 80);
    }

    /// Makes or changes a service.
    pub fn service(&self, name: &str, spec: Value) {
        let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
        self.services.unbounded_send(Ok(Event::Apply(serde_json::from_value(object).unwrap()))).unwrap();
    }

    /// Deletes a service.
    pub fn delete_service(&self, name: &str) {
        let object = json!({"metadata": {"name": name, "namespace": "default"}});
        self.services.unbounded_send(Ok(Event::Delete(serde_json::from_value(object).unwrap()))).unwrap();
    }

    /// Says which endpoints a service has; node n1 has the first bridge.
    pub fn endpoints(&self, service: &str, ips: &[&str]) {
        let endpoints = ips.iter().map(|ip| {
            let node = if ip.starts_with("10.244.0.") {
                "n1"
            } else if ip.starts_with("10.244.1.") {
                "n2"
            } else {
                "away"
            };
            json!({"addresses": [ip], "conditions": {"ready": true}, "nodeName": node})
        });
        self.slice(service, Value::Array(endpoints.collect()));
    }

    /// The same, in full.
    pub fn slice(&self, service: &str, endpoints: Value) {
        let object = json!({
            "metadata": {"name": format!("{service}-1"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "udp", "protocol": "UDP", "port": 80}],
        });
        self.slices.unbounded_send(Ok(Event::Apply(serde_json::from_value(object).unwrap()))).unwrap();
    }

    /// Waits until something is there.
    pub fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(value) = condition() {
                return value;
            }
            if began.elapsed() > PATIENCE {
                eprintln!("{}", sh_result("nft list ruleset; ip address; ip route").unwrap_or_default());
                panic!("never came true: {what}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until this place gets an answer from there.
    pub fn until_answered(&self, from: &'static str, to: &'static str) -> Answer {
        self.until(&format!("{from} gets an answer of {to}"), || tcp(from, to).ok())
    }

    /// Stops the proxy; the rules stay.
    pub fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(proxy) = self.proxy.take() {
            proxy.join().unwrap();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(proxy) = self.proxy.take() {
            // A failure of the test itself says more.
            let _ = proxy.join();
        }
    }
}

/// Who answered, and whom they saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub by: String,
    pub seen: Ipv4Addr,
}

impl Answer {
    fn of(text: &str) -> io::Result<Self> {
        let (by, seen) =
            text.split_once(' ').ok_or_else(|| io::Error::other(format!("answered {text:?}")))?;
        Ok(Self { by: by.to_owned(), seen: seen.parse().map_err(io::Error::other)? })
    }
}

/// Runs something in a place: `host`, `outside` or a pod.
pub fn at<T: Send + 'static>(place: &'static str, what: impl FnOnce() -> T + Send + 'static) -> T {
    let there = thread::spawn(move || {
        enter(place);
        what()
    });
    there.join().unwrap()
}

fn enter(place: &str) {
    if place != "host" {
        let namespace = File::open(format!("/run/netns/{place}")).unwrap();
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    }
}

/// Connects over TCP and reads the answer.
pub fn tcp(from: &'static str, to: &str) -> io::Result<Answer> {
    let to: SocketAddr = to.parse().unwrap();
    at(from, move || {
        let mut stream = TcpStream::connect_timeout(&to, CONNECT)?;
        stream.set_read_timeout(Some(CONNECT))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Answer::of(&text)
    })
}

/// A server in a place, over TCP and UDP.
pub fn serve(place: &'static str, name: &'static str, port: u16) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        enter(place);
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        ready.send(()).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, client)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(format!("{name} {}", client.ip()).as_bytes(), client);
            }
        });
        while let Ok((mut stream, client)) = tcp.accept() {
            let _ = write!(stream, "{name} {}", client.ip());
        }
    });
    is_ready.recv().unwrap();
}

/// A UDP client that keeps its port.
pub struct UdpClient(UdpSocket);

impl UdpClient {
    pub fn at(place: &'static str, to: &'static str) -> Self {
        at(place, move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            Self(socket)
        })
    }

    pub fn ask(&self) -> io::Result<Answer> {
        self.0.send(b"?")?;
        let mut buffer = [0; 100];
        let length = self.0.recv(&mut buffer)?;
        Answer::of(&String::from_utf8_lossy(&buffer[..length]))
    }
}

/// Runs a shell command that has to succeed.
pub fn sh(command: &str) -> String {
    sh_result(command).unwrap_or_else(|message| panic!("{command}: {message}"))
}

pub fn sh_result(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
