//! `POST /device/v1/secrets`: the values for the marks in a device's files, sealed for it alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use muster_trust::delivery;
use muster_vocab::limit;
use muster_wire::agent::{SealedSecrets, SecretsAsk};

use super::body::DeviceJson;
use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::flow::error::FlowError;
use crate::flow::secrets::{self, Question};

pub(super) async fn answer(
    State(app): State<Arc<App>>,
    caller: Caller,
    DeviceJson(sent): DeviceJson<SecretsAsk, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<Json<SealedSecrets>, Refusal> {
    let bytes = |field: &'static str, text: &str| {
        delivery::bytes(text).ok_or_else(|| Refusal::bad(field, format!("{field} is not base64")))
    };
    let question = Question {
        configuration: sent.configuration,
        key: bytes("key", &sent.key)?,
        public_key: bytes("public_key", &sent.public_key)?,
        scheme: sent.scheme,
        signature: bytes("signature", &sent.signature)?,
    };
    let (of, vault) = ((caller.project(), caller.polled.device), app.vault.clone());
    let sealed = app.read::<_, FlowError>(move |view| secrets::answer(view, &vault, of, &question)).await?;
    Ok(Json(SealedSecrets { sealed: delivery::text(&sealed) }))
}
