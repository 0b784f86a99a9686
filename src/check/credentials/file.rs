use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::super::preset::{Login, Tokens};
use crate::settings::open_ordinary;
use crate::shortage::is_ours;

/// What a login is, as far as it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginState {
    /// Usable now.
    Valid,
    /// The access token has expired, the refresh token has not: the normal state of an idle CLI.
    Refreshable,
    /// Usable now, and soon not any more.
    Expiring,
    /// Somebody must log in again.
    Expired,
    /// Nobody is logged in.
    LoggedOut,
    /// There is a file that we may not read.
    Unreadable,
    /// There is a file that is damaged.
    Malformed,
    /// Nothing can be seen from here.
    NotVisible,
    /// Not found out.
    Unknown,
}

impl LoginState {
    /// The word in bodies.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Refreshable => "refreshable",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::LoggedOut => "logged_out",
            Self::Unreadable => "unreadable",
            Self::Malformed => "malformed",
            Self::NotVisible => "not_visible",
            Self::Unknown => "unknown",
        }
    }

    /// Of several logins in one file, for several providers, the best one is told: one that works is enough to work.
    fn worth(self) -> u8 {
        match self {
            Self::Valid => 4,
            Self::Refreshable => 3,
            Self::Expiring => 2,
            Self::Expired => 1,
            Self::LoggedOut | Self::Unreadable | Self::Malformed | Self::NotVisible | Self::Unknown => 0,
        }
    }

    /// Whether a request could be made with it; unknown when the file could not be understood.
    pub(super) fn logged_in(self) -> Option<bool> {
        match self {
            Self::Valid | Self::Refreshable | Self::Expiring => Some(true),
            Self::Expired | Self::LoggedOut => Some(false),
            Self::Unreadable | Self::Malformed | Self::NotVisible | Self::Unknown => None,
        }
    }
}

/// What a look at the login brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) state: LoginState,
    /// Where the credential comes from: `file`, or the name of a variable's way.
    pub(super) method: Option<&'static str>,
    /// When somebody must log in again, in seconds since 1970.
    pub(super) expires: Option<u64>,
    /// When the file was last written, since 1970.
    pub(super) written: Option<Duration>,
    /// For logs; never a part of the file.
    pub(super) private: Option<String>,
}

impl Reading {
    pub(super) fn of(state: LoginState) -> Self {
        Self { state, method: None, expires: None, written: None, private: None }
    }
}

/// A login expires soon when it does within this time.
pub(super) const SOON: Duration = Duration::from_secs(72 * 3600);

/// Larger files are not credentials.
const LARGEST: u64 = 1024 * 1024;

/// Reads the file of a login. Only ever reads: whoever writes that file can destroy a login.
pub(super) fn read(login: &Login, path: &Path, now: Duration) -> Reading {
    let problem = |state, private: String| Reading { private: Some(private), ..Reading::of(state) };
    let mut text = Vec::new();
    let opened = open_ordinary(path).and_then(|file| {
        let written = file.metadata()?.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        file.take(LARGEST + 1).read_to_end(&mut text)?;
        Ok(written)
    });
    let written = match opened {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Reading::of(LoginState::LoggedOut);
        }
        // Of a file that we cannot open for want of a descriptor nothing is known.
        Err(error) if is_ours(&error) => return problem(LoginState::Unknown, error.to_string()),
        Err(error) => return problem(LoginState::Unreadable, error.to_string()),
    };
    if text.len() as u64 > LARGEST {
        return problem(LoginState::Malformed, "the file is over 1 MiB".into());
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Reading { written, ..Reading::of(LoginState::LoggedOut) };
    }
    // The parser's own message would quote the file.
    match (login.read)(&text) {
        Ok(found) => {
            let best = found.iter().map(|tokens| judge(tokens, now)).max_by_key(|reading| reading.state.worth());
            Reading { method: Some("file"), written, ..best.unwrap_or(Reading::of(LoginState::LoggedOut)) }
        }
        Err(error) => problem(LoginState::Malformed, format!("line {}, column {}", error.line(), error.column())),
    }
}

