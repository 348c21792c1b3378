"""What is known of a cluster before Ray is asked: whether one listens at its address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from qreg.errors import QregError
from qreg.processes import cluster


@pytest.fixture(params=[b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None, "ray"])
def listening(request: pytest.FixtureRequest) -> Iterator[tuple[str, object]]:
    """The address of what answers so, and ends the connection, or does neither."""
    answer = cluster._SETTINGS_FRAME if request.param == "ray" else request.param
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 10)
                if answer is None:
                    done.wait()
                else:
                    connection.sendall(answer)

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", request.param
        done.set()
        thread.join()


def test_what_listens_and_is_no_ray_is_refused_at_once(
    listening: tuple[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_REACH_S", 0.5)
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    address, what = listening
    if what == "ray":
        assert cluster._answers(address)
        return
    with pytest.raises(QregError, match=address) as error:
        cluster._answers(address)
    assert str(error.value).startswith(("what answers at", "no Ray cluster at"))


def test_a_port_that_nothing_has_is_no_cluster() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(QregError, match=f"no Ray cluster at 127.0.0.1:{port}"):
        cluster._answers(f"127.0.0.1:{port}")
    assert not cluster._answers("auto")
