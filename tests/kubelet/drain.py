"""The end of a pod under load: what ends when, and that no request is lost."""

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service import SLOW, Service, ask
from stage import STARTS, Scene, Stage, changed, require

LONG = "8s"  # a request that takes longer than the lame duck


def drains(stage: Stage, pods: dict[str, dict], title: str, native: bool) -> Scene:
    scene, watch = Scene(title), stage.watch
    for name, pod in pods.items():
        stage.put(name, pod)
    for name in pods:
        watch.until_ready(name, True, STARTS)
    first, second = pods
    with Service(watch, list(pods)) as service:
        busy(stage, service, first)
        removed = stage.remove(first)
        say_order(scene, removed, end_of(stage, first, removed), native)
        back(stage, service, first, pods[first], removed)

        address = watch.pod(second).address
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(ask, http.client.HTTPConnection(address, 8000), "POST", second, "long", LONG)
            watch.until_says(second, "app", "asked for long", 10)
            removed = stage.remove(second)
            end = end_of(stage, second, removed)
            require(long.result().problem is None, f"the request in flight: {long.result().problem}")
        scene.took(f"with a request of {LONG} in flight, to the app's SIGTERM", removed, end.told)
        back(stage, service, second, pods[second], removed)
    none_lost(scene, service)
    return scene


def none_lost(scene: Scene, service: Service) -> None:
    lost = service.lost()
    require(not lost, f"{len(lost)} of {len(service.requests)} requests were lost: {lost[:5]}")
    scene.say(f"requests sent meanwhile, one in ten takes {SLOW}", str(len(service.requests)))
    scene.say("requests lost", "0")


def wrapped(stage: Stage, pods: dict[str, dict], title: str) -> Scene:
    """pulsegate starts the app, in the app's container: one process is told, and the other one goes last."""
    scene, watch = Scene(title), stage.watch
    for name, pod in pods.items():
        stage.put(name, pod)
    for name in pods:
        watch.until_ready(name, True, STARTS)
    with Service(watch, list(pods)) as service:
        for name, pod in pods.items():
            busy(stage, service, name)
            removed = stage.remove(name)
            signal = watch.until_says(name, "app", "stopping: still accepting", 30, removed)
            told = watch.until_says(name, "app", "told to end, in flight: 0", 60, removed)
            gone = watch.until_task(name, "app", "exit", 60, removed)
            stage.until_gone(name, removed, 60)
            if name == next(iter(pods)):
                scene.took("from the pod's removal to SIGTERM", removed, signal)
                scene.took("to the app's SIGTERM, with nothing in flight", signal, told)
                scene.took("from the app's SIGTERM to the container's end", told, gone)
            back(stage, service, name, pod, removed)
    none_lost(scene, service)
    return scene


@dataclass(frozen=True)
class End:
    """When what of a pod ended."""

    drain: float
    told: float
    app: float
    signal: float
    sidecar: float


def end_of(stage: Stage, name: str, removed: float) -> End:
    watch = stage.watch
    end = End(
        watch.until_says(name, "pulsegate", "draining: told by an operator", 30, removed),
        watch.until_says(name, "app", "told to end", 60, removed),
        watch.until_task(name, "app", "exit", 60, removed),
        watch.until_says(name, "pulsegate", "stopping: still accepting", 60, removed),
        watch.until_task(name, "pulsegate", "exit", 60, removed),
    )
    stage.until_gone(name, removed, 60)
    _, last_word = watch.says(name, "app", "told to end", removed)[0]
    require(last_word.endswith("in flight: 0"), f"the app was told to end too early: {last_word}")
    watch.until_says(name, "pulsegate", "stopped: nothing was left in flight", 5, removed)
    return end


def say_order(scene: Scene, removed: float, end: End, native: bool) -> None:
    scene.took("from the pod's removal to `pulsegate drain`", removed, end.drain)
    scene.took("to the app's SIGTERM, with nothing in flight", removed, end.told)
    if native:
        scene.took("from the app's end to the sidecar's SIGTERM", end.app, end.signal)
        scene.took("from the sidecar's SIGTERM to its end", end.signal, end.sidecar)
    scene.took("from the pod's removal to its end", removed, max(end.app, end.sidecar))


def busy(stage: Stage, service: Service, name: str) -> None:
    stage.watch.until(f"{name} is busy", 30, lambda: service.served_by(name, 0) > 20 or None)


def back(stage: Stage, service: Service, name: str, pod: dict, removed: float) -> None:
    put = stage.put(name, pod)
    stage.watch.until_ready(name, True, STARTS, removed)
    stage.watch.until(f"{name} serves again", 30, lambda: service.served_by(name, put) or None)


def loses_without(stage: Stage, pod: dict) -> Scene:
    scene, watch, name = Scene("The mistake: no preStop hooks"), stage.watch, "careless"
    bare = changed(pod, app={"lifecycle": None}, pulsegate={"lifecycle": None})
    stage.put(name, bare)
    watch.until_ready(name, True, STARTS)
    with Service(watch, [name, "green"]) as service:
        busy(stage, service, name)
        removed = stage.remove(name)
        stage.until_gone(name, removed, 60)
    lost = service.lost()
    require(bool(lost), "nothing was lost: this test cannot tell a good drain from none")
    scene.say(f"of {len(service.requests)} requests, lost", str(len(lost)))
    return scene
