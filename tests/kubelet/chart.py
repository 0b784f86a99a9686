"""Pods as the chart makes them, for a kubelet that has nobody to ask for other objects."""

import json
import subprocess
from pathlib import Path

import yaml

from node import Failed

KUBERNETES = "1.34.0"
FILES = Path("/run/files")


class Chart:
    def __init__(self, helm: Path, chart: Path):
        self.helm, self.chart = helm, chart

    def pod(self, name: str, values: dict) -> dict:
        """The pod of the chart's Deployment, alone."""
        objects = self._render(name, values)
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

    def _render(self, name: str, values: dict) -> list[dict]:
        command = [self.helm, "template", name, self.chart, "--kube-version", KUBERNETES, "--values", "-"]
        ended = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=60)
        if ended.returncode != 0:
            raise Failed(f"helm template says: {ended.stderr.strip()}")
        return [one for one in yaml.safe_load_all(ended.stdout) if one]

    def _files(self, name: str, files: dict[str, str]) -> Path:
        directory = FILES / name
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (directory / file).write_text(text)
        return directory
