use std::fmt;

use rustix::io::Errno;

use crate::admin::AccessError;
use crate::events::WebhookError;
use crate::server::BindError;
use crate::settings::Problem;
use crate::supervise::LaunchError;
use crate::tls::TlsError;

/// Why the process cannot start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened at.
    Bind(BindError),
    /// Checks lack what they need.
    Checks(Vec<Problem>),
    /// Credentials cannot be checked.
    Access(AccessError),
    /// Certificate or key cannot be used.
    Tls(TlsError),
    /// Somebody who is to be told of changes cannot be.
    Webhook(WebhookError),
    /// Certificate or key of the management port cannot be used.
    AdminTls(TlsError),
    /// Certificates or keys for the app cannot be used.
    UpstreamTls(TlsError),
    /// The metrics' namespace is impossible.
    Metrics(prometheus::Error),
    /// The system has no certificate authorities to know the app's metrics by.
    MergeTls(TlsError),
    /// There is no app to start.
    Launch(LaunchError),
    /// The system refuses a thread, a socket or a runtime.
    Runtime(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Checks(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    let separator = if index > 0 { "\n" } else { "" };
                    write!(f, "{separator}{problem}")?;
                }
                Ok(())
            }
            Self::Access(error) => error.fmt(f),
            Self::Launch(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "`proxy.tls`: {error}"),
            Self::Webhook(error) => write!(f, "`events.webhooks`: {error}"),
            Self::AdminTls(error) => write!(f, "`admin.tls`: {error}"),
            Self::UpstreamTls(error) => write!(f, "`proxy.upstream_tls`: {error}"),
            Self::MergeTls(error) => write!(f, "`metrics.merge`: {error}"),
            Self::Metrics(error) => write!(f, "`metrics.namespace` cannot begin a metric's name: {error}"),
            Self::Runtime(error) => {
                write!(f, "the system refuses what a worker needs: {error}")?;
                let files = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
                if error.raw_os_error().is_some_and(|code| files.contains(&code)) {
                    f.write_str("; raise the limit of open files")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for StartError {}
