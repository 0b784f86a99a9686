"""gRPC as its own people wrote it: `app` serves, `client ADDRESS` asks for every kind of call and checks what comes.

Messages are bytes as they are; only the health service has types.
"""

import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

cancelled = threading.Event()


def sum_up(requests, context):
    context.send_initial_metadata((("x-begun", "yes"),))
    total = b"".join(requests)
    context.set_trailing_metadata((("x-sum", str(len(total))), ("x-sum-bin", b"\0\xff")))
    return total


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def echo(requests, context):
    for request in requests:
        yield request * 2


def fail(request, context):
    context.set_trailing_metadata((("x-why", "asked"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: \u20ac %")


def fail_late(request, context):
    yield b"half"
    context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")


def fail_early(requests, context):
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")


def wait(request, context):
    context.add_callback(cancelled.set)
    while context.is_active():
        time.sleep(0.01)
    return b""


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(10) else b"no"


HANDLERS = {
    "Sum": grpc.stream_unary_rpc_method_handler(sum_up),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "FailEarly": grpc.stream_unary_rpc_method_handler(fail_early),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
}


def app():
    server = grpc.server(futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", HANDLERS),))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, file=sys.stderr, flush=True)
    server.wait_for_termination()


def refused(call, code, details=None):
    try:
        result = call()
        if hasattr(result, "__iter__") and not isinstance(result, bytes):
            list(result)
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        assert details is None or error.details() == details, error.details()
        return error
    raise AssertionError(f"{code} was expected")


def client(address):
    channel = grpc.insecure_channel(address)
    ask = lambda kind, name: getattr(channel, kind)(f"/test.Test/{name}")
    codes = grpc.StatusCode

    stub = health_pb2_grpc.HealthStub(channel)
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
    watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watched).status == 1
    watched.cancel()

    parts = [b"x" * size for size in (1, 0, 100_000, 2_000_000)]
    total, call = ask("stream_unary", "Sum").with_call(iter(parts), timeout=10)
    assert len(total) == 2_100_001
    assert ("x-begun", "yes") in call.initial_metadata(), call.initial_metadata()
    trailing = dict(call.trailing_metadata())
    assert trailing["x-sum"] == "2100001" and trailing["x-sum-bin"] == b"\0\xff", trailing

    counted = list(ask("unary_stream", "Count")(b"300", timeout=10))
    assert counted == [str(number).encode() for number in range(300)], counted

    # Each answer before the next question.
    questions, answered = iter([b"a", b"bc", b"d" * 50_000]), threading.Semaphore(1)

    def ask_in_turn():
        for question in questions:
            assert answered.acquire(timeout=10)
            yield question

    for answer, expected in zip(ask("stream_stream", "Echo")(ask_in_turn(), timeout=20), (b"aa", b"bcbc", b"d" * 100_000)):
        assert answer == expected
        answered.release()

    error = refused(lambda: ask("unary_unary", "Fail")(b"", timeout=10), codes.FAILED_PRECONDITION, "not like this: \u20ac %")
    assert ("x-why", "asked") in error.trailing_metadata(), error.trailing_metadata()
    refused(lambda: ask("unary_unary", "Nowhere")(b"", timeout=10), codes.UNIMPLEMENTED)
    refused(lambda: ask("unary_stream", "FailLate")(b"", timeout=10), codes.DATA_LOSS, "the rest is gone")
    endless = iter(lambda: time.sleep(0.01) or b"more", None)
    refused(lambda: ask("stream_unary", "FailEarly")(endless, timeout=10), codes.RESOURCE_EXHAUSTED, "enough")
    refused(lambda: ask("unary_unary", "Wait")(b"", timeout=0.3), codes.DEADLINE_EXCEEDED)
    assert ask("unary_unary", "WasCancelled")(b"", timeout=15) == b"yes", "a deadline ends the app's work"

    many = [ask("unary_unary", "Fail").future(b"", timeout=10) for _ in range(200)]
    assert {call.code() for call in many} == {codes.FAILED_PRECONDITION}
    print("all is well", flush=True)


if __name__ == "__main__":
    app() if sys.argv[1] == "app" else client(sys.argv[2])
