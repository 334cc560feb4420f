"""The meeting of one machine's ranks: a store of keys that listens on 127.0.0.1 alone.

torch's own rendezvous listen on every network, and the elastic one unpickles what it finds there.
"""

from __future__ import annotations

import socket

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

BACKEND = "one-machine"
HERE = "127.0.0.1"


class OneMachine(RendezvousHandler):  # type: ignore[misc]
    """There is nobody to wait for: the launcher and its ranks share one store."""

    use_agent_store = True

    def __init__(self, parameters: RendezvousParameters) -> None:
        self.run_id: str = parameters.run_id

    def next_rendezvous(self) -> RendezvousInfo:
        listening = socket.create_server((HERE, 0))
        port: int = listening.getsockname()[1]
        store = TCPStore(HERE, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(HERE, port))

    def get_backend(self) -> str:
        return BACKEND

    def get_run_id(self) -> str:
        return self.run_id

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def shutdown(self) -> bool:
        return True


rendezvous_handler_registry.register(BACKEND, OneMachine)
