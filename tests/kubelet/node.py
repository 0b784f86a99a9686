"""A node of one machine: containerd and a kubelet that reads its pods from a directory.

Everything is private to this process' namespaces (see `run`): what is mounted, bound or started here is gone with it.
"""

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

ADDRESS = "10.77.0.1"  # the node's end of the bridge; only this network namespace has it
NAME = "node"
CONTAINERD = "/run/containerd/containerd.sock"
MANIFESTS = Path("/run/manifests")
STATE = Path("/run/node")
STARTS_WITHIN = 60  # seconds, for containerd and for the kubelet

SIGNALS = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree")

# Directories whose names neither program can be told. `run` sees to it that they are there, and go again.
PLACES = ("/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni")

# The kubelet sets these for the whole machine, unless they are so already. Files over them keep it from that.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


class Failed(Exception):
    """The test cannot go on; the text says why."""


class Node:
    def __init__(self, tools: Path, logs: Path, cgroup: str):
        self.tools, self.logs, self.cgroup = tools, logs, cgroup
        # The programs as they are installed, and what belongs to them.
        path = [tools / "kubelet/bin", tools / "containerd/bin", tools / "containerd/usr/bin", os.environ["PATH"]]
        self.environment = {"PATH": ":".join(map(str, path)), "HOME": "/run", "LANG": "C.UTF-8"}
        self.programs: list[tuple[str, subprocess.Popen]] = []

    def start(self, images: list[Path], sandbox: str) -> None:
        self._places()
        self._network()
        self._containerd(sandbox)
        for image in images:
            self.ctr("images", "import", image)
        self._kubelet()

    def stop(self) -> None:
        for _, program in reversed(self.programs):
            program.terminate()
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    def ctr(self, *arguments) -> str:
        return self._run("ctr", "--address", CONTAINERD, "--namespace", "k8s.io", *arguments)

    def pods(self) -> list[dict]:
        """What the kubelet says of its pods, at this moment."""
        with urllib.request.urlopen("http://127.0.0.1:10255/pods", timeout=5) as answer:
            return json.load(answer)["items"] or []

    def _places(self) -> None:
        for place in PLACES:
            self._run("mount", "-t", "tmpfs", "node", place)
        MANIFESTS.mkdir()
        STATE.mkdir()
        for name, value in SYSCTLS.items():
            stand_in = STATE / name.replace("/", ".")
            stand_in.write_text(value + "\n")
            if Path("/proc/sys", name).exists():
                self._run("mount", "--bind", stand_in, f"/proc/sys/{name}")

    def _network(self) -> None:
        for command in (
            "link set lo up",
            "link add cni0 type bridge",
            f"address add {ADDRESS}/24 dev cni0",
            "link set cni0 up",
        ):
            self._run("ip", *command.split())
        plugins = [
            {
                "type": "bridge",
                "bridge": "cni0",
                "ipam": {"type": "host-local", "subnet": "10.77.0.0/24", "gateway": ADDRESS, "dataDir": "/run/cni"},
            },
            {"type": "loopback"},
        ]
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}
        directory = STATE / "cni"
        directory.mkdir()
        (directory / "pods.conflist").write_text(json.dumps(network))

    def _containerd(self, sandbox: str) -> None:
        config = STATE / "containerd.toml"
        config.write_text(f"""version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
# Without CAP_SYS_RESOURCE no process can be made less likely to be killed.
restrict_oom_score_adj = true
sandbox_image = "{sandbox}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{self.tools}/containerd/usr/lib/cni"
conf_dir = "{STATE}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
""")
        self._start("containerd", "--config", config)
        self._await("containerd", lambda: self.ctr("version"))

    def _kubelet(self) -> None:
        config = STATE / "kubelet.json"
        settings = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "staticPodPath": str(MANIFESTS),
            "fileCheckFrequency": "1s",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
            "address": "127.0.0.1",
            "readOnlyPort": 10255,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": dict.fromkeys(SIGNALS, "0%"),  # a full disk is no affair of this test
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            "volumePluginDir": str(STATE / "plugins"),
            "imageGCHighThresholdPercent": 100,
            "logging": {"verbosity": 2},
        }
        config.write_text(json.dumps(settings))
        self._start("kubelet", "--config", config, "--hostname-override", NAME, "--node-ip", ADDRESS)
        self._await("kubelet", self.pods)

    def _start(self, name: str, *arguments) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            program = subprocess.Popen(
                [name, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        self.programs.append((name, program))

    def _await(self, name: str, answers) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                answers()
                return
            except (Failed, OSError) as error:
                last = error
            self.require_alive()
            if time.monotonic() > deadline:
                raise Failed(f"{name} does not answer within {STARTS_WITHIN} s: {last}")
            time.sleep(0.1)

    def require_alive(self) -> None:
        for name, program in self.programs:
            if program.poll() is not None:
                log = self.logs / f"{name}.log"
                said = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise Failed(f"{name} ended with code {program.returncode}; {log} ends with\n{said}")

    def _run(self, *command) -> str:
        command = list(map(str, command))
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if ended.returncode != 0:
            raise Failed(f"`{' '.join(command)}` says: {ended.stderr.strip()}")
        return ended.stdout
