"""The blocking client, a file for each kind of question."""

from unpool.client.blocking.exemplars import Exemplars
from unpool.client.blocking.inspection import Inspection
from unpool.client.blocking.models import Models
from unpool.client.blocking.occlusion import Occlusion


class Client(Models, Inspection, Occlusion, Exemplars):
    """Asks a server what networks see.

    One client holds one connection, made when it is first needed; it may be used from several threads.

    Args:
        target: the server, ``host:port`` or ``unix:/path``.
        credentials: for TLS; ``None`` speaks in the clear, for loopback and private networks.
        metadata: headers for every call.
        timeout: seconds that a call may take unless told otherwise; ``None`` leaves it to the server.
    """


__all__ = ["Client"]
