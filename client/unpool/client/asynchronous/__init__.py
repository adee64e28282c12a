"""The asynchronous client: the same questions and answers as the blocking one, a file for each kind."""

from unpool.client.asynchronous.exemplars import AsyncExemplars
from unpool.client.asynchronous.inspection import AsyncInspection
from unpool.client.asynchronous.models import AsyncModels
from unpool.client.asynchronous.occlusion import AsyncOcclusion


class AsyncClient(AsyncModels, AsyncInspection, AsyncOcclusion, AsyncExemplars):
    """Asks a server what networks see, without blocking the event loop. Make it inside the loop that uses it.

    Arguments as for ``Client``; so are those of the methods, and what they raise.
    """


__all__ = ["AsyncClient"]
