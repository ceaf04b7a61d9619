"""An OpenID provider: a real HTTP server with a discovery document, public keys and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

AUDIENCE = "hemotriage"
WELL_KNOWN = "/realms/lab/.well-known/openid-configuration"
JWKS = "/realms/lab/certs"
AUTHORIZE = "/realms/lab/auth"
TOKEN = "/realms/lab/token"


class Issuer:
    """Signs with its newest key, and shows all of its keys."""

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey | ECKey] = {}
        self.signing = ""
        self.asked: list[str] = []
        self.document: dict[str, Any] = {}
        self.is_away = False
        self.claims: dict[str, Any] = {}
        """Of the ID tokens of those who sign in, besides the usual ones."""
        self._begun: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.rotate("RS256")

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/realms/lab"

    @property
    def setting(self) -> str:
        """What HEMOTRIAGE_OIDC_ISSUERS names it by."""
        return f"{self.url}={AUDIENCE}"

    def rotate(self, algorithm: str) -> None:
        """Sign with a new key from now on."""
        self.signing = f"{algorithm}-{len(self.keys)}"
        parameters = {"kid": self.signing, "use": "sig", "alg": algorithm}
        if algorithm.startswith("ES"):
            self.keys[self.signing] = ECKey.generate_key("P-256", parameters)
        else:
            self.keys[self.signing] = RSAKey.generate_key(2048, parameters)

    def token(self, scope: object = "hemotriage.read", *, header: Any = None, **claims: Any) -> str:
        """A token for five minutes, with these claims changed; None leaves one out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "jdoe", "iat": now, "exp": now + 300}
        told = {**usual, "scope": scope, **claims}
        key = self.keys[self.signing]
        return jwt.encode(
            {"alg": self.signing.split("-")[0], "kid": self.signing, **(header or {})},
            {name: value for name, value in told.items() if value is not None},
            key,
            algorithms=[self.signing.split("-")[0]],
        )

    def public_keys(self) -> dict[str, Any]:
        """Its key set, with one for encryption and one of a kind that nobody here knows."""
        shown = KeySet(list(self.keys.values())).as_dict(private=False)["keys"]
        encryption = {**shown[0], "kid": "enc", "use": "enc"}
        return {"keys": [{"kty": "future", "kid": "x"}, encryption, *shown]}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.is_away:
            return 502, {}
        if path == WELL_KNOWN:
            usual = {
                "issuer": self.url,
                "jwks_uri": f"{self.origin}{JWKS}",
                "authorization_endpoint": f"{self.origin}{AUTHORIZE}",
                "token_endpoint": f"{self.origin}{TOKEN}",
            }
            return 200, {**usual, **self.document}
        return (200, self.public_keys()) if path == JWKS else (404, {})

    def _authorize(self, query: dict[str, str]) -> str:
        """Somebody signs in at once; returns where their browser goes back to."""
        assert query["response_type"] == "code"
        assert query["client_id"] == AUDIENCE
        assert query["code_challenge_method"] == "S256"
        self._begun[code := secrets.token_urlsafe(8)] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def _exchange(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """A code becomes a token once, for who began with the code's challenge (RFC 7636)."""
        query = self._begun.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if query is None or challenge != query["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        claims = {"nonce": query["nonce"], **self.claims}
        token = self.token(claims.pop("scope", "hemotriage.read hemotriage.review"), **claims)
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": token}

    def _handler(issuer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                if path == AUTHORIZE:
                    self.send_response(302)
                    self.send_header("location", issuer._authorize(dict(parse_qsl(query))))
                    self.send_header("content-length", "0")
                    self.end_headers()
                else:
                    self._say(*issuer._answer(self.path))

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                self._say(*issuer._exchange(dict(parse_qsl(form))))

            def _say(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def unsigned(token: str) -> str:
    """The token with the algorithm `none` (RFC 7515, appendix A.5)."""
    return f"{_encoded({'alg': 'none'})}.{token.split('.')[1]}."


def signed_with_public_key(issuer: Issuer, token: str) -> str:
    """The token under an HMAC whose secret is the public key, which everybody knows."""
    secret = issuer.keys[issuer.signing].as_pem(private=False)
    signed = f"{_encoded({'alg': 'HS256', 'kid': issuer.signing})}.{token.split('.')[1]}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _encoded(header: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
