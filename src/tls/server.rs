use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::certificate::not_after;
use super::{ClientAuth, TlsError, TlsSettings, pem};

/// The certificate that is served, and what is asked of clients. Shared by all workers. When the files change, another one
/// takes its place as a whole, for connections that begin then.
#[derive(Debug)]
pub struct Server {
    files: Files,
    config: Arc<ServerConfig>,
    /// In seconds since 1970.
    expires: Option<i64>,
}

/// Where everything is read from.
#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_auth: Option<ClientAuth>,
}

/// The protocols that are spoken over TLS, the better one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Server {
    /// Reads the files that the settings name; `None` if they name none: no TLS.
    ///
    /// # Errors
    /// A file cannot be read, or what is in it cannot be used.
    pub fn new(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        if settings.client_auth.is_some() && settings.client_ca.is_none() {
            return Err(TlsError::NoClientCa);
        }
        let (cert, key) = match (&settings.cert, &settings.key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            (None, None) if settings.client_ca.is_none() => return Ok(None),
            _ => return Err(TlsError::Half),
        };
        let (client_ca, client_auth) = (settings.client_ca.clone(), settings.client_auth);
        let files = Files { cert, key, client_ca, client_auth };
        let (config, expires) = files.load()?;
        Ok(Some(Self { files, config, expires }))
    }

    /// The files, to be watched.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let Files { cert, key, client_ca, .. } = &self.files;
        [cert, key].into_iter().chain(client_ca).cloned().collect()
    }

    /// What a connection is served with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// When the certificate ends to be valid, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }
}

impl Files {
    fn load(&self) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
        let certified = self.certified()?;
        let expires = certified.cert.first().and_then(|first| not_after(first));
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Other)?;
        let builder = match self.verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // Tickets end with this: who was let in by an authority of the past shows its certificate again.
        config.ticketer = Ticketer::new().map_err(TlsError::Other)?;
        Ok((Arc::new(config), expires))
    }

    fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let chain = pem::certificates(&self.cert)?;
        let signing = default_provider().key_provider.load_private_key(pem::key(&self.key)?);
        let certified = CertifiedKey::new(chain, signing.map_err(|_| TlsError::Key(self.key.clone()))?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { cert: self.cert.clone(), key: self.key.clone() })
            }
            Err(_) => Err(TlsError::Certificate(self.cert.clone())),
        }
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(path) = &self.client_ca else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for authority in pem::certificates(path)? {
            roots.add(authority).map_err(|_| TlsError::Certificate(path.clone()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let verifier = match self.client_auth {
            Some(ClientAuth::Required) | None => verifier,
            Some(ClientAuth::Optional) => verifier.allow_unauthenticated(),
        };
        verifier.build().map(Some).map_err(|_| TlsError::Certificate(path.clone()))
    }
}
