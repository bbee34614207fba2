# python verify.py LICENCE_KEY jwks.json
import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta, timezone

import jwt

# Clocks differ: a key may be dated a day ahead of this one.
LEEWAY = timedelta(days=1)

licence_key, jwks_file = sys.argv[1:]
with open(jwks_file) as file:
    keys = jwt.PyJWKSet.from_dict(json.load(file))


def one_spelling(part):
    """Some versions of PyJWT skip what is not base64url (RFC 7515, section 2)."""
    return urlsafe_b64encode(urlsafe_b64decode(part + "==")).decode().rstrip("=")


try:
    if ".".join(map(one_spelling, licence_key.split("."))) != licence_key:
        raise jwt.InvalidTokenError("malformed")
    header = jwt.get_unverified_header(licence_key)
    if "crit" in header:
        raise jwt.InvalidTokenError("it has unknown extensions")
    claims = jwt.decode(
        licence_key,
        keys[header["kid"]],
        algorithms=["EdDSA"],
        issuer="urn:sales",
        leeway=LEEWAY,
        options={"require": ["iss", "sub", "license", "iat"]},
    )
except (jwt.InvalidTokenError, KeyError, ValueError) as error:
    sys.exit(f"not genuine: {error}")

bought = datetime.fromtimestamp(claims["iat"], timezone.utc).isoformat()
print(f"genuine: {claims['license']}, purchase {claims['sub']}, bought {bought}")
