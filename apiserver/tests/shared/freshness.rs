//! Reads through one server of what was written through another, or by others.

use std::time::{Duration, Instant};

use serde_json::json;
use skiff_storage::{Expect, Op};

use crate::bed::{Bed, EtcdBed};
use crate::server::{CONFIG_MAPS, Server, config_map};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_acknowledged_every_other_shows() {
    let bed = EtcdBed::start().await;
    let one = Server::on(bed.client().await, "", |_| {}).await;
    let other = Server::on(bed.client().await, "", |_| {}).await;
    let store = bed.store();
    let (one, other) = (one.admin(), other.admin());
    one.post(CONFIG_MAPS, &config_map("shared")).await.expect(201);
    for round in 0..50 {
        let (writer, reader) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let path = format!("{CONFIG_MAPS}/shared");
        let text = round.to_string();
        writer.patch(&path, "merge-patch", &json!({"data": {"round": text}})).await.expect(200);
        // Whoever else uses this etcd, and wherever: nobody waits for it.
        let op = Op::Put { value: text.clone().into(), ttl_s: None };
        store.write("/elsewhere", Expect::Any, op).await.unwrap();
        let asked = Instant::now();
        assert_eq!(reader.get(&path).await.expect(200)["data"]["round"], text);
        let list = reader.get(CONFIG_MAPS).await.expect(200);
        assert_eq!(list["items"][0]["data"]["round"], text);
        assert!(asked.elapsed() < Duration::from_secs(2), "reads took {:?}", asked.elapsed());
    }
    other.delete(&format!("{CONFIG_MAPS}/shared")).await.expect(200);
    one.get(&format!("{CONFIG_MAPS}/shared")).await.refused(
        404,
        "NotFound",
        "configmaps \"shared\" not found",
    );
}
