//! What do Muster's own agent and the server say to each other?
//!
//! JSON under `/device/v1`, described in docs/agent-api.md; goldens in the tests keep the spelling. Unknown members are
//! ignored by both sides, so that either may be the newer one. A device proves itself by `Authorization: Bearer TOKEN`.

use std::collections::BTreeMap;

use muster_vocab::{ActionId, Sha256, Timestamp};
use serde::{Deserialize, Serialize};

/// Begins the message with which a device refuses an order because it does not believe it: the audit log tells of it.
pub const DISTRUSTED: &str = "distrusted: ";

/// `POST /device/v1/join`: a device introduces itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// A join token, or the project's gateway token. Empty: what the connection shows, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    pub project: String,
    pub device: String,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// PKCS #10, PEM. The device wants a certificate for its key, not a token. Nothing but the key is taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The key of the request lies in a TPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmEvidence>,
}

/// What a device shows of its TPM. Binary members are base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmEvidence {
    /// The endorsement key's certificate and its issuers', DER.
    pub endorsement: Vec<String>,
    /// TPM2B_PUBLIC of the attestation key.
    pub attestation: String,
    /// TPM2B_PUBLIC of the key of the request.
    pub key: String,
    /// TPMS_ATTEST by TPM2_Certify, and its signature, DER.
    pub certified: String,
    pub signature: String,
    /// Once the server has set a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<TpmAnswer>,
}

/// Answer 200 to a join with a TPM: the secret that only this TPM opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmTask {
    pub task: String,
    /// TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, base64.
    pub credential: String,
    pub seed: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmAnswer {
    pub task: String,
    /// Base64.
    pub secret: String,
}

/// What the device proves itself by from now on: a token, shown only now, or a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub project: String,
    pub device: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A device's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM: the device's own, then its issuer's.
    pub chain: String,
    /// PEM: the root that the server's certificates lead to, if it is the server's own.
    pub root: String,
    /// The server's clock now, and when the certificate ends; it is renewed at two thirds of that.
    pub issued_at: Timestamp,
    pub not_after: Timestamp,
}

/// Answer 202 to a join: a person has to let the device in. It asks again with the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Of the device's key, for comparing by eye with what the operator sees.
    pub fingerprint: String,
    /// Seconds until it asks again.
    pub retry_s: u32,
}

/// `POST /device/v1/certificate`: a device renews its certificate, with a new key. Answered with a [`Certificate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// PKCS #10, PEM.
    pub request: String,
}

/// `GET /device/v1/wipe`: what a device shall destroy that was decommissioned. Refusals of everything else say
/// `decommissioned`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeOrder {
    /// Absolute. The device takes of it what its own file allows.
    #[serde(default)]
    pub paths: Vec<String>,
    /// And all that its own file names.
    #[serde(default)]
    pub defaults: bool,
}

/// `POST /device/v1/wipe`: the device begins. Answered with a [`WipeReceipt`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeBegun {
    /// What it will not destroy, because its own file doesn't allow it.
    #[serde(default)]
    pub refused: Vec<String>,
}

/// What the device tells its end with, after it has destroyed its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeReceipt {
    pub receipt: String,
}

/// `POST /device/v1/wipe/done`, by nobody in particular. Answered with 204, however often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeDone {
    pub receipt: String,
    #[serde(default)]
    pub wiped: Vec<String>,
    /// What could not be destroyed, and why.
    #[serde(default)]
    pub failed: Vec<String>,
}

/// `POST /device/v1/transfer`: a device that is refused as `transferred` follows into its new project. Answered with a
/// [`Joined`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// PKCS #10, PEM, by a device that has a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// `GET /device/v1/root`: the server's root certificate. Believed only by its digest, which somebody has told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// PEM.
    pub certificate: String,
}

/// `GET /device/v1/orders?wait=SECONDS&tag=TAG`: what the device shall do.
///
/// The server answers at once if its tag differs from the one sent, otherwise when something changes or the wait is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Changes when anything below does, but for the times.
    pub tag: String,
    /// Seconds until the device asks again; it adds its own jitter.
    pub poll_s: u32,
    /// The server's clock, for devices whose own is wrong.
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionOrder>,
    /// The version of the configuration that the device shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// Report all attributes, not only what changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attributes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ActionOrder {
    /// Read it at `/device/v1/actions/{action}`.
    Install { action: ActionId, terms: Terms },
    /// Stop it, if it can still be stopped.
    Cancel { action: ActionId },
    /// Somebody has to consent before it is offered.
    Confirm { action: ActionId },
}

/// What the device may do now; it changes with windows and with an operator's orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub download: bool,
    pub install: bool,
    /// The device's own policies (battery, its user) don't count.
    pub forced: bool,
}

/// `GET /device/v1/actions/{action}`: all that the device needs to carry it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub action: ActionId,
    pub release: String,
    pub version: String,
    /// An older version is meant: a way back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub downgrade: bool,
    /// Which channels vouch for it; a device that was given a root asks one that it follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<SignedBy>,
    pub terms: Terms,
    pub components: Vec<Component>,
}

