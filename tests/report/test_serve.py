"""The server of --serve: two addresses, this machine alone, and always the newest rows."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest
from conftest import ROOT, run_python
from runs_by_hand import write_run

from compare import served
from reslab.report.pagedata import page_data
from reslab.report.serve import PageServer
from reslab.run.log import read_run
from reslab.run.options import CompareConfig


@pytest.fixture
def server(tmp_path):
    folder = write_run(tmp_path, "run", status="")
    path = folder / "metrics.jsonl"
    pages = PageServer(0, lambda: page_data([read_run(folder)], "title"), lambda: path.stat().st_size)
    pages.folder = folder
    yield pages
    pages.close()


def ask(server, path="/data.json", method="GET", **headers):
    """Status, headers and body; the path is sent as it is."""
    address = server.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for key, value in ({"Host": address} | headers).items():
        connection.putheader(key.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_the_page_asks_for_its_data_and_gets_what_is_new(server):
    status, headers, body = ask(server, "/")
    assert status == 200 and b"data-live" in body and b"connect-src 'self'" in body
    assert headers["X-Content-Type-Options"] == "nosniff" and "Access-Control-Allow-Origin" not in headers
    status, headers, body = ask(server)
    assert status == 200 and json.loads(body)["runs"][0]["status"] == "unfinished"
    tag = headers["ETag"]
    assert ask(server, If_None_Match=tag)[::2] == (304, b"")
    with (server.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 30, "status": "finished", "diagnosis": "done"}\n')
    status, headers, body = ask(server, If_None_Match=tag)
    assert status == 200 and json.loads(body)["runs"][0]["diagnosis"] == "done" and headers["ETag"] != tag


def test_the_runs_are_read_once_per_change_and_a_tag_names_what_they_say():
    state, reads = [1], []
    pages = PageServer(0, lambda: reads.append(1) or {"title": "t", "runs": []}, lambda: state[0])
    try:
        tags = [ask(pages)[1]["ETag"] for _ in range(3)]
        assert len(reads) == 1 and ask(pages)[1]["Cache-Control"] == "no-store"
        state[0] = 2  # a file was written, and nothing that is shown is different
        assert ask(pages, If_None_Match=tags[0])[0] == 304 and len(reads) == 2
        pages.read = lambda: open("/no such file")  # noqa: PTH123, SIM115
        state[0] = 3
        assert ask(pages)[0] == 503  # a run that is being deleted
    finally:
        pages.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_it_listens_on_one_address(server):
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=10)


FOREIGN = ["evil.example", "evil.example:80", "", "0.0.0.0", "127.0.0.1.evil.example", "localhost.evil"]
FOREIGN += ["127.0.0.1:80:80", "127.0.0.1@evil.example", "128.0.0.1", "[::2]", "evillocalhost", "localhost:"]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_name_is_refused(server, host):
    status, _, body = ask(server, "/", Host=host)
    assert status == 403 and b"a text" not in body


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "127.8.9.1", "[::1]:80", "a.localhost"]
)
def test_every_name_of_this_machine_is_served_at_the_port_of_a_tunnel_too(server, host):
    assert ask(server, Host=host)[0] == 200


def test_a_client_that_leaves_makes_no_traceback(server, capfd):
    port = int(server.url.rstrip("/").rpartition(":")[2])
    before = set(threading.enumerate())
    server.changed = lambda: None
    server._text, server._version = b"x" * 50_000_000, None  # more than a socket holds
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET /data.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(100)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave with a reset
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert capfd.readouterr().err == ""


def test_other_errors_of_the_server_are_told(server, capfd):
    server.changed = lambda: 1 / 0
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server)
    assert "ZeroDivisionError" in capfd.readouterr().err


PATHS = ["/config.json", "/metrics.jsonl", "/../config.json", "/%2e%2e/etc/passwd", "//etc/passwd", "/run"]
PATHS += ["*", "/?x", "/data.json/", "/data.json?", "http://127.0.0.1/data.json", "/data.json%00"]


@pytest.mark.parametrize("path", PATHS)
def test_there_is_nothing_but_the_page_and_its_data(server, path):
    assert ask(server, path)[0] == 404


def test_nothing_can_be_written(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(server, method=method)[0] == 501
    status, headers, body = ask(server, method="HEAD")
    assert status == 200 and body == b"" and int(headers["Content-Length"]) > 100


def test_a_run_that_vanishes_is_an_answer_and_not_the_end(server):
    (server.folder / "config.json").rename(server.folder / "moved")
    with (server.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    status, _, body = ask(server)
    assert status == 503 and b"not a run directory" in body
    (server.folder / "moved").rename(server.folder / "config.json")
    assert ask(server)[0] == 200


def test_a_taken_port_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"--port=\d+: can't listen there"):
            PageServer(taken.getsockname()[1], dict, int)
    with pytest.raises(ValueError, match="--port=70000"):
        PageServer(70_000, dict, int)


def test_compare_serves_until_it_is_stopped(tmp_path):
    folder = write_run(tmp_path)
    argv = [
        sys.executable,
        "compare.py",
        str(folder),
        "--serve",
        "--port=0",
        f"--page={tmp_path / 'p.html'}",
    ]
    # A background job of a shell starts with Ctrl-C ignored, and so would its children.
    heed = (lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) if os.name == "posix" else None
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=heed)
    url = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
    try:
        while "page:" not in process.stdout.readline():  # the table and the page come as without --serve
            pass
        address = url.removeprefix("http://").rstrip("/")
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request("GET", "/data.json")
        assert json.loads(connection.getresponse().read())["runs"][0]["name"] == "run"
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0 and (tmp_path / "p.html").is_file()


def test_cells_that_have_not_begun_are_known(tmp_path):
    first, second = write_run(tmp_path, "first"), tmp_path / "second"
    with served(CompareConfig(serve=True, port=0), [first, second]) as pages:
        data = json.loads(ask(pages)[2])
        assert [run["name"] for run in data["runs"]] == ["first"] and data["waiting"] == ["second"]
        write_run(tmp_path, "second", residual="none", rows=[])
        data = json.loads(ask(pages)[2])
        assert [run["name"] for run in data["runs"]] == ["first", "second"] and data["waiting"] == []


def test_a_grid_of_which_nothing_has_begun_is_a_page(tmp_path):
    with served(CompareConfig(serve=True, port=0), [tmp_path / "first", tmp_path / "second"]) as pages:
        assert ask(pages, "/")[0] == 200
        data = json.loads(ask(pages)[2])
        assert data["runs"] == [] and data["waiting"] == ["first", "second"]


def test_a_wrong_run_is_told_before_anything_is_served(tmp_path):
    done = run_python("compare.py", tmp_path / "none", "--serve", code=2)
    assert "no such file or folder" in done.stderr and not done.stdout
