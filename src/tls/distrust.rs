use std::io;

use rustls::{CertificateError, Error, OtherError};

/// Why a handshake with a server failed. Each has a code for machines that stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// The certificate is not valid any more.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// Nobody whom we trust vouches for the certificate.
    UnknownIssuer,
    /// The certificate is for another name.
    WrongName,
    /// There is something else wrong with the certificate.
    Invalid,
    /// The server ended the handshake: it may want a certificate of ours.
    Refused,
    /// What the server speaks is not TLS, or no version of it that we speak.
    NotTls,
    /// The handshake does not come to its end in time.
    TooSlow,
    /// The server closes the connection in the middle of it: it may be going down.
    Closed,
}

/// Whether a server's certificate was refused because it calls itself an authority.
pub(super) fn is_own_authority(error: &OtherError) -> bool {
    matches!(error.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl Distrust {
    /// All of them, for documentation and tests.
    pub const ALL: [Self; 9] = [
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::WrongName,
        Self::Invalid,
        Self::Refused,
        Self::NotTls,
        Self::TooSlow,
        Self::Closed,
    ];

    /// What an error of a handshake means.
    #[must_use]
    pub fn of_handshake(error: &io::Error) -> Self {
        Self::of(error).unwrap_or(Self::Closed)
    }

    /// What an error of an established connection says about the handshake, if it says something: with TLS 1.3, a server
    /// refuses our certificate only after our side of the handshake is done (RFC 8446 section 4.4.2.4).
    #[must_use]
    pub fn of_read(error: &io::Error) -> Option<Self> {
        Self::of(error).filter(|found| *found == Self::Refused)
    }

    fn of(error: &io::Error) -> Option<Self> {
        use CertificateError as C;
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => Self::Expired,
            Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => Self::NotYetValid,
            // An issuer with the name of a trusted one and another key, or the certificate itself, is as unknown.
            Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => Self::UnknownIssuer,
            Error::InvalidCertificate(C::Other(other)) if is_own_authority(other) => Self::UnknownIssuer,
            Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => Self::WrongName,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Self::Invalid,
            Error::AlertReceived(_) => Self::Refused,
            _ => Self::NotTls,
        })
    }

    /// The code for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "upstream_certificate_expired",
            Self::NotYetValid => "upstream_certificate_not_yet_valid",
            Self::UnknownIssuer => "upstream_certificate_unknown_issuer",
            Self::WrongName => "upstream_certificate_wrong_name",
            Self::Invalid => "upstream_certificate_invalid",
            Self::Refused => "upstream_tls_refused",
            Self::NotTls => "upstream_tls_failed",
            Self::TooSlow => "upstream_tls_timeout",
            Self::Closed => "upstream_tls_closed",
        }
    }

    /// A sentence without names or addresses.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Expired => "the app's certificate has expired",
            Self::NotYetValid => "the app's certificate is not valid yet",
            Self::UnknownIssuer => "the app's certificate is from an issuer that is not trusted here",
            Self::WrongName => "the app's certificate is for another name",
            Self::Invalid => "the app's certificate cannot be accepted",
            Self::Refused => "the app refuses the TLS handshake",
            Self::NotTls => "the TLS handshake with the app fails",
            Self::TooSlow => "the app does not complete the TLS handshake in time",
            Self::Closed => "the app closes the connection in the TLS handshake",
        }
    }

    /// The error type of RFC 9209 section 2.3.
    #[must_use]
    pub fn proxy_error(self) -> &'static str {
        match self {
            Self::Refused => "tls_alert_received",
            Self::NotTls => "tls_protocol_error",
            Self::TooSlow => "connection_timeout",
            Self::Closed => "connection_terminated",
            _ => "tls_certificate_error",
        }
    }
}
