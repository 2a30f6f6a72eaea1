//! Where do the artifacts' bytes lie?
//!
//! Content-addressed: `sha256/ab/cdef…`, once, whoever uploaded them. An upload is appended to a file of its own,
//! synced, checked, and only then renamed to its digest: what carries a digest as its name is whole and durable.
//! Async because `object_store` is; everything else in this crate is plain functions.

use std::io::{Read, SeekFrom};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use md5::Md5;
use muster_vocab::Sha256;
use muster_vocab::digest::hex;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt};
use sha1::Sha1;
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::StoreError;
use crate::error::Doing;

/// Bytes hashed at a time.
const HASH_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a download handed on at a time: few enough to hold for a thousand slow devices.
const READ_CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<LocalFileSystem>,
    root: PathBuf,
    staging: PathBuf,
}

/// What the server makes by itself is written here, one at a time; the next one overwrites what a crash left.
const MADE: &str = "made";

/// All digests that DDI clients ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    pub size: u64,
    pub sha256: Sha256,
    pub sha1: String,
    pub md5: String,
}

impl Blobs {
    pub fn open(folder: &FilePath) -> Result<Self, StoreError> {
        let root = folder.join("blobs");
        let staging = root.join("staging");
        std::fs::create_dir_all(&staging).doing("making the folder for artifacts")?;
        let objects = LocalFileSystem::new_with_prefix(&root).map_err(blob("opening the folder for artifacts"))?;
        Ok(Self { objects: Arc::new(objects.with_fsync(true)), root, staging })
    }

    /// Bytes of an upload that are stored durably.
    pub async fn staged_size(&self, upload: &str) -> Result<u64, StoreError> {
        match tokio::fs::metadata(self.staged(upload)).await {
            Ok(metadata) => Ok(metadata.len()),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(other) => Err(other).doing("looking at an upload"),
        }
    }

    /// The staged file, ready to be appended to at `offset`; what a torn write left behind it is cut off.
    pub async fn append(&self, upload: &str, offset: u64) -> Result<Staged, StoreError> {
        let path = self.staged(upload);
        let file =
            tokio::fs::OpenOptions::new().create(true).append(true).open(path).await.doing("opening an upload")?;
        file.set_len(offset).await.doing("continuing an upload")?;
        Ok(Staged { file, size: offset, unsynced: 0 })
    }

    /// Where a stored artifact lies, for programs that read it as a file.
    #[must_use]
    pub fn file(&self, digest: Sha256) -> PathBuf {
        self.root.join(place(digest).as_ref())
    }

    /// Where the server writes what it makes by itself.
    #[must_use]
    pub fn made_file(&self) -> PathBuf {
        self.root.join(MADE)
    }

    /// Gives what was made its final name.
    pub async fn keep_made(&self, digest: Sha256) -> Result<(), StoreError> {
        self.objects.rename(&Path::from(MADE), &place(digest)).await.map_err(blob("storing what was made"))
    }

    /// Reads an upload through once and names its digests. Takes a second per half gigabyte: run it off the event loop.
    pub fn digest_staged(&self, upload: &str) -> Result<Digests, StoreError> {
        Self::digest_file(&self.staged(upload))
    }

    /// The same of any file.
    pub fn digest_file(path: &FilePath) -> Result<Digests, StoreError> {
        let mut file = std::fs::File::open(path).doing("opening an upload")?;
        let (mut sha256, mut sha1, mut md5) = (sha2::Sha256::new(), Sha1::new(), Md5::new());
        let mut chunk = vec![0; HASH_CHUNK_BYTES];
        let mut size = 0;
        loop {
            let read = file.read(&mut chunk).doing("reading an upload")?;
            if read == 0 {
                break;
            }
            let bytes = &chunk[..read];
            sha256.update(bytes);
            sha1.update(bytes);
            md5.update(bytes);
            size += read as u64;
        }
        Ok(Digests {
            size,
            sha256: Sha256(sha256.finalize().into()),
            sha1: hex(&sha1.finalize()),
            md5: hex(&md5.finalize()),
        })
    }

    /// Gives checked bytes their final name.
    pub async fn keep(&self, upload: &str, digest: Sha256) -> Result<(), StoreError> {
        let staged = Path::from(format!("staging/{upload}"));
        self.objects.rename(&staged, &place(digest)).await.map_err(blob("storing an artifact"))
    }

