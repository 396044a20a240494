"""Reads a coordinator's Status and Watch by server reflection alone. Argument: HOST:PORT, in plain text."""

import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

LIMIT_S = 60  # A guard against hanging.
OPERATOR = "folkmoot.v1.Operator"


def calls(channel, pool):
    """Status once, and the first message of Watch, as the descriptors in `pool` say."""
    service = pool.FindServiceByName(OPERATOR)
    for name in ("Status", "Watch"):
        method = service.FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)
        reply = message_factory.GetMessageClass(method.output_type)
        make = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = make(f"/{OPERATOR}/{name}", request.SerializeToString, reply.FromString)
        answer = call(request(), timeout=LIMIT_S)
        answer = next(iter(answer)) if method.server_streaming else answer
        assert answer.rounds_committed == 2, (name, answer)
        print(f"{name}: {answer.run_name}, {answer.rounds_committed} rounds committed")


def by_the_newer_version(channel):
    """A pool of what reflection v1 says. Its messages are those of v1alpha under another name."""
    ask = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=OPERATOR)
    pool, waiting, known = descriptor_pool.DescriptorPool(), [request], {}
    while waiting:
        (answer,) = ask(iter([waiting.pop()]), timeout=LIMIT_S)
        assert answer.HasField("file_descriptor_response"), answer
        for text in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(text)
            if file.name not in known:
                known[file.name] = file
                waiting += [reflection_pb2.ServerReflectionRequest(file_by_filename=name) for name in file.dependency]

    def add(name):
        file = known.pop(name, None)
        if file:
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    for name in list(known):
        add(name)
    return pool


with grpc.insecure_channel(sys.argv[1]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert OPERATOR in services and "grpc.health.v1.Health" in services, services
    print(f"v1alpha lists {len(services)} services")
    calls(channel, descriptor_pool.DescriptorPool(database))
    print("v1")
    calls(channel, by_the_newer_version(channel))
