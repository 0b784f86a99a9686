use std::io;

use rustls::{CertificateError, Error};
use tokio_rustls::client::TlsStream;

/// When the certificate of a server ends to be valid, in seconds since 1970.
#[must_use]
pub fn expires<S>(stream: &TlsStream<S>) -> Option<u64> {
    let presented = stream.get_ref().1.peer_certificates()?;
    u64::try_from(not_after(presented.first()?)?).ok()
}

/// When the certificate ended to be valid for which a handshake failed.
#[must_use]
pub fn expired_at(error: &io::Error) -> Option<u64> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

use super::der::element;

/// When a certificate in DER form ends to be valid (RFC 5280 section 4.1.2.5), in seconds since 1970. Only for a metric:
/// what cannot be read is `None`.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // Version (which may be left out), serial number, signature algorithm, issuer; then the validity.
    let (tag, _, after) = element(rest)?;
    if tag == VERSION {
        rest = after;
    }
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, after) = element(validity)?;
    let (tag, time, _) = element(after)?;
    let text = std::str::from_utf8(time).ok()?;
    match tag {
        UTC_TIME => {
            let years: i64 = text.get(..2)?.parse().ok()?;
            seconds(if years < 50 { 2000 + years } else { 1900 + years }, text.get(2..)?)
        }
        GENERALIZED_TIME => seconds(text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => None,
    }
}

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `MMDDHHMMSSZ` of a year.
fn seconds(year: i64, rest: &str) -> Option<i64> {
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    if rest.get(10..)? != "Z" || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 of a proleptic Gregorian date, years beginning in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + number(4)? * 3_600 + number(6)? * 60 + number(8)?)
}

#[cfg(test)]
mod tests {
    use super::{not_after, seconds};

    #[test]
    fn dates_become_seconds() {
        assert_eq!(seconds(1970, "0101000000Z"), Some(0));
        assert_eq!(seconds(2000, "0229235959Z"), Some(951_868_799));
        assert_eq!(seconds(2049, "1231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(2024, "1301000000Z"), None);
        assert_eq!(seconds(2024, "0101000000"), None);
    }

    #[test]
    fn the_end_of_a_real_certificate_is_found() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        let key = rcgen::KeyPair::generate().expect("a key");
        for (year, expected) in [(2031, 1_924_992_000), (2061, 2_871_763_200)] {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).expect("a certificate");
            assert_eq!(not_after(certificate.der()), Some(expected), "{year}");
            for length in 0..certificate.der().len() {
                // Whatever is cut off: no panic.
                let _ = not_after(&certificate.der()[..length]);
            }
        }
    }
}
