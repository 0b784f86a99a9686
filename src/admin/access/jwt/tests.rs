//! Tokens of the RFCs, tokens of our own making, and every way in which one can be none.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use ring::hmac;

use super::settings::Algorithm;
use super::{Jwt, JwtSettings, LEEWAY, LONGEST_TOKEN, Refused};
use crate::settings::{Environment, Secret};

const SECRET: &str = "an invented secret of 32 bytes!!";
const NOW: u64 = 1_700_000_000;

/// RFC 7515, appendix A.1 to A.3, and RFC 8037, appendix A: keys.
const RFC_KEYS: &str = r#"{"keys": [
    {"kty": "oct", "kid": "a1",
     "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    {"kty": "RSA", "kid": "a2", "e": "AQAB", "use": "sig", "alg": "RS256",
     "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    {"kty": "RSA", "kid": "for encryption", "use": "enc", "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "kid": "a3", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "OKP", "kid": "8037", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}"#;

/// The claims of RFC 7515, appendix A: `exp` is 1300819380.
const RFC_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RFC_TOKENS: [(Algorithm, &str, &str); 3] = [
    (Algorithm::Hs256, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    (
        Algorithm::Rs256,
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ),
    (
        Algorithm::Es256,
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
];

fn settings(algorithm: Algorithm) -> JwtSettings {
    JwtSettings {
        algorithm,
        public_key_file: None,
        secret: None,
        jwks_file: None,
        audience: None,
        issuer: None,
        require_exp: true,
    }
}

/// With the set of keys of a text.
fn with_keys(algorithm: Algorithm, text: &str) -> Result<Jwt, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let settings = JwtSettings { jwks_file: Some(file.path().into()), ..settings(algorithm) };
    Jwt::load(&settings, &Environment::default()).map_err(|error| error.to_string())
}

fn with_secret(change: impl FnOnce(&mut JwtSettings)) -> Jwt {
    let environment = [("SECRET".to_owned(), SECRET.to_owned())].into_iter().collect();
    let mut settings = JwtSettings { secret: Some(Secret::Variable("SECRET".into())), ..settings(Algorithm::Hs256) };
    change(&mut settings);
    Jwt::load(&settings, &environment).expect("a secret")
}

fn signed(header: &str, claims: &str, key: &[u8]) -> String {
    let message = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What becomes of these claims, signed with the secret.
fn claims(claims: &str) -> Result<(), Refused> {
    with_secret(|_| ()).verify(signed(HS256, claims, SECRET.as_bytes()).as_bytes(), at(NOW))
}

#[test]
fn the_tokens_of_the_rfc_are_good_until_they_expire() {
    for (algorithm, header, signature) in RFC_TOKENS {
        let jwt = with_keys(algorithm, RFC_KEYS).expect("keys");
        let token = format!("{header}.{RFC_CLAIMS}.{signature}");
        assert_eq!(jwt.verify(token.as_bytes(), at(1_300_819_379)), Ok(()), "{algorithm:?}");
        assert_eq!(jwt.verify(token.as_bytes(), at(1_300_819_380) + LEEWAY), Err(Refused::Expired), "{algorithm:?}");
        for (other, ..) in RFC_TOKENS.iter().filter(|(other, ..)| *other != algorithm) {
            let jwt = with_keys(*other, RFC_KEYS).expect("keys");
            assert_eq!(jwt.verify(token.as_bytes(), at(0)), Err(Refused::Algorithm), "{algorithm:?} for {other:?}");
        }
        // Any bit of the signature, the header or the claims.
        for at_byte in (0..token.len()).step_by(7) {
            let mut bent = token.clone().into_bytes();
            bent[at_byte] = if bent[at_byte] == b'A' { b'B' } else { b'A' };
            assert!(jwt.verify(&bent, at(0)).is_err(), "{algorithm:?} at {at_byte}");
        }
    }
    // RFC 8037 appendix A.4: a good signature, over something that is no claims.
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let jwt = with_keys(Algorithm::EdDsa, RFC_KEYS).expect("keys");
    assert_eq!(jwt.verify(token.as_bytes(), at(0)), Err(Refused::Claims));
    assert_eq!(jwt.verify(token.replace("KAg", "KBg").as_bytes(), at(0)), Err(Refused::Signature));
}

#[test]
fn the_algorithm_is_ours_and_not_the_tokens() {
    let jwt = with_secret(|_| ());
    let good = r#"{"exp":1700000600}"#;
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"RS256"}"#,
    ] {
        let token = signed(header, good, SECRET.as_bytes());
        let unsigned = token.rsplit_once('.').expect("three parts").0.to_owned() + ".";
        for token in [token, unsigned] {
            assert_eq!(jwt.verify(token.as_bytes(), at(NOW)), Err(Refused::Algorithm), "{header}");
        }
    }
    let token = signed(HS256, good, SECRET.as_bytes());
    let unsigned = token.rsplit_once('.').expect("three parts").0.to_owned() + ".";
    assert_eq!(jwt.verify(token.as_bytes(), at(NOW)), Ok(()));
    assert_eq!(jwt.verify(unsigned.as_bytes(), at(NOW)), Err(Refused::Signature));
    // The public key, which everybody knows, as the secret of an HMAC.
    let pair = rcgen::KeyPair::generate().expect("a key");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), pair.public_key_pem()).expect("written");
    let with_public = JwtSettings { public_key_file: Some(file.path().into()), ..settings(Algorithm::Es256) };
    let jwt = Jwt::load(&with_public, &Environment::default()).expect("a key");
    for key in [
        pair.public_key_pem().into_bytes(),
        rcgen::PublicKeyData::subject_public_key_info(&pair),
        pair.public_key_raw().to_vec(),
    ] {
        for header in [HS256, r#"{"alg":"ES256"}"#] {
            assert!(jwt.verify(signed(header, good, &key).as_bytes(), at(NOW)).is_err());
        }
    }
    let confused = JwtSettings { algorithm: Algorithm::Hs256, ..with_public };
    let error = Jwt::load(&confused, &Environment::default()).expect_err("no secret").to_string();
    assert!(error.contains("known to everybody"), "{error}");
}

