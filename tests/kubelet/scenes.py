"""What a real kubelet must do with the pods of the chart. Each scene gives rows: what happened, and when."""

import copy
import functools
import http.client
import time
from concurrent.futures import ThreadPoolExecutor

from drain import drains, loses_without, wrapped
from node import ADDRESS
from service import ask
from stage import STARTS, Dependency, Scene, Stage, changed, require
from watch import Watch

APP = "pulsegate.test/app:1"
SIDECAR = "pulsegate.test/pulsegate:1"
BOTH = "pulsegate.test/both:1"  # one image with the app and pulsegate
APP_STARTS = "3s"  # what the app needs until it listens
PROBES = 10  # as many further probes must pass to show that nothing is restarted
VALUES = {
    "app": {
        "image": APP,
        "imagePullPolicy": "Never",
        "args": ["serve", APP_STARTS],
        "health": {"path": "/status", "expectStatus": "200"},
    },
    "sidecar": {"image": {"repository": SIDECAR.split(":")[0], "tag": SIDECAR.split(":")[1], "pullPolicy": "Never"}},
}


def play(stage: Stage) -> list[Scene]:
    """All of them, on one node. The order saves starts of pods."""
    dependency = Dependency()
    patient = {"proxy": {"retry": {"hold_on_restart": "15s"}}}
    config = patient | {"checks": {"dependency": {"tcp": {"address": f"{ADDRESS}:{dependency.port}"}}}}
    often = {"sidecar": {"probes": {"liveness": {"periodSeconds": 1}}}}
    scenes = []

    def pod(name: str, *more: dict) -> dict:
        values = VALUES
        for layer in more:
            values = merged(values, layer)
        return stage.manifests.of_chart(name, values)

    def add(scene, *arguments) -> None:
        print(scene.__name__.replace("_", " "), flush=True)
        scenes.append(scene(stage, *arguments))

    one = pod("one", {"config": config}, often)
    add(starts_in_order, one, "one")
    stage.put("seed", with_liveness_at_health(pod("seed", {"config": config}, often)))
    add(would_wait_for_ever, pod("deadlock"))
    add(readiness_follows, "one")
    stage.watch.until_ready("seed", True, STARTS)
    add(no_restart_for_a_dependency, "one", dependency, "seed")
    add(the_sidecar_is_killed, "one")
    add(the_app_crashes, "one")
    for name in ("one", "seed"):
        stage.until_gone(name, stage.remove(name), 60)
    native = {name: pod(name) for name in ("blue", "green")}
    add(drains, native, "Drain of a native sidecar, two pods replaced under load", True)
    add(loses_without, pod("careless"))
    for name in native:
        stage.until_gone(name, stage.remove(name), 60)
    classic = {name: pod(name, {"sidecar": {"mode": "classic"}}) for name in ("red", "yellow")}
    add(drains, classic, "Drain of a classic sidecar, two pods replaced under load", False)
    for name in classic:
        stage.until_gone(name, stage.remove(name), 60)
    for source, app in {"image": BOTH, "copy": APP}.items():
        wrapper = {"visibility": "wrapper", "wrapper": {"source": source, "path": "/usr/local/bin/pulsegate"}}
        values = {"cli": wrapper, "preset": "none", "app": {"image": app, "command": ["/app"]}}
        pods = {name: pod(name, values) for name in (f"{source}-a", f"{source}-b")}
        add(wrapped, pods, f"Drain in one container, where pulsegate starts the app (`cli.wrapper.source={source}`)")
        for name in pods:
            stage.until_gone(name, stage.remove(name), 60)
    for mode in ("native", "classic"):
        pods = {name: stage.manifests.printed(name, mode, APP, SIDECAR) for name in (f"{mode}-a", f"{mode}-b")}
        add(drains, pods, f"The same with what `pulsegate manifest --{mode}` prints", mode == "native")
        for name in pods:
            stage.until_gone(name, stage.remove(name), 60)
    return scenes


def merged(values: dict, more: dict) -> dict:
    both = dict(values)
    for key, value in more.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def with_liveness_at_health(pod: dict) -> dict:
    sidecar = next(one for one in pod["spec"]["initContainers"] if one["name"] == "pulsegate")
    probe = copy.deepcopy(sidecar["livenessProbe"])
    probe["httpGet"]["path"] = "/health"
    return changed(pod, pulsegate={"livenessProbe": probe})


def starts_in_order(stage: Stage, pod: dict, name: str) -> Scene:
    scene, watch = Scene("Start: the sidecar first, without waiting for the app"), stage.watch
    put = stage.put(name, pod)
    sidecar = watch.until_task(name, "pulsegate", "start", STARTS)
    app = watch.until_task(name, "app", "start", STARTS)
    listening = watch.until_says(name, "app", "listening", STARTS)
    ready = watch.until_ready(name, True, STARTS)
    scene.took("from the pod's manifest to the sidecar's process", put, sidecar)
    scene.took("then, after the sidecar's startup probe, to the app's process", sidecar, app)
    scene.took("until the app listens (it takes 3 s)", app, listening)
    scene.took("until the pod is ready", listening, ready)
    return scene


