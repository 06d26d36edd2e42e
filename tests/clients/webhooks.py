"""A webhook server with nothing but Python: it converts, changes or refuses sites, as its path says.

Sites of v1 have a `hostPort`, those of v2 `host` and `port`. Arguments: port, certificate, key."""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def convert(request):
    def one(item):
        spec, wanted = dict(item.get("spec", {})), request["desiredAPIVersion"]
        if wanted.endswith("/v2"):
            spec["host"], spec["port"] = spec.pop("hostPort").split(":")
        else:
            spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port')}"
        return {**item, "apiVersion": wanted, "spec": spec}

    return {"result": {"status": "Success"}, "convertedObjects": [one(item) for item in request["objects"]]}


def mutate(request):
    if "owner" in request["object"]["spec"]:
        return {"allowed": True}
    patch = [{"op": "add", "path": "/spec/owner", "value": request["userInfo"]["username"]}]
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
            "warnings": ["a site without an owner is yours"]}


def validate(request):
    if request["object"]["spec"]["port"] != "0":
        return {"allowed": True}
    return {"allowed": False, "status": {"code": 403, "message": "nobody listens at port 0"}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"/convert": convert, "/mutate": mutate, "/validate": validate}[self.path.split("?")[0]]
        request = review.pop("request")
        self.answer({**review, "response": {"uid": request["uid"], **answer(request)}})


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[2:4])
server = ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