#[test]
fn a_header_that_says_more_than_is_understood_is_refused() {
    let jwt = with_secret(|_| ());
    let verify =
        |header: &str| jwt.verify(signed(header, r#"{"exp":1700000600}"#, SECRET.as_bytes()).as_bytes(), at(NOW));
    for (header, refused) in [
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Refused::Critical),
        (r#"{"alg":"HS256","crit":[]}"#, Refused::Critical),
        (r#"{"alg":"HS256","crit":null}"#, Refused::Critical),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, Refused::Critical),
        (r#"{"alg":"HS256","alg":"none"}"#, Refused::Malformed),
        (r#"{"alg":"none","\u0061lg":"HS256"}"#, Refused::Malformed),
        (r#"{"alg":"HS256","kid":1}"#, Refused::Malformed),
        (r#"{"alg":"HS256","kid":null}"#, Refused::Malformed),
        (r#"{"alg":["HS256"]}"#, Refused::Malformed),
        (r#"["HS256",null,null]"#, Refused::Malformed),
        (r#"{"typ":"JWT"}"#, Refused::Malformed),
        ("", Refused::Malformed),
        ("{", Refused::Malformed),
        (r#"{"alg":"HS256"} {}"#, Refused::Malformed),
    ] {
        assert_eq!(verify(header), Err(refused), "{header}");
    }
    assert_eq!(verify(r#"{"alg":"HS256","kid":"any","typ":"at+jwt","x5u":"http://127.0.0.1/","jwk":{}}"#), Ok(()));
}

#[test]
fn times_are_numbers_and_are_kept() {
    for good in [
        r#"{"exp":1700000600}"#,
        r#"{"exp":1700000600.5,"nbf":1699999999.5}"#,
        r#"{"exp":1.7000006e9}"#,
        r#"{"exp":1700000600,"nbf":1700000000,"iat":"whenever","sub":[{}]}"#,
        // Clocks differ.
        r#"{"exp":1699999971}"#,
        r#"{"exp":1700000600,"nbf":1700000030}"#,
    ] {
        assert_eq!(claims(good), Ok(()), "{good}");
    }
    for (bad, refused) in [
        (r#"{"exp":1699999970}"#, Refused::Expired),
        (r#"{"exp":0}"#, Refused::Expired),
        (r#"{"exp":1700000600,"nbf":1700000031}"#, Refused::TooEarly),
        (r"{}", Refused::NoExpiry),
        (r#"{"exp":"1700000600"}"#, Refused::Claims),
        (r#"{"exp":null}"#, Refused::Claims),
        (r#"{"exp":true}"#, Refused::Claims),
        (r#"{"exp":[1700000600]}"#, Refused::Claims),
        (r#"{"exp":{}}"#, Refused::Claims),
        (r#"{"exp":-1}"#, Refused::Claims),
        (r#"{"exp":253402300800}"#, Refused::Claims),
        (r#"{"exp":18446744073709551615}"#, Refused::Claims),
        (r#"{"exp":99999999999999999999999999}"#, Refused::Claims),
        (r#"{"exp":1e300}"#, Refused::Claims),
        (r#"{"exp":1e400}"#, Refused::Claims),
        (r#"{"exp":NaN}"#, Refused::Claims),
        (r#"{"exp":1700000600,"nbf":"soon"}"#, Refused::Claims),
        (r#"{"exp":1,"exp":1700000600}"#, Refused::Claims),
        (r#"{"exp":1700000600,"\u0065xp":1}"#, Refused::Claims),
        (r#"{"exp":1700000600,"nbf":1,"nbf":1}"#, Refused::Claims),
        (r#"{"exp":1700000600,"iss":null}"#, Refused::Claims),
        (r#"[1700000600]"#, Refused::Claims),
        ("", Refused::Claims),
    ] {
        assert_eq!(claims(bad), Err(refused), "{bad}");
    }
    let deep = format!(r#"{{"exp":1700000600,"a":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    assert_eq!(claims(&deep), Ok(()), "what nobody looks at is skipped, however deep");
    let for_ever = with_secret(|settings| settings.require_exp = false);
    assert_eq!(for_ever.verify(signed(HS256, "{}", SECRET.as_bytes()).as_bytes(), at(NOW)), Ok(()));
}

#[test]
fn tokens_for_others_and_of_others_are_refused() {
    let jwt = with_secret(|settings| {
        settings.audience = Some("pulsegate".into());
        settings.issuer = Some("https://issuer.example".into());
    });
    let verify = |jwt: &Jwt, more: &str| {
        let claims = format!(r#"{{"exp":1700000600{more}}}"#);
        jwt.verify(signed(HS256, &claims, SECRET.as_bytes()).as_bytes(), at(NOW))
    };
    const ISS: &str = r#","iss":"https://issuer.example""#;
    assert_eq!(verify(&jwt, &format!(r#","aud":"pulsegate"{ISS}"#)), Ok(()));
    assert_eq!(verify(&jwt, &format!(r#","aud":["other","pulsegate"]{ISS}"#)), Ok(()));
    for (more, refused) in [
        (ISS.to_owned(), Refused::Audience),
        (format!(r#","aud":"pulsegate2"{ISS}"#), Refused::Audience),
        (format!(r#","aud":[]{ISS}"#), Refused::Audience),
        (format!(r#","aud":["Pulsegate"]{ISS}"#), Refused::Audience),
        (format!(r#","aud":{{"pulsegate":1}}{ISS}"#), Refused::Claims),
        (format!(r#","aud":["pulsegate",1]{ISS}"#), Refused::Claims),
        (format!(r#","aud":null{ISS}"#), Refused::Claims),
        (r#","aud":"pulsegate""#.to_owned(), Refused::Issuer),
        (r#","aud":"pulsegate","iss":"https://issuer.example/""#.to_owned(), Refused::Issuer),
        (r#","aud":"pulsegate","iss":["https://issuer.example"]"#.to_owned(), Refused::Claims),
    ] {
        assert_eq!(verify(&jwt, &more), Err(refused), "{more}");
    }
    let nameless = with_secret(|_| ());
    assert_eq!(verify(&nameless, r#","aud":"another""#), Err(Refused::Audience));
    assert_eq!(verify(&nameless, r#","iss":"anybody""#), Ok(()));
}

#[test]
fn a_token_names_its_key_and_no_key_is_tried_that_it_does_not_name() {
    let key = |kid: &str, secret: &str| {
        format!(r#"{{"kty":"oct","kid":"{kid}","k":"{}"}}"#, BASE64URL_NOPAD.encode(secret.as_bytes()))
    };
    let other = SECRET.replace("invented", "INVENTED");
    let two = format!(r#"{{"keys":[{},{}]}}"#, key("old", SECRET), key("new", &other));
    let jwt = with_keys(Algorithm::Hs256, &two).expect("keys");
    let verify = |jwt: &Jwt, kid: &str, secret: &str| {
        let header = format!(r#"{{"alg":"HS256"{kid}}}"#);
        jwt.verify(signed(&header, r#"{"exp":1700000600}"#, secret.as_bytes()).as_bytes(), at(NOW))
    };
    assert_eq!(verify(&jwt, r#","kid":"old""#, SECRET), Ok(()));
    assert_eq!(verify(&jwt, r#","kid":"new""#, &other), Ok(()));
    assert_eq!(verify(&jwt, r#","kid":"new""#, SECRET), Err(Refused::Signature));
    for kid in ["", r#","kid":"""#, r#","kid":"gone""#, r#","kid":"../../dev/null""#] {
        assert_eq!(verify(&jwt, kid, SECRET), Err(Refused::Key), "{kid}");
    }
    let one = with_keys(Algorithm::Hs256, &format!(r#"{{"keys":[{}]}}"#, key("old", SECRET))).expect("a key");
    assert_eq!(verify(&one, "", SECRET), Ok(()), "there is only one to mean");
    assert_eq!(verify(&one, r#","kid":"new""#, SECRET), Err(Refused::Key));
    for (text, says) in [
        ("", "is no set of keys"),
        ("{}", "is no set of keys"),
        (r#"{"keys":[]}"#, "has no key for the algorithm"),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#, "has no key for the algorithm"),
        (r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#, "cannot be used"),
        (r#"{"keys":[{"kty":"oct"}]}"#, "cannot be used"),
        (&format!(r#"{{"keys":[{},{}]}}"#, key("a", SECRET), key("a", &other)), "the same `kid`"),
        (
            &format!(r#"{{"keys":[{}]}}"#, vec![key("a", SECRET).replace('}', r#","alg":"HS512"}"#); 2].join(",")),
            "no key",
        ),
        (
            &format!(r#"{{"keys":[{}]}}"#, (0..65).map(|n| key(&n.to_string(), SECRET)).collect::<Vec<_>>().join(",")),
            "more than 64",
        ),
        (&" ".repeat(256 * 1024 + 1), "larger than 256 KiB"),
    ] {
        let error = with_keys(Algorithm::Hs256, text).expect_err("no set of keys");
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_key_in_the_wrong_place_is_a_mistake() {
    let error = |change: &dyn Fn(&mut JwtSettings)| {
        let environment =
            [("SHORT", &SECRET[1..]), ("SECRET", SECRET)].map(|(name, value)| (name.into(), value.into()));
        let mut settings = settings(Algorithm::Hs256);
        change(&mut settings);
        Jwt::load(&settings, &environment.into_iter().collect()).expect_err("a mistake").to_string()
    };
    let secret = |name: &str| Some(Secret::Variable(name.into()));
    let nowhere = Some(PathBuf::from("/nonexistent"));
    assert!(error(&|_| ()).contains("exactly one of"));
    assert!(
        error(&|settings| (settings.secret, settings.jwks_file) = (secret("SECRET"), nowhere.clone()))
            .contains("exactly one of")
    );
    assert!(error(&|settings| settings.secret = secret("SHORT")).contains("at least 32 bytes"));
    assert!(error(&|settings| settings.secret = secret("NONE")).contains("is not set"));
    assert!(error(&|settings| settings.jwks_file = nowhere.clone()).contains("/nonexistent cannot be read"));
    assert!(error(&|settings| settings.public_key_file = nowhere.clone()).contains("/nonexistent cannot be read"));
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let said = error(&|settings| (settings.algorithm, settings.secret) = (algorithm, secret("SECRET")));
        assert!(said.starts_with(algorithm.name()) && said.contains("in `public_key_file`"), "{said}");
    }
}

#[test]
fn a_token_has_a_size_and_a_form() {
    let jwt = with_secret(|_| ());
    let token = signed(HS256, r#"{"exp":1700000600}"#, SECRET.as_bytes());
    let long =
        signed(HS256, &format!(r#"{{"exp":1700000600,"a":"{}"}}"#, "a".repeat(LONGEST_TOKEN)), SECRET.as_bytes());
    assert_eq!(jwt.verify(long.as_bytes(), at(NOW)), Err(Refused::TooLong));
    let last = token.chars().last().expect("a letter");
    // The last letter holds two bits of nothing: another one in its place would be the same token written differently.
    let other_last = char::from(if last.is_ascii_lowercase() && last < 'z' { last as u8 + 1 } else { b'_' });
    for bent in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{token}="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token} "),
        format!("{}{other_last}", &token[..token.len() - 1]),
        token.replace('.', ""),
        token.replacen('.', "..", 1),
        token.replace('.', "=."),
    ] {
        assert!(jwt.verify(bent.as_bytes(), at(NOW)).is_err(), "{bent}");
    }
}

proptest! {
    #[test]
    fn no_token_is_too_strange(token in "[\\x00-\\xff]{0,200}", header in ".{0,60}", body in ".{0,60}") {
        let jwt = with_secret(|_| ());
        prop_assert!(jwt.verify(token.as_bytes(), at(NOW)).is_err());
        prop_assert!(jwt.verify(signed(&header, &body, SECRET.as_bytes()).as_bytes(), at(NOW)).is_err());
        prop_assert!(jwt.verify(signed(HS256, &body, SECRET.as_bytes()).as_bytes(), at(NOW)).is_err());
    }
}
