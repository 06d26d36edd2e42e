//! Against a KMS that speaks gRPC over a real socket.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use super::wire::{DecryptResponse, EncryptResponse, StatusResponse};
use super::*;

const PLACE: &[u8] = b"/registry/secrets/a/b";

/// A KMS whose keys are numbered; it seals by reversing, and counts what it opens.
#[derive(Default)]
struct Plugin {
    key: AtomicUsize,
    opened: AtomicUsize,
    sick: AtomicUsize,
}

impl Plugin {
    fn key_id(&self) -> String {
        format!("key-{}", self.key.load(Ordering::SeqCst))
    }
}

/// One method as tonic serves it.
struct Method<F>(F);

impl<F, Q, A> UnaryService<Q> for Method<F>
where
    F: Fn(Q) -> Result<A, tonic::Status>,
{
    type Response = A;
    type Future = std::future::Ready<Result<tonic::Response<A>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        std::future::ready((self.0)(request.into_inner()).map(tonic::Response::new))
    }
}

async fn answer(plugin: Arc<Plugin>, request: http::Request<Body>) -> http::Response<Body> {
    match request.uri().path() {
        "/v2.KeyManagementService/Status" => {
            let status = |_: StatusRequest| {
                let healthz = if plugin.sick.load(Ordering::SeqCst) > 0 { "sick" } else { "ok" };
                Ok(StatusResponse { version: "v2".into(), healthz: healthz.into(), key_id: plugin.key_id() })
            };
            Grpc::new(ProstCodec::<StatusResponse, _>::default()).unary(Method(status), request).await
        }
        "/v2.KeyManagementService/Encrypt" => {
            let encrypt = |request: EncryptRequest| {
                let ciphertext = request.plaintext.into_iter().rev().collect();
                let annotations = HashMap::from([("a.example".to_owned(), b"note".to_vec())]);
                Ok(EncryptResponse { ciphertext, key_id: plugin.key_id(), annotations })
            };
            Grpc::new(ProstCodec::<EncryptResponse, _>::default()).unary(Method(encrypt), request).await
        }
        _ => {
            let decrypt = |request: DecryptRequest| {
                if request.annotations.get("a.example").map(Vec::as_slice) != Some(b"note") {
                    return Err(tonic::Status::invalid_argument("the notes are gone"));
                }
                plugin.opened.fetch_add(1, Ordering::SeqCst);
                Ok(DecryptResponse { plaintext: request.ciphertext.into_iter().rev().collect() })
            };
            Grpc::new(ProstCodec::<DecryptResponse, _>::default()).unary(Method(decrypt), request).await
        }
    }
}

/// Serves a plugin; answers with its socket's path.
fn serve(dir: &Path) -> (Arc<Plugin>, String) {
    let path = dir.join("kms.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let plugin = Arc::new(Plugin::default());
    let serving = plugin.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let plugin = serving.clone();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let plugin = plugin.clone();
                async move { Ok::<_, Infallible>(answer(plugin, request.map(Body::new)).await) }
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    (plugin, path.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn values_are_sealed_with_seeds_that_the_kms_seals() {
    let dir = tempfile::tempdir().unwrap();
    let (plugin, socket) = serve(dir.path());
    let kms = Kms::new("own", &socket, Duration::from_secs(3));
    let sealed = kms.seal(b"hush", PLACE).await.unwrap();
    assert!(!sealed.windows(4).any(|part| part == b"hush"));
    let object = EncryptedObject::decode(&sealed[..]).unwrap();
    assert_eq!((object.key_id.as_str(), object.encrypted_dek_source_type), ("key-0", DERIVED));
    assert_eq!(kms.open(&sealed, PLACE).await.unwrap(), (b"hush".to_vec(), false));
    assert_eq!(plugin.opened.load(Ordering::SeqCst), 0, "its own seed it knows");
    assert!(kms.open(&sealed, b"/registry/secrets/a/c").await.is_err(), "moved");

    // After a restart the seed is asked for, once.
    let later = Kms::new("own", &socket, Duration::from_secs(3));
    for _ in 0..3 {
        assert_eq!(later.open(&sealed, PLACE).await.unwrap(), (b"hush".to_vec(), false));
    }
    assert_eq!(plugin.opened.load(Ordering::SeqCst), 1);

    // A new key there: what was written is stale, and new values are written under it.
    plugin.key.store(1, Ordering::SeqCst);
    later.probe().await.unwrap();
    assert_eq!(later.open(&sealed, PLACE).await.unwrap(), (b"hush".to_vec(), true));
    let again = later.seal(b"hush", PLACE).await.unwrap();
    assert_eq!(EncryptedObject::decode(&again[..]).unwrap().key_id, "key-1");

    // One that is not well changes nothing about what is known.
    plugin.sick.store(1, Ordering::SeqCst);
    let error = later.probe().await.unwrap_err();
    assert_eq!(error, "kmsv2 Provider own is not healthy, error: got unexpected healthz status: sick");
    assert!(later.seal(b"hush", PLACE).await.is_ok() && later.open(&again, PLACE).await.is_ok());
}

#[tokio::test]
async fn a_kms_that_is_away_is_an_error_of_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let kms = Kms::new("own", dir.path().join("none").to_str().unwrap(), Duration::from_millis(200));
    let error = kms.seal(b"hush", PLACE).await.unwrap_err();
    assert!(error.starts_with("kmsv2 Provider own is not healthy, error: "), "{error}");
}
