use std::fmt;
use std::io;

use super::super::rejection::Rejection;
use crate::tls::Distrust;

/// Why a byte stream to the app broke, where more is known than that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Broken {
    /// It just ended.
    Ended,
    /// The app has not begun with the request, and refuses to: it may be sent again, whatever it is.
    Refused,
    /// It ends the connection, and has not begun with the request: another connection is the place for it, whatever it is.
    LeftOut,
    /// The app gave up this request, and its connection lives on.
    Reset,
    /// This is what the client is to be told.
    Rejected(Rejection),
}

impl Broken {
    /// What an error of reading says.
    pub(in crate::proxy) fn of_read(error: &io::Error) -> Self {
        if let Some(why) = Distrust::of_read(error) {
            return Self::Rejected(Rejection::Tls(why));
        }
        let known = error.get_ref().and_then(|error| error.downcast_ref::<Self>());
        known.copied().unwrap_or(Self::Ended)
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        Self::new(io::ErrorKind::ConnectionReset, broken)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection to the app broke")
    }
}

impl std::error::Error for Broken {}
