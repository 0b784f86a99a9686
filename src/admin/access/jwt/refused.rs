/// Why a token does not admit. What needs no key to be known is told first, and nothing else of a token whose signature
/// is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Refused {
    /// No token is taken here, and it is no key either.
    Unknown,
    TooLong,
    /// Not three parts of base64url, or a header that is no object with `alg`.
    Malformed,
    Critical,
    Algorithm,
    Key,
    Signature,
    /// Signed, and yet no object, or a claim of the wrong type, or twice.
    Claims,
    Expired,
    NoExpiry,
    TooEarly,
    Audience,
    Issuer,
}

impl Refused {
    /// What the caller is told: half a sentence without quotes, fit for `error_description` (RFC 6750 section 3).
    pub(in crate::admin) fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "the bearer token is not known",
            Self::TooLong => "the token is longer than 8 KiB",
            Self::Malformed => "the token is malformed",
            Self::Critical => "the token has critical extensions, and none is supported",
            Self::Algorithm => "the token is not signed with the algorithm that is expected",
            Self::Key => "the token names no key that is known",
            Self::Signature => "the signature of the token is not valid",
            Self::Claims => "a claim of the token is malformed",
            Self::Expired => "the token has expired",
            Self::NoExpiry => "the token has no exp",
            Self::TooEarly => "the token is not valid yet",
            Self::Audience => "the token is for another audience",
            Self::Issuer => "the token is of another issuer",
        }
    }
}
