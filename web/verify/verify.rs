// cargo run -- LICENCE_KEY jwks.json
use std::{
    env,
    error::Error,
    fs,
    io::{Write, stdout},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, get_current_timestamp, jwk::JwkSet};
use serde::Deserialize;

/// Clocks differ: a key may be dated a day ahead of this one.
const LEEWAY_SECONDS: u64 = 24 * 60 * 60;

#[derive(Deserialize)]
struct Claims {
    sub: String,
    license: String,
    /// Seconds since 1970.
    iat: u64,
}

fn verified(licence_key: &str, keys: &JwkSet) -> Result<Claims, Box<dyn Error>> {
    let header = decode_header(licence_key)?;
    if header.crit.is_some() {
        return Err("it has unknown extensions".into());
    }
    let kid = header.kid.ok_or("the key id is missing")?;
    let key = keys.find(&kid).ok_or("signed with an unknown key")?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["urn:sales"]);
    validation.set_required_spec_claims(&["iss", "sub"]);
    let claims: Claims = decode(licence_key, &DecodingKey::from_jwk(key)?, &validation)?.claims;
    if claims.iat > get_current_timestamp() + LEEWAY_SECONDS {
        return Err("dated in the future".into());
    }
    Ok(claims)
}

fn main() -> Result<(), Box<dyn Error>> {
    let licence_key = env::args().nth(1).ok_or("missing argument: the licence key")?;
    let jwks_file = env::args().nth(2).ok_or("missing argument: the file of public keys")?;
    let keys = serde_json::from_str(&fs::read_to_string(jwks_file)?)?;
    match verified(&licence_key, &keys) {
        Ok(Claims { sub, license, iat }) => {
            Ok(writeln!(stdout(), "genuine: {license}, purchase {sub}, bought {iat} seconds after 1970")?)
        }
        Err(error) => Err(format!("not genuine: {error}").into()),
    }
}
