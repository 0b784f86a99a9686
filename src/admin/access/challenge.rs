use bytes::Bytes;
use hyper::Response;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

use super::super::service::problem;
use super::{Access, Means, Refusal, Refused};

/// The answer to a caller that is not admitted.
///
/// 401 with a challenge for each means that has one (RFC 9110 section 11.6.1), and 403 for a credential that is good, but
/// not here: showing it again would change nothing (section 15.5.4).
pub(in crate::admin) fn answer(access: Access, refusal: Refusal) -> Response<Bytes> {
    let phrases: Vec<&str> = access.means().map(Means::phrase).collect();
    let needs = format!("this endpoint needs {}", phrases.join(" or "));
    match refusal {
        // Nothing that HTTP could show would change anything.
        Refusal::Unknown(_) if access == Access::of(&[Means::Certificate]) => {
            problem(403, "certificate_required", &needs)
        }
        Refusal::Elsewhere => {
            problem(403, "forbidden", &format!("what you showed is valid, but does not admit here: {needs}"))
        }
        Refusal::Unknown(refused) => {
            let message = refused.map(|refused| format!("{needs}; {}", refused.sentence()));
            let mut response = problem(401, "unauthorized", message.as_deref().unwrap_or(&needs));
            if access.admits(Means::ApiKey) || access.admits(Means::Jwt) {
                response.headers_mut().append(WWW_AUTHENTICATE, bearer(refused));
            }
            if access.admits(Means::Session) {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Cookie realm=\"pulsegate\""));
            }
            response
        }
    }
}

/// RFC 6750 section 3: `error` only where a token was given.
fn bearer(refused: Option<Refused>) -> HeaderValue {
    let Some(refused) = refused else { return HeaderValue::from_static("Bearer realm=\"pulsegate\"") };
    let sentence = refused.sentence();
    let value = format!("Bearer realm=\"pulsegate\", error=\"invalid_token\", error_description=\"{sentence}\"");
    // Our own words, all of them ASCII.
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("Bearer realm=\"pulsegate\""))
}
