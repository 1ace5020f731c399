"""A certificate authority and a server certificate for this machine, for tests."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALIDITY = timedelta(days=2)


@dataclass(frozen=True)
class Certificates:
    """PEM files."""

    authority: Path
    """Certificate of the authority."""
    certificate: Path
    """Certificate of the server."""
    key: Path
    """Private key of the server."""
    both: Path
    """Private key and certificate of the server, in one file."""


def make_certificates(folder: Path, now: datetime) -> Certificates:
    """Create a new authority, and a certificate that it signs for 127.0.0.1 and localhost; write them to the folder."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _common_name("gsc-stream lab")
    authority = _builder(issuer, issuer, authority_key.public_key(), now).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    server = _builder(_common_name("localhost"), issuer, server_key.public_key(), now).add_extension(
        names, critical=False
    )
    pems = [
        builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        for builder in (authority, server)
    ]
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _write(folder, {"authority": pems[0], "certificate": pems[1], "key": key, "both": key + pems[1]})


def _write(folder: Path, contents: dict[str, bytes]) -> Certificates:
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.pem" for name in contents}
    for name, content in contents.items():
        files[name].touch(mode=0o600)
        files[name].write_bytes(content)
    return Certificates(**files)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALIDITY)
        .not_valid_after(now + VALIDITY)
    )
