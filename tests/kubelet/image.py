"""Container images without a registry or an engine: files in a tar, as `docker save` writes them."""

import hashlib
import io
import json
import platform
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURE = ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class File:
    """A file of an image, or a directory, which has no source."""

    place: str
    mode: int
    source: Path | None


def write(archive: Path, name: str, files: list[File], config: dict) -> None:
    """An image from scratch: these files, and what a Dockerfile says below them."""
    layer = _layer(files)
    digest = hashlib.sha256(layer).hexdigest()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    settings = {"architecture": ARCHITECTURE, "os": "linux", "config": config, "rootfs": rootfs}
    settings = json.dumps(settings).encode()
    settings_name = hashlib.sha256(settings).hexdigest() + ".json"
    manifest = [{"Config": settings_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, f"{digest}.tar", layer, 0o644)
        _add(tar, settings_name, settings, 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)


def of_dockerfile(root: Path, binary: Path) -> tuple[list[File], dict]:
    """What the image that we ship holds, and how it is run, as our Dockerfile has it, with this program in it."""
    text = (root / "Dockerfile").read_text().replace("\\\n", " ")
    files = []
    for mode, source, place in re.findall(r'install -D --mode=(\d+) "?([^\s"]+)"? /image(\S+)', text):
        path = binary if Path(place).name == binary.name else root / source
        if path.exists():  # a machine may have no certificates of authorities
            files.append(File(place, int(mode, 8), path))
    for mode, place in re.findall(r"install --directory --mode=(\d+) /image(\S+)", text):
        files.append(File(place, int(mode, 8), None))
    last = re.split(r"(?m)^FROM .*$", text)[-1]
    said = dict(re.findall(r"(?m)^(ENV|USER|ENTRYPOINT|CMD) +(.+)$", last))
    config = {"User": said["USER"], "Env": said["ENV"].split(), "Entrypoint": json.loads(said["ENTRYPOINT"])}
    return files, config | {"Cmd": json.loads(said["CMD"])}


def _layer(files: list[File]) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for file in files:
            _add(tar, file.place.lstrip("/"), file.source.read_bytes() if file.source else None, file.mode)
    return layer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes | None, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(content or b"")
    if content is None:
        entry.type = tarfile.DIRTYPE
    tar.addfile(entry, io.BytesIO(content or b""))