def would_wait_for_ever(stage: Stage, pod: dict) -> Scene:
    scene, watch, name = Scene("The mistake: a startup probe that waits for the app"), stage.watch, "deadlock"
    sidecar = next(one for one in pod["spec"]["initContainers"] if one["name"] == "pulsegate")
    probe = copy.deepcopy(sidecar["startupProbe"])
    probe["httpGet"]["path"] = "/readyz"
    stage.put(name, changed(pod, pulsegate={"startupProbe": probe}))
    watch.until_task(name, "pulsegate", "start", STARTS)
    stage.until_probed(name, "pulsegate", "Startup", "failed", PROBES, STARTS)
    require(watch.task(name, "app", "start") is None, "the app started, though the startup probe waits for it")
    scene.say(f"the app's process after {PROBES} failed startup probes", "none")
    removed = stage.remove(name)
    stage.until_gone(name, removed, STARTS)
    return scene


def readiness_follows(stage: Stage, name: str) -> Scene:
    scene, watch = Scene("Gating: the pod's readiness follows the app's health, both ways"), stage.watch
    before = watch.pod(name).containers
    ill = time.time()
    stage.ask(name, "/ill")
    say_readiness(scene, watch, name, "from the app's first 503", ill, False)
    well = time.time()
    stage.ask(name, "/well")
    say_readiness(scene, watch, name, "from the app's recovery", well, True)
    stage.same_containers(name, before)
    scene.say("restarts", "0")
    return scene


def say_readiness(scene: Scene, watch: Watch, name: str, since_what: str, since: float, ready: bool) -> None:
    """First pulsegate knows; then the kubelet, by its next probe."""
    word = f'"readiness changed","ready":{str(ready).lower()}'
    known = watch.until_says(name, "pulsegate", word, 60, since)
    scene.took(f"{since_what} to `/readyz` {200 if ready else 503}", since, known)
    what = "ready" if ready else "not ready"
    scene.took(f"{since_what} to the pod that is {what}", since, watch.until_ready(name, ready, 60, since))


def no_restart_for_a_dependency(stage: Stage, name: str, dependency: Dependency, seed: str) -> Scene:
    scene, watch = Scene("A dependency fails: not ready, and nothing is restarted"), stage.watch
    before = watch.pod(name).containers
    down = dependency.down()
    say_readiness(scene, watch, name, "from the dependency's end", down, False)
    restarted = watch.until_task(seed, "pulsegate", "exit", 120, down)
    scene.took("the mistake, liveness at `/health`: until the sidecar is restarted", down, restarted)
    stage.until_probed(name, "pulsegate", "Liveness", "successful", PROBES, 60)
    require(not stage.probes(name, "pulsegate", "Liveness", "failed"), "a liveness probe failed")
    require(not watch.pod(name).ready, "the pod is ready again without its dependency")
    stage.same_containers(name, before)
    scene.say(f"the chart, liveness at `/livez`: restarts after {PROBES} more probes", "0")
    code, body = stage.ask(name, "/health")
    require(code == 503 and "dependency" in body.lower(), f"/health does not name the dependency: {code} {body}")
    up = dependency.up()
    say_readiness(scene, watch, name, "from the dependency's return", up, True)
    return scene


def the_app_crashes(stage: Stage, name: str) -> Scene:
    scene, watch = Scene("The app crashes: it is started again alone, and requests wait for it"), stage.watch
    before = watch.pod(name).containers
    crashed = time.time()
    stage.ask(name, "/crash", "POST")
    connect = functools.partial(http.client.HTTPConnection, watch.pod(name).address, 8000)
    with ThreadPoolExecutor(1) as pool:
        # One may still reach the dying process, and may be sent again; one finds no process, and is sent once.
        early = pool.submit(ask, connect(), "GET", name, "early", "0ms")
        watch.until_task(name, "app", "exit", 10, crashed)
        late = ask(connect(), "POST", name, "late", "0ms")
    for waited in (early.result(), late):
        require(waited.problem is None, f"a request that came while the app was away: {waited.problem}")
    again = watch.until_task(name, "app", "start", STARTS, crashed)
    scene.took("from the crash to the app's new process", crashed, again)
    scene.took("requests that came meanwhile, answered with 200 after", crashed, late.ended)
    watch.until("the restart is counted", 30, lambda: watch.pod(name).containers["app"].restarts == 1 or None)
    stage.same_containers(name, {"pulsegate": before["pulsegate"]})
    scene.say("restarts of the sidecar", "0")
    return scene


def the_sidecar_is_killed(stage: Stage, name: str) -> Scene:
    scene, watch = Scene("The sidecar is killed: it is started again alone"), stage.watch
    before = watch.pod(name).containers
    killed = time.time()
    stage.node.ctr("tasks", "kill", "--signal", "SIGKILL", before["pulsegate"].id)
    again = watch.until_task(name, "pulsegate", "start", STARTS, killed)
    scene.took("from its end to its new process", killed, again)
    # It is noticed by the container's end, so it may not have been noticed yet.
    unready = watch.until_ready(name, False, 30, killed)
    scene.took("from its end to the pod that is ready again", killed, watch.until_ready(name, True, 60, unready))
    stage.same_containers(name, {"app": before["app"]})
    scene.say("restarts of the app", "0")
    return scene
