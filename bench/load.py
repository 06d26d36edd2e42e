#!/usr/bin/env python3
"""A load generator: durable creates of pods, and lists of them, over TLS with a client certificate.

load.py KUBECONFIG create COUNT CONNECTIONS    prints "creates/s p50_ms p99_ms"
load.py KUBECONFIG list TIMES                  prints "bytes best_s"

Standard library only. It shares the machine with the server, and its own cost is in the figures.
"""
import asyncio
import base64
import json
import re
import ssl
import sys
import tempfile
import time

PATH = "/api/v1/namespaces/bench/pods"


def connect_facts(kubeconfig):
    text = open(kubeconfig).read()

    def field(name):
        return re.search(r"[\"']?%s[\"']?:\s*[\"']?([^\s\"',}]+)" % name, text).group(1)

    context = ssl.create_default_context(cadata=base64.b64decode(field("certificate-authority-data")).decode())
    with tempfile.NamedTemporaryFile() as pem:
        for name in ("client-certificate-data", "client-key-data"):
            pem.write(base64.b64decode(field(name)) + b"\n")
        pem.flush()
        context.load_cert_chain(pem.name)
    host, port = re.search(r"https://([^:/]+):(\d+)", field("server")).groups()
    return host, int(port), context


def pod(name):
    """A pod of about 2 KB that no scheduler looks at: the store and the API are measured, nothing else."""
    env = [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(18)]
    container = {"name": "main", "image": "example/image:v1", "env": env, "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "name": name}, "annotations": {"note": "y" * 400}},
        "spec": {"schedulerName": "nobody", "containers": [container]},
    }


async def request(stream, verb, path, body=b""):
    reader, writer = stream
    head = f"{verb} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status, size = int(head.split(" ", 2)[1]), 0
    length = re.search(r"content-length: (\d+)", head)
    if length:
        data = await reader.readexactly(int(length.group(1)))
        return status, len(data), data
    while True:
        chunk = int(await reader.readline(), 16)
        data = await reader.readexactly(chunk + 2)
        size += chunk
        if not chunk:
            return status, size, b""


async def create(facts, count, connections):
    host, port, context = facts
    first = await asyncio.open_connection(host, port, ssl=context)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}
    status, _, data = await request(first, "POST", "/api/v1/namespaces", json.dumps(namespace).encode())
    if status not in (201, 409):
        raise SystemExit(f"cannot make the namespace: {status} {data.decode()}")
    # A pod needs its namespace's default service account.
    for _ in range(100):
        status, _, _ = await request(first, "GET", "/api/v1/namespaces/bench/serviceaccounts/default")
        if status == 200:
            break
        await asyncio.sleep(0.05)
    run = time.time_ns()
    bodies = [json.dumps(pod(f"p-{run}-{n}")).encode() for n in range(count)]
    times = []

    async def worker():
        stream = await asyncio.open_connection(host, port, ssl=context)
        while bodies:
            body, start = bodies.pop(), time.perf_counter()
            status, _, data = await request(stream, "POST", PATH, body)
            times.append(time.perf_counter() - start)
            if status != 201:
                raise SystemExit(f"a create failed: {status} {data.decode()[:300]}")

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    took = time.perf_counter() - start
    times.sort()
    print(f"{count / took:.0f} {times[len(times) // 2] * 1e3:.1f} {times[int(len(times) * 0.99)] * 1e3:.1f}")


async def listing(facts, times):
    host, port, context = facts
    stream = await asyncio.open_connection(host, port, ssl=context, limit=1 << 26)
    took, size = [], 0
    for _ in range(times):
        start = time.perf_counter()
        status, size, _ = await request(stream, "GET", PATH)
        took.append(time.perf_counter() - start)
        if status != 200:
            raise SystemExit(f"a list failed: {status}")
    print(f"{size} {min(took):.3f}")


facts = connect_facts(sys.argv[1])
if sys.argv[2] == "create":
    asyncio.run(create(facts, int(sys.argv[3]), int(sys.argv[4])))
else:
    asyncio.run(listing(facts, int(sys.argv[3])))
