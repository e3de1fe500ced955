"""A certificate authority for tests: made with openssl, good for one address, gone with its folder."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certify(folder: Path, address: str) -> None:
    """Make a CA (`ca.pem`) and a certificate of its for an IP address (`cert.pem`, `key.pem`) in a folder."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    _openssl(folder, "req", "-x509", *key, "-subj", "/CN=CA", *usage, "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "extensions").write_text(
        f"subjectAltName=IP:{address}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n", encoding="utf-8"
    )
    _openssl(folder, "req", *key, "-subj", f"/CN={address}", "-keyout", "key.pem", "-out", "request")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
    _openssl(folder, "x509", "-req", "-in", "request", *signed, "-out", "cert.pem")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, capture_output=True, timeout=30, check=True)
