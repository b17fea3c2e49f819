//! A signature that is claimed to be a key's, and the sizes of both.

/// Bytes of a secret or a public key.
pub const KEY: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

/// A signature that is to be checked.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The key that is said to have signed.
    pub public: &'a [u8; KEY],
    /// The bytes that it is said to have signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a [u8; SIGNATURE],
}
