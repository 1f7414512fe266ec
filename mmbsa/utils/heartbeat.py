"""Regular messages between processes: a run of several processes ends when one of them is lost.

torch waits for a process that died without closing its connections, or behind a lost connection,
for its own timeout (half an hour with gloo, ten minutes with nccl), and its error does not name the
process.
"""

import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from mmengine.dist import broadcast_object_list, get_rank, get_world_size
from mmengine.logging import print_log

#: seconds between two messages.
INTERVAL = 5.0
#: environment variable with the seconds without a message after which a process counts as lost;
#: 0: never.
VARIABLE, DEFAULT = 'MMBSA_HEARTBEAT_SECONDS', '50'
#: seconds in which a process may still end by itself, before it says why it ends, and after that.
PATIENCE, GRACE = 3.0, 5.0
#: the regular message, the last one, and the report of a lost process.
ALIVE, BYE, LOST = b'.', b'q', b'!'


@dataclass
class Peer:
    """A process at the other end of a connection.

    Attributes:
        connection: To it.
        name: For messages.
        heard: When it was heard last.
        received: What was not yet looked at.
    """

    connection: socket.socket
    name: str
    heard: float = field(default_factory=time.monotonic)
    received: bytes = b''


class Heartbeat:
    """Ends this process, with a message, when another process of the run is gone.

    The first process listens; the others connect to it. Each sends a byte every ``INTERVAL``
    seconds, in a thread. A connection that closes without goodbye, or is silent for too long, ends
    the first process, which tells the others before. Processes that cannot connect go without.

    Args:
        silence: Seconds; None takes them from ``VARIABLE``.
    """

    def __init__(self, silence: float | None = None) -> None:
        self.silence = float(os.environ.get(VARIABLE, DEFAULT)) if silence is None else silence
        self.peers: list[Peer] = []
        self.listener: socket.socket | None = None
        self._stop, self._lost, self._told = (threading.Event() for _ in range(3))
        self._message = ''
        self._thread: threading.Thread | None = None

    def start(self) -> 'Heartbeat':
        """Connect, and start the thread; every process of the run has to call it."""
        if get_world_size() == 1:
            return self
        port = [None, self.silence]
        if get_rank() == 0 and self.silence > 0:
            both = socket.has_dualstack_ipv6()
            self.listener = socket.create_server(
                ('', 0),
                family=socket.AF_INET6 if both else socket.AF_INET,
                dualstack_ipv6=both,
                backlog=get_world_size(),
            )
            self.listener.settimeout(1)
            port[0] = self.listener.getsockname()[1]
        broadcast_object_list(port)
        port, self.silence = port  # the first process decides, should they differ
        if port is None or get_rank() > 0 and not self._connect(port):
            return self
        self._thread = threading.Thread(target=self._run, name='heartbeat', daemon=True)
        self._thread.start()
        return self

    def loss(self, seconds: float = 2.0) -> str | None:
        """Return the message of a loss that explains an error of this process, if one is known or
        becomes known soon; the caller ends the process with it."""
        if self._thread is None or not self._lost.wait(seconds):
            return None
        self._told.set()
        return self._message

    def _connect(self, port: int) -> bool:
        address = os.environ.get('MASTER_ADDR', '127.0.0.1')
        try:
            connection = socket.create_connection((address, port), timeout=20)
            connection.sendall(f'process {get_rank()} on {socket.gethostname()}\n'.encode())
        except OSError as error:
            print_log(
                f'process {get_rank()} cannot reach {address}:{port} ({error}): should another '
                'process be lost, it waits for the timeout of torch.distributed',
                'current',
                30,
            )
            return False
        self.peers.append(Peer(connection, f'process 0 on {address}'))
        return True

    def stop(self) -> None:
        """Say goodbye: from now on this process may end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(INTERVAL)
        for peer in self.peers:
            _send(peer, BYE)
            peer.connection.close()
        if self.listener is not None:
            self.listener.close()

    def _run(self) -> None:
        beat = 0.0
        while not self._stop.is_set():
            readable = [peer.connection for peer in self.peers]
            readable += [self.listener] if self.listener is not None else []
            if not readable:  # all others have said goodbye
                return
            ready = wait(readable, 0.2)
            if self._stop.is_set():
                return
            if self.listener in ready:
                self._accept()
            for peer in [peer for peer in self.peers if peer.connection in ready]:
                loss = self._listen(peer)
                if loss:
                    return self._lose(loss)
            now = time.monotonic()
            for peer in self.peers:
                if now - peer.heard > self.silence:
                    return self._lose(
                        f'{peer.name} is silent since {self.silence:.0f} s: the link to it is '
                        'lost, or it hangs'
                    )
            if now - beat > min(INTERVAL, self.silence / 4):
                beat = now
                for peer in self.peers:
                    _send(peer, ALIVE)

    def _accept(self) -> None:
        try:
            connection, (address, *_) = self.listener.accept()
        except OSError:  # it is gone again
            return
        connection.settimeout(5)
        try:
            with connection.makefile('rb') as file:
                name = file.readline(200).decode(errors='replace').strip()
        except OSError:
            name = ''
        if not name.startswith('process '):  # a stranger at our port
            connection.close()
            return
        self.peers.append(Peer(connection, f'{name} ({address.removeprefix("::ffff:")})'))

    def _listen(self, peer: Peer) -> str | None:
        """Read what a process sent; return the message of a loss."""
        try:
            data = peer.connection.recv(4096)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError:
            data = b''
        peer.heard, peer.received = time.monotonic(), (peer.received + data).lstrip(ALIVE)
        if peer.received[:1] == LOST and b'\n' in peer.received:
            return peer.received[1:].partition(b'\n')[0].decode(errors='replace')
        if BYE == peer.received[:1]:
            self.peers.remove(peer)
            peer.connection.close()
        elif not data:
            return f'{peer.name} ended before the run did; its own output says why, if it could'
        return None

    def _lose(self, message: str) -> None:
        for peer in self.peers:
            _send(peer, LOST + message.encode() + b'\n')
        self._message = f'error: {message}. Process {get_rank()} ends too.'
        self._lost.set()
        # where all were refused, or the main thread noticed too, they end by themselves; a goodbye
        # may be lost with the connection when all end at once
        if self._stop.wait(PATIENCE):
            return
        if not self._told.is_set():
            print(self._message, file=sys.stderr, flush=True)
        if not self._stop.wait(GRACE):
            os._exit(1)


def _send(peer: Peer, data: bytes) -> None:
    """Send a few bytes, or none: silence tells enough."""
    peer.connection.settimeout(0.5)
    try:
        peer.connection.sendall(data)
    except OSError:
        pass
