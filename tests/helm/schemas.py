"""Validates objects against the strict schemas of Kubernetes: schemas.py FOLDER, which holds VERSION/NAME.yaml.

Strict: a field that Kubernetes does not know is an error. Kinds that Kubernetes itself does not know (CRDs) are printed, for
the caller to judge; so is how many objects were valid.
"""

import functools
import hashlib
import json
import pathlib
import sys

import yaml
from kubernetes_validate import utils

# One read of each schema, not one for each object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)

valid, seen, unknown, problems = 0, set(), set(), []
for file in sorted(pathlib.Path(sys.argv[1]).glob("*/*.yaml")):
    version = file.parent.name
    for item in yaml.safe_load_all(file.read_text()):
        if not item:
            continue
        key = (version, hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest())
        if key in seen:
            continue
        seen.add(key)
        place = f"{version}/{file.name}: {item['kind']}/{item['metadata']['name']}"
        try:
            utils.validate(item, version, strict=True)
            valid += 1
        except utils.SchemaNotFoundError:
            unknown.add(item["kind"])
        except utils.ValidationError as error:
            problems.append(f"{place}: {'.'.join(map(str, error.path))}: {error.message}")
print(json.dumps({"valid": valid, "unknown": sorted(unknown), "problems": problems}))
