use std::collections::BTreeSet;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;

use super::*;

/// A stream that is fed by hand.
fn stream<K: Send + 'static>(
    receiver: mpsc::UnboundedReceiver<Event<K>>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (Ok(event), receiver))
    })
}

fn map(name: &str, revision: u64) -> ConfigMap {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        uid: Some(name.to_owned()),
        resource_version: Some(revision.to_string()),
        ..Default::default()
    };
    ConfigMap { metadata, ..Default::default() }
}

fn fed() -> (mpsc::UnboundedSender<Event<ConfigMap>>, View<ConfigMap>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, View::from_events(stream(receiver), CancellationToken::new()))
}

fn send(
    sender: &mpsc::UnboundedSender<Event<ConfigMap>>,
    events: impl IntoIterator<Item = Event<ConfigMap>>,
) {
    for event in events {
        sender.send(event).unwrap();
    }
}

#[tokio::test]
async fn a_view_holds_what_is_listed_and_follows_what_changes() {
    let (sender, view) = fed();
    assert!(!view.is_synced());
    send(
        &sender,
        [Event::Init, Event::InitApply(map("a", 1)), Event::InitApply(map("b", 2)), Event::InitDone],
    );
    view.synced().await;
    assert_eq!(view.len(), 2);
    send(&sender, [Event::Apply(map("c", 3)), Event::Delete(map("a", 4))]);
    view.caught_up(&map("x", 4)).await;
    let names: Vec<_> =
        view.list_in("default").iter().map(|map| map.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["b", "c"]);
    assert!(view.list_in("other").is_empty());
    // A new list replaces everything.
    let mut changes = view.changes();
    send(
        &sender,
        [Event::Init, Event::InitApply(map("c", 3)), Event::InitApply(map("d", 9)), Event::InitDone],
    );
    let told = [changes.recv().await.unwrap(), changes.recv().await.unwrap()];
    assert_eq!(told[0].old.as_ref().unwrap().metadata.name.as_deref(), Some("b"));
    assert_eq!(told[1].new.as_ref().unwrap().metadata.name.as_deref(), Some("d"));
}

#[tokio::test]
async fn waiting_for_a_write_ends_when_the_view_has_it() {
    let (sender, view) = fed();
    send(&sender, [Event::Init, Event::InitApply(map("a", 1)), Event::InitDone]);
    view.synced().await;
    let waiting = {
        let view = view.clone();
        tokio::spawn(async move { view.caught_up(&map("a", 5)).await })
    };
    send(&sender, [Event::Apply(map("a", 4))]);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    send(&sender, [Event::Apply(map("a", 5))]);
    waiting.await.unwrap();
    let waiting = {
        let view = view.clone();
        tokio::spawn(async move { view.caught_up_deleted(&Key::new("default", "a"), "a").await })
    };
    send(&sender, [Event::Delete(map("a", 6))]);
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_follower_that_lags_still_learns_what_went() {
    let (sender, view) = fed();
    send(&sender, [Event::Init, Event::InitApply(map("gone", 1)), Event::InitDone]);
    let seen: Arc<Mutex<(BTreeSet<String>, BTreeSet<String>)>> = Arc::default();
    let (told, mut tells) = mpsc::unbounded_channel();
    let record = seen.clone();
    view.follow(CancellationToken::new(), move |change| {
        let mut seen = record.lock().unwrap();
        let name = |object: &Arc<ConfigMap>| object.metadata.name.clone().unwrap();
        match &change.new {
            Some(new) => seen.0.insert(name(new)),
            None => seen.1.insert(name(change.old.as_ref().unwrap())),
        };
        told.send(()).unwrap();
    });
    tells.recv().await.unwrap();
    // On one thread the writer takes all of these before the follower has its turn.
    send(&sender, [Event::Delete(map("gone", 2))]);
    let count = MAX_PENDING_CHANGES as u64 * 2;
    send(&sender, (0..count).map(|at| Event::Apply(map(&at.to_string(), 3 + at))));
    while seen.lock().unwrap().0.len() as u64 != count + 1 {
        tells.recv().await.unwrap();
    }
    assert!(seen.lock().unwrap().1.contains("gone"));
}
