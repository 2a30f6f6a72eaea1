"""Makes a repository with the reference implementation, and serves it until its standard input ends.

Prints the port. A line on standard input changes something: `tamper` the artifact, `rotate` the root's key.
"""

import datetime
import hashlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp,
)

folder = Path(sys.argv[1])
expires = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=7)
signers = {
    "root": CryptoSigner.generate_rsa(),
    "targets": CryptoSigner.generate_ed25519(),
    "snapshot": CryptoSigner.generate_ecdsa(),
    "timestamp": CryptoSigner.generate_ecdsa(),
    "delegated": CryptoSigner.generate_ecdsa(),
}


def write(name, metadata, *by):
    for signer in by:
        metadata.sign(signer, append=True)
    (folder / "metadata" / name).write_bytes(metadata.to_bytes())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


(folder / "metadata").mkdir()
(folder / "targets" / "some").mkdir(parents=True)
root = Root(expires=expires)
for role in ["root", "targets", "snapshot", "timestamp"]:
    root.add_key(signers[role].public_key, role)
write("1.root.json", Metadata(root), signers["root"])

content = b"made by the reference implementation"
artifact = TargetFile.from_data("some/artifact", content, ["sha256", "sha512"])
(folder / "targets" / "some" / f"{hashlib.sha256(content).hexdigest()}.artifact").write_bytes(content)
(folder / "targets" / "some" / f"{hashlib.sha512(content).hexdigest()}.artifact").write_bytes(content)
delegated = Targets(expires=expires, targets={"some/artifact": artifact})
delegated.unrecognized_fields["x-\u00e9\"\\"] = {"a": [1, None, True]}
write("1.delegated.json", Metadata(delegated), signers["delegated"])
key = signers["delegated"].public_key
role = DelegatedRole("delegated", [key.keyid], 1, True, paths=["some/*"])
targets = Targets(expires=expires, delegations=Delegations({key.keyid: key}, {"delegated": role}))
write("1.targets.json", Metadata(targets), signers["targets"])
snapshot = Snapshot(expires=expires, meta={"targets.json": MetaFile(1), "delegated.json": MetaFile(1)})
write("1.snapshot.json", Metadata(snapshot), signers["snapshot"])
write("timestamp.json", Metadata(Timestamp(expires=expires, snapshot_meta=MetaFile(1))), signers["timestamp"])

server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
for line in sys.stdin:
    if line.strip() == "tamper":
        for file in (folder / "targets" / "some").iterdir():
            file.write_bytes(b"Made by the reference implementation")
    elif line.strip() == "rotate":
        old, signers["root"] = signers["root"], CryptoSigner.generate_ed25519()
        root.version += 1
        root.revoke_key(old.public_key.keyid, "root")
        root.add_key(signers["root"].public_key, "root")
        write(f"{root.version}.root.json", Metadata(root), old, signers["root"])
    print("done", flush=True)
