"""Validates objects against the strict schemas of Kubernetes: schemas.py FOLDER, which holds VERSION/NAME.yaml.

Strict: a field that Kubernetes does not know is an error. Kinds that Kubernetes itself does not know (CRDs) are printed, for
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


valid, seen, unknown, problems = 0, set(), set(), []
for file in sorted(pathlib.Path(sys.argv[1]).glob("*/*.yaml")):
    version = file.parent.name
    for item in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        key = (version, json.dumps(item, sort_keys=True))
        if not item or key in seen:
            continue
        seen.add(key)
        found = validator(version, item["apiVersion"], item["kind"])
        if found is None:
            unknown.add(item["kind"])
            continue
        errors = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in found.iter_errors(item)]
        place = f"{version}/{file.name}: {item['kind']}/{item['metadata']['name']}"
        problems += [f"{place}: {error}" for error in errors]
        valid += not errors
print(json.dumps({"valid": valid, "unknown": sorted(unknown), "problems": problems}))
