use tokio::time::Instant;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::health::{Facts, Finding, Reason};

pub(super) const KIND: Kind = Kind::of::<Tcp>(
    "tcp",
    "Connects to a TCP port and closes the connection again.",
    Defaults { interval: "10s", timeout: "2s", failure_threshold: "3", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `tcp` check.
    pub struct Tcp {
        /// Host and port, such as "127.0.0.1:5432".
        address: String,
    }
}

impl Prepare for Tcp {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err("`tcp.address` must be a host and a port, such as \"127.0.0.1:5432\"".into());
        }
        Ok(Box::new(TcpCheck { address: self.address.clone() }))
    }
}

struct TcpCheck {
    address: String,
}

impl Check for TcpCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let connected = TcpStream::connect(&self.address).await;
            let mut facts = Facts::default();
            facts.public("latency_ms", super::millis(begun.elapsed()));
            match connected {
                Ok(_) => Finding::pass(facts),
                Err(error) => {
                    let private = format!("{}: {error}", self.address);
                    let reason = Reason::new("connect_failed", "cannot connect").with_private(private);
                    refused(&error, reason, facts)
                }
            }
        })
    }
}
