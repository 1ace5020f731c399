"""A small OpenID Connect provider: a token endpoint for one client, and the key that verifies its tokens."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pipeline.clock import now

AUDIENCE = "kafka"
CLIENT_ID, CLIENT_SECRET = "gsc-stream", "a-secret-of-oidc"


class Issuer:
    """Signs tokens (RS256), and counts them."""

    def __init__(self, lifetime_s: int) -> None:
        self.lifetime_s = lifetime_s
        self.scopes: list[str] = []
        """The scope of each token that was issued."""
        self.url = ""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def client(self) -> dict[str, str]:
        """librdkafka's settings for this provider."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": f"{self.url}/token",
            "sasl.oauthbearer.client.id": CLIENT_ID,
            "sasl.oauthbearer.client.secret": CLIENT_SECRET,
            "sasl.oauthbearer.scope": "kafka.write",
            "sasl.oauthbearer.extensions": "logicalCluster=lkc1,identityPoolId=pool1",
        }

    def jwks(self) -> dict[str, object]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "e": _number(numbers.e), "n": _number(numbers.n)}
        return {"keys": [key]}

    def answer(self, authorization: str, form: str) -> dict[str, object] | None:
        """The token endpoint's answer, or None when the client is not the one that is known."""
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        fields = parse_qs(form)
        if authorization != f"Basic {expected}" or fields.get("grant_type") != ["client_credentials"]:
            return None
        self.scopes += fields.get("scope", [""])
        return {"access_token": self._token(), "expires_in": self.lifetime_s, "token_type": "Bearer"}

    def _token(self) -> str:
        issued = int(now().timestamp())
        claims = {"iss": self.url, "sub": CLIENT_ID, "aud": AUDIENCE, "iat": issued, "exp": issued + self.lifetime_s}
        text = f"{_json({'alg': 'RS256', 'kid': '1', 'typ': 'JWT'})}.{_json({**claims, 'scope': 'kafka.write'})}"
        return f"{text}.{_base64(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def running_issuer(lifetime_s: int = 3600) -> Iterator[Issuer]:
    """An issuer that serves on a free port."""
    issuer = Issuer(lifetime_s)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, issuer.jwks())

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            answer = issuer.answer(self.headers.get("Authorization", ""), form)
            self._send(*((401, {"error": "invalid_client"}) if answer is None else (200, answer)))

        def _send(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _json(content: dict[str, object]) -> str:
    return _base64(json.dumps(content).encode())


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
