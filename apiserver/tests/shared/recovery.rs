//! Watchers through all that goes wrong with a store: each one's history is the store's, without a gap
//! and without an event told twice, or it was told to begin anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skiff_storage::{Error, Storage};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, EtcdBed, EtcdMembers};
use crate::line::Line;
use crate::server::{CONFIG_MAPS, Client, PATIENCE, Server};

/// What happened to the objects: revision to name and text; `None` when it was deleted.
type Happened = BTreeMap<u64, (String, Option<String>)>;

/// What a watcher was told between two beginnings.
struct Stretch {
    begin: u64,
    state: BTreeMap<String, String>,
    told: Vec<(u64, String, Option<String>)>,
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn named(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn text(object: &Value) -> String {
    object["data"]["text"].as_str().unwrap().to_owned()
}

/// Lists, if the server can just now.
async fn list(client: &Client) -> Option<Stretch> {
    let answer = client.get(CONFIG_MAPS).await;
    if answer.code != 200 {
        return None;
    }
    let list = answer.json();
    let items = list["items"].as_array().unwrap();
    let state = items.iter().map(|item| (named(item), text(item))).collect();
    Some(Stretch { begin: revision(&list), state, told: Vec::new() })
}

/// Lists and watches as every client does, until the object `end` comes. A slow one rests between reads.
async fn follow(client: Client, rest: Duration) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut after = None;
    loop {
        let from = match after {
            Some(after) => after,
            None => {
                let Some(stretch) = list(&client).await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let begin = stretch.begin;
                let ended = stretch.state.contains_key("end");
                stretches.push(stretch);
                if ended {
                    return stretches;
                }
                begin
            }
        };
        after = Some(from);
        let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=5");
        let mut watch = client.watch(&path).await;
        while let Some(event) = watch.next().await {
            let object = &event["object"];
            if event["type"] == "ERROR" {
                assert_eq!(object["code"], 410, "{event}");
                after = None;
                break;
            }
            let deleted = event["type"] == "DELETED";
            let name = named(object);
            let told = (revision(object), name.clone(), (!deleted).then(|| text(object)));
            after = Some(told.0);
            stretches.last_mut().unwrap().told.push(told);
            if name == "end" {
                return stretches;
            }
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
        }
    }
}

/// Writes until told to stop; notes what was acknowledged.
async fn write(client: Client, who: u64, happened: Arc<Mutex<Happened>>, stop: CancellationToken) {
    let mut at = 0u64;
    while !stop.is_cancelled() {
        at += 1;
        let name = format!("w{who}-{}", at % 5);
        let path = format!("{CONFIG_MAPS}/{name}");
        let word = format!("{who}.{at}");
        let object = json!({"metadata": {"name": name}, "data": {"text": word}});
        let (answer, value) = match at % 11 {
            10 => (client.delete(&path).await, None),
            _ => match client.put(&path, &object).await {
                answer if answer.code == 404 => (client.post(CONFIG_MAPS, &object).await, Some(word)),
                answer => (answer, Some(word)),
            },
        };
        match answer.code {
            200 | 201 if value.is_some() => {
                happened.lock().unwrap().insert(revision(&answer.json()), (name, value));
            }
            200 | 404 | 409 => {}
            // The store is away; whether this was written will be seen.
            500 | 503 | 504 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{other}: {}", answer.text()),
        }
    }
}

/// Waits until a server answers consistent reads again.
async fn answers(client: &Client) {
    let until = Instant::now() + PATIENCE;
    while list(client).await.is_none() {
        assert!(Instant::now() < until, "the server does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The store's own account, by one watch of it from the beginning, which ends when `end` is written.
async fn account(store: Arc<dyn Storage>, begin: u64) -> Happened {
    use futures::StreamExt;
    const KEYS: &str = "/registry/configmaps/default/";
    let mut happened = Happened::new();
    let mut after = begin;
    loop {
        let mut watch = match store.watch(KEYS, after).await {
            Ok(watch) => watch,
            Err(Error::Compacted { .. }) => panic!("the account of the store has a gap"),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        while let Some(Ok(notice)) = watch.next().await {
            let skiff_storage::Notice::Events(events) = notice else { continue };
            for event in events {
                after = event.revision;
                let name = event.key[KEYS.len()..].to_owned();
                let value = event.value.map(|value| text(&serde_json::from_slice(&value).unwrap()));
                let end = name == "end";
                happened.insert(event.revision, (name, value));
                if end {
                    return happened;
                }
            }
        }
    }
}

/// Writers and watchers of several servers, and the account of the store that they share.
struct Scene {
    account: JoinHandle<Happened>,
    happened: Arc<Mutex<Happened>>,
    stop: CancellationToken,
    writers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<Vec<Stretch>>>,
}

impl Scene {
    async fn begin(store: Arc<dyn Storage>, servers: &[&Server]) -> Self {
        let begin = store.revision().await.unwrap();
        let account = tokio::spawn(account(store, begin));
        let (happened, stop) = (Arc::default(), CancellationToken::new());
        let (mut writers, mut watchers) = (Vec::new(), Vec::new());
        for (who, server) in (0..).zip(servers) {
            writers.push(tokio::spawn(write(server.admin(), who, Arc::clone(&happened), stop.clone())));
            for rest_ms in [0, 0, 10] {
                watchers.push(tokio::spawn(follow(server.admin(), Duration::from_millis(rest_ms))));
            }
        }
        Self { account, happened, stop, writers, watchers }
    }

    /// Waits until so many more writes have been acknowledged.
    async fn written(&self, more: usize) {
        let from = self.happened.lock().unwrap().len();
        let until = Instant::now() + PATIENCE;
        while self.happened.lock().unwrap().len() < from + more {
            assert!(Instant::now() < until, "nothing is written any more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the writes, lets all reach the end, and compares; answers with how often a watcher began anew.
    async fn end(self, client: &Client) -> usize {
        self.stop.cancel();
        for writer in self.writers {
            writer.await.unwrap();
        }
        let end = json!({"metadata": {"name": "end"}, "data": {"text": "end"}});
        client.post(CONFIG_MAPS, &end).await.expect(201);
        let store = tokio::time::timeout(PATIENCE, self.account).await.expect("the account ends").unwrap();
        for (revision, change) in self.happened.lock().unwrap().iter() {
            assert_eq!(store.get(revision), Some(change), "acknowledged at {revision}");
        }
        let (mut told, mut begun_anew) = (0, 0);
        for watcher in self.watchers {
            let stretches =
                tokio::time::timeout(PATIENCE, watcher).await.expect("each reaches the end").unwrap();
            begun_anew += stretches.len() - 1;
            for stretch in stretches {
                told += stretch.told.len();
                stretch.compare(&store);
            }
        }
        assert!(told > 3 * store.len(), "{told} told of {} to six watchers", store.len());
        begun_anew
    }
}

impl Stretch {
    /// The list is the state of its revision, and what was told is just what came after.
    fn compare(&self, store: &Happened) {
        let mut state = BTreeMap::new();
        for (name, value) in store.range(..=self.begin).map(|(_, change)| change) {
            match value {
                Some(value) => drop(state.insert(name.clone(), value.clone())),
                None => drop(state.remove(name)),
            }
        }
        assert_eq!(self.state, state, "the list at {}", self.begin);
        let last = self.told.last().map_or(self.begin, |told| told.0);
        let expected: Vec<_> = store
            .range(self.begin + 1..)
            .take_while(|(revision, _)| **revision <= last)
            .map(|(revision, (name, value))| (*revision, name.clone(), value.clone()))
            .collect();
        assert_eq!(self.told, expected, "after {}", self.begin);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_watcher_is_told_the_stores_history_through_restarts_and_compactions() {
    let mut bed = EtcdBed::start().await;
    let line = Line::to(bed.url()).await;
    let one = Server::on(EtcdBed::client_of(&[&line.url]).await, "", |_| {}).await;
    let other = Server::on(bed.client().await, "", |_| {}).await;
    let scene = Scene::begin(bed.client().await, &[&one, &other]).await;
    for _ in 0..2 {
        scene.written(60).await;
        bed.restart().await;
        answers(&one.admin()).await;
        answers(&other.admin()).await;
        scene.written(60).await;
        // Compacted while all go on and have seen it, or nearly.
        let store = bed.store();
        store.compact(store.revision().await.unwrap() - 5).await.unwrap();
        // Compacted while one cannot see it: it must read all anew, and say so.
        line.cut();
        scene.written(60).await;
        let newest = bed.store().revision().await.unwrap();
        bed.store().compact(newest).await.unwrap();
        line.mend();
        answers(&one.admin()).await;
    }
    scene.written(60).await;
    // Three watchers of the one whose line was cut, each time.
    let begun_anew = scene.end(&other.admin()).await;
    assert!(begun_anew >= 6, "{begun_anew}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_watcher_is_told_the_stores_history_while_every_member_of_etcd_is_lost_in_turn() {
    let mut members = EtcdMembers::start(3).await;
    let one = Server::on(members.client().await, "", |_| {}).await;
    let other = Server::on(members.client().await, "", |_| {}).await;
    let scene = Scene::begin(members.client().await, &[&one, &other]).await;
    // One of them leads.
    for member in 0..3 {
        scene.written(60).await;
        members.kill(member);
        answers(&one.admin()).await;
        answers(&other.admin()).await;
        scene.written(60).await;
        members.launch(member).await;
    }
    scene.written(60).await;
    scene.end(&other.admin()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_revoked_while_a_server_could_not_see_it_is_no_longer_in_force() {
    let bed = EtcdBed::start().await;
    let line = Line::to(bed.url()).await;
    let one = Server::on(EtcdBed::client_of(&[&line.url]).await, "", |_| {}).await;
    let other = Server::on(bed.client().await, "", |_| {}).await;
    let (jane, admin) = (one.user("jane", &[]), other.admin());
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]);
    let binding = json!({"metadata": {"name": "jane"}, "roleRef": role, "subjects": subjects});
    admin.post(bindings, &binding).await.expect(201);
    let becomes = async |code: u16| {
        let until = Instant::now() + PATIENCE;
        while jane.get(CONFIG_MAPS).await.code != code {
            assert!(Instant::now() < until, "it does not become {code}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    becomes(200).await;
    line.cut();
    admin.delete(&format!("{bindings}/jane")).await.expect(200);
    admin.post(CONFIG_MAPS, &json!({"metadata": {"name": "after"}})).await.expect(201);
    let store = bed.store();
    store.compact(store.revision().await.unwrap()).await.unwrap();
    line.mend();
    becomes(403).await;
}

/// One that does not read is told all that there is room for, and then that it is too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_too_slowly_is_told_so_and_has_missed_nothing_before() {
    let server = Server::start().await;
    let admin = server.admin();
    let begin = list(&admin).await.unwrap().begin;
    let mut slow = admin.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={begin}")).await;
    let large = "x".repeat(900_000);
    let mut written = Vec::new();
    for at in 0..60 {
        let object = json!({"metadata": {"name": format!("large-{at}")}, "data": {"text": large}});
        written.push(revision(&admin.post(CONFIG_MAPS, &object).await.expect(201)));
    }
    let mut told = Vec::new();
    loop {
        let event = slow.next().await.expect("the watch says why it ends");
        if event["type"] == "ERROR" {
            assert_eq!(event["object"]["code"], 410, "{event}");
            break;
        }
        told.push(revision(&event["object"]));
        assert!(told.len() < written.len(), "60 large objects are no more than there is room for");
    }
    assert_eq!(told, written[..told.len()]);
    let now = list(&admin).await.unwrap();
    assert_eq!(now.state.len(), written.len());
}
