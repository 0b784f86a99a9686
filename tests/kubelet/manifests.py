"""Pods as we ship them, for a kubelet that has nobody to ask for other objects."""

import json
import subprocess
from pathlib import Path

import yaml

from node import Failed

KUBERNETES = "1.34.0"
FILES = Path("/run/files")


class Manifests:
    def __init__(self, helm: Path, chart: Path, pulsegate: Path):
        self.helm, self.chart, self.pulsegate = helm, chart, pulsegate

    def of_chart(self, name: str, values: dict) -> dict:
        """The pod that the chart makes of these values."""
        command = [self.helm, "template", name, self.chart, "--kube-version", KUBERNETES, "--values", "-"]
        return self._pod(name, said(command, json.dumps(values)))

    def printed(self, name: str, mode: str, app: str, sidecar: str) -> dict:
        """The pod that `pulsegate manifest` prints."""
        command = [self.pulsegate, "manifest", f"--{mode}", "--name", name, "--app-image", app, "--image", sidecar]
        return self._pod(name, said(command, ""))

    def _pod(self, name: str, text: str) -> dict:
        """The pod of a Deployment, alone."""
        objects = [one for one in yaml.safe_load_all(text) if one]
        template = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]
        configs = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
        spec = template["spec"]
        # A static pod may not name other objects: the account goes, and a ConfigMap becomes a directory.
        spec.pop("serviceAccountName", None)
        spec.pop("affinity", None)
        for volume in spec.get("volumes", []):
            if config := volume.pop("configMap", None):
                volume["hostPath"] = {"path": str(self._files(name, configs[config["name"]])), "type": "Directory"}
        metadata = {"name": name, "namespace": "default", "labels": template["metadata"].get("labels", {})}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _files(self, name: str, files: dict[str, str]) -> Path:
        directory = FILES / name
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (directory / file).write_text(text)
        return directory


def said(command: list, given: str) -> str:
    ended = subprocess.run(list(map(str, command)), input=given, capture_output=True, text=True, timeout=60)
    if ended.returncode != 0:
        raise Failed(f"`{' '.join(map(str, command))}` says: {ended.stderr.strip()}")
    return ended.stdout
