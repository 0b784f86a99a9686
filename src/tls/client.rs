use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TlsError;
use super::distrust::is_own_authority;
use super::pem;
use super::pinned::Pinned;
use crate::settings::{Node, Problems, Reader, Setting};

crate::settings! {
    /// How an `https` app is verified, and what we show it. Certificates are always verified.
    pub struct ClientTls {
        /// A file of certificates to trust in place of the system's authorities: authorities, or the app's own one.
        ca: Option<PathBuf>,
        /// Our certificate and its chain, for an app that asks for one.
        cert: Option<PathBuf>,
        /// The private key of `cert`.
        key: Option<PathBuf>,
        /// The name that the app's certificate must have. Default: the host of the URL.
        server_name: Option<Name>,
        /// Offer HTTP/2 to the app, and speak it if the app takes it.
        http2: bool = "false",
    }
}

impl ClientTls {
    /// The files that are named.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().cloned().collect()
    }

    /// Whether nothing of it was set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        let Self { ca, cert, key, server_name, http2 } = self;
        ca.is_none() && cert.is_none() && key.is_none() && server_name.is_none() && !http2
    }
}

/// A host name or an address, as a certificate can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub ServerName<'static>);

impl Setting for Name {
    const EXPECTS: &'static str = "a host name or an IP address";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let name = ServerName::try_from(text.to_owned()).ok().map(Self);
        if name.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        name
    }
}

/// A client's side of TLS, with all files read.
#[derive(Clone, Debug)]
pub struct Client {
    http1: Arc<ClientConfig>,
    /// The same, with HTTP/2 on offer.
    http2: Option<Arc<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
    /// Of everything that was set and read.
    fingerprint: u64,
}

impl Client {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// A file cannot be used, or the system has no certificate authorities.
    pub fn load(settings: &ClientTls) -> Result<Self, TlsError> {
        let mut hasher = DefaultHasher::new();
        let server_name = settings.server_name.as_ref().map(|name| name.0.clone());
        (settings.http2, format!("{server_name:?}")).hash(&mut hasher);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Other)?;
        let builder = match &settings.ca {
            None => {
                let found = rustls_native_certs::load_native_certs().certs;
                found.hash(&mut hasher);
                builder.with_root_certificates(roots(found)?)
            }
            Some(path) => {
                let named = pem::certificates(path)?;
                named.hash(&mut hasher);
                let roots = Arc::new(roots(named.clone()).map_err(|_| TlsError::Certificate(path.clone()))?);
                let usual = WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| TlsError::Other(Error::General(error.to_string())))?;
                // Not dangerous: it asks the usual verifier, and accepts the very certificates that were named.
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Named { usual, named }))
            }
        };
        let mut http1 = match (&settings.cert, &settings.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let (chain, secret) = (pem::certificates(cert)?, pem::key(key)?);
                chain.hash(&mut hasher);
                secret.secret_der().hash(&mut hasher);
                builder.with_client_auth_cert(chain, secret).map_err(|error| match error {
                    Error::InconsistentKeys(_) => TlsError::Mismatch { cert: cert.clone(), key: key.clone() },
                    Error::General(_) => TlsError::Key(key.clone()),
                    other => TlsError::Other(other),
                })?
            }
            _ => return Err(TlsError::Half),
        };
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http2 = settings.http2.then(|| {
            let mut both = http1.clone();
            both.alpn_protocols.insert(0, b"h2".to_vec());
            Arc::new(both)
        });
        Ok(Self { http1: Arc::new(http1), http2, server_name, fingerprint: hasher.finish() })
    }

    /// Trusts the system's authorities, or the certificates of a file.
    ///
    /// # Errors
    /// The file cannot be used, or the system has no certificate authorities.
    pub fn trusting(ca: Option<&Path>) -> Result<Self, TlsError> {
        let ca = ca.map(Path::to_owned);
        Self::load(&ClientTls { ca, cert: None, key: None, server_name: None, http2: false })
    }

    /// Trusts the very certificate of a file, whatever its names and dates: for a server of our own.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn pinned(certificate: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Pinned::to(certificate, provider.clone())?;
        let mut http1 = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Other)?
            // Not dangerous: no other certificate than this one is accepted.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { http1: Arc::new(http1), http2: None, server_name: None, fingerprint: 0 })
    }

    /// The same for what does not speak HTTP: offers no protocol by ALPN, of which a server may insist on its own.
    #[must_use]
    pub fn without_alpn(mut self) -> Self {
        Arc::make_mut(&mut self.http1).alpn_protocols.clear();
        self
    }

    /// Whether everything that was set and read is the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Whether HTTP/2 may be offered.
    #[must_use]
    pub fn may_offer_http2(&self) -> bool {
        self.http2.is_some()
    }

    /// Shakes hands with `host`. HTTP/2 is offered if both the settings and the caller want it.
    ///
    /// # Errors
    /// The handshake failed; [`Distrust::of_handshake`](super::Distrust::of_handshake) tells why.
    pub async fn connect<S>(&self, host: &str, stream: S, offer_http2: bool) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.http2.as_ref().filter(|_| offer_http2).unwrap_or(&self.http1);
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        TlsConnector::from(config.clone()).connect(name, stream).await
    }
}

/// The certificates of the system's authorities, or those of a file, for a client that makes its own of them: those that
/// can be read.
///
/// # Errors
/// The file cannot be used, or there are none.
pub fn authorities_of(ca: Option<&Path>) -> Result<Vec<Vec<u8>>, TlsError> {
    let found = match ca {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => pem::certificates(path)?,
    };
    let is_readable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    let readable: Vec<Vec<u8>> = found.into_iter().filter(is_readable).map(|found| found.to_vec()).collect();
    if readable.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(readable) }
}

/// Authorities of certificates, as far as they can be read: a system's list may hold an odd one.
fn roots(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

/// Trusts certificates that were named, as authorities, and as the server's own.
#[derive(Debug)]
struct Named {
    usual: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // A certificate that somebody made for one server calls itself an authority more often than not, `openssl req
            // -x509` to begin with. Its dates were looked at before this.
            Err(Error::InvalidCertificate(CertificateError::Other(other)))
                if is_own_authority(&other) && self.named.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
