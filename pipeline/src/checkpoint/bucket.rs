//! An object store with S3's interface as the place of checkpoints.
//!
//! Enters: names and bytes. Leaves: the same bytes, later. Guarantees: those of [`Store`]: an object is there as a whole
//! or not at all, and of two that create the same name exactly one is told that it did (`If-None-Match`).

use std::{io, time::Duration};

use bytes::Bytes;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm},
    path::Path,
};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::Settings;
use crate::place::{Object, Store};

/// Objects longer than this are sent in pieces of about this many bytes.
const PIECE: usize = 16 << 20;

/// How long one request is repeated before its failure is told.
const PATIENCE: Duration = Duration::from_secs(20);

/// A prefix of a bucket.
#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    prefix: Path,
    url: String,
    runtime: Runtime,
}

impl Bucket {
    /// The bucket of `s3://bucket/prefix`. Keys come from the environment (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, …).
    ///
    /// # Errors
    /// When something that is needed is not set.
    pub fn open(url: &str, settings: &Settings) -> io::Result<Bucket> {
        let (bucket, prefix) = url.strip_prefix("s3://").unwrap_or(url).split_once('/').unwrap_or((url, ""));
        let bucket = bucket.strip_prefix("s3://").unwrap_or(bucket);
        let retry = RetryConfig { max_retries: 5, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_crypto_provider(std::sync::Arc::new(Crypto))
            .with_retry(retry);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        let store = builder.build().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("object store")
            .enable_all()
            .build()?;
        Ok(Bucket { store, prefix: Path::from(prefix), url: url.to_owned(), runtime })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    async fn write_in_pieces(&self, path: &Path, pieces: Vec<Bytes>) -> object_store::Result<()> {
        let mut upload = self.store.put_multipart(path).await?;
        let (mut payload, mut bytes) = (Vec::new(), 0);
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            bytes += piece.len();
            payload.push(piece);
            if bytes >= PIECE || pieces.peek().is_none() {
                upload.put_part(payload.drain(..).collect()).await?;
                bytes = 0;
            }
        }
        upload.complete().await.map(drop)
    }
}

impl Store for Bucket {
    fn place(&self) -> String {
        self.url.clone()
    }

    fn list(&self) -> io::Result<Vec<Object>> {
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&self.prefix)));
        let object = |meta: object_store::ObjectMeta| {
            let name = meta.location.filename()?.to_owned();
            Some(Object { name, bytes: meta.size })
        };
        let mut objects: Vec<_> = listed.map_err(failed)?.objects.into_iter().filter_map(object).collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        self.runtime.block_on(read).map(|bytes| bytes.to_vec()).map_err(failed)
    }

    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let range = offset..offset.saturating_add(length);
        let bytes = self.runtime.block_on(self.store.get_range(&self.path(name), range)).map_err(failed)?;
        if (bytes.len() as u64) < length {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(bytes.to_vec())
        }
    }

    fn write(&self, name: &str, pieces: Vec<Bytes>) -> io::Result<()> {
        let path = self.path(name);
        let written = if pieces.iter().map(Bytes::len).sum::<usize>() > 4 * PIECE {
            self.runtime.block_on(self.write_in_pieces(&path, pieces))
        } else {
            let payload: PutPayload = pieces.into_iter().collect();
            self.runtime.block_on(self.store.put(&path, payload)).map(drop)
        };
        written.map_err(failed)
    }

    fn create(&self, name: &str) -> io::Result<bool> {
        let path = self.path(name);
        let created = self.store.put_opts(&path, PutPayload::default(), PutMode::Create.into());
        match self.runtime.block_on(created) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn has(&self, name: &str) -> io::Result<bool> {
        match self.runtime.block_on(self.store.head(&self.path(name))) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.runtime.block_on(self.store.delete(&self.path(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: object_store::Error) -> io::Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// What signing requests needs, from the crates that also sign for the provincial exchange.
#[derive(Debug)]
struct Crypto;

impl CryptoProvider for Crypto {
    fn digest(&self, _: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        Ok(Box::new(Context { hash: Sha256::new(), done: Vec::new() }))
    }

    fn hmac(&self, _: DigestAlgorithm, secret: &[u8]) -> object_store::Result<Box<dyn HmacContext>> {
        use hmac::KeyInit;
        let hash = hmac::Hmac::<Sha256>::new_from_slice(secret)
            .map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(Box::new(Context { hash, done: Vec::new() }))
    }

    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> object_store::Result<Box<dyn Signer>> {
        // Only other clouds sign with private keys.
        Err(object_store::Error::NotSupported { source: "private keys are not used for S3".into() })
    }
}

struct Context<H> {
    hash: H,
    done: Vec<u8>,
}

impl DigestContext for Context<Sha256> {
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.hash, data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.done = self.hash.clone().finalize().to_vec();
        Ok(&self.done)
    }
}

impl HmacContext for Context<hmac::Hmac<Sha256>> {
    fn update(&mut self, data: &[u8]) {
        hmac::Mac::update(&mut self.hash, data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.done = hmac::Mac::finalize(self.hash.clone()).into_bytes().to_vec();
        Ok(&self.done)
    }
}
