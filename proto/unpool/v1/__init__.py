"""The contract between client and server: protobuf messages and gRPC services, generated from the .proto files here."""
