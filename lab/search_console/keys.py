"""The private keys of the accounts, and one secret from which all other secrets are derived.

With a folder they survive a restart, so credential files issued before stay valid.
"""

import base64
import hashlib
import hmac
import secrets
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class Keys:
    """Keys, generated on first use. Raises OSError or ValueError when the folder cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._private: dict[str, rsa.RSAPrivateKey] = {}
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secret = self._kept("secret") or self._keep("secret", secrets.token_bytes(32))

    def private(self, user: str) -> rsa.RSAPrivateKey:
        """Return the private key of a service account."""
        if user not in self._private:
            name = f"{quote(user, safe='')}.pem"
            pem = self._kept(name) or self._keep(name, _new_pem())
            key = serialization.load_pem_private_key(pem, None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise ValueError(f"{name}: not an RSA key")
            self._private[user] = key
        return self._private[user]

    def derived(self, purpose: str, text: str) -> str:
        """Return a secret that depends on purpose and text."""
        digest = hmac.digest(self._secret, f"{purpose}|{text}".encode(errors="surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _kept(self, name: str) -> bytes | None:
        path = None if self._folder is None else self._folder / name
        return path.read_bytes() if path is not None and path.exists() else None

    def _keep(self, name: str, data: bytes) -> bytes:
        """Write under another name, then rename: an existing file is always complete."""
        if self._folder is not None:
            new = self._folder / f"{name}.new"
            new.unlink(missing_ok=True)
            new.touch(mode=0o600, exist_ok=False)
            new.write_bytes(data)
            new.replace(self._folder / name)
        return data


def pem_of(key: rsa.RSAPrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _new_pem() -> bytes:
    return pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
