//! SCRAM-SHA-256 verifiers in the format of Postgres. The server stores them instead of passwords.
//!
//! Source: RFC 5802, section 3, and RFC 7677.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::{OsRng, RngCore};
use sha2::{Digest, Sha256};
use stringprep::saslprep;

/// As many as Postgres itself uses.
const ITERATIONS: u32 = 4096;
const SALT_BYTES: usize = 16;

/// The verifier of a password, with a random salt.
pub fn verifier(password: &str) -> String {
    let mut salt = [0; SALT_BYTES];
    OsRng.fill_bytes(&mut salt);
    salted(password, &salt)
}

fn salted(password: &str, salt: &[u8]) -> String {
    // Postgres, too, takes a password as it is if SASLprep refuses it.
    let password = saslprep(password).unwrap_or(Cow::Borrowed(password));
    let key = pbkdf2(password.as_bytes(), salt);
    let stored_key = Sha256::digest(hmac(&key, &[b"Client Key"]));
    let server_key = hmac(&key, &[b"Server Key"]);
    let [salt, stored_key, server_key] = [salt, &stored_key[..], &server_key[..]].map(|bytes| STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored_key}:{server_key}")
}

/// One block is as long as the key.
fn pbkdf2(password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut key = block;
    for _ in 1..ITERATIONS {
        block = hmac(password, &[&block]);
        for (key, byte) in key.iter_mut().zip(block) {
            *key ^= byte;
        }
    }
    key
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The password and salt of RFC 7677, section 3; the keys were computed with Python's hashlib.
    #[test]
    fn a_verifier_has_the_keys_of_its_password() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            salted("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        // SASLprep: a soft hyphen counts as nothing.
        assert_eq!(salted("pen\u{ad}cil", &salt), salted("pencil", &salt));
        assert_ne!(verifier("pencil"), verifier("pencil"));
    }
}
