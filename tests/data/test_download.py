"""Downloads: the right file, or one line and nothing kept."""

import http.server
import threading
import time
from typing import ClassVar

import pytest

from reslab.data.download import download


def test_a_download_must_have_the_right_hash(tmp_path):
    source, goal = tmp_path / "source", tmp_path / "goal"
    source.write_bytes(b"hello")
    with pytest.raises(ValueError, match="its sha256 is 2cf24dba"):
        download(source.as_uri(), goal, "0" * 64, tries=1)
    assert not goal.exists()
    right = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    download(source.as_uri(), goal, right)
    assert goal.read_bytes() == b"hello"
    source.unlink()
    download(source.as_uri(), goal, right)  # it is there: nothing is fetched
    with pytest.raises(ValueError, match=r"not reachable .* after 1 tries"):
        download(source.as_uri(), tmp_path / "other", right, tries=1)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as its path says; `asked` counts."""

    requests: ClassVar[list[str]] = []

    def do_GET(self):
        self.requests.append(self.path)
        if self.path == "/404":
            return self.send_error(404)
        if self.path == "/slow":
            return threading.Event().wait(0.4)
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        page = b"<!DOCTYPE html><HTML>Sign in to go on</HTML>"
        self.wfile.write({"/page": page.ljust(5000), "/cut": b"x" * 100, "/other": b"x" * 5000}[self.path])
        return None

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/404", r"not reachable \(HTTP Error 404"),
        ("/slow", r"not reachable \(.*timed out"),
        ("/cut", r"the connection was cut after 100 of 5,000 bytes|IncompleteRead|100 bytes read"),
        ("/page", "a web page came, maybe from a proxy"),
        ("/other", r"its sha256 is \w{64}, expected 0000"),
    ],
)
def test_a_download_that_fails_is_tried_again_and_leaves_nothing(tmp_path, monkeypatch, path, message):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    Server.requests.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            url = f"http://127.0.0.1:{server.server_port}{path}"
            download(url, tmp_path / "input.txt", "0" * 64, timeout_s=0.2 if path == "/slow" else 9)
    finally:
        server.shutdown()
        server.server_close()
    assert Server.requests == [path] * 3 and pauses == [1, 2]
    assert "--input FILE" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())
