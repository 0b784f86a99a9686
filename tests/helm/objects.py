"""Prints the objects of YAML files as JSON: a list of lists, one for each file."""

import json
import sys

import yaml

print(json.dumps([[item for item in yaml.safe_load_all(open(name)) if item] for name in sys.argv[1:]], default=str))
