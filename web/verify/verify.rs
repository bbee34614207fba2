// cargo run -- LICENCE_KEY jwks.json
use std::{env, error::Error, fs};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    sub: String,
    license: String,
    /// Seconds since 1970.
    iat: i64,
}

fn verified(licence_key: &str, keys: &JwkSet) -> Result<Claims, Box<dyn Error>> {
    let kid = decode_header(licence_key)?.kid.ok_or("the key id is missing")?;
    let key = keys.find(&kid).ok_or("signed with an unknown key")?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["urn:sales"]);
    validation.set_required_spec_claims(&["iss", "sub"]);
    Ok(decode(licence_key, &DecodingKey::from_jwk(key)?, &validation)?.claims)
}

fn main() -> Result<(), Box<dyn Error>> {
    let licence_key = env::args().nth(1).ok_or("missing argument: the licence key")?;
    let jwks_file = env::args().nth(2).ok_or("missing argument: the file of public keys")?;
    let keys = serde_json::from_str(&fs::read_to_string(jwks_file)?)?;
    match verified(&licence_key, &keys) {
        Ok(Claims { sub, license, iat }) => {
            println!("genuine: {license}, purchase {sub}, bought {iat} seconds after 1970");
            Ok(())
        }
        Err(error) => Err(format!("not genuine: {error}").into()),
    }
}
