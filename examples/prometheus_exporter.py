#!/usr/bin/env python3
# Exports the health of each backend behind Greenroom for Prometheus, found by one pinned probe a minute.
"""Probe every backend behind Greenroom and export what came of it: backend_health and backend_response_time_seconds.

Prefer Greenroom's own /metrics, which sees the real traffic and costs nothing. This exporter sends paid requests; use it where
/metrics is out of reach, or where a backend has too little traffic to judge it by. Needs: pip install 'prometheus_client>=0.20' requests
"""

import argparse
import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests
from prometheus_client import CollectorRegistry, Gauge, generate_latest, start_http_server

PORT = 8000
INTERVAL = 60.0
# What a model that reasons may spend on that: it counts its thoughts in its limit, and may refuse one that leaves no room.
THOUGHTS = 1024
# What Greenroom answers where it asks no backend: it does not know the token, the token may not pin, the address is another's.
UNASKED = (401, 403, 404)


class CannotAsk(Exception):
    """Greenroom itself cannot be asked, so nothing is known of any backend."""


def base(url):
    """The SDKs' address ends with /v1, which paths here begin with."""
    return url.rstrip("/").removesuffix("/v1")


class Exporter:
    """The two gauges, and the probes that set them."""

    def __init__(self, url, token, model, names, timeout, admin_url=None):
        self.url, self.token, self.model = base(url), token, model
        self.admin_url = base(admin_url or url)
        self.names, self.timeout = names, timeout
        self.registry = CollectorRegistry()
        labels = ["backend", "model"]
        self.health = Gauge("backend_health", "1 if the last probe was answered, else 0", labels, registry=self.registry)
        self.seconds = Gauge(
            "backend_response_time_seconds", "Duration of the last probe, NaN if it failed", labels, registry=self.registry
        )
        self.known = set()

    def backends(self):
        """The names given, else what /admin/backends lists now, so that a reload of Greenroom is followed."""
        if self.names:
            return self.names
        try:
            response = requests.get(f"{self.admin_url}/admin/backends", headers=self._headers(), timeout=self.timeout)
            response.raise_for_status()
            return [backend["name"] for backend in response.json()["backends"]]
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            advice = "name the backends, use an admin's token, or set --admin-url to the address of server.admin_bind"
            raise CannotAsk(f"{self.admin_url}/admin/backends: {error}; {advice}") from None

    def probe_all(self):
        """One round, all backends side by side."""
        names = self.backends()
        for gone in self.known - set(names):
            self.health.remove(gone, self.model)
            self.seconds.remove(gone, self.model)
        self.known = set(names)
        if names:
            with ThreadPoolExecutor(max_workers=min(len(names), 32)) as pool:
                unasked = list(pool.map(self.probe, names))
            if all(unasked):
                raise CannotAsk(f"{self.url}: no backend could be asked: {unasked[0]}")

    def probe(self, backend):
        """One request of one token, pinned; another where its model reasons, and says so. Returns why it did not come to that."""
        began, unasked = time.monotonic(), None
        try:
            response = self.put(backend, {"max_tokens": 1})
            if response.status_code == 400 and response.json()["error"]["param"] == "max_tokens":
                # It knows the limit by the newer name only, and counts its thoughts in it.
                began = time.monotonic()
                response = self.put(backend, {"max_completion_tokens": 1 + THOUGHTS})
            if response.status_code in UNASKED:
                unasked = f"HTTP {response.status_code}"
            answered = response.status_code == 200 and bool(response.json()["choices"])
        except (requests.ConnectionError, requests.exceptions.InvalidURL) as error:
            answered, unasked = False, error
        except (requests.RequestException, ValueError, LookupError, TypeError):
            answered = False
        took = time.monotonic() - began
        self.health.labels(backend, self.model).set(1 if answered else 0)
        # A backend that fails in a millisecond must not look like the fastest one.
        self.seconds.labels(backend, self.model).set(took if answered else math.nan)
        return unasked

    def put(self, backend, limit):
        body = {"model": self.model, "backend": backend, "messages": [{"role": "user", "content": "ping"}], **limit}
        url = f"{self.url}/v1/chat/completions"
        return requests.post(url, json=body, headers=self._headers(), timeout=self.timeout)

    def _headers(self):
        return {"Authorization": f"Bearer {self.token}"}


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    env = os.environ.get
    parser.add_argument("--url", default=env("GREENROOM_URL") or "http://127.0.0.1:3000", help="Greenroom's address")
    admin = env("GREENROOM_ADMIN_URL") or None
    parser.add_argument("--admin-url", default=admin, help="address of server.admin_bind (that of --url)")
    parser.add_argument("--token", default=env("GREENROOM_TOKEN") or "your-token", help="a token that may pin")
    parser.add_argument("--model", default=env("GREENROOM_MODEL") or "gpt-4o", help="the public model to ask for")
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="which to probe (default: all; needs an admin's token)")
    parser.add_argument("--interval", type=float, default=INTERVAL, metavar="S", help="seconds between rounds (60)")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds for one probe (30)")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, help=f"where to listen ({PORT})")
    parser.add_argument("--once", action="store_true", help="one round, print the metrics, and end")
    args = parser.parse_args(argv)
    if not (args.interval > 0 and args.timeout > 0):
        parser.error("--interval and --timeout must be above 0")
    return args


def main():
    args = arguments()
    exporter = Exporter(args.url, args.token, args.model, args.backends, args.timeout, args.admin_url)
    if args.once:
        try:
            exporter.probe_all()
        except CannotAsk as error:
            print(f"prometheus_exporter: {error}", file=sys.stderr)
            return 2
        sys.stdout.write(generate_latest(exporter.registry).decode())
        return 0
    server, _ = start_http_server(args.port, addr=args.address, registry=exporter.registry)
    print(f"prometheus_exporter: metrics on http://{args.address}:{server.server_port}/metrics", flush=True)
    pause = threading.Event()
    while True:
        began = time.monotonic()
        try:
            exporter.probe_all()
        except CannotAsk as error:
            # Greenroom may be back the next minute. Until then nothing is known to be healthy.
            print(f"prometheus_exporter: {error}", file=sys.stderr)
            for name in exporter.known:
                exporter.health.labels(name, exporter.model).set(0)
                exporter.seconds.labels(name, exporter.model).set(math.nan)
        pause.wait(max(0.0, args.interval - (time.monotonic() - began)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
