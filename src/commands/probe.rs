use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use hyper::Method;
use hyper::header::HeaderMap;
use tokio::runtime::Builder;

use super::arguments::Probe;
use super::{EXIT_USAGE, load, say};
use crate::admin::AdminListen;
use crate::config::Sources;
use crate::fetch::{FetchError, Question, fetch};
use crate::settings::{Address, Scheme, Url};
use crate::tls::{Client, TlsError};

/// Asks an endpoint and tells by the exit code.
pub(super) fn probe(arguments: &Probe, sources: &Sources) -> ExitCode {
    let (url, certificate) = match url(arguments.target.as_deref().unwrap_or("/readyz"), sources) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let tls = match client(&url, certificate.as_deref()) {
        Ok(tls) => tls,
        Err(error) => return unusable(&error.to_string()),
    };
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let question = Question { method: Method::GET, url, headers: HeaderMap::new(), tls };
    let answer = runtime.block_on(async { tokio::time::timeout(arguments.timeout, fetch(&question)).await });
    match answer {
        Ok(Ok(answer)) if answer.status.is_success() => ExitCode::SUCCESS,
        Ok(Ok(answer)) => {
            say(&format!("{} from {}\n{}\n", answer.status, question.url, String::from_utf8_lossy(&answer.body)));
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            let plain = matches!(error, FetchError::Protocol(_)) && question.tls.is_none();
            let hint = if plain { "; if that is TLS, name the sidecar's --config, or an https:// URL" } else { "" };
            say(&format!("pulsegate: {}: {error}{hint}\n", question.url));
            ExitCode::FAILURE
        }
        Err(_) => {
            let timeout = humantime::format_duration(arguments.timeout);
            say(&format!("pulsegate: {} did not answer within {timeout}\n", question.url));
            ExitCode::FAILURE
        }
    }
}

/// A URL as it is; a path at the management port of the configuration, or at the traffic port without one, and the
/// certificate that is served there.
fn url(target: &str, sources: &Sources) -> Result<(Url, Option<PathBuf>), ExitCode> {
    if !target.starts_with('/') {
        let url = Url::parse(target).ok_or_else(|| {
            unusable("the target must be a URL such as http://127.0.0.1:9000/readyz, or a path such as /readyz")
        });
        return Ok((url?, None));
    }
    let config = load(sources)?;
    let (address, certificate) = match (&config.admin.listen, config.proxy.listen.first()) {
        (AdminListen(Some(admin)), _) => (admin, config.admin.tls.cert),
        (AdminListen(None), Some(traffic)) => (traffic, config.proxy.tls.cert),
        (AdminListen(None), None) => return Err(unusable("the configuration listens nowhere")),
    };
    let base = base_of(address, certificate.is_some());
    let base = base.ok_or_else(|| unusable("the configured address cannot be asked"))?;
    Ok((base.with_path(target), certificate))
}

/// TLS towards a URL, if it is spoken there; with a certificate, towards the server that has it.
pub(super) fn client(url: &Url, certificate: Option<&Path>) -> Result<Option<Arc<Client>>, TlsError> {
    let client = match (certificate, &url.scheme) {
        // Our own certificate need not name 127.0.0.1, nor come from an authority that this machine knows.
        (Some(certificate), _) => Client::pinned(certificate)?,
        (None, Scheme::Https) => Client::trusting(None)?,
        (None, _) => return Ok(None),
    };
    Ok(Some(Arc::new(client)))
}

/// The URL of an address that somebody listens at, with TLS or without.
pub(super) fn base_of(address: &Address, tls: bool) -> Option<Url> {
    let base = match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Ip(address) => {
            let mut address = *address;
            // An address that means "all of them" is not one that can be connected to everywhere. `[::]` takes IPv4 too; a
            // container of Docker has it, and often no `::1`.
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            format!("{}://{address}", if tls { "https" } else { "http" })
        }
    };
    Url::parse(&base)
}

fn unusable(message: &str) -> ExitCode {
    say(&format!("pulsegate: {message}\n"));
    ExitCode::from(EXIT_USAGE)
}

#[cfg(test)]
mod tests {
    use super::base_of;
    use crate::settings::Address;

    #[test]
    fn what_listens_everywhere_is_asked_where_every_machine_has_an_address() {
        for (listen, asked) in [
            ("[::]:9000", "http://127.0.0.1:9000/"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("127.0.0.2:9000", "http://127.0.0.2:9000/"),
        ] {
            let url = base_of(&Address::parse(listen).expect("an address"), false).expect("a URL");
            assert_eq!(url.to_string(), asked, "{listen}");
        }
    }
}
