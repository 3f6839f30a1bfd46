"""helloworld.Greeter as gRPC's own examples define it; its messages are built here from their descriptors."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "helloworld.Greeter"
METHOD = f"/{SERVICE}/SayHello"


def _message(name: str, field: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="helloworld", syntax="proto3")
    message = file.message_type.add(name=name)
    message.field.add(
        name=field, number=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    described = pool.FindMessageTypeByName(f"helloworld.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(described)
    return message_factory.MessageFactory(pool).GetPrototype(described)  # protobuf before 4.22


HelloRequest = _message("HelloRequest", "name")
HelloReply = _message("HelloReply", "message")


def say_hello(channel: Any) -> Any:
    """The method's stub on one channel: takes a HelloRequest, returns a HelloReply."""
    return channel.unary_unary(METHOD, HelloRequest.SerializeToString, HelloReply.FromString)