    pub async fn has(&self, digest: Sha256) -> Result<bool, StoreError> {
        match self.objects.head(&place(digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(other) => Err(blob("looking for an artifact")(other)),
        }
    }

    pub async fn discard(&self, upload: &str) -> Result<(), StoreError> {
        match tokio::fs::remove_file(self.staged(upload)).await {
            Err(other) if other.kind() != std::io::ErrorKind::NotFound => Err(other).doing("removing an upload"),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Streams bytes `range` of an artifact.
    pub async fn read(
        &self,
        digest: Sha256,
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, StoreError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.objects.get_opts(&place(digest), options).await.map_err(blob("reading an artifact"))?;
        let length = found.range.end - found.range.start;
        let start = found.range.start;
        match found.payload {
            // The crate's own stream of a file hands out 8 KiB at a time, each by way of another thread.
            GetResultPayload::File(file, _) => {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(SeekFrom::Start(start)).await.doing("reading an artifact")?;
                let chunks = ReaderStream::with_capacity(file.take(length), READ_CHUNK_BYTES);
                Ok(chunks.map(|chunk| chunk.map_err(broken_read)).boxed())
            }
            GetResultPayload::Stream(stream) => Ok(stream),
        }
    }

    pub async fn delete(&self, digest: Sha256) -> Result<(), StoreError> {
        match self.objects.delete(&place(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(other) => Err(blob("deleting an artifact")(other)),
        }
    }

    /// Digests of everything stored, for collecting what nobody refers to.
    pub async fn stored(&self, limit: usize) -> Result<Vec<Sha256>, StoreError> {
        let mut listed = self.objects.list(Some(&Path::from("sha256")));
        let mut digests = Vec::new();
        while let Some(object) = listed.next().await
            && digests.len() < limit
        {
            let object = object.map_err(blob("listing artifacts"))?;
            let name: String = object.location.as_ref().split('/').skip(1).collect();
            if let Ok(digest) = name.parse() {
                digests.push(digest);
            }
        }
        Ok(digests)
    }

    fn staged(&self, upload: &str) -> PathBuf {
        assert!(upload.bytes().all(|b| b.is_ascii_hexdigit()), "an upload's id is hex that the server made");
        self.staging.join(upload)
    }
}

/// An upload that is being appended to.
#[derive(Debug)]
pub struct Staged {
    file: tokio::fs::File,
    size: u64,
    unsynced: u64,
}

impl Staged {
    /// Bytes so far, synced or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).await.doing("writing an upload")?;
        self.size += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= muster_vocab::limit::UPLOAD_SYNC_BYTES {
            self.sync().await?;
        }
        Ok(())
    }

    /// What was written is on the disk afterwards.
    pub async fn sync(&mut self) -> Result<(), StoreError> {
        self.file.flush().await.doing("writing an upload")?;
        self.file.sync_data().await.doing("syncing an upload")?;
        self.unsynced = 0;
        Ok(())
    }
}

fn broken_read(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "folder", source: source.into() }
}

fn place(digest: Sha256) -> Path {
    let hex = digest.hex();
    Path::from(format!("sha256/{}/{}", &hex[..2], &hex[2..]))
}

fn blob(what: &'static str) -> impl Fn(object_store::Error) -> StoreError {
    move |source| StoreError::Blob { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn an_upload_that_was_cut_goes_on_where_it_was_synced() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        block_on(async {
            let mut staged = blobs.append("ab12", 0).await.unwrap();
            staged.write(b"hello ").await.unwrap();
            staged.sync().await.unwrap();
            drop(staged);
            assert_eq!(blobs.staged_size("ab12").await.unwrap(), 6);
            let mut staged = blobs.append("ab12", 6).await.unwrap();
            staged.write(b"world").await.unwrap();
            staged.sync().await.unwrap();
            let digests = blobs.digest_staged("ab12").unwrap();
            assert_eq!((digests.size, digests.md5.as_str()), (11, "5eb63bbbe01eeed093cb22bb8f5acdc3"));
            blobs.keep("ab12", digests.sha256).await.unwrap();
            assert!(blobs.has(digests.sha256).await.unwrap());
            assert_eq!(blobs.stored(10).await.unwrap(), [digests.sha256]);
            let bytes: Vec<_> = blobs.read(digests.sha256, 6..11).await.unwrap().collect().await;
            assert_eq!(bytes[0].as_ref().unwrap().as_ref(), b"world");
        });
    }
}
