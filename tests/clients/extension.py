"""An extension API server of a hundred lines, with nothing but Python.

It serves flunders of wardle.example.com/v1 from memory, to whom the front proxy vouches for. It runs as a pod, and asks
the cluster by its service account who the front proxy is. Arguments: port, certificate, key."""

import json
import os
import ssl
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GROUP = "wardle.example.com"
ROOT = f"/apis/{GROUP}/v1"
RESOURCES = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1", "resources": [
    {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder",
     "verbs": ["create", "delete", "get", "list", "watch"]}]}
DOCUMENT = {"openapi": "3.0.0", "info": {"title": "wardle", "version": "v1"}, "paths": {
    ROOT + "/flunders": {"get": {"responses": {}, "x-kubernetes-action": "list", "x-kubernetes-group-version-kind": {
        "group": GROUP, "version": "v1", "kind": "Flunder"}}}}, "components": {"schemas": {"com.example.wardle.v1.Flunder": {
            "type": "object", "description": "A flunder, whatever that is.", "properties": {
                "spec": {"type": "object", "properties": {"madeBy": {"type": "string", "description": "Who made it."}}}},
            "x-kubernetes-group-version-kind": [{"group": GROUP, "version": "v1", "kind": "Flunder"}]}}}}
stored, changed, version = {}, threading.Condition(), [1]


def front_proxy():
    """The CA of the API server's certificate, read as every extension API server reads it."""
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    with open(f"{account}/token", encoding="ascii") as token:
        headers = {"Authorization": f"Bearer {token.read()}"}
    known = ssl.create_default_context(cafile=f"{account}/ca.crt")
    with urllib.request.urlopen(urllib.request.Request(f"https://{host}:{port}{path}", headers=headers), context=known) as answer:
        return json.load(answer)["data"]["requestheader-client-ca-file"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, code=200):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, code, reason, message=""):
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                     "message": message or reason}, code)

    def user(self):
        """Who asks, if the front proxy says so and proves that it is it."""
        shown = self.connection.getpeercert()
        names = {pair[0]: pair[1] for part in (shown or {}).get("subject", ()) for pair in part}
        return self.headers.get("X-Remote-User") if names.get("commonName") == "front-proxy-client" else None

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def place(self):
        """Namespace and name of flunders that are asked for."""
        parts = self.path.split("?")[0][len(ROOT):].strip("/").split("/")
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] == "flunders":
            return parts[1], parts[3] if len(parts) > 3 else None
        return (None, None) if parts == ["flunders"] else ("", "")

    def do_GET(self):
        path = self.path.split("?")[0]
        published = {"/healthz": {}, ROOT: RESOURCES, f"/openapi/v3{ROOT}": DOCUMENT, "/openapi/v3": {
            "paths": {ROOT[1:]: {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}}}
        if path in published:
            return self.answer(published[path])
        if not path.startswith(ROOT):
            return self.fail(404, "NotFound")
        if not self.user():
            return self.fail(401, "Unauthorized")
        namespace, name = self.place()
        if namespace == "":
            return self.fail(404, "NotFound")
        if name:
            found = stored.get((namespace, name))
            return self.answer(found) if found else self.fail(404, "NotFound", f'flunders.{GROUP} "{name}" not found')
        if "watch=" in self.path:
            return self.watch(namespace)
        items = [item for (where, _), item in sorted(stored.items()) if namespace in (None, where)]
        self.answer({"kind": "FlunderList", "apiVersion": f"{GROUP}/v1", "items": items,
                     "metadata": {"resourceVersion": str(version[0])}})

    def watch(self, namespace):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seen = set()
        while True:
            with changed:
                changed.wait_for(lambda: set(stored) - seen, timeout=30)
                fresh = [key for key in stored if key not in seen and namespace in (None, key[0])]
                seen |= set(stored)
            for key in fresh:
                line = json.dumps({"type": "ADDED", "object": stored[key]}).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def do_POST(self):
        user, (namespace, _) = self.user(), self.place()
        if not user:
            return self.fail(401, "Unauthorized")
        flunder = self.body()
        with changed:
            version[0] += 1
            flunder["metadata"].update(namespace=namespace, resourceVersion=str(version[0]), uid=str(version[0]))
            flunder.setdefault("spec", {})["madeBy"] = user
            stored[(namespace, flunder["metadata"]["name"])] = flunder
            changed.notify_all()
        self.answer(flunder, 201)

    def do_DELETE(self):
        self.body() if self.headers.get("Content-Length") else None
        gone = stored.pop(self.place(), None)
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}) if gone else self.fail(404, "NotFound")


port, certificate, key = sys.argv[1:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(cadata=front_proxy())
context.verify_mode = ssl.CERT_OPTIONAL
server = ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