/// Which channel vouches for a release, below `/device/v1/metadata`, and the counter that its signer gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    pub channel: String,
    pub counter: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// `os`, `app/web`, `firmware/radio`.
    pub name: String,
    pub version: String,
    /// As the release says; `after` lists the components that go first, separated by commas.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    pub artifacts: Vec<Artifact>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub file_name: String,
    pub size: u64,
    pub digest: Sha256,
    /// Ways to get it, cheapest first; the last is the whole as it is.
    pub routes: Vec<Route>,
}

/// One way to get an artifact's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Below the server's address. Taken with ranges.
    pub path: String,
    /// Bytes over the air.
    pub size: u64,
    #[serde(flatten)]
    pub form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Form {
    Whole,
    /// `muster_delta::whole`.
    Compressed,
    /// `muster_delta`: needs the bytes with this digest.
    Delta {
        from: Sha256,
    },
}

/// `POST /device/v1/reports`: part of the device's queue, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// Names the queue; a device that lost its state starts a new one, whose numbers begin at 1.
    pub queue: String,
    pub reports: Vec<Report>,
    /// Counters that never go back while the queue has this name: the last report that the device knows to be taken, and
    /// how often it was started. Lower ones than before are those of a copy, or of an old backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub taken: u64,
    pub boots: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One more than the report before.
    pub sequence: u64,
    /// The device's clock, which may be wrong.
    pub at: Timestamp,
    #[serde(flatten)]
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
    Action(ActionSaid),
    Attributes(Attributes),
    Configuration(ConfigurationSaid),
    Command(CommandSaid),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSaid {
    pub action: ActionId,
    pub state: ActionState,
    /// Why, and the last lines of the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// Bytes fetched and bytes to fetch, while downloading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub of: u64,
}

/// How far the device is; the agent's update machine in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    Accepted,
    Downloading,
    Downloaded,
    Staged,
    AwaitingRestart,
    TrialBoot,
    /// It runs, is healthy, and stays: the end.
    Committed,
    /// It ran or was about to, and the device went back by itself: an end.
    Reverted,
    /// Refused or failed before anything that runs was touched: an end.
    Failed,
    /// Stopped on the server's order: an end.
    Canceled,
    /// The order to stop came too late.
    CancelRefused,
    /// A person at the device consents or does not.
    Consented,
    Denied,
}

impl ActionState {
    #[must_use]
    pub fn is_end(self) -> bool {
        match self {
            Self::Committed | Self::Reverted | Self::Failed | Self::Canceled => true,
            Self::Accepted
            | Self::Downloading
            | Self::Downloaded
            | Self::Staged
            | Self::AwaitingRestart
            | Self::TrialBoot
            | Self::CancelRefused
            | Self::Consented
            | Self::Denied => false,
        }
    }
}

/// A difference to what was reported before, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// All: what isn't named here is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationSaid {
    pub version: u64,
    pub state: ConfigurationState,
    /// Why it was reverted, or which files drifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationState {
    Applied,
    /// Refused before anything was written, or taken back after validation or reload failed.
    Reverted,
    /// Somebody changed a file on the device.
    Drifted,
}

/// `GET /device/v1/configuration`: rendered for this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub version: u64,
    pub files: Vec<ConfigurationFile>,
}

/// `POST /device/v1/secrets`: the values for the marks in the files of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsAsk {
    /// The version whose files hold the marks.
    pub configuration: u64,
    /// X25519 public key, made for this question; base64.
    pub key: String,
    /// Of the device's identity: SubjectPublicKeyInfo, DER, base64.
    pub public_key: String,
    /// How it signed, by the number of the scheme in TLS.
    pub scheme: u16,
    /// Over `muster secrets 1`, NUL, and the 32 bytes of `key`; base64.
    pub signature: String,
}

/// What the device alone opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecrets {
    /// JSON, an object of marks and their values; sealed, base64.
    pub sealed: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationFile {
    /// Absolute, without `..`.
    pub path: String,
    pub content: String,
    /// Octal, such as `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `user:group`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Words of a command that says by its exit code whether the new file is good; `{}` stands for its path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validate: Vec<String>,
    /// Words of a command that makes the service read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload: Vec<String>,
}

/// One thing to do once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub id: i64,
    /// Not begun after this moment.
    pub deadline: Timestamp,
    #[serde(flatten)]
    pub what: CommandKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum CommandKind {
    Reboot,
    CollectLogs {
        #[serde(default)]
        unit: Option<String>,
        lines: u32,
    },
    /// A script that the device's own configuration allows, by name.
    RunScript {
        script: String,
        #[serde(default)]
        arguments: Vec<String>,
    },
    /// Connect to `/device/v1/sessions/{session}`.
    OpenSession {
        session: String,
        #[serde(flatten)]
        kind: SessionKind,
        /// Ended after this many seconds.
        seconds_max: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "session_kind", rename_all = "snake_case")]
pub enum SessionKind {
    Shell,
    Forward { host: String, port: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSaid {
    pub command: i64,
    pub state: CommandState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Bounded and redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    Started,
    Succeeded,
    Failed,
    /// The device's own configuration doesn't allow it.
    Refused,
    /// Its deadline had passed when it arrived.
    Late,
}

/// Everything up to here is durable on the server and may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub through: u64,
}
