"""Reads a folder of documents as the client of the reference implementation does, and prints a target's length."""

import sys
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater


class Folder(FetcherInterface):
    def _fetch(self, url):
        file = Path(url.removeprefix("folder:"))
        if not file.is_file():
            raise DownloadHTTPError(f"no {file}", 404)
        yield file.read_bytes()


kept, served, path = sys.argv[1], sys.argv[2], sys.argv[3]
(Path(kept) / "root.json").write_bytes((Path(served) / "1.root.json").read_bytes())
updater = Updater(kept, f"folder:{served}/", fetcher=Folder())
updater.refresh()
found = updater.get_targetinfo(path)
print(found.length, found.custom["counter"])
