use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::clock::unix;
use crate::health::{Fact, Facts, Finding, Reason};
use crate::tls::{Client, ClientTls, Distrust, Name, expired_at, expires};

pub(super) const KIND: Kind = Kind::of::<Tls>(
    "tls",
    "Shakes hands with a TLS server, and looks how long its certificate is still valid.",
    Defaults { interval: "60s", timeout: "5s", failure_threshold: "3", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `tls` check. The certificate is always verified.
    pub struct Tls {
        /// Host and port, such as "db.internal:5433".
        address: String,
        /// The name that the certificate must have. Default: the host of the address.
        server_name: Option<Name>,
        /// A file of certificates to trust in place of the system's authorities.
        ca: Option<PathBuf>,
        /// A certificate that is valid for no longer than this is a warning.
        warn_before: Duration = "14d",
    }
}

impl Prepare for Tls {
    fn files(&self) -> Vec<PathBuf> {
        self.ca.iter().cloned().collect()
    }

    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        let parts = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok().filter(|port| *port > 0)?)));
        let Some((host, port)) = parts else {
            return Err("`tls.address` must be a host and a port, such as \"db.internal:5433\"".into());
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let settings = ClientTls {
            ca: self.ca.clone(),
            cert: None,
            key: None,
            server_name: self.server_name.clone(),
            http2: false,
        };
        let client = Client::load(&settings).map_err(|error| format!("`tls.ca`: {error}"))?;
        Ok(Box::new(TlsCheck { host, port, client, warn_before: self.warn_before }))
    }
}

struct TlsCheck {
    host: String,
    port: u16,
    client: Client,
    warn_before: Duration,
}

impl Check for TlsCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let shaken = match TcpStream::connect((self.host.as_str(), self.port)).await {
                Ok(stream) => self.client.connect(&self.host, stream, false).await,
                Err(error) => {
                    let private = format!("{}:{}: {error}", self.host, self.port);
                    let reason = Reason::new("connect_failed", "cannot connect").with_private(private);
                    return refused(&error, reason, facts(None, begun, 0));
                }
            };
            let now = unix().as_secs();
            match shaken {
                Ok(mut stream) => {
                    let facts = facts(expires(&stream), begun, now);
                    // A peer that is told of the end does not log a broken connection; if it has gone, it has gone.
                    let _ = stream.shutdown().await;
                    self.judge(facts, now)
                }
                Err(error) => {
                    let distrust = Distrust::of_handshake(&error);
                    let (code, public) = words(distrust);
                    let private = format!("{}:{}: {error}", self.host, self.port);
                    Finding::fail(
                        Reason::new(code, public).with_private(private),
                        facts(expired_at(&error), begun, now),
                    )
                }
            }
        })
    }
}

const DAY: u64 = 24 * 3600;

fn facts(expires: Option<u64>, begun: Instant, now: u64) -> Facts {
    let mut facts = Facts::default();
    facts.public("latency_ms", super::millis(begun.elapsed()));
    facts.public("certificate_expires", expires.map_or(Fact::Null, Fact::Time));
    // Whole days; 0 on the last one, and from then on.
    facts.public("days_left", expires.map(|expires| expires.saturating_sub(now) / DAY));
    facts
}

impl TlsCheck {
    fn judge(&self, facts: Facts, now: u64) -> Finding {
        match facts.get("certificate_expires") {
            Some(Fact::Time(at)) if at.saturating_sub(now) <= self.warn_before.as_secs() => {
                let days = at.saturating_sub(now) / DAY;
                let sentence =
                    format!("has a certificate that expires in {days} day{}", if days == 1 { "" } else { "s" });
                Finding::warn(Reason::new("certificate_expiring", sentence), facts)
            }
            _ => Finding::pass(facts),
        }
    }
}

/// A code and a sentence, of a server that need not be the app.
fn words(distrust: Distrust) -> (&'static str, &'static str) {
    match distrust {
        Distrust::Expired => ("certificate_expired", "has a certificate that has expired"),
        Distrust::NotYetValid => ("certificate_not_yet_valid", "has a certificate that is not valid yet"),
        Distrust::UnknownIssuer => {
            ("certificate_unknown_issuer", "has a certificate of an issuer that is not trusted here")
        }
        Distrust::WrongName => ("certificate_wrong_name", "has a certificate for another name"),
        Distrust::Invalid => ("certificate_invalid", "has a certificate that cannot be accepted"),
        Distrust::Refused => ("tls_refused", "refuses the TLS handshake"),
        Distrust::NotTls => ("tls_failed", "does not speak TLS as it should"),
        Distrust::TooSlow => ("timeout", "did not answer in time"),
        Distrust::Closed => ("tls_closed", "closes the connection in the TLS handshake"),
    }
}
