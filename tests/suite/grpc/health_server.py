"""The health service of gRPC's own people: `app.Up` serves, `app.Down` does not, and a signal changes `app.Up`.

With a certificate and its key it serves by TLS.
"""

import signal
import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
if sys.argv[1] != "without":
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("", SERVING)
servicer.set("app.Up", SERVING)
servicer.set("app.Down", NOT_SERVING)
signal.signal(signal.SIGUSR1, lambda *_: servicer.set("app.Up", NOT_SERVING))
signal.signal(signal.SIGUSR2, lambda *_: servicer.set("app.Up", SERVING))
if len(sys.argv) > 3:
    key, cert = (open(path, "rb").read() for path in (sys.argv[3], sys.argv[2]))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, file=sys.stderr, flush=True)
while True:
    signal.pause()
