//! What does a joining device show of its TPM, and has the TPM opened what was sealed for it?

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_store::StoreError;
use muster_store::identity::AuthorityKind;
use muster_trust::authority::pem;
use muster_trust::authority::request::Request;
use muster_trust::secret;
use muster_trust::tpm::{BadTpm, Claimed, Evidence};
use muster_vocab::{ProjectId, limit};
use muster_wire::agent::{TpmEvidence, TpmTask};

use crate::App;
use crate::edge::http::problem::Refusal;
use crate::tasks::Claimant;

/// How far the proof is.
pub(super) enum Proven {
    /// By this TPM.
    Yes([u8; 32]),
    /// It has yet to open this.
    Set(TpmTask),
}

/// `device` asks for a certificate for the request's key in `project`.
pub(super) async fn prove(
    app: &Arc<App>,
    (project, device): (ProjectId, &str),
    request: Option<&Request>,
    shown: &TpmEvidence,
) -> Result<Proven, Refusal> {
    let makers = app.read::<_, StoreError>(move |view| view.project_authorities(project)).await?;
    let makers = makers.into_iter().filter(|one| one.kind == AuthorityKind::Tpm);
    let makers: Vec<_> = makers.filter_map(|maker| pem::ders(&maker.certificate).into_iter().next()).collect();
    let now = app.now();
    let claimed = evidence(shown)?.check(&makers, now).map_err(|bad| refused(&bad))?;
    if request.map(Request::key_digest) != Some(claimed.key) {
        return Err(refused(&BadTpm::OtherKey));
    }
    let claimant = Claimant { project, device, claimed: &claimed };
    match &shown.answer {
        None => set(app, claimant, &claimed).map(Proven::Set),
        Some(answer) => {
            let opened = decode(&answer.secret, "secret")?;
            match app.tasks.take(&answer.task, claimant, &opened, now) {
                true => Ok(Proven::Yes(claimed.tpm)),
                false => Err(Refusal::unauthenticated(
                    "tpm_refused",
                    "this is no answer to an open task for this TPM and key: ask for another one",
                )),
            }
        }
    }
}

fn set(app: &App, claimant: Claimant<'_>, claimed: &Claimed) -> Result<TpmTask, Refusal> {
    let chance = |failed| Refusal::internal(&failed);
    let task = secret::random_hex(16).map_err(chance)?;
    // A digest of chance is chance, and of the length that is sealed.
    let opens = secret::digest(&secret::random_hex(32).map_err(chance)?);
    let sealed = claimed.seal(&opens).map_err(|bad| Refusal::internal(&bad))?;
    app.tasks.set(task.clone(), claimant, &opens, app.now()).ok_or_else(|| {
        let detail = "too many devices prove their TPMs at the moment: try again";
        Refusal::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })?;
    Ok(TpmTask { task, credential: STANDARD.encode(sealed.blob), seed: STANDARD.encode(sealed.seed) })
}

fn evidence(shown: &TpmEvidence) -> Result<Evidence, Refusal> {
    let members = [&shown.attestation, &shown.key, &shown.certified, &shown.signature];
    let bytes: usize = members.into_iter().chain(&shown.endorsement).map(String::len).sum();
    if bytes > limit::TPM_EVIDENCE_BYTES_MAX {
        return Err(Refusal::bad("tpm", "what is shown of the TPM is too long"));
    }
    Ok(Evidence {
        endorsement: shown.endorsement.iter().map(|one| decode(one, "endorsement")).collect::<Result<_, _>>()?,
        attestation: decode(&shown.attestation, "attestation")?,
        key: decode(&shown.key, "key")?,
        certified: decode(&shown.certified, "certified")?,
        signature: decode(&shown.signature, "signature")?,
    })
}

fn decode(text: &str, member: &'static str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::bad("tpm", format!("{member} is not base64")))
}

fn refused(bad: &BadTpm) -> Refusal {
    Refusal::unauthenticated("tpm_refused", &bad.to_string())
}
