use std::fmt;
use std::path::PathBuf;

/// Why certificates and keys cannot be used: which file, and what to do. Never what is in it.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// A file is too large for what it should be.
    TooLarge(PathBuf),
    /// A file is damaged PEM.
    Damaged(PathBuf),
    /// One of a file's certificates, counted from 1, is whole PEM and no certificate.
    DamagedCertificate(PathBuf, usize),
    /// A file has no certificate.
    NoCertificate(PathBuf),
    /// A file has no private key, or an encrypted one.
    NoKey(PathBuf),
    /// A file has no public key, or more than one.
    NoPublicKey(PathBuf),
    /// A public key is of a kind that is not used, or too weak.
    PublicKey(PathBuf),
    /// A key is of a kind that is not served.
    Key(PathBuf),
    /// A certificate cannot be understood.
    Certificate(PathBuf),
    /// Key and certificate do not belong together.
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Clients are to be asked for certificates of nobody.
    NoClientCa,
    /// One of the two is missing from the settings.
    Half,
    /// This system has no certificate authorities.
    NoAuthorities,
    /// Anything else that the library does not like.
    Other(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::TooLarge(path) => write!(f, "{} is larger than 1 MiB: it is no PEM file of ours", path.display()),
            Self::Damaged(path) => write!(f, "{} is damaged: it is not whole PEM", path.display()),
            Self::DamagedCertificate(path, which) => {
                write!(f, "certificate {which} in {} is damaged: it cannot be read", path.display())
            }
            Self::NoCertificate(path) => {
                write!(f, "{} holds no certificate in PEM form (BEGIN CERTIFICATE)", path.display())
            }
            Self::NoKey(path) => write!(
                f,
                "{} holds no private key in PEM form (BEGIN PRIVATE KEY): decrypt it first if it is encrypted",
                path.display()
            ),
            Self::NoPublicKey(path) => write!(
                f,
                "{} must hold one public key in PEM form (BEGIN PUBLIC KEY): `openssl pkey -in key.pem -pubout` and \
                 `openssl x509 -in cert.pem -pubkey -noout` write one",
                path.display()
            ),
            Self::PublicKey(path) => write!(
                f,
                "the public key in {} is of no kind that is used: use RSA of 2048 to 8192 bits, ECDSA on P-256, or Ed25519",
                path.display()
            ),
            Self::Key(path) => write!(
                f,
                "the key in {} is of no kind that is served: use ECDSA on P-256 or P-384, RSA of 2048 to 4096 bits, or \
                 Ed25519",
                path.display()
            ),
            Self::Certificate(path) => write!(f, "a certificate in {} cannot be understood", path.display()),
            Self::Mismatch { cert, key } => write!(
                f,
                "the key in {} does not belong to the first certificate in {}: put the server's own certificate first, \
                 its issuers after it",
                key.display(),
                cert.display()
            ),
            Self::NoClientCa => {
                f.write_str("`client_auth` has no effect without `client_ca`: name the authorities, or leave it out")
            }
            Self::Half => f.write_str("a certificate needs its key: set both `cert` and `key`"),
            Self::NoAuthorities => {
                f.write_str("this system has no certificate authorities: install ca-certificates, or name a file")
            }
            Self::Other(error) => write!(f, "TLS cannot be served: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