fn judge(tokens: &Tokens, now: Duration) -> Reading {
    let access_usable = tokens.access_ends.is_none_or(|ends| now < ends);
    let refresh_usable = tokens.refresh && tokens.refresh_ends.is_none_or(|ends| now < ends);
    // Without a usable refresh token the access token's end is the end.
    let hard_end = if refresh_usable { tokens.refresh_ends } else { tokens.access_ends };
    let state = match (access_usable, refresh_usable) {
        (false, false) => LoginState::Expired,
        _ if hard_end.is_some_and(|ends| ends.saturating_sub(now) < SOON) => LoginState::Expiring,
        (true, _) => LoginState::Valid,
        (false, true) => LoginState::Refreshable,
    };
    Reading { expires: hard_end.map(|ends| ends.as_secs()), ..Reading::of(state) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::preset::CLAUDE;
    use super::{LoginState, Reading, read};

    const NOW: u64 = 1_800_000_000;
    const HOUR: u64 = 3600;

    fn reading(text: &str) -> Reading {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join(".credentials.json");
        std::fs::write(&path, text).expect("write");
        read(&CLAUDE.login, &path, Duration::from_secs(NOW))
    }

    fn login(access: u64, refresh: Option<&str>, refresh_ends: Option<u64>) -> LoginState {
        let oauth = serde_json::json!({ "claudeAiOauth": {
            "accessToken": "invented", "refreshToken": refresh, "expiresAt": access * 1000,
            "refreshTokenExpiresAt": refresh_ends.map(|at| at * 1000), "scopes": ["user:inference"],
        }});
        reading(&oauth.to_string()).state
    }

    #[test]
    fn every_state_of_a_login_is_told_apart() {
        let (past, soon, far) = (NOW - HOUR, NOW + 71 * HOUR, NOW + 73 * HOUR);
        assert_eq!(login(NOW + HOUR, Some("r"), None), LoginState::Valid);
        assert_eq!(login(NOW + HOUR, Some("r"), Some(far)), LoginState::Valid);
        assert_eq!(login(past, Some("r"), None), LoginState::Refreshable);
        assert_eq!(login(past, Some("r"), Some(far)), LoginState::Refreshable);
        assert_eq!(login(past, Some("r"), Some(soon)), LoginState::Expiring);
        assert_eq!(login(NOW + HOUR, None, None), LoginState::Expiring, "the access token is all there is");
        assert_eq!(login(far, Some(""), None), LoginState::Valid);
        assert_eq!(login(past, None, None), LoginState::Expired);
        assert_eq!(login(past, Some("r"), Some(past)), LoginState::Expired);
        assert_eq!(login(NOW + HOUR, Some("r"), Some(past)), LoginState::Expiring);
    }

    #[test]
    fn blank_and_damaged_files_are_told_apart() {
        let blank = r#"{"claudeAiOauth":{"accessToken":"","refreshToken":"","expiresAt":0,"scopes":[]}}"#;
        for logged_out in ["", "  \n", "{}", "null", r#"{"claudeAiOauth":null}"#, r#"{"claudeAiOauth":{}}"#, blank] {
            let state = reading(logged_out).state;
            let expected = if logged_out == "null" { LoginState::Malformed } else { LoginState::LoggedOut };
            assert_eq!(state, expected, "{logged_out:?}");
        }
        let damaged = ["{", "[]x", "\u{0}", r#"{"claudeAiOauth":7}"#, r#"{"claudeAiOauth":{"accessToken":7}}"#];
        for text in damaged.into_iter().chain([r#"{"claudeAiOauth":{"expiresAt":"soon"}}"#]) {
            let reading = reading(text);
            assert_eq!(reading.state, LoginState::Malformed, "{text:?}");
            assert!(!reading.private.expect("a place").contains("soon"), "the file is never quoted");
        }
    }
}
