"""A certificate authority for the length of a test, and servers' certificates for this machine."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = timedelta(days=2)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: the authority, a server's certificate, its key, and both in one."""

    authority: Path
    certificate: Path
    key: Path
    both: Path


def make_certificates(folder: Path, now: datetime) -> Certificates:
    """Make an authority of its own, and a certificate of it for 127.0.0.1 and localhost."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _named("gsc-stream lab")
    unsigned = _unsigned(issuer, issuer, authority_key.public_key(), now)
    authority = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    here = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    server = _unsigned(_named("localhost"), issuer, server_key.public_key(), now).add_extension(here, critical=False)
    signed = [builder.sign(authority_key, hashes.SHA256()) for builder in (authority, server)]
    pems = [item.public_bytes(serialization.Encoding.PEM) for item in signed]
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    contents = {"authority": pems[0], "certificate": pems[1], "key": key, "both": key + pems[1]}
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.pem" for name in contents}
    for name, content in contents.items():
        files[name].touch(mode=0o600)
        files[name].write_bytes(content)
    return Certificates(**files)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
    )
