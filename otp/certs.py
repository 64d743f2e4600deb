"""A test authority and the certificates of nodes, for `otp certs`.

For trying out, and for clusters that one person runs: an authority whose key lies in a folder is
as safe as that folder. Needs `cryptography` (the extra `certs`).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otp.errors import OtpError
from otp.tls import uri_of

AUTHORITY = "ca"
"""The authority's files are ca.pem and ca.key; no node can have this name here."""
COMMON_NAME_BYTES_MAX = 64
"""X.509's bound; a node's whole name is in its `otp://` entry."""
BACKDATED = datetime.timedelta(hours=1)
"""Clocks differ: a certificate of this minute is valid everywhere."""


def make(folder: Path, nodes: Sequence[str], *, days: int, hosts: Sequence[str]) -> list[Path]:
    """Write NODE.pem and NODE.key for each node, all 0600, and ca.pem and ca.key where missing.

    Returns the files that were written. Raises OtpError rather than overwriting a file, before
    anything is written.
    """
    names = [AUTHORITY, *nodes] if not (folder / f"{AUTHORITY}.pem").exists() else list(nodes)
    files = [folder / f"{name}.{kind}" for name in names for kind in ("pem", "key")]
    if taken := [str(file) for file in files if file.exists()]:
        raise OtpError(f"{', '.join(taken)} is there already; nothing was written: remove it first")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    if AUTHORITY in names:
        _write(folder, AUTHORITY, *_authority(end))
    authority, key = _load(folder)
    for node in nodes:
        _write(folder, node, *_certificate(node, hosts, authority, key, end))
    return files


def _load(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    files = [folder / f"{AUTHORITY}.{kind}" for kind in ("pem", "key")]
    try:
        authority = x509.load_pem_x509_certificate(files[0].read_bytes())
        key = serialization.load_pem_private_key(files[1].read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise OtpError(f"{files[0]} and {files[1]} are no authority: {error}") from error
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return authority, key


def _authority(end: datetime.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("otp test authority")
    made = (
        _builder(name, name, key, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made, key


def _certificate(
    node: str,
    hosts: Sequence[str],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    end: datetime.datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    uri: x509.GeneralName = x509.UniformResourceIdentifier(uri_of(node))
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    made = (
        _builder(_name(_short(node)), authority.subject, key, end)
        .add_extension(x509.SubjectAlternativeName([uri, *map(_host, hosts)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return made, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.UTC) - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _short(node: str) -> str:
    return node.encode()[:COMMON_NAME_BYTES_MAX].decode(errors="ignore")


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(
    folder: Path, name: str, made: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    for kind, data in (
        ("pem", made.public_bytes(pem)),
        ("key", key.private_bytes(pem, form, plain)),
    ):
        # O_EXCL: whoever made the file meanwhile keeps it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(folder / f"{name}.{kind}", flags, 0o600), "wb") as file:
            file.write(data)
