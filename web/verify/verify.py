# python verify.py LICENCE_KEY jwks.json
import json
import sys
from datetime import datetime, timezone

import jwt

licence_key, jwks_file = sys.argv[1:]
with open(jwks_file) as file:
    keys = jwt.PyJWKSet.from_dict(json.load(file))

try:
    key = keys[jwt.get_unverified_header(licence_key)["kid"]]
    claims = jwt.decode(
        licence_key,
        key,
        algorithms=["EdDSA"],
        issuer="urn:sales",
        options={"require": ["iss", "sub", "license", "iat"]},
    )
except (jwt.InvalidTokenError, KeyError) as error:
    sys.exit(f"not genuine: {error}")

bought = datetime.fromtimestamp(claims["iat"], timezone.utc).isoformat()
print(f"genuine: {claims['license']}, purchase {claims['sub']}, bought {bought}")
