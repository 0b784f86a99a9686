"""The health service, asked by gRPC's own people: `check SERVICE`, `list` and `watch SERVICE`, at an address.

Over TLS, if AUTHORITY names a file. What comes is printed, a line each: a status, a list as JSON, or the name of an error's code.
"""

import json
import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

address, what, *service = sys.argv[1:]
name = service[0] if service else ""
status = health_pb2.HealthCheckResponse.ServingStatus.Name
authority = os.environ.get("AUTHORITY")
if authority:
    with open(authority, "rb") as file:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))
else:
    channel = grpc.insecure_channel(address)
health = health_pb2_grpc.HealthStub(channel)
try:
    if what == "check":
        print(status(health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status))
    elif what == "list":
        listed = health.List(health_pb2.HealthListRequest(), timeout=20).statuses
        print(json.dumps({name: status(one.status) for name, one in listed.items()}))
    else:
        for one in health.Watch(health_pb2.HealthCheckRequest(service=name)):
            # The test reads this stream as it comes.
            print(status(one.status), file=sys.stderr, flush=True)
except grpc.RpcError as error:
    print(error.code().name, file=sys.stderr if what == "watch" else sys.stdout, flush=True)
