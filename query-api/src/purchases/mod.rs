//! Receipts and licence keys.

pub mod license_key;
pub mod new_key;
pub mod receipt;
pub mod signer;
