"""Regular messages between processes: a run of several processes ends when one of them is lost.

If a process dies without closing its connections, or its connection is lost, torch waits for its
own timeout (half an hour with gloo, ten minutes with nccl), and the error does not name the
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
#: environment variable: seconds without a message after which a process counts as lost; 0 disables
#: the check.
VARIABLE, DEFAULT = 'MMBSA_HEARTBEAT_SECONDS', '50'
#: seconds for a process to end by itself, before it prints the reason and after that.
PATIENCE, GRACE = 3.0, 5.0
#: the regular message, the last one, and the report of a lost process.
ALIVE, BYE, LOST = b'.', b'q', b'!'


@dataclass
class Peer:
    """Another process and the connection to it.

    Attributes:
        connection: connection to the process.
        name: name of the process, for messages.
        heard: time of its last message.
        received: received bytes that are not yet processed.
    """

    connection: socket.socket
    name: str
    heard: float = field(default_factory=time.monotonic)
    received: bytes = b''


class Heartbeat:
    """Ends this process with a message when another process of the run is lost.

    The first process listens; the others connect to it. Each sends a byte every ``INTERVAL``
    seconds in a thread. If a connection closes without the last message, or is silent for too long,
    the first process informs the others and ends. Processes that cannot connect run without this
    check.

    Args:
        silence: seconds without a message after which a process counts as lost; None (default)
            reads them from the environment variable ``VARIABLE``.
    """

    def __init__(self, silence: float | None = None) -> None:
        self.silence = float(os.environ.get(VARIABLE, DEFAULT)) if silence is None else silence
        self.peers: list[Peer] = []
        self.listener: socket.socket | None = None
        self._stop, self._lost, self._told = (threading.Event() for _ in range(3))
        self._message = ''
        self._thread: threading.Thread | None = None

    def start(self) -> 'Heartbeat':
        """Connect, and start the thread; every process of the run must call this."""
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
        port, self.silence = port  # the value of the first process applies to all
        if port is None or get_rank() > 0 and not self._connect(port):
            return self
        self._thread = threading.Thread(target=self._run, name='heartbeat', daemon=True)
        self._thread.start()
        return self

    def loss(self, seconds: float = 2.0) -> str | None:
        """Return the message of a lost process that explains an error of this process, or None.

        It waits for such a message; the caller then ends the process with it.

        Args:
            seconds: longest time to wait, 2 by default.
        """
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
                f'process {get_rank()} cannot reach {address}:{port} ({error}): if another '
                'process is lost, it waits for the timeout of torch.distributed',
                'current',
                30,
            )
            return False
        self.peers.append(Peer(connection, f'process 0 on {address}'))
        return True

    def stop(self) -> None:
        """Send the last message: from now on this process may end."""
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
            if not readable:  # all others have sent the last message
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
                        f'{peer.name} sent no message for {self.silence:.0f} s: the connection is '
                        'lost, or the process hangs'
                    )
            if now - beat > min(INTERVAL, self.silence / 4):
                beat = now
                for peer in self.peers:
                    _send(peer, ALIVE)

    def _accept(self) -> None:
        try:
            connection, (address, *_) = self.listener.accept()
        except OSError:  # the connection is already closed
            return
        connection.settimeout(5)
        try:
            with connection.makefile('rb') as file:
                name = file.readline(200).decode(errors='replace').strip()
        except OSError:
            name = ''
        if not name.startswith('process '):  # a connection that is not from this run
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
            return f'{peer.name} ended before the run did; see its own output for the reason'
        return None

    def _lose(self, message: str) -> None:
        for peer in self.peers:
            _send(peer, LOST + message.encode() + b'\n')
        self._message = f'error: {message}. Process {get_rank()} ends too.'
        self._lost.set()
        # if all connections were refused, or the main thread noticed too, the others end by
        # themselves; the last message may be lost with the connection when all end at once
        if self._stop.wait(PATIENCE):
            return
        if not self._told.is_set():
            print(self._message, file=sys.stderr, flush=True)
        if not self._stop.wait(GRACE):
            os._exit(1)


def _send(peer: Peer, data: bytes) -> None:
    """Send a few bytes; a failure is ignored, because the missing message has the same effect."""
    peer.connection.settimeout(0.5)
    try:
        peer.connection.sendall(data)
    except OSError:
        pass
