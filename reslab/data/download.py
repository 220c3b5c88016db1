"""A file from the network: the right one, by its hash, or none."""

import http.client
import os
import shutil
import time
import urllib.request
from pathlib import Path

from reslab.run.files import sha256 as file_sha256


def download(url: str, path: Path, sha256: str, tries: int = 3, timeout_s: float = 20) -> None:
    """Fetch url to path, unless the right file is there already.

    Raises:
        ValueError: another file is there, or after all tries there was no answer, or it was not the file with
            that hash.
    """
    if path.exists():
        if (there := file_sha256(path)) == sha256:
            return
        raise ValueError(
            f"{path}: not the file of {url} (its sha256 is {there}, expected {sha256}); give it with "
            f"--input {path}, or move it away to download that one"
        )
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        for attempt in range(tries):
            if not (fault := _fetch(url, temporary, sha256, timeout_s)):
                temporary.replace(path)
                return
            if attempt < tries - 1:
                time.sleep(2**attempt)
    finally:
        temporary.unlink(missing_ok=True)
    raise ValueError(
        f"{url}: {fault}, after {tries} tries; nothing was kept. Fetch it elsewhere and give it with "
        "--input FILE"
    )


def _fetch(url: str, path: Path, sha256: str, timeout_s: float) -> str | None:
    """One try; returns what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
            expected = answer.headers.get("Content-Length")
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        return f"not reachable ({error or type(error).__name__})"
    if expected and int(expected) != (size := path.stat().st_size):
        return f"the connection was cut after {size:,} of {int(expected):,} bytes"
    if (actual := file_sha256(path)) == sha256:
        return None
    with path.open("rb") as file:
        page = b"<html" in file.read(1000).lower()
    mismatch = f"its sha256 is {actual}, expected {sha256}"
    return f"a web page came, maybe from a proxy ({mismatch})" if page else mismatch
