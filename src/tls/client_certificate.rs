/// A mark on a request: it came by TLS with a client certificate, which was verified.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate;
