use std::io;
use std::path::Path;

use rustls::CertificateError;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;

use super::TlsError;
use crate::settings::read_ordinary;

/// A chain of certificates, or a bundle of authorities, is far smaller.
const LARGEST_FILE: u64 = 1 << 20;

/// All certificates of a file: at least one, and none of them damaged. A damaged one behind the first would be served to
/// everybody and understood by nobody; a damaged authority would be missed only by those whom it vouches for.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| TlsError::Damaged(path.to_owned()))?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    match found.iter().position(is_damaged) {
        Some(index) => Err(TlsError::DamagedCertificate(path.to_owned(), index + 1)),
        None => Ok(found),
    }
}

/// Whether it is no certificate. One of an old version, or with extensions that nobody here knows, is one: whether it is
/// good for something is for whoever verifies.
fn is_damaged(certificate: &CertificateDer<'static>) -> bool {
    matches!(
        ParsedCertificate::try_from(certificate),
        Err(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))
    )
}

/// The first private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey(path.to_owned()),
        // Its text could quote the key.
        _ => TlsError::Damaged(path.to_owned()),
    })
}

/// The only public key of a file.
pub(super) fn public_key(path: &Path) -> Result<SubjectPublicKeyInfoDer<'static>, TlsError> {
    let text = read(path)?;
    let mut found = SubjectPublicKeyInfoDer::pem_slice_iter(&text);
    match (found.next(), found.next()) {
        (Some(Ok(key)), None) => Ok(key),
        (Some(Err(_)), _) | (_, Some(Err(_))) => Err(TlsError::Damaged(path.to_owned())),
        (None | Some(Ok(_)), _) => Err(TlsError::NoPublicKey(path.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_ordinary(path, LARGEST_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => TlsError::TooLarge(path.to_owned()),
        _ => TlsError::Unreadable(path.to_owned(), error),
    })
}
