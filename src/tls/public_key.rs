use std::fmt;
use std::path::Path;

use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ring::signature::{RsaPublicKeyComponents, VerificationAlgorithm};
use rustls::pki_types::alg_id;

use super::der::element;
use super::{TlsError, pem};

/// A public key, for signatures of others: of tokens, not of connections.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, for PKCS #1 v1.5 with SHA-256 (RFC 8017 section 8.2). Both numbers big-endian, without leading zeros.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
    /// ECDSA on P-256 with SHA-256; the uncompressed point. Signatures are the two numbers, 32 bytes each.
    P256(Vec<u8>),
    /// Ed25519.
    Ed25519(Vec<u8>),
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::P256(_) => "P256",
            Self::Ed25519(_) => "Ed25519",
        })
    }
}

/// The moduli that are taken, in bits: shorter ones are broken, longer ones are an attack on whoever verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// An uncompressed point of P-256 (SEC 1 section 2.3.3).
const P256_POINT: usize = 65;

impl PublicKey {
    /// Reads the only key of a PEM file.
    ///
    /// # Errors
    /// The file cannot be read, holds no key or several, or one that cannot be used.
    pub fn load(path: &Path) -> Result<Self, TlsError> {
        let info = pem::public_key(path)?;
        Self::of_info(&info).ok_or_else(|| TlsError::PublicKey(path.to_owned()))
    }

    /// An RSA key of its two numbers, if it is strong enough.
    #[must_use]
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        // More than 33 bits of exponent are refused by the library too.
        let fine = RSA_BITS.contains(&bits) && (1..=5).contains(&exponent.len());
        fine.then(|| Self::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    /// A key on P-256 of its uncompressed point.
    #[must_use]
    pub fn p256(point: &[u8]) -> Option<Self> {
        (point.len() == P256_POINT && point[0] == 4).then(|| Self::P256(point.to_vec()))
    }

    /// An Ed25519 key of its 32 bytes (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn ed25519(key: &[u8]) -> Option<Self> {
        (key.len() == 32).then(|| Self::Ed25519(key.to_vec()))
    }

    /// Whether the signature is this key's.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verify = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match self {
            Self::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Self::P256(point) => verify(&ECDSA_P256_SHA256_FIXED, point),
            Self::Ed25519(key) => verify(&ED25519, key),
        }
    }

    /// A SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    fn of_info(info: &[u8]) -> Option<Self> {
        let (_, info, rest) = element(info)?;
        let (_, algorithm, bits) = element(info)?;
        let (tag, bits, none) = element(bits)?;
        // A bit string begins with the number of bits that are left over.
        let key = bits.strip_prefix(&[0]).filter(|_| tag == BIT_STRING && rest.is_empty() && none.is_empty())?;
        match algorithm {
            known if known == alg_id::RSA_ENCRYPTION.as_ref() => {
                let (_, numbers, _) = element(key)?;
                let (_, modulus, after) = element(numbers)?;
                let (_, exponent, _) = element(after)?;
                Self::rsa(modulus, exponent)
            }
            known if known == alg_id::ECDSA_P256.as_ref() => Self::p256(key),
            known if known == alg_id::ED25519.as_ref() => Self::ed25519(key),
            _ => None,
        }
    }
}

const BIT_STRING: u8 = 0x03;

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::PublicKey;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn a_key_of_a_file_verifies_what_was_signed_with_its_other_half() {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let key = PublicKey::load(file(&pair.public_key_pem()).path()).expect("a key");
        let random = SystemRandom::new();
        let der = pair.serialize_der();
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).expect("a key");
        assert_eq!(key, PublicKey::P256(signer.public_key().as_ref().to_vec()));
        let signature = signer.sign(&random, b"message").expect("signed");
        assert!(key.verifies(b"message", signature.as_ref()));
        assert!(!key.verifies(b"messagf", signature.as_ref()) && !key.verifies(b"message", b""));
    }

    #[test]
    fn other_files_are_refused_by_what_they_hold() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let says = |text: &str| PublicKey::load(file(text).path()).expect_err("no key").to_string();
        assert!(says(&pair.public_key_pem()).contains("of no kind that is used"));
        for text in ["", &pair.serialize_pem(), &(pair.public_key_pem() + &pair.public_key_pem())] {
            assert!(says(text).contains("must hold one public key"), "{}", says(text));
        }
        assert!(says("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----").contains("damaged"));
        let whole = rcgen::PublicKeyData::subject_public_key_info(&pair);
        for length in 0..whole.len() {
            assert_eq!(PublicKey::of_info(&whole[..length]), None);
        }
    }

    #[test]
    fn weak_keys_are_none() {
        let with_bits = |bits: usize| {
            let mut modulus = vec![0xff; bits.div_ceil(8)];
            modulus[0] = if bits.is_multiple_of(8) { 0xff } else { (1 << (bits % 8)) - 1 };
            PublicKey::rsa(&modulus, &[1, 0, 1])
        };
        assert!(with_bits(2047).is_none() && with_bits(2048).is_some());
        assert!(with_bits(8192).is_some() && with_bits(8193).is_none());
        assert!(PublicKey::rsa(&[], &[]).is_none());
        assert!(PublicKey::p256(&[4; 64]).is_none() && PublicKey::p256(&[3; 65]).is_none());
        assert!(PublicKey::ed25519(&[0; 31]).is_none());
    }
}
