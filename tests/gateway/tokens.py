"""A token endpoint of OAuth 2.0 and a webhook endpoint that wants its tokens, by Authlib: tokens.py PORT

`/token` gives a token for client credentials, `/forget` makes it forget all that it gave, and `/hook` answers 204 to a POST with
one that it knows.
"""

import os
import secrets
import sys
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # it listens on the loopback only

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector  # noqa: E402
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants  # noqa: E402
from authlib.oauth2.rfc6750 import BearerTokenValidator  # noqa: E402
from flask import Flask  # noqa: E402

LASTS = 3600
TOKENS = {}


class Client(ClientMixin):
    def check_client_secret(self, client_secret):
        return secrets.compare_digest(client_secret, "hush")

    def check_endpoint_auth_method(self, method, endpoint):
        return method == os.environ["METHOD"]

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope):
        return scope


class Token(TokenMixin):
    def __init__(self, token):
        self.scope, self.ends = token.get("scope", ""), time.time() + token["expires_in"]

    def get_scope(self):
        return self.scope

    def is_expired(self):
        return time.time() > self.ends

    def is_revoked(self):
        return False


class Validator(BearerTokenValidator):
    def authenticate_token(self, token_string):
        return TOKENS.get(token_string)


class Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


app = Flask(__name__)
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["hooks"]
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": LASTS}
known = {"garden": Client()}
server = AuthorizationServer(app, known.get, lambda token, request: TOKENS.update({token["access_token"]: Token(token)}))
server.register_grant(Grant)
require = ResourceProtector()
require.register_token_validator(Validator())


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/forget")
def forget():
    TOKENS.clear()
    return "", 204


@app.post("/hook")
@require("hooks")
def hook():
    return "", 204


app.run("127.0.0.1", int(sys.argv[1]))
