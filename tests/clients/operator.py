"""An operator written with kopf: it watches towers, makes a ConfigMap for each, and answers webhooks about them.

kopf makes the webhook configurations itself. CERTIFICATE and KEY name what its server serves with."""

import os

import kopf
import kubernetes


@kopf.on.startup()
def start(settings: kopf.OperatorSettings, **_):
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        host="127.0.0.1",
        certfile=os.environ["CERTIFICATE"],
        pkeyfile=os.environ["KEY"],
        cafile=os.environ["CERTIFICATE"],
    )
    settings.admission.managed = "operator.example.com"
    settings.posting.enabled = True
    kubernetes.config.load_kube_config()


@kopf.on.mutate("example.com", "v1", "towers", operations=["CREATE"], id="colour")
def colour(spec, patch: kopf.Patch, warnings: list, **_):
    if "colour" not in spec:
        patch.spec["colour"] = "grey"
        warnings.append("a tower without a colour is grey")


@kopf.on.validate("example.com", "v1", "towers", id="height")
def height(spec, **_):
    if spec.get("floors", 0) > 9:
        raise kopf.AdmissionError("towers have at most 9 floors", code=429)


@kopf.on.create("example.com", "v1", "towers")
@kopf.on.update("example.com", "v1", "towers", field="spec")
def build(spec, name, namespace, **_):
    plan = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"plan-{name}"},
            "data": {"colour": spec["colour"], "floors": str(spec["floors"])}}
    kopf.adopt(plan)
    maps = kubernetes.client.CoreV1Api()
    try:
        maps.create_namespaced_config_map(namespace, plan)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
        maps.replace_namespaced_config_map(plan["metadata"]["name"], namespace, plan)
    return {"floors": spec["floors"]}


@kopf.on.delete("example.com", "v1", "towers")
def tear_down(name, namespace, **_):
    kubernetes.client.CoreV1Api().create_namespaced_config_map(
        namespace, {"metadata": {"name": f"ruin-{name}"}})
