from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Policy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_UNSPECIFIED: _ClassVar[Policy]
    POLICY_DECONVNET: _ClassVar[Policy]
    POLICY_GUIDED: _ClassVar[Policy]
    POLICY_GRADIENT: _ClassVar[Policy]
POLICY_UNSPECIFIED: Policy
POLICY_DECONVNET: Policy
POLICY_GUIDED: Policy
POLICY_GRADIENT: Policy
