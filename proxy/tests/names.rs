//! Names through real sockets: asked by the machine, a pod, over UDP and TCP.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // what stands around tests is test code too

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;

mod lab;

use lab::{OUTSIDE, at, lab, lab_with, tcp};

const DNS: &str = "10.96.0.10:53";

fn question(name: &str) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query
}

fn read(bytes: &[u8], query: &Message) -> Result<Vec<String>, String> {
    let reply = Message::from_vec(bytes).unwrap();
    assert_eq!(reply.metadata.id, query.metadata.id);
    match reply.metadata.response_code {
        ResponseCode::NoError => Ok(reply.answers.iter().map(|record| record.data.to_string()).collect()),
        other => Err(other.to_string()),
    }
}

fn over_udp(from: &'static str, name: &'static str) -> Result<Vec<String>, String> {
    at(from, move || {
        let query = question(name);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.connect(DNS).unwrap();
        socket.send(&query.to_vec().unwrap()).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).map_err(|error| error.kind().to_string())?;
        read(&buffer[..length], &query)
    })
}

fn over_tcp(from: &'static str, name: &'static str) -> Result<Vec<String>, String> {
    at(from, move || {
        let query = question(name);
        let bytes = query.to_vec().unwrap();
        let mut stream = TcpStream::connect(DNS).map_err(|error| error.kind().to_string())?;
        stream.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).map_err(|error| error.kind().to_string())?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        read(&reply, &query)
    })
}

/// A resolver outside that knows one address for everything.
fn serve_outside() {
    let socket = at("outside", || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
            reply.queries = query.queries.clone();
            let name = query.queries[0].name().clone();
            reply.add_answer(Record::from_rdata(name, 60, RData::A(A::new(203, 0, 113, 77))));
            socket.send_to(&reply.to_vec().unwrap(), client).unwrap();
        }
    });
}

#[test]
fn services_resolve_for_host_and_pods_as_soon_as_they_are_made() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("b", "10.244.1.2");
        // The Service that names the server's own address: no rule may stand in its way.
        lab.service(
            "kube-dns",
            json!({"clusterIP": "10.96.0.10", "ports": [{"name": "dns", "protocol": "UDP", "port": 53}]}),
        );
        assert_eq!(over_udp("a", "late.default.svc.cluster.local."), Err("Non-Existent Domain".to_owned()));
        lab.service("late", json!({"clusterIP": "10.96.0.77", "ports": [{"name": "http", "port": 80}]}));
        for from in ["host", "a", "b"] {
            lab.until("the name is known", || over_udp(from, "late.default.svc.cluster.local.").ok());
            assert_eq!(over_udp(from, "late.default.svc.cluster.local."), Ok(vec!["10.96.0.77".to_owned()]));
            assert_eq!(
                over_tcp(from, "kube-dns.default.svc.cluster.local."),
                Ok(vec!["10.96.0.10".to_owned()])
            );
        }
        lab.service("peers", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}));
        lab.endpoints("peers", &["10.244.0.2", "10.244.1.2"]);
        let mut found = lab.until("both peers are known", || {
            over_udp("a", "peers.default.svc.cluster.local.").ok().filter(|found| found.len() == 2)
        });
        found.sort();
        assert_eq!(found, ["10.244.0.2", "10.244.1.2"]);
    });
}

#[test]
fn outside_names_are_forwarded_and_outsiders_are_not_served() {
    let upstream = |config: &mut skiff_proxy::Config| {
        fs::write("/run/upstream.conf", format!("nameserver {OUTSIDE}\n")).unwrap();
        config.upstream_resolv_conf = "/run/upstream.conf".into();
        serve_outside();
    };
    lab_with(upstream, |lab| {
        lab.pod("a", "10.244.0.2");
        let address = || Ok(vec!["203.0.113.77".to_owned()]);
        assert_eq!(over_udp("a", "example.com."), address());
        assert_eq!(over_udp("host", "example.com."), address());
        lab.service("ext", json!({"type": "ExternalName", "externalName": "example.com"}));
        let found = lab.until("the alias is known", || over_udp("a", "ext.default.svc.cluster.local.").ok());
        assert_eq!(found, ["example.com.", "203.0.113.77"]);
        lab::sh("ip -n outside route add 10.96.0.10 via 198.51.100.1");
        assert!(over_udp("outside", "example.com.").is_err());
        assert!(tcp("a", "10.96.0.10:22").is_err());
    });
}

#[test]
fn resolvers_that_are_not_there_are_told_by_a_failure() {
    let upstream =
        |config: &mut skiff_proxy::Config| config.upstream_resolv_conf = "/run/nothing.conf".into();
    lab_with(upstream, |lab| {
        lab.pod("a", "10.244.0.2");
        assert_eq!(over_udp("a", "example.com."), Err("Server Failure".to_owned()));
    });
}
