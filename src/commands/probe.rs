use std::path::PathBuf;
use std::process::ExitCode;

use hyper::Method;
use hyper::header::HeaderMap;
use tokio::runtime::Builder;

use super::arguments::Probe;
use super::way::{Socket, ask_at, base_of, client, socket_of_file, through_socket};
use super::{EXIT_USAGE, say, say_problems};
use crate::config::{Sources, Whereabouts};
use crate::fetch::{Answer, FetchError, Question, fetch};
use crate::settings::{Scheme, Url};

/// A text of somebody else's, without what would move a terminal's cursor or change its colours.
fn harmless(text: &[u8]) -> String {
    let harmless = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(text).chars().map(harmless).collect()
}

/// Asks an endpoint and tells by the exit code.
pub(super) fn probe(arguments: &Probe, sources: &Sources) -> ExitCode {
    let target = arguments.target.as_deref().unwrap_or("/readyz");
    let place = if target.starts_with('/') { of_configuration(target, sources) } else { of_url(target) };
    let place = match place {
        Ok(place) => place,
        Err(code) => return code,
    };
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(async { tokio::time::timeout(arguments.timeout, place.ask(target)).await }) {
        Ok(Ok(answer)) if answer.status.is_success() => ExitCode::SUCCESS,
        Ok(Ok(answer)) => {
            say(&format!("{} from {place}\n{}\n", answer.status, harmless(&answer.body)));
            ExitCode::FAILURE
        }
        Ok(Err(Failure::Unusable(message))) => unusable(&message),
        Ok(Err(Failure::NoAnswer(message))) => {
            say(&format!("pulsegate: {place}: {message}\n"));
            ExitCode::FAILURE
        }
        Err(_) => {
            let timeout = humantime::format_duration(arguments.timeout);
            say(&format!("pulsegate: {place} did not answer within {timeout}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Whom to ask.
enum Place {
    /// A URL, with the certificate that is served there; and where else the process is found that was started with the
    /// file.
    Port(Url, Option<PathBuf>, Option<Box<Whereabouts>>),
    /// The process that was started with a file which cannot be understood by now.
    Process(Socket),
}

/// Why there is no answer.
enum Failure {
    Unusable(String),
    NoAnswer(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(url, ..) => write!(f, "{url}"),
            Self::Process(socket) => write!(f, "{socket}"),
        }
    }
}

impl Place {
    /// Asks at the port; if that is not as the configuration says, perhaps because the process goes on with an older one,
    /// the process itself.
    async fn ask(&self, target: &str) -> Result<Answer, Failure> {
        let (url, certificate, found) = match self {
            Self::Process(socket) => return ask_process(socket, target).await.map_err(Failure::NoAnswer),
            Self::Port(url, certificate, found) => (url, certificate, found),
        };
        let failed = match client(url, certificate.as_deref()) {
            Err(error) => Failure::Unusable(error.to_string()),
            Ok(tls) => {
                let plain = tls.is_none();
                let question = Question { method: Method::GET, url: url.clone(), headers: HeaderMap::new(), tls };
                match fetch(&question).await {
                    Ok(answer) => return Ok(answer),
                    // A socket file that is gone is gone for everybody.
                    Err(error @ FetchError::Connect(_)) if matches!(url.scheme, Scheme::Unix(_)) => {
                        return Err(Failure::NoAnswer(error.to_string()));
                    }
                    Err(error) => {
                        let may_be_tls = plain && matches!(error, FetchError::Protocol(_));
                        let hint = "; if that is TLS, name the sidecar's --config, or an https:// URL";
                        Failure::NoAnswer(format!("{error}{}", if may_be_tls { hint } else { "" }))
                    }
                }
            }
        };
        let Some(socket) = found.as_deref().and_then(socket_of_file) else { return Err(failed) };
        ask_process(&socket, target).await.map_err(|_| failed)
    }
}

async fn ask_process(socket: &Socket, target: &str) -> Result<Answer, String> {
    let question = Question { method: Method::GET, url: through_socket(target)?, headers: HeaderMap::new(), tls: None };
    ask_at(socket, &question).await
}

fn of_url(target: &str) -> Result<Place, ExitCode> {
    let url = Url::parse(target).ok_or_else(|| {
        unusable("the target must be a URL such as http://127.0.0.1:9000/readyz, or a path such as /readyz")
    });
    Ok(Place::Port(url?, None, None))
}

/// At the management port of the configuration, or at the traffic port without one.
///
/// A process that goes on with what it read before a mistake was made in its file is well, and must not be restarted for the
/// mistake: only what is needed of the file is looked at.
fn of_configuration(target: &str, sources: &Sources) -> Result<Place, ExitCode> {
    let found = Whereabouts::read(sources).map_err(|problems| {
        say_problems(&problems);
        ExitCode::from(EXIT_USAGE)
    })?;
    if !found.problems.is_empty() && !found.names_admin {
        if let Some(socket) = socket_of_file(&found) {
            return Ok(Place::Process(socket));
        }
        if !found.knows_admin {
            say_problems(&found.problems);
            return Err(ExitCode::from(EXIT_USAGE));
        }
    }
    let (address, certificate) = match (&found.admin, found.traffic.first()) {
        (Some(admin), _) => (admin, &found.admin_certificate),
        (None, Some(traffic)) => (traffic, &found.traffic_certificate),
        (None, None) => return Err(unusable("the configuration listens nowhere")),
    };
    let base = base_of(address, certificate.is_some());
    let base = base.ok_or_else(|| unusable("the configured address cannot be asked"))?;
    let (url, certificate) = (base.with_path(target), certificate.clone());
    Ok(Place::Port(url, certificate, (!found.names_admin).then(|| Box::new(found))))
}

fn unusable(message: &str) -> ExitCode {
    say(&format!("pulsegate: {message}\n"));
    ExitCode::from(EXIT_USAGE)
}
