use std::time::Duration;

use hyper::header::HeaderMap;

use super::{Access, Credentials, Means, Refusal, Refused, Verdict, refuse};
use crate::admin::AdminSettings;
use crate::health::Audience;
use crate::settings::{Environment, Node, Origin, Problems, Secret, Setting as _, Table, Value, read_empty};

/// With the secret of RFC 7515, appendix A.1, and its token, which is valid until 2011.
const SECRET: &str = "a secret that nobody has told us of";

fn credentials() -> Credentials {
    let environment: Environment = [("KEY", "k1"), ("SECRET", SECRET)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let mut settings: AdminSettings = read_empty("", &Problems::default()).expect("settings");
    settings.api_keys = vec![Secret::Variable("KEY".into())];
    let text = |text: &str| Node { value: Value::Text(text.into()), origin: Origin::Default };
    let mut table = Table::default();
    table.set("algorithm", &Origin::Default, text("HS256"));
    let mut secret = Table::default();
    secret.set("env", &Origin::Default, text("SECRET"));
    table.set("secret", &Origin::Default, Node { value: Value::Table(secret), origin: Origin::Default });
    let node = Node { value: Value::Table(table), origin: Origin::Default };
    settings.jwt = Option::read(&node, "admin.jwt", &Problems::default()).expect("settings");
    Credentials::load(&settings, &environment).expect("credentials")
}

fn token() -> String {
    use data_encoding::BASE64URL_NOPAD;
    let message =
        [r#"{"alg":"HS256"}"#, r#"{"exp":1000}"#].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
}

/// Who may read, or why not.
fn judge(access: Access, fields: &[(&'static str, &str)], now: u64) -> Result<Audience, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().expect("a value"));
    }
    match credentials().judge(access, &headers, false, Duration::from_secs(now)) {
        Verdict::Admitted(audience) => Ok(audience),
        Verdict::Refused(refusal) => Err(refusal),
        Verdict::Ask(..) => panic!("nobody is asked"),
    }
}

#[test]
fn what_is_good_admits_where_it_is_asked_for() {
    let (with_token, with_key) = (format!("Bearer {}", token()), "Bearer k1".to_owned());
    let (keys, tokens) = (Access::of(&[Means::ApiKey]), Access::of(&[Means::Jwt]));
    let both = Access::of(&[Means::ApiKey, Means::Jwt]);
    let trusted = Ok(Audience::Trusted);
    for (value, admitted, elsewhere) in [(&with_key, keys, tokens), (&with_token, tokens, keys)] {
        let fields = [("authorization", value.as_str())];
        for access in [Access::PUBLIC, both, admitted] {
            assert_eq!(judge(access, &fields, 0), trusted, "{access:?}");
        }
        assert_eq!(judge(elsewhere, &fields, 0), Err(Refusal::Elsewhere));
    }
    // Each by itself: one that is for the app does no harm.
    assert_eq!(judge(keys, &[("authorization", &with_token), ("x-api-key", "k1")], 0), trusted);
    assert_eq!(judge(tokens, &[("authorization", &with_token), ("x-api-key", "for the app")], 0), trusted);
    assert_eq!(judge(keys, &[("x-api-key", "wrong"), ("authorization", &with_token)], 0), Err(Refusal::Elsewhere));

    for access in [keys, tokens, both] {
        assert_eq!(judge(access, &[], 0), Err(Refusal::Unknown(None)));
        assert_eq!(
            judge(access, &[("authorization", &with_token)], 5000),
            Err(Refusal::Unknown(Some(Refused::Expired)))
        );
        assert_eq!(judge(access, &[("authorization", "Basic azE6")], 0), Err(Refusal::Unknown(None)));
        assert_eq!(judge(access, &[("x-api-key", "wrong")], 0), Err(Refusal::Unknown(None)));
        assert_eq!(judge(access, &[("x-api-key", &token())], 0), Err(Refusal::Unknown(None)), "a token is no key");
    }
    for fields in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", with_token.as_str())]] {
        assert_eq!(judge(Access::PUBLIC, fields, 5000), Ok(Audience::Public));
    }
}

#[test]
fn what_is_refused_is_told_what_would_admit() {
    let both = Access::of(&[Means::ApiKey, Means::Jwt]);
    let told = |access, refusal| {
        let (parts, body) = refuse(access, refusal).into_parts();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let challenge = parts.headers.get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
        (parts.status.as_u16(), challenge, body["error"]["message"].as_str().expect("a sentence").to_owned())
    };
    let (status, challenge, message) = told(both, Refusal::Unknown(None));
    assert_eq!((status, challenge.as_deref()), (401, Some("Bearer realm=\"pulsegate\"")));
    assert!(message.contains("an API key") && message.contains("or a token"), "{message}");
    let (status, challenge, message) = told(both, Refusal::Unknown(Some(Refused::Expired)));
    let expected = "Bearer realm=\"pulsegate\", error=\"invalid_token\", error_description=\"the token has expired\"";
    assert_eq!((status, challenge.as_deref()), (401, Some(expected)));
    assert!(message.ends_with("the token has expired"), "{message}");
    let (status, challenge, message) = told(Access::of(&[Means::Jwt]), Refusal::Elsewhere);
    assert_eq!((status, challenge), (403, None));
    assert!(message.contains("a token") && !message.contains("API key"), "{message}");
    let (status, challenge, _) = told(Access::of(&[Means::Session, Means::Certificate]), Refusal::Unknown(None));
    assert_eq!((status, challenge.as_deref()), (401, Some("Cookie realm=\"pulsegate\"")));
    let (status, challenge, message) =
        told(Access::of(&[Means::Certificate]), Refusal::Unknown(Some(Refused::Expired)));
    assert_eq!((status, challenge), (403, None), "nothing that HTTP could show would help: {message}");
    let response = refuse(Access::of(&Means::ALL), Refusal::Unknown(None));
    assert_eq!(response.headers().get_all("www-authenticate").iter().count(), 2, "one for each that has one");
}
