//! What do a release's images say of themselves?
//!
//! Each is read once, off the event loop, one after the other: publishing a gigabyte takes some seconds.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use muster_domain::attestation::{Inner, InnerSignature};
use muster_store::StoreError;
use muster_trust::inner::keys::Trusted;
use muster_trust::inner::{self, Named, Verdict};
use muster_vocab::{ProjectId, Timestamp};

use crate::App;
use crate::flow::attestations;
use crate::flow::error::FlowError;

const READ_BYTES: usize = 256 * 1024;

/// Nothing if there is no such release, which is for others to say.
pub async fn look(
    app: &Arc<App>,
    project: ProjectId,
    (name, version): (String, String),
) -> Result<Vec<Inner>, FlowError> {
    let found = app.read::<_, StoreError>(move |view| {
        let release = match view.release_named(project, &name, &version) {
            Ok(release) => release,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(failed) => return Err(failed),
        };
        Ok(Some((attestations::artifacts(&release), view.ring(project)?)))
    });
    let Some((artifacts, ring)) = found.await? else { return Ok(Vec::new()) };
    let trusted =
        |key: &muster_store::attestations::RingKey| Some((key.name.clone(), Trusted::parse(&key.public).ok()?));
    let ring: Arc<Vec<Named>> = Arc::new(ring.iter().filter_map(trusted).collect());
    let now = app.now();
    let mut all = Vec::with_capacity(artifacts.len());
    for (artifact, _) in artifacts {
        let (path, ring) = (app.blobs.file(artifact), ring.clone());
        let looked = tokio::task::spawn_blocking(move || signature(&path, &ring, now)).await;
        let signature = match looked {
            Ok(Ok(signature)) => signature,
            Ok(Err(failed)) => InnerSignature::Refused(format!("it can't be read: {failed}")),
            Err(failed) => InnerSignature::Refused(format!("it can't be looked at: {failed}")),
        };
        all.push(Inner { artifact, signature });
    }
    Ok(all)
}

fn signature(path: &Path, ring: &[Named], now: Timestamp) -> io::Result<InnerSignature> {
    let mut file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
    let Some(kind) = inner::kind(&mut file)? else { return Ok(InnerSignature::NotThisKind) };
    Ok(match inner::check(&mut file, kind, ring, now)? {
        Verdict::Unsigned => InnerSignature::Unsigned,
        Verdict::Verified(name) => InnerSignature::Verified(name),
        Verdict::Refused(why) => InnerSignature::Refused(why.to_string()),
    })
}
