use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificates::CertificateFiles;
use super::local;

/// TLS in front of an app, as a terminator of its own would do it.
pub(crate) struct TlsFront {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl TlsFront {
    /// In front of the app at `port`, with this certificate; clients must show one of `client_ca`, if there is one.
    pub(crate) fn start(port: u16, issued: &CertificateFiles, client_ca: Option<&Path>, alpn: &[&str]) -> Self {
        let mut config = config(issued, client_ca);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind(local(0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let counted = handshakes.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener, acceptor, port, counted) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, handshakes, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Handshakes that succeeded so far.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(SeqCst)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a server with this certificate serves by.
pub(crate) fn config(issued: &CertificateFiles, client_ca: Option<&Path>) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(&issued.cert).expect("a file").collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().expect("versions");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(path).expect("a certificate")).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    builder.with_single_cert(chain.expect("certificates"), key).expect("a certificate with its key")
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, port: u16, handshakes: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, handshakes) = (acceptor.clone(), handshakes.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            handshakes.fetch_add(1, SeqCst);
            let Ok(mut app) = TcpStream::connect(local(port)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut app).await;
        });
    }
}
