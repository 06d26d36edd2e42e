"""A short session of the Python client: objects, watches, patches, and what the server refuses."""

import json
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps, version = client.CoreV1Api(), client.AppsV1Api(), client.VersionApi()


def refused(status, reason, call, *words, **named):
    """The status that the server refuses a call with."""
    try:
        call(*words, **named)
    except ApiException as error:
        body = json.loads(error.body)
        assert (error.status, body["reason"]) == (status, reason), (error.status, body)
        return body
    raise AssertionError(f"{call.__name__} was not refused")


assert version.get_code().minor == "36"
assert core.list_node().items[0].status.conditions

# A namespace, and what happens in it.
core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="python")))
seen = []


def follow():
    # What is deleted last ends the watch.
    for event in watch.Watch().stream(core.list_namespaced_config_map, "python", timeout_seconds=60):
        if event["object"].metadata.name == "data":
            seen.append((event["type"], event["object"].data))
            if event["type"] == "DELETED":
                return


follower = threading.Thread(target=follow)
follower.start()

# Create, read, replace, patch in each way, delete.
made = core.create_namespaced_config_map(
    "python", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="data", labels={"a": "b"}), data={"k": "1"})
)
assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
read = core.read_namespaced_config_map("data", "python")
assert read.data == {"k": "1"}
read.data["k"] = "2"
replaced = core.replace_namespaced_config_map("data", "python", read)
assert replaced.metadata.resource_version != made.metadata.resource_version
refused(409, "Conflict", core.replace_namespaced_config_map, "data", "python", made)
core.patch_namespaced_config_map("data", "python", {"data": {"k": "3"}})
core.patch_namespaced_config_map("data", "python", [{"op": "add", "path": "/data/l", "value": "4"}])
assert core.read_namespaced_config_map("data", "python").data == {"k": "3", "l": "4"}
assert [one.metadata.name for one in core.list_namespaced_config_map("python", label_selector="a=b").items] == ["data"]
core.delete_namespaced_config_map("data", "python")
follower.join(60)
assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"], seen
assert seen[-2][1] == {"k": "3", "l": "4"}, seen

# A Deployment that comes up; its scale.
labels = {"app": "web"}
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels=labels),
    spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="nginx")]),
)
apps.create_namespaced_deployment(
    "python",
    client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template),
    ),
)
apps.patch_namespaced_deployment_scale("web", "python", {"spec": {"replicas": 2}})
for event in watch.Watch().stream(
    apps.list_namespaced_deployment, "python", field_selector="metadata.name=web", timeout_seconds=60
):
    if event["object"].status.ready_replicas == 2:
        break
else:
    raise AssertionError("the Deployment was not ready within a minute")
pods = core.list_namespaced_pod("python", limit=1)
assert len(pods.items) == 1 and pods.metadata._continue and pods.metadata.remaining_item_count == 1
rest = core.list_namespaced_pod("python", limit=1, _continue=pods.metadata._continue)
assert rest.items[0].metadata.name != pods.items[0].metadata.name
assert pods.items[0].status.phase in ("Running", "Pending")

# What is refused, and how.
assert refused(404, "NotFound", core.read_namespaced_pod, "nope", "python")["message"] == 'pods "nope" not found'
refused(409, "AlreadyExists", core.create_namespace, {"metadata": {"name": "python"}})
body = refused(422, "Invalid", core.create_namespaced_pod, "python", {"metadata": {"name": "x"}, "spec": {"containers": []}})
assert body["details"]["causes"][0]["field"] == "spec.containers", body
refused(400, "BadRequest", core.list_namespaced_pod, "python", field_selector="spec.nope=1")

# The dynamic client finds kinds by discovery.
found = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="apps/v1", kind="Deployment")
assert found.get(name="web", namespace="python").spec.replicas == 2

core.delete_namespace("python")
print("the Python client is content")
