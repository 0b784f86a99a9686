"""A Service and its clients: what kube-proxy and other pods would do, as pods come and go."""

import http.client
import random
import threading
import time
from dataclasses import dataclass

from watch import Watch

CLIENTS = 6
# How long it takes until clients hear of a change: the API server, EndpointSlices and kube-proxy on every node.
HEARD_AFTER = 2.0
SLOW = "3s"  # what every tenth request of a client takes


@dataclass(frozen=True)
class Request:
    begun: float
    ended: float
    pod: str
    problem: str | None


class Service:
    """Sends all the time, to pods that are ready and not being removed, as clients have heard of it."""

    def __init__(self, watch: Watch, pods: list[str]):
        self.watch, self.pods = watch, pods
        self.requests: list[Request] = []
        self._heard: list[tuple[float, dict[str, str]]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._listen)]
        for number in range(CLIENTS):
            self._threads.append(threading.Thread(target=self._client, args=(number,)))

    def __enter__(self):
        self._heard.append((0, self._endpoints()))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def lost(self) -> list[Request]:
        return [request for request in self.requests if request.problem]

    def served_by(self, pod: str, since: float) -> int:
        return sum(request.pod == pod and request.begun >= since for request in self.requests)

    def _endpoints(self) -> dict[str, str]:
        told = {name: self.watch.pod(name) for name in self.pods}
        return {name: pod.address for name, pod in told.items() if pod and pod.ready}

    def _listen(self) -> None:
        while not self._stop.wait(0.02):
            now = self._endpoints()
            if now != self._heard[-1][1]:
                self._heard.append((time.time() + HEARD_AFTER, now))

    def _known(self) -> dict[str, str]:
        now = time.time()
        return [endpoints for at, endpoints in list(self._heard) if at <= now][-1]

    def _client(self, number: int) -> None:
        """One after the other. Every second client keeps its connections, and every third only posts."""
        kept: dict[str, http.client.HTTPConnection] = {}
        chance = random.Random(number)
        count = 0
        while not self._stop.is_set():
            count += 1
            endpoints = self._known()
            if not endpoints:
                begun = time.time()
                self.requests.append(Request(begun, begun, "", "no pod is ready"))
                time.sleep(0.05)
                continue
            pod, address = chance.choice(sorted(endpoints.items()))
            takes = SLOW if count % 10 == number else f"{chance.randrange(40)}ms"
            connection = kept.pop(address, None) or http.client.HTTPConnection(address, 8000, timeout=30)
            self.requests.append(ask(connection, "POST" if number % 3 == 0 else "GET", pod, f"{number}.{count}", takes))
            if number % 2 == 0 and connection.sock is not None:
                kept[address] = connection
            else:
                connection.close()


def ask(connection: http.client.HTTPConnection, method: str, pod: str, word: str, takes: str) -> Request:
    """One request, once: what fails is lost."""
    begun = time.time()
    try:
        connection.request(method, f"/echo?word={word}&takes={takes}", headers={"Content-Length": "0"})
        answer = connection.getresponse()
        body = answer.read().decode()
        problem = None
        if answer.status != 200:
            problem = f"{answer.status} {body}"
        elif not body.startswith(f"{pod}-") or not body.endswith(f" {word}"):
            problem = f"another one's answer: {body}"
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        problem = f"{type(error).__name__}: {error}"
    return Request(begun, time.time(), pod, problem)
