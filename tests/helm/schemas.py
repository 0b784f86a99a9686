"""Validates objects against the strict schemas of Kubernetes: schemas.py FOLDER, which holds VERSION/NAME.yaml.

Strict: a field that Kubernetes does not know is an error, and so is a name that is twice in a table, or in a list that the
API server merges by it (which it refuses in server-side apply, as Helm 4 installs). Kinds that Kubernetes itself does not know (CRDs) are printed, for
the caller to judge; so is how many objects were valid, of which the same ones count once.
"""

import functools
import json
import pathlib
import re
import sys

import importlib_resources
import jsonschema
import yaml
from referencing import Registry, Resource

SCHEMAS = importlib_resources.files("kubernetes_validate") / "kubernetes-json-schema"


@functools.lru_cache(maxsize=None)
def registry(version):
    definitions = json.loads((SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json").read_text())
    return Resource.from_contents(definitions) @ Registry()


@functools.lru_cache(maxsize=None)
def validator(version, api_version, kind):
    """None where Kubernetes has no such kind. `rbac.authorization.k8s.io/v1` is `rbac-v1` in names of files."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    file = SCHEMAS / f"v{version}.0-local-strict" / f"{kind.lower()}-{group}.json"
    if not file.is_file():
        return None
    schema = json.loads(file.read_text())
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry(version))


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Takes no key twice; YAML's own takes the last."""


def table(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice in a table: {sorted(twice)}", node.start_mark)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, table)

# By what the API server merges lists.
MERGED = {
    "containers": ["name"],
    "initContainers": ["name"],
    "env": ["name"],
    "volumes": ["name"],
    "volumeMounts": ["mountPath"],
    "imagePullSecrets": ["name"],
    "hostAliases": ["ip"],
    "topologySpreadConstraints": ["topologyKey", "whenUnsatisfiable"],
}
PORTS = {"Service": ["port", "protocol"], "Deployment": ["containerPort", "protocol"], "Pod": ["containerPort", "protocol"]}


def merged_twice(kind, place, value):
    """Places of items that are there twice."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from merged_twice(kind, f"{place}.{key}", below)
            by = PORTS.get(kind) if key == "ports" else MERGED.get(key)
            if by and isinstance(below, list):
                names = [tuple(item.get(field, "TCP" if field == "protocol" else None) for field in by) for item in below]
                yield from (f"{place}.{key}: {name} twice" for name in sorted(set(names)) if names.count(name) > 1)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from merged_twice(kind, f"{place}.{number}", below)


valid, seen, unknown, problems = 0, set(), set(), []
for file in sorted(pathlib.Path(sys.argv[1]).glob("*/*.yaml")):
    version = file.parent.name
    for item in yaml.load_all(file.read_text(), Loader=Loader):
        key = (version, json.dumps(item, sort_keys=True))
        if not item or key in seen:
            continue
        seen.add(key)
        found = validator(version, item["apiVersion"], item["kind"])
        if found is None:
            unknown.add(item["kind"])
            continue
        errors = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in found.iter_errors(item)]
        errors += merged_twice(item["kind"], "", item)
        place = f"{version}/{file.name}: {item['kind']}/{item['metadata']['name']}"
        problems += [f"{place}: {error}" for error in errors]
        valid += not errors
print(json.dumps({"valid": valid, "unknown": sorted(unknown), "problems": problems}))
