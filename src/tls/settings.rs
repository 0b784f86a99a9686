use std::path::PathBuf;

crate::settings! {
    /// TLS for traffic: on when there is a certificate.
    pub struct TlsSettings {
        /// The certificate with its chain, in PEM form.
        cert: Option<PathBuf>,
        /// Its key, in PEM form.
        key: Option<PathBuf>,
        /// Certificate authorities in PEM form, of which clients must have a certificate.
        client_ca: Option<PathBuf>,
        /// With `client_ca`: "required", which is the default, or "optional" to serve clients without a certificate too.
        client_auth: Option<ClientAuth>,
    }
}

impl TlsSettings {
    /// The files that are named.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.cert, &self.key, &self.client_ca].into_iter().flatten().cloned().collect()
    }
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Without one there is no connection.
    Required,
    /// A wrong one is refused; none is not.
    Optional,
}

crate::words!(ClientAuth, "\"required\" or \"optional\"", {
    "required" => Self::Required,
    "optional" => Self::Optional,
});
